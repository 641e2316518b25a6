"""What is known about sizes, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from math import gcd
from typing import Literal, TypeAlias

from dlspec.ir.atoms import ONE, Kind, Monomial, over
from dlspec.ir.periodic import Periodic, periodic
from dlspec.ir.polynomial import Dim, dim_of_atom
from dlspec.ir.proof import is_natural
from dlspec.ir.ranges import Ranges

Comparison: TypeAlias = Literal["==", "!=", "<", ">", "<=", ">="]

_NEGATED: dict[Comparison, Comparison] = {
    "==": "!=",
    "!=": "==",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}


class Truth(Enum):
    PROVED = auto()  # for all values the facts allow
    REFUTED = auto()  # for none
    UNKNOWN = auto()

    def __invert__(self) -> Truth:
        return _OPPOSITE[self]


_OPPOSITE = {
    Truth.PROVED: Truth.REFUTED,
    Truth.REFUTED: Truth.PROVED,
    Truth.UNKNOWN: Truth.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Relation:
    op: Comparison
    left: Dim
    right: Dim

    def negated(self) -> Relation:
        return Relation(_NEGATED[self.op], self.left, self.right)

    def substitute(self, mapping: Mapping[str, Dim | int]) -> Relation:
        return Relation(self.op, self.left.substitute(mapping), self.right.substitute(mapping))

    @property
    def symbols(self) -> frozenset[str]:
        return self.left.symbols | self.right.symbols

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


Sense: TypeAlias = Literal["==", "!=", ">="]  # how a size compares with zero


def against_zero(relation: Relation) -> tuple[Sense, Dim]:
    """The same relation as a comparison of one size with zero."""
    left, right = relation.left, relation.right
    match relation.op:
        case "==" | "!=":
            return relation.op, left - right
        case ">=":
            return ">=", left - right
        case "<=":
            return ">=", right - left
        case ">":
            return ">=", left - right - 1
        case "<":
            return ">=", right - left - 1


class Facts:
    """What holds of the symbols: each is at least 1 unless `lower` says otherwise. Immutable."""

    __slots__ = ("_distinct", "_hidden", "_naturals", "_ranges", "_rewrites", "_verdicts")

    _ranges: Ranges
    _rewrites: dict[str, Dim]  # symbols that are given by others; a value holds no key
    _naturals: dict[Dim, None]  # sizes that are at least 0, in the order they came
    _distinct: frozenset[Dim]  # sizes that are not 0
    _hidden: int  # how many symbols were made up
    _verdicts: dict[tuple[Sense, Dim], Truth]

    def __init__(self, lower: Mapping[str, int] | None = None) -> None:
        self._ranges = Ranges(dict(lower or {}), {})
        self._rewrites = {}
        self._naturals = {}
        self._distinct = frozenset()
        self._hidden = 0
        self._verdicts = {}

    def assume(self, relation: Relation) -> Facts:
        new = self._copy()
        sense, dim = against_zero(relation)
        match sense:
            case "==":
                new._set_zero(dim)
            case ">=":
                new._set_natural(dim)
            case "!=":
                new._set_distinct(dim)
        return new

    def decide(self, relation: Relation) -> Truth:
        """PROVED and REFUTED are certain; UNKNOWN says only that no proof was found."""
        sense, dim = against_zero(relation)
        question = (sense, dim)
        verdict = self._verdicts.get(question)
        if verdict is None:
            verdict = self._verdicts[question] = self._decide(sense, self.rewritten(dim))
        return verdict

    def rewritten(self, dim: Dim) -> Dim:
        """dim in terms of the symbols that are left free, some of them made up."""
        return dim.substitute(self._rewrites)

    def range_of(self, dim: Dim) -> tuple[int | None, int | None]:
        """Bounds (both belong to it; None: no bound) that hold, not always the tightest."""
        return self._ranges.of(self.rewritten(dim))

    def bounds_of(self, symbol: str) -> tuple[int, int | None]:
        """Its least and greatest value, as far as known."""
        low, high = self.range_of(Dim.symbol(symbol))
        declared = self._ranges.lower.get(symbol, 1)
        return declared if low is None else max(low, declared), high

    # --- deciding ---------------------------------------------------------------------------------

    def _decide(self, sense: Sense, dim: Dim) -> Truth:
        dim = self.primitive(dim)
        match sense:
            case ">=":
                return self._decide_natural(dim)
            case "==":
                return self._decide_zero(dim)
            case "!=":
                return ~self._decide_zero(dim)

    def primitive(self, dim: Dim) -> Dim:
        """dim without the factors that are known to be positive."""
        if not dim.terms or ONE in dim.terms:
            return dim
        shared = dict(next(iter(dim.terms)))
        for monomial in dim.terms:
            powers = dict(monomial)
            shared = {a: min(n, powers[a]) for a, n in shared.items() if a in powers}
        factor: Monomial = tuple(
            (a, n) for a, n in shared.items() if self._ranges.is_positive(((a, n),))
        )
        if not factor:
            return dim
        quotients = ((over(m, factor), c) for m, c in dim.terms.items())
        return Dim({m: c for m, c in quotients if m is not None})

    def _bounds(self, repeating: Periodic) -> tuple[int, int | None]:
        name = repeating.symbol
        return self._ranges.lower.get(name, 1), self._ranges.upper.get(name)

    def _decide_natural(self, dim: Dim) -> Truth:
        low, high = self._ranges.of(dim)
        if low is not None and low >= 0:
            return Truth.PROVED
        if high is not None and high < 0:
            return Truth.REFUTED
        repeating = periodic(dim)
        if repeating is not None:
            bounds = self._bounds(repeating)
            low, high = repeating.lowest(*bounds), repeating.highest(*bounds)
            if low is not None and low >= 0:
                return Truth.PROVED
            if high is not None and high < 0:
                return Truth.REFUTED
        if self._is_natural(dim):
            return Truth.PROVED
        return Truth.REFUTED if self._is_natural(-dim - 1) else Truth.UNKNOWN

    def _decide_zero(self, dim: Dim) -> Truth:
        if not dim.terms:
            return Truth.PROVED
        low, high = self._ranges.of(dim)
        if (low is not None and low > 0) or (high is not None and high < 0):
            return Truth.REFUTED
        if low == high == 0:
            return Truth.PROVED
        content = dim.content
        if (content and dim.constant % content) or self._is_distinct(dim):
            return Truth.REFUTED
        repeating = periodic(dim)
        if repeating is not None:
            bounds = self._bounds(repeating)
            if not repeating.zeros(*bounds):
                return Truth.REFUTED
            if repeating.lowest(*bounds) == repeating.highest(*bounds) == 0:
                return Truth.PROVED
        if self._is_natural(dim - 1) or self._is_natural(-dim - 1):
            return Truth.REFUTED
        if self._is_natural(dim) and self._is_natural(-dim):
            return Truth.PROVED
        return Truth.UNKNOWN

    def _is_natural(self, dim: Dim) -> bool:
        return is_natural(tightened(dim), self._ranges, tuple(self._naturals))

    def _is_distinct(self, dim: Dim) -> bool:
        return bool(self._distinct) and _unsigned(dim) in self._distinct

    # --- assuming: only on a copy that nobody else has seen ---------------------------------------

    def _copy(self) -> Facts:
        new = Facts.__new__(Facts)
        new._ranges = Ranges(dict(self._ranges.lower), dict(self._ranges.upper))
        new._rewrites = dict(self._rewrites)
        new._naturals = dict(self._naturals)
        new._distinct = self._distinct
        new._hidden = self._hidden
        new._verdicts = {}
        return new

    def _set_distinct(self, dim: Dim) -> None:
        dim = self.primitive(self.rewritten(dim))
        if not dim.is_const:
            self._distinct |= {_unsigned(dim)}
            for bound in (dim, -dim):
                # not zero and not negative: positive
                if self._decide_natural(bound) is Truth.PROVED:
                    self._set_natural(bound - 1)

    def _set_natural(self, dim: Dim) -> None:
        dim = tightened(self.primitive(self.rewritten(dim)))
        if dim.is_const:
            return
        repeating = periodic(dim)
        ray = repeating and repeating.ray(self._bounds(repeating)[0])
        if repeating and ray:
            self._set_bound(repeating.symbol, *ray)
        else:
            self._naturals[dim] = None

    def _set_bound(self, name: str, side: str, bound: int) -> None:
        lower, upper = dict(self._ranges.lower), dict(self._ranges.upper)
        if side == ">=":
            lower[name] = max(lower.get(name, 1), bound)
        else:
            upper[name] = min(upper.get(name, bound), bound)
        self._ranges = Ranges(lower, upper)

    def _set_zero(self, dim: Dim) -> None:
        dim = self.primitive(self.rewritten(dim))
        if dim.is_const:
            return
        repeating = periodic(dim)
        if repeating is not None and self._set_solutions(repeating):
            return
        if not (self._solve(dim) or self._divide_out(dim) or self._set_ratio(dim)):
            self._naturals[tightened(dim)] = self._naturals[tightened(-dim)] = None

    def _set_solutions(self, repeating: Periodic) -> bool:
        """The values of one symbol: a single one, a stretch, or one residue class."""
        name = repeating.symbol
        zeros = repeating.zeros(*self._bounds(repeating))
        if not zeros:
            return False
        if repeating.step:
            if zeros == list(range(zeros[0], zeros[-1] + 1)):
                self._set_bound(name, ">=", zeros[0])
                self._set_bound(name, "<=", zeros[-1])
                if len(zeros) == 1:
                    self._rewrite(name, Dim.const(zeros[0]))
                return True
            return False
        if self._bounds(repeating)[1] is not None:
            # the zeros of one period might miss some that the bound cut off
            zeros = repeating.zeros(self._bounds(repeating)[0], None)
        modulus, residue = residue_class(zeros, repeating.period)
        if modulus > 1:
            low = self._bounds(repeating)[0]
            turn = self._invent(-(-(low - residue) // modulus))
            self._rewrite(name, modulus * turn + residue)
        if repeating.period // modulus != len(zeros):
            left = self.rewritten(repeating.dim)
            self._naturals[left] = self._naturals[-left] = None
        return True

    def _solve(self, dim: Dim) -> bool:
        """Rewrites a symbol that stands alone with coefficient 1 or -1."""
        name = _lone_symbol(dim)
        if name is None:
            return False
        symbol = Dim.symbol(name)
        self._rewrite(name, symbol - dim * dim.terms[_monomial(name)])
        return True

    def _divide_out(self, dim: Dim) -> bool:
        """n == d * (n // d): n is d times a made-up symbol."""
        for atom in sorted(dim.atoms, key=lambda atom: atom.key):
            if atom.kind is not Kind.FLOOR:
                continue
            n, d = atom.args
            quotient = dim_of_atom(atom)
            for sign in (1, -1):
                rest = sign * dim - (n - d * quotient)
                if not rest.is_const or (rest.terms and not d.is_const):
                    continue
                name = _lone_symbol(n)
                if name is None or name in d.symbols:
                    continue
                residue = -rest.constant
                if residue and not 0 <= residue < d.constant:
                    continue
                low = self._ranges.of(quotient)[0]
                if low is None:
                    continue
                if residue == 0 and (self._ranges.of(n)[0] or 0) >= 1:
                    low = max(low, 1)
                multiple = d * self._invent(low) + residue
                coefficient = n.terms[_monomial(name)]
                others = n - coefficient * Dim.symbol(name)
                self._rewrite(name, coefficient * (multiple - others))
                return True
        return False

    def _set_ratio(self, dim: Dim) -> bool:
        """a x == b y: x and y are multiples of one made-up symbol."""
        if len(dim.terms) != 2 or ONE in dim.terms:
            return False
        (m, a), (n, b) = sorted(dim.terms.items(), key=lambda term: Dim({term[0]: 1}).key)
        first, second = _symbol_of(m), _symbol_of(n)
        if a * b > 0 or first is None or second is None:
            return False
        shared = gcd(a, b)
        sizes = {first: abs(b) // shared, second: abs(a) // shared}
        lower = self._ranges.lower
        turn = self._invent(max(-(-lower.get(name, 1) // size) for name, size in sizes.items()))
        for name, size in sizes.items():
            self._rewrite(name, size * turn)
        return True

    def _invent(self, low: int) -> Dim:
        self._hidden += 1
        name = f"#{self._hidden}"
        self._ranges = Ranges({**self._ranges.lower, name: low}, self._ranges.upper)
        return Dim.symbol(name)

    def _rewrite(self, name: str, value: Dim) -> None:
        """name is value from now on, in all that is known."""
        step = {name: value}
        low, high = self._ranges.lower.get(name, 1), self._ranges.upper.get(name)
        self._rewrites = {n: dim.substitute(step) for n, dim in self._rewrites.items()}
        self._rewrites[name] = value
        touched = [dim for dim in self._naturals if name in dim.symbols]
        for dim in touched:
            del self._naturals[dim]
        self._distinct = frozenset(
            _unsigned(self.primitive(dim.substitute(step))) for dim in self._distinct
        )
        for dim in touched:
            self._set_natural(dim)
        self._set_natural(value - low)
        if high is not None:
            self._set_natural(high - value)


def residue_class(values: list[int], period: int) -> tuple[int, int]:
    """The narrowest (m, r), m dividing period, with every value r modulo m."""
    modulus = gcd(period, *(value - values[0] for value in values))
    return modulus, values[0] % modulus


def tightened(dim: Dim) -> Dim:
    """dim >= 0 as strongly as integers allow: coefficients without a common factor, and a floor
    that stands alone replaced by its numerator."""
    while True:
        content = dim.content
        if content > 1:
            terms = {m: c // content for m, c in dim.terms.items()}
            dim = Dim(terms)
        floors = [atom for atom in dim.atoms if atom.kind is Kind.FLOOR]
        if len(floors) != 1:
            return dim
        floor = dim_of_atom(floors[0])
        n, d = floors[0].args
        coefficient = dim.terms.get(next(iter(floor.terms)), 0)
        rest = dim - coefficient * floor
        if floors[0] in rest.atoms or abs(coefficient) != 1:
            return dim
        # q + r >= 0 is n + d r >= 0, and r - q >= 0 is d r + d - 1 - n >= 0
        dim = n + d * rest if coefficient == 1 else d * rest + d - 1 - n


def _monomial(name: str) -> Monomial:
    return next(iter(Dim.symbol(name).terms))


def _symbol_of(monomial: Monomial) -> str | None:
    """The symbol that the monomial is, if it is one."""
    if len(monomial) == 1 and monomial[0][1] == 1 and monomial[0][0].kind is Kind.SYMBOL:
        return monomial[0][0].name
    return None


def _lone_symbol(dim: Dim) -> str | None:
    """A symbol with coefficient 1 or -1 that occurs nowhere else in dim."""
    for monomial, coefficient in sorted(dim.terms.items(), key=lambda t: Dim({t[0]: 1}).key):
        name = _symbol_of(monomial)
        if name is not None and abs(coefficient) == 1:
            rest = (m for m in dim.terms if m != monomial)
            if not any(name in atom.symbols for m in rest for atom, _ in m):
                return name
    return None


def _unsigned(dim: Dim) -> Dim:
    """dim or -dim, the same for both."""
    return min(dim, -dim, key=lambda each: each.key)
