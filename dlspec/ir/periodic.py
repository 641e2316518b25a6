"""Sizes of one symbol that repeat: p(s + period) = p(s) + step. About these every question has an
exact answer: it is enough to look at one period."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm

from dlspec.ir.atoms import ONE, Atom, Kind
from dlspec.ir.polynomial import Dim

MAX_PERIOD = 1024


@dataclass(frozen=True, slots=True)
class Periodic:
    dim: Dim
    symbol: str
    period: int
    step: int

    def values(self, low: int, high: int | None = None) -> list[tuple[int, int]]:
        """(s, p(s)) over the first period from low, not past high."""
        last = low + self.period - 1
        end = last if high is None else min(last, high)
        return [(s, self.dim.evaluate({self.symbol: s})) for s in range(low, end + 1)]

    def lowest(self, low: int, high: int | None) -> int | None:
        """The least value over low <= s <= high; None when there is none."""
        return self._extreme(1, low, high)

    def highest(self, low: int, high: int | None) -> int | None:
        return self._extreme(-1, low, high)

    def _extreme(self, sign: int, low: int, high: int | None) -> int | None:
        drift = sign * self.step
        if drift < 0:
            if high is None:
                return None
            low = max(low, high - self.period + 1)
        values = [sign * value for _, value in self.values(low, high)]
        return sign * min(values) if values else None

    def zeros(self, low: int, high: int | None) -> list[int]:
        """The s with p(s) = 0; of a p that does not drift, those of one period."""
        found: list[int] = []
        for s, value in self.values(low, high):
            if self.step == 0:
                zero = s if value == 0 else None
            else:
                turns, left = divmod(-value, self.step)
                zero = s + turns * self.period if left == 0 and turns >= 0 else None
            if zero is not None and (high is None or zero <= high):
                found.append(zero)
        return sorted(found)

    def ray(self, low: int) -> tuple[str, int] | None:
        """(">=" or "<=", t): from low on, p(s) >= 0 exactly there. None when it is no such set."""
        if self.step == 0:
            return None
        edges: list[int] = []
        for s, value in self.values(low):
            if self.step > 0:
                turns = max(0, -(value // self.step))  # the first turn that is not negative
            else:
                turns = max(-1, value // -self.step)  # the last one
            edges.append(s + self.period * turns)
        if self.step > 0:
            return (">=", min(edges)) if max(edges) < min(edges) + self.period else None
        return ("<=", max(edges)) if min(edges) > max(edges) - self.period else None


def periodic(dim: Dim) -> Periodic | None:
    """None when the size has another form, several symbols, or too long a period."""
    if len(dim.symbols) != 1:
        return None
    shape = _shape(dim)
    if shape is None or shape[0] > MAX_PERIOD:
        return None
    return Periodic(dim, next(iter(dim.symbols)), *shape)


def _shape(dim: Dim) -> tuple[int, int] | None:
    period = 1
    parts: list[tuple[int, int, int]] = []
    for monomial, coefficient in dim.terms.items():
        if monomial == ONE:
            continue
        shape = _monomial_shape(monomial[0][0]) if len(monomial) == 1 else None
        if shape is None or monomial[0][1] != 1:
            return None
        period = lcm(period, shape[0])
        parts.append((coefficient, *shape))
    return period, sum(c * step * (period // own) for c, own, step in parts)


def _monomial_shape(atom: Atom) -> tuple[int, int] | None:
    if atom.kind is Kind.SYMBOL:
        return 1, 1
    if atom.kind is not Kind.FLOOR or not atom.args[1].is_const:
        return None
    shape = _shape(atom.args[0])
    if shape is None:
        return None
    period, step = shape
    divisor = atom.args[1].constant
    turns = divisor // gcd(divisor, step)
    return period * turns, step * turns // divisor
