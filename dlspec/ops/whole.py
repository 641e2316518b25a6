"""How a metric's values for batches are one value for a whole source (decision 10).

A report whose built-in says nothing is a mean of batches, weighted by their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Number = Callable[[float], float]


def _same(value: float) -> float:
    return value


@dataclass(frozen=True)
class Mean:
    """A scalar of a batch. below: what of it is averaged; above: the metric from that average."""

    below: Number = _same
    above: Number = _same


@dataclass(frozen=True)
class Pooled:
    """An array of statistics of a batch. finish: the value, a number or nested lists of numbers,
    from the statistics of all examples, and the settings by name; fold: the statistics of two
    parts as those of both, associative."""

    finish: Callable[..., Any]
    fold: Callable[[Array, Array], Array] = np.add


def gathered(first: Array, second: Array) -> Array:
    """The fold of a metric that needs every example."""
    return np.concatenate([first, second])


def _square(value: float) -> float:
    return value * value


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


ROOT = Mean(_square, math.sqrt)
EXPONENTIAL = Mean(_log, _exp)


@dataclass
class Tally:
    """One metric over the batches so far. parts: folded batches, as (how often folded, array);
    few, for equals are folded at once, so that gathering costs n log n."""

    way: Mean | Pooled
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    parts: list[tuple[int, Array]] = field(default_factory=list[tuple[int, Array]])

    def add(self, value: object, size: int) -> None:
        """A batch of so many examples."""
        part, folded = self.statistic(value, size), 0
        while self.parts and self.parts[-1][0] == folded:
            part = self.fold(self.parts.pop()[1], part)
            folded += 1
        self.parts.append((folded, part))

    def statistic(self, value: object, size: int) -> Array:
        if isinstance(self.way, Mean):
            return np.array([size * self.way.below(float(value)), size])  # type: ignore[arg-type]
        return np.asarray(value, np.float64)

    def fold(self, first: Array, second: Array) -> Array:
        return first + second if isinstance(self.way, Mean) else self.way.fold(first, second)

    def value(self) -> Any:
        """The metric over all batches so far."""
        total = self.parts[-1][1]
        for _, part in reversed(self.parts[:-1]):
            total = self.fold(part, total)
        if isinstance(self.way, Mean):
            return self.way.above(float(total[0] / total[1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.way.finish(total, **self.settings)
