"""Initialisers as the layers give them. The kinds are those of `dlspec.weights.initialisers`."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Init

if TYPE_CHECKING:
    from typing import Any

ZEROS = Init("zeros")
ONES = Init("ones")


def weight_default(fan_in: Dim) -> Init:
    """torch's for linear and convolution weights: uniform on ±√(6 / ((1 + a²) fan_in)), a = √5."""
    return Init("kaiming_uniform", (("a", sqrt(5.0)), ("fan_in", fan_in)))


def bias_default(fan_in: Dim) -> Init:
    """torch's for their biases: uniform on ±1 / √fan_in."""
    return Init("fan_in_uniform", (("fan_in", fan_in),))


def normal(mean: float, std: float) -> Init:
    return Init("normal", (("mean", mean), ("std", std)))


def chosen(
    value: Any, default: Init, fan_in: Dim | None = None, fan_out: Dim | None = None
) -> Init:
    """What `init = …` says, or the default; with the fans, where the kind needs them."""
    if value is None:
        return default
    init: Init = value
    fans = tuple((n, f) for n, f in (("fan_in", fan_in), ("fan_out", fan_out)) if f is not None)
    given = {name for name, _ in init.args}
    return Init(init.kind, init.args + tuple(pair for pair in fans if pair[0] not in given))
