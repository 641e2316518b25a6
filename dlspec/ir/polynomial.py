"""The algebra of sizes: integer polynomials over symbols, floor divisions, maxima and powers.

One form per value wherever that is cheap: polynomials are expanded, `a % b` is `a - b * (a // b)`,
nested floors are folded. Every symbolic divisor is taken to be at least 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import comb, gcd

from dlspec.ir.atoms import ONE, Atom, DimLimit, Kind, Monomial, atom_of, monomial_key, over, times
from dlspec.ir.dim_text import print_size, read_size

_MAX_BITS = 4096
_MAX_TERMS = 10_000


class Dim:
    """A size: an integer polynomial over atoms. Immutable; equal when the canonical forms are."""

    __slots__ = ("_hash", "_key", "_symbols", "_text", "terms")

    terms: Mapping[Monomial, int]
    _hash: int
    _key: tuple[object, ...] | None
    _symbols: frozenset[str] | None
    _text: str | None

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms = {m: c for m, c in terms.items() if c}
        if len(self.terms) > _MAX_TERMS:
            raise DimLimit(f"a size with more than {_MAX_TERMS} terms")
        self._hash = hash(frozenset(self.terms.items()))
        self._key = self._symbols = self._text = None

    @staticmethod
    @lru_cache(maxsize=4096)
    def const(value: int) -> Dim:
        return Dim({ONE: int(value)})

    @staticmethod
    @lru_cache(maxsize=4096)
    def symbol(name: str) -> Dim:
        return Dim({((atom_of(Kind.SYMBOL, name, ()), 1),): 1})

    @staticmethod
    def of(x: int | Dim) -> Dim:
        return x if isinstance(x, Dim) else Dim.const(x)

    @staticmethod
    def parse(text: str) -> Dim:
        """Reads what `str` prints. Errors: ValueError."""
        return read_size(text, Dim, {"max": dim_max, "min": dim_min})

    def __reduce__(self) -> tuple[type[Dim], tuple[dict[Monomial, int]]]:
        return Dim, (dict(self.terms),)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Dim):
            return NotImplemented
        return self._hash == other._hash and self.terms == other.terms

    @property
    def key(self) -> tuple[object, ...]:
        """A sort key that depends on the value alone, not on hashes."""
        if self._key is None:
            ordered = sorted((monomial_key(m), c) for m, c in self.terms.items())
            self._key = tuple(ordered)
        return self._key

    @property
    def is_const(self) -> bool:
        return not self.terms or (len(self.terms) == 1 and ONE in self.terms)

    @property
    def value(self) -> int:
        if not self.is_const:
            raise ValueError(f"`{self}` is not a constant")
        return self.constant

    @property
    def constant(self) -> int:
        """The constant term."""
        return self.terms.get(ONE, 0)

    @property
    def content(self) -> int:
        """The greatest common divisor of the coefficients of the terms that are not constant."""
        return gcd(*(c for m, c in self.terms.items() if m))

    @property
    def symbols(self) -> frozenset[str]:
        if self._symbols is None:
            parts = (atom.symbols for m in self.terms for atom, _ in m)
            self._symbols = frozenset[str]().union(*parts)
        return self._symbols

    @property
    def atoms(self) -> frozenset[Atom]:
        """The atoms of the terms themselves, not those inside other atoms."""
        return frozenset(atom for m in self.terms for atom, _ in m)

    def __add__(self, other: int | Dim) -> Dim:
        other = Dim.of(other)
        if not other.terms:
            return self
        terms = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return Dim(terms)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return Dim({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: int | Dim) -> Dim:
        return self + (-Dim.of(other))

    def __rsub__(self, other: int) -> Dim:
        return Dim.const(other) + (-self)

    def __mul__(self, other: int | Dim) -> Dim:
        other = Dim.of(other)
        if self.is_const:
            self, other = other, self
        if other.is_const:
            factor = other.constant
            return self if factor == 1 else Dim({m: c * factor for m, c in self.terms.items()})
        if len(self.terms) * len(other.terms) > _MAX_TERMS:
            raise DimLimit(f"a size with more than {_MAX_TERMS} terms")
        terms: dict[Monomial, int] = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                product = times(m, n)
                terms[product] = terms.get(product, 0) + c * d
        return Dim(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Dim) -> Dim:
        return floor(self, Dim.of(other))

    def __rfloordiv__(self, other: int) -> Dim:
        return floor(Dim.const(other), self)

    def __mod__(self, other: int | Dim) -> Dim:
        other = Dim.of(other)
        return self - other * floor(self, other)

    def __rmod__(self, other: int) -> Dim:
        return Dim.const(other) % self

    def __pow__(self, exponent: int | Dim) -> Dim:
        exponent = Dim.of(exponent)
        return _natural_power(self, exponent.value) if exponent.is_const else _power(self, exponent)

    def __rpow__(self, base: int) -> Dim:
        return Dim.const(base) ** self

    def substitute(self, mapping: Mapping[str, Dim | int]) -> Dim:
        """All symbols at once; the result is canonical again."""
        if self.symbols.isdisjoint(mapping):
            return self
        return self.replace(
            lambda atom: Dim.of(mapping[atom.name]) if atom.name in mapping else None
        )

    def replace(self, new: Callable[[Atom], Dim | None]) -> Dim:
        """Each atom, outermost first, as `new` says; None keeps it and looks inside."""
        total: dict[Monomial, int] = {}
        for monomial, coefficient in self.terms.items():
            part = Dim.const(coefficient)
            for atom, exponent in monomial:
                part = part * _natural_power(_replaced(atom, new), exponent)
            for m, c in part.terms.items():
                total[m] = total.get(m, 0) + c
        return Dim(total)

    def evaluate(self, mapping: Mapping[str, int]) -> int:
        """The value for these symbols, floors as in Python.

        Errors: ValueError for a symbol without a value, a division by zero, a negative exponent."""
        total = 0
        for monomial, coefficient in self.terms.items():
            product = coefficient
            for atom, exponent in monomial:
                value = _value(atom, mapping)
                product *= value if exponent == 1 else value**exponent
            total += product
        return total

    def render(self, names: Mapping[str, str]) -> str:
        """A Python expression, each symbol printed as `names` says, or as itself."""
        return print_size(self, names)

    def __str__(self) -> str:
        if self._text is None:
            self._text = self.render({})
        return self._text

    def __repr__(self) -> str:
        return f"Dim({self})"


ZERO = Dim.const(0)


def dim_of_atom(atom: Atom) -> Dim:
    return Dim({((atom, 1),): 1})


def dim_max(*xs: int | Dim) -> Dim:
    return _extremum(Kind.MAX, xs)


def dim_min(*xs: int | Dim) -> Dim:
    return _extremum(Kind.MIN, xs)


def _extremum(kind: Kind, xs: Iterable[int | Dim]) -> Dim:
    best: dict[Dim, int] = {}  # the part that is not constant -> its largest (smallest) constant
    for x in xs:
        for dim in _flattened(kind, Dim.of(x)):
            rest = dim - dim.constant
            constant = best.get(rest, dim.constant)
            best[rest] = (max if kind is Kind.MAX else min)(constant, dim.constant)
    if not best:
        raise ValueError("a maximum or minimum of nothing")
    args = sorted((rest + constant for rest, constant in best.items()), key=lambda dim: dim.key)
    return args[0] if len(args) == 1 else dim_of_atom(atom_of(kind, "", tuple(args)))


def _flattened(kind: Kind, dim: Dim) -> tuple[Dim, ...]:
    """The arguments to write for one that may be an extremum itself, plus a constant."""
    inner = dim - dim.constant
    for atom in inner.atoms:
        if atom.kind is kind and inner == dim_of_atom(atom):
            return tuple(arg + dim.constant for arg in atom.args)
    return (dim,)


def _natural_power(base: Dim, exponent: int) -> Dim:
    if exponent == 1:
        return base
    if exponent < 0:
        raise ValueError(f"a size to the negative power {exponent}")
    if base.is_const:
        if abs(base.constant) > 1 and base.constant.bit_length() * exponent > _MAX_BITS:
            raise DimLimit(f"a constant of more than {_MAX_BITS} bits")
        return Dim.const(base.constant**exponent)
    if len(base.terms) == 1:
        ((monomial, coefficient),) = base.terms.items()
        powers = tuple((atom, n * exponent) for atom, n in monomial if exponent)
        return Dim({powers: _natural_power(Dim.const(coefficient), exponent).constant})
    if comb(min(exponent, _MAX_TERMS) + len(base.terms) - 1, len(base.terms) - 1) > _MAX_TERMS:
        raise DimLimit(f"a size with more than {_MAX_TERMS} terms")
    result = Dim.const(1)
    for _ in range(exponent):
        result = result * base
    return result


def _power(base: Dim, exponent: Dim) -> Dim:
    if not base.is_const or base.constant < 1:
        raise DimLimit(f"a power with a size in the exponent needs a constant base, not `{base}`")
    if base.constant == 1:
        return base
    if not _evidently_natural(exponent):
        return dim_of_atom(atom_of(Kind.POWER, "", (base, exponent)))
    result = base**exponent.constant
    for monomial, coefficient in exponent.terms.items():
        if monomial:
            atom = atom_of(Kind.POWER, "", (base, Dim({monomial: 1})))
            result = result * Dim({((atom, coefficient),): 1})
    return result


def _evidently_natural(dim: Dim) -> bool:
    return all(c > 0 for c in dim.terms.values()) and all(map(_natural_atom, dim.atoms))


def _natural_atom(atom: Atom) -> bool:
    match atom.kind:
        case Kind.SYMBOL | Kind.POWER:
            return True
        case Kind.FLOOR | Kind.MIN:
            return all(map(_evidently_natural, atom.args))
        case Kind.MAX:
            return any(map(_evidently_natural, atom.args))


@lru_cache(maxsize=1 << 16)
def floor(n: Dim, d: Dim) -> Dim:
    """n // d in canonical form. Errors: ValueError when d is zero."""
    if not d.terms:
        raise ValueError(f"`{n} // 0` divides by zero")
    if not n.terms:
        return n
    return _floor_by_constant(n, d.constant) if d.is_const else _floor_by_symbols(n, d)


def _floor_by_constant(n: Dim, d: int) -> Dim:
    if d < 0:
        return floor(-n, Dim.const(-d))
    if n.is_const or d == 1:
        return Dim.const(n.constant // d) if n.is_const else n
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, coefficient in n.terms.items():
        if monomial:
            # towards zero: (W - K) // 2 stays as written
            whole[monomial] = coefficient // d if coefficient > 0 else -(-coefficient // d)
            rest[monomial] = coefficient - d * whole[monomial]
    common = gcd(d, *rest.values())
    d //= common
    constant = n.constant // common
    if d == 1:
        return Dim(whole) + Dim({m: c // common for m, c in rest.items()}) + constant
    rest = {m: c // common for m, c in rest.items() if c}
    whole[ONE] = constant // d
    return Dim(whole) + _proper_floor(Dim(rest) + constant % d, Dim.const(d))


def _floor_by_symbols(n: Dim, d: Dim) -> Dim:
    n, d = _cancelled(n, d)
    if d.is_const:
        return floor(n, d)
    whole, rest = _divided(n, d)
    if whole.terms and (len(rest.terms) < len(n.terms) or len(d.terms) == 1):
        return whole + floor(rest, d)
    return _proper_floor(n, d)


def _cancelled(n: Dim, d: Dim) -> tuple[Dim, Dim]:
    """Numerator and divisor without their common monomial and their common content."""
    shared = dict(next(iter(d.terms)))
    for monomial in (*n.terms, *d.terms):
        powers = dict(monomial)
        shared = {a: min(k, powers[a]) for a, k in shared.items() if a in powers}
    if shared:
        factor = tuple(shared.items())
        n, d = _without(n, factor), _without(d, factor)
    common = gcd(n.content, d.content, d.constant)
    if common > 1:
        # floor((g x + r) / (g y)) is floor((x + r // g) / y)
        n = Dim({m: c // common for m, c in n.terms.items()})
        d = Dim({m: c // common for m, c in d.terms.items()})
    return n, d


def _without(dim: Dim, factor: Monomial) -> Dim:
    quotients = ((over(m, factor), c) for m, c in dim.terms.items())
    return Dim({m: c for m, c in quotients if m is not None})


def _divided(n: Dim, d: Dim) -> tuple[Dim, Dim]:
    """(q, r) with n = q d + r, by the leading term of d."""
    lead = min(d.terms, key=monomial_key)
    size = d.terms[lead]
    exact = len(d.terms) > 1
    whole, rest = ZERO, n
    for monomial, coefficient in sorted(n.terms.items(), key=lambda term: monomial_key(term[0])):
        quotient = over(monomial, lead)
        if quotient is None or (exact and coefficient % size):
            continue
        same_sign = (coefficient > 0) == (size > 0)
        times_in = coefficient // size if same_sign else -(-coefficient // size)
        part = Dim({quotient: times_in})
        whole, rest = whole + part, rest - part * d
    return whole, rest


def _proper_floor(n: Dim, d: Dim) -> Dim:
    """n // d once whole parts are out: ceilings turned round, nested floors folded."""
    if not n.terms:
        return n
    movable = [c for m, c in n.terms.items() if m] or [n.constant]
    if all(c < 0 for c in movable) and (n.is_const or n.constant <= 0 or d.is_const):
        return -floor(d - 1 - n, d)
    for inner in sorted(n.atoms, key=lambda atom: atom.key):
        if inner.kind is Kind.FLOOR and n.terms.get(((inner, 1),)) == 1:
            numerator, divisor = inner.args
            rest = n - dim_of_atom(inner)
            if rest.is_const or (d.is_const and divisor.is_const):
                return floor(numerator + rest * divisor, divisor * d)
    return dim_of_atom(atom_of(Kind.FLOOR, "", (n, d)))


def _replaced(atom: Atom, new: Callable[[Atom], Dim | None]) -> Dim:
    found = new(atom)
    if found is not None:
        return found
    args = [arg.replace(new) for arg in atom.args]
    match atom.kind:
        case Kind.SYMBOL:
            return dim_of_atom(atom)
        case Kind.FLOOR:
            return floor(args[0], args[1])
        case Kind.POWER:
            return args[0] ** args[1]
        case Kind.MAX | Kind.MIN:
            return _extremum(atom.kind, args)


def _value(atom: Atom, mapping: Mapping[str, int]) -> int:
    if atom.kind is Kind.SYMBOL:
        try:
            return mapping[atom.name]
        except KeyError:
            raise ValueError(f"`{atom.name}` has no value") from None
    args = [arg.evaluate(mapping) for arg in atom.args]
    match atom.kind:
        case Kind.FLOOR:
            if not args[1]:
                raise ValueError(f"`{dim_of_atom(atom)}` divides by zero")
            return args[0] // args[1]
        case Kind.MAX:
            return max(args)
        case Kind.MIN:
            return min(args)
        case Kind.POWER:
            if not 0 <= args[1] <= _MAX_BITS:
                raise ValueError(f"`{dim_of_atom(atom)}` has the exponent {args[1]}")
            return args[0] ** args[1]
