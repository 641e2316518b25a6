"""Proofs that a size is never negative: a non-negative combination of known inequalities.

What is proved is checked again from the multipliers alone, so an error in the search costs an
answer, never a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dlspec.ir.atoms import ONE, Atom, Kind, over
from dlspec.ir.polynomial import Dim, dim_of_atom
from dlspec.ir.ranges import Ranges
from dlspec.ir.simplex import maximise

_MAX_CONSTRAINTS = 40
_MAX_ASSUMED = 12
_MAX_SPLITS = 3


def is_natural(dim: Dim, ranges: Ranges, assumed: Sequence[Dim], splits: int = _MAX_SPLITS) -> bool:
    """Whether dim >= 0 follows. assumed: sizes that are at least 0."""
    low, high = ranges.of(dim)
    if low is not None and low >= 0:
        return True
    if high is not None and high < 0:
        return False
    choice = next((a for a in _inner(dim.atoms) if a.kind in (Kind.MAX, Kind.MIN)), None)
    if choice is None:
        return _combined(dim, ranges, assumed)
    return splits > 0 and all(
        is_natural(chosen, ranges, [*order, *assumed], splits - 1)
        for chosen, order in _cases(dim, choice)
    )


def _inner(atoms: Iterable[Atom]) -> list[Atom]:
    """The atoms and those inside them, in a fixed order."""
    seen: set[Atom] = set()
    waiting = list(atoms)
    while waiting:
        atom = waiting.pop()
        if atom not in seen:
            seen.add(atom)
            waiting.extend(a for arg in atom.args for a in arg.atoms)
    return sorted(seen, key=lambda atom: atom.key)


def _cases(dim: Dim, choice: Atom) -> Iterable[tuple[Dim, list[Dim]]]:
    """A maximum is one of its arguments, which is then at least every other."""
    for chosen in choice.args:
        others = [other for other in choice.args if other is not chosen]
        if choice.kind is Kind.MAX:
            order = [chosen - other for other in others]
        else:
            order = [other - chosen for other in others]
        yield dim.replace(lambda a, new=chosen: new if a is choice else None), order


def _combined(dim: Dim, ranges: Ranges, assumed: Sequence[Dim]) -> bool:
    goal = ranges.shifted(dim)
    if goal is None:
        return False
    known = _constraints(dim, ranges, assumed)
    shifted = [s for s in (ranges.shifted(fact) for fact in known) if s]
    monomials = dict.fromkeys(m for terms in (goal, *shifted) for m in terms if m != ONE)
    rows: list[list[int]] = []
    bounds: list[int] = []
    for monomial in monomials:
        row = [terms.get(monomial, 0) for terms in shifted]
        bound = goal.get(monomial, 0)
        if not any(row):
            if bound < 0 or (bound and not ranges.is_natural(monomial)):
                return False
            continue
        rows.append(row)
        bounds.append(bound)
        if not ranges.is_natural(monomial):
            rows.append([-x for x in row])
            bounds.append(-bound)
    objective = [-terms.get(ONE, 0) for terms in shifted]
    multipliers = maximise(rows, bounds, objective) if shifted else None
    if multipliers is None or any(y < 0 for y in multipliers):
        return False
    for monomial in monomials:
        left = goal.get(monomial, 0) - sum(
            y * terms.get(monomial, 0) for y, terms in zip(multipliers, shifted, strict=True)
        )
        if left < 0 or (left and not ranges.is_natural(monomial)):
            return False
    value = goal.get(ONE, 0) + sum(y * x for y, x in zip(multipliers, objective, strict=True))
    return value > -1  # an integer above -1 is not negative


def _constraints(dim: Dim, ranges: Ranges, assumed: Sequence[Dim]) -> list[Dim]:
    """Sizes known to be at least 0 that could bear on dim."""
    chosen = _related(dim, assumed)
    facts = dict.fromkeys(chosen)
    for atom in _inner(a for part in (dim, *chosen) for a in part.atoms):
        facts.update(dict.fromkeys(_of_atom(atom, ranges)))
    for monomial in dim.terms:
        for fact in list(facts):
            for part in fact.terms:
                cofactor = over(monomial, part) if part else None
                if cofactor and ranges.is_positive(cofactor):
                    facts[fact * Dim({cofactor: 1})] = None
        if len(facts) > _MAX_CONSTRAINTS:
            break
    return list(facts)[:_MAX_CONSTRAINTS]


def _related(dim: Dim, assumed: Sequence[Dim]) -> list[Dim]:
    """The assumptions that share symbols with dim, or with one that does, the nearest first."""
    symbols = dim.symbols
    found: list[Dim] = []
    waiting = list(assumed)
    for _ in range(3):
        near = [fact for fact in waiting if not symbols.isdisjoint(fact.symbols)]
        found += near
        if not near or len(found) >= _MAX_ASSUMED:
            break
        taken = set(near)
        waiting = [fact for fact in waiting if fact not in taken]
        symbols = symbols.union(*(fact.symbols for fact in near))
    return found[:_MAX_ASSUMED]


def _of_atom(atom: Atom, ranges: Ranges) -> list[Dim]:
    this = dim_of_atom(atom)
    facts: list[Dim] = []
    high = ranges.of_atom(atom)[1]
    if high is not None:
        facts.append(high - this)
    if atom.kind is Kind.FLOOR:
        n, d = atom.args
        facts += [n - d * this, d * this + d - 1 - n]
        if not d.is_const:
            facts.append(d - 1)
    elif atom.kind is Kind.POWER:
        facts.append(this - atom.args[1] - 1)
    return facts
