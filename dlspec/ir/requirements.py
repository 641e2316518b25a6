"""Many relations as the few that say the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import lcm

from dlspec.ir.dim_text import remainders
from dlspec.ir.facts import Facts, Relation, Sense, Truth, against_zero, residue_class, tightened
from dlspec.ir.periodic import MAX_PERIOD, Periodic, periodic
from dlspec.ir.polynomial import ZERO, Dim

_MAX_CROSS_CHECKED = 32


def simplify_requirements(relations: Sequence[Relation], facts: Facts) -> list[Relation]:
    """Relations that, where the facts hold, are all true exactly when the given ones are.

    Residue classes come first, then bounds, equalities and inequalities; what follows from the
    facts or from the others is left out."""
    gathered = _Gathered(facts)
    for relation in relations:
        gathered.add(relation)
    kept: list[Relation] = []
    known = facts
    for relation in gathered.ordered():
        if known.decide(relation) is not Truth.PROVED:
            kept.append(relation)
            known = known.assume(relation)
    return _cross_checked(kept, facts)


def _cross_checked(relations: list[Relation], facts: Facts) -> list[Relation]:
    """Without those that later ones imply."""
    if not 1 < len(relations) <= _MAX_CROSS_CHECKED:
        return relations
    kept = list(relations)
    for relation in reversed(relations[:-1]):
        known = facts
        for other in kept:
            if other is not relation:
                known = known.assume(other)
        if known.decide(relation) is Truth.PROVED:
            kept = [other for other in kept if other is not relation]
    return kept


class _Gathered:
    """Relations sorted by kind; of those that differ in a constant only, the strongest."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.impossible: dict[Relation, None] = {}
        self.repeating: dict[str, dict[Relation, tuple[int, frozenset[int]]]] = {}
        self.bounds: dict[tuple[str, str], int] = {}
        self.equalities: dict[Dim, Relation] = {}
        self.distinctions: dict[Dim, Relation] = {}
        self.inequalities: dict[Dim, tuple[int, bool]] = {}

    def add(self, relation: Relation) -> None:
        sense, dim = against_zero(relation)
        dim = self.facts.primitive(dim)
        if sense == ">=":
            dim = tightened(dim)
        if dim.is_const:
            if not _holds(sense, dim.constant):
                self.impossible[relation] = None
            return
        repeating = periodic(dim)
        if repeating is not None and self._add_repeating(sense, repeating, relation):
            return
        turned = relation.op in ("<", "<=")
        if sense == ">=":
            rest = dim - dim.constant
            constant, _ = self.inequalities.get(rest, (dim.constant, turned))
            if dim.constant <= constant:
                self.inequalities[rest] = (dim.constant, turned)
            return
        content = dim.content
        if content > 1 and dim.constant % content == 0:
            dim = Dim({m: c // content for m, c in dim.terms.items()})
        same = self.equalities if sense == "==" else self.distinctions
        same.setdefault(min(dim, -dim, key=lambda d: d.key), readable(sense, dim))

    def _add_repeating(self, sense: Sense, repeating: Periodic, relation: Relation) -> bool:
        name = repeating.symbol
        low, high = self.facts.bounds_of(name)
        if repeating.step == 0:
            values = repeating.values(low)
            allowed = frozenset(s % repeating.period for s, v in values if _holds(sense, v))
            shown = readable(sense, repeating.dim)
            self.repeating.setdefault(name, {})[shown] = (repeating.period, allowed)
            return True
        if sense == "==":
            zeros = repeating.zeros(low, high)
            if len(zeros) == 1:
                value = Dim.symbol(name) - zeros[0]
                self.equalities[value] = readable("==", value)
            return len(zeros) == 1
        ray = repeating.ray(low) if sense == ">=" else None
        if ray is None or (ray[0] == "<=" and ray[1] < low):
            return False
        side, bound = ray
        known = self.bounds.setdefault((name, side), bound)
        self.bounds[name, side] = (max if side == ">=" else min)(known, bound)
        return True

    def ordered(self) -> Iterable[Relation]:
        yield from self.impossible
        for name in sorted(self.repeating):
            yield from _joint(name, self.repeating[name])
        for (name, side), bound in sorted(self.bounds.items()):
            op = ">=" if side == ">=" else "<="
            yield Relation(op, Dim.symbol(name), Dim.const(bound))
        for same in (self.equalities, self.distinctions):
            for dim in sorted(same, key=_simplest_first):
                yield same[dim]
        for rest in sorted(self.inequalities, key=_simplest_first):
            constant, turned = self.inequalities[rest]
            yield readable(">=", rest + constant, turned)


def _simplest_first(dim: Dim) -> tuple[int, tuple[object, ...]]:
    return len(dim.terms), dim.key


def _holds(sense: Sense, value: int) -> bool:
    match sense:
        case "==":
            return value == 0
        case "!=":
            return value != 0
        case ">=":
            return value >= 0


def _joint(name: str, conditions: dict[Relation, tuple[int, frozenset[int]]]) -> Iterable[Relation]:
    """The residue class that all conditions on the symbol leave, then the conditions."""
    modulus, residues = 1, [0]
    for period, allowed in sorted(conditions.values(), key=lambda c: (c[0], sorted(c[1]))):
        joint = lcm(modulus, period)
        if joint > MAX_PERIOD:
            continue
        turns = range(0, joint, modulus)
        residues = [r + turn for turn in turns for r in residues if (r + turn) % period in allowed]
        modulus = joint
    if residues:
        narrowest, residue = residue_class(residues, modulus)
        if narrowest > 1:
            yield Relation("==", Dim.symbol(name) % narrowest, Dim.const(residue))
    yield from sorted(conditions, key=lambda relation: (len(str(relation)), str(relation)))


def readable(sense: Sense, dim: Dim, turned: bool = False) -> Relation:
    """dim against zero with positive terms on both sides; turned: the smaller side first."""
    left, right = _sides(dim)
    if left.is_const and not right.is_const:
        if sense == ">=":
            return Relation("<=", right, left)
        return Relation(sense, right, left)
    if sense != ">=":
        return Relation(sense, left, right)
    strict = right.constant == 1 and not right.is_const
    if strict:
        right = right - 1
    if turned and not right.is_const:
        return Relation("<" if strict else "<=", right, left)
    return Relation(">" if strict else ">=", left, right)


def _sides(dim: Dim) -> tuple[Dim, Dim]:
    """The terms with positive coefficients, and the others, negated; a remainder is one term."""
    mods, rest = remainders(dim)
    parts = [(factor, factor * (a % b)) for factor, a, b in mods]
    parts += [(term, term) for term in (Dim({m: c}) for m, c in rest.terms.items())]
    left = right = ZERO
    for factor, part in parts:
        if next(iter(factor.terms.values())) > 0:
            left = left + part
        else:
            right = right - part
    return left, right
