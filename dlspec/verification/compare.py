"""Two runs of one program, compared array by array."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Pair:
    """One array of two backends. group: "gradient"; name: the weight's; max_rel: max_abs over the
    array's largest number; error: max_abs over the group's largest number, at least 1e-300.

    Judged is `error`: some gradients are zero in theory (a bias before a norm), so none is held
    relative to itself alone. Adam divides by each gradient's own size: the weights after its
    steps show a small gradient that is wrong.
    """

    a: str
    b: str
    program: str
    group: str
    name: str
    max_abs: float
    max_rel: float
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    @property
    def what(self) -> str:
        named = f"{self.group} {self.name}".strip()
        return f"{named} ({self.program})" if self.program else named

    def to_json(self) -> dict[str, object]:
        return {
            "a": self.a,
            "b": self.b,
            "what": self.what,
            "max_abs": _finite(self.max_abs),
            "max_rel": _finite(self.max_rel),
            "error": _finite(self.error),
            "tolerance": self.tolerance,
            "ok": self.ok,
        }


def compare(
    names: tuple[str, str], found: tuple[Arrays, Arrays], program: str, tolerance: float
) -> list[Pair]:
    """Every array of either run; one that the other lacks is infinitely far."""
    first, second = found
    scales = _scales((first, second))
    pairs: list[Pair] = []
    for key in dict.fromkeys([*first, *second]):
        group, _, name = key.partition("/")
        absolute, own = _distance(first.get(key), second.get(key))
        scale = scales[group]
        pairs.append(
            Pair(
                *names,
                program,
                group,
                name,
                absolute,
                _over(absolute, own),
                _over(absolute, scale),
                tolerance,
            )
        )
    return pairs


def _scales(runs: Iterable[Arrays]) -> dict[str, float]:
    """The largest finite number of each group."""
    scales: dict[str, float] = {}
    for arrays in runs:
        for key, array in arrays.items():
            group = key.partition("/")[0]
            scales[group] = max(scales.get(group, 0.0), _largest(array))
    return scales


def _distance(a: NDArray[Any] | None, b: NDArray[Any] | None) -> tuple[float, float]:
    """(largest difference, largest number); not-a-number is far from everything."""
    if a is None or b is None or a.shape != b.shape:
        return math.inf, 0.0
    if not a.size:
        return 0.0, 0.0
    first, second = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(first == second, 0.0, abs(first - second))
    largest = float(difference.max())
    return (math.inf if math.isnan(largest) else largest), max(_largest(a), _largest(b))


def _largest(array: NDArray[Any]) -> float:
    values = abs(array.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def _over(absolute: float, scale: float) -> float:
    return absolute / scale if scale > 0 else (math.inf if absolute > 0 else 0.0)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def worst(pairs: Iterable[Pair]) -> Pair | None:
    return max(pairs, key=lambda pair: pair.error, default=None)
