"""Between which integers a size lies, given that of its symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from dlspec.ir.atoms import Atom, Kind, Monomial, times
from dlspec.ir.polynomial import Dim

Range: TypeAlias = tuple[int | None, int | None]  # both ends belong to it; None: no end

_MAX_DEGREE = 6
_MAX_EXPONENT = 64


class Ranges:
    """Bounds of symbols (at least 1 unless `lower` says otherwise), and of all made of them."""

    __slots__ = ("_known", "lower", "upper")

    def __init__(self, lower: Mapping[str, int], upper: Mapping[str, int]) -> None:
        self.lower = lower
        self.upper = upper
        self._known: dict[Atom, Range] = {}

    def of(self, dim: Dim) -> Range:
        shifted = self.shifted(dim)
        if shifted is None:
            return None, None
        low: int | None = 0
        high: int | None = 0
        for monomial, coefficient in shifted.items():
            least, most = (1, 1) if not monomial else self._of_shifted(monomial)
            if coefficient < 0:
                least, most = most, least
            low = None if low is None or least is None else low + coefficient * least
            high = None if high is None or most is None else high + coefficient * most
        return low, high

    def of_atom(self, atom: Atom) -> Range:
        known = self._known.get(atom)
        if known is None:
            known = self._known[atom] = self._of_new(atom)
        return known

    def shifted(self, dim: Dim) -> dict[Monomial, int] | None:
        """dim with every atom `a` written `a' + low(a)`, in the a'. None when it would be long.

        So H * W - H, with both at least 1, is seen to be H' W' + W', where nothing is negative."""
        total: dict[Monomial, int] = {}
        for monomial, coefficient in dim.terms.items():
            if sum(n for _, n in monomial) > _MAX_DEGREE:
                return None
            part: dict[Monomial, int] = {(): coefficient}
            for atom, exponent in monomial:
                low = self.of_atom(atom)[0] or 0
                for _ in range(exponent):
                    grown = {times(m, ((atom, 1),)): c for m, c in part.items()}
                    for m, c in part.items():
                        grown[m] = grown.get(m, 0) + c * low
                    part = grown
            for m, c in part.items():
                total[m] = total.get(m, 0) + c
        return {m: c for m, c in total.items() if c}

    def is_natural(self, monomial: Monomial) -> bool:
        """Whether the monomial, in shifted atoms, is known to be at least 0."""
        return all(self.of_atom(atom)[0] is not None for atom, _ in monomial)

    def is_positive(self, monomial: Monomial) -> bool:
        """Whether the monomial is known to be at least 1."""
        return all((self.of_atom(atom)[0] or 0) >= 1 for atom, _ in monomial)

    def _of_shifted(self, monomial: Monomial) -> Range:
        most: int | None = 1
        for atom, exponent in monomial:
            low, high = self.of_atom(atom)
            if low is None:
                return None, None
            most = None if most is None or high is None else most * (high - low) ** exponent
        return 0, most

    def _of_new(self, atom: Atom) -> Range:
        if atom.kind is Kind.SYMBOL:
            return self.lower.get(atom.name, 1), self.upper.get(atom.name)
        parts = [self.of(arg) for arg in atom.args]
        match atom.kind:
            case Kind.FLOOR:
                return _of_floor(parts[0], parts[1])
            case Kind.POWER:
                return _of_power(atom.args[0].constant, parts[1])
            case Kind.MAX:
                lows = [low for low, _ in parts if low is not None]
                highs = [high for _, high in parts if high is not None]
                return max(lows, default=None), max(highs) if len(highs) == len(parts) else None
            case Kind.MIN:
                lows = [low for low, _ in parts if low is not None]
                highs = [high for _, high in parts if high is not None]
                return min(lows) if len(lows) == len(parts) else None, min(highs, default=None)


def _of_floor(n: Range, d: Range) -> Range:
    """d is at least 1, as every divisor."""
    least, most = max(1, d[0] or 1), d[1]
    if most is not None and most < least:
        return None, None
    low, high = n
    if low is not None:
        low = low // least if low < 0 else (low // most if most is not None else 0)
    if high is not None:
        high = high // least if high >= 0 else (high // most if most is not None else -1)
    return low, high


def _of_power(base: int, exponent: Range) -> Range:
    low, high = exponent
    least = base ** min(max(low or 0, 0), _MAX_EXPONENT)
    return least, base**high if high is not None and 0 <= high <= _MAX_EXPONENT else None
