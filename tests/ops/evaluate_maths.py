"""Elementwise mathematics and bounded activations by torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dlspec.ir.static import plain
from dlspec.ops import maths, prelu, special, state, statistics, thresholds

if TYPE_CHECKING:
    from collections.abc import Callable

    from dlspec.ops.base import Op


def of(function: Callable[..., Any], *fields: str) -> Callable[..., Any]:
    """A function of the operands and of the op's fields."""
    return lambda c, op, *xs: function(*xs, *(plain(getattr(op, f)) for f in fields))


def hypot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    zero = (x == 0) & (y == 0)
    return torch.where(zero, 0.0, torch.hypot(torch.where(zero, 1.0, x), y))


class Polygamma(torch.autograd.Function):
    """torch's of order 1, which its digamma's gradient is, is exact to 5e-10 only."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, order: int) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.order = order
        if order == 0:
            return torch.digamma(x)
        size = math.factorial(order) * torch.special.zeta(float(order + 1), x)
        return size if order % 2 else -size

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return g * Polygamma.apply(x, ctx.order + 1), None


ROWS: dict[type[Op], Callable[..., Any]] = {
    maths.Tan: of(torch.tan),
    maths.Asin: of(torch.asin),
    maths.Acos: of(torch.acos),
    maths.Atan: of(torch.atan),
    maths.Sinh: of(torch.sinh),
    maths.Cosh: of(torch.cosh),
    maths.Asinh: of(torch.asinh),
    maths.Acosh: of(torch.acosh),
    maths.Atanh: of(torch.atanh),
    maths.Log2: of(torch.log2),
    maths.Log10: of(torch.log10),
    maths.Exp2: of(torch.exp2),
    maths.Erfc: of(torch.erfc),
    maths.Erfinv: of(torch.erfinv),
    maths.Trunc: of(torch.trunc),
    maths.NanToNum: of(torch.nan_to_num, "nan", "posinf", "neginf"),
    maths.IsNan: of(torch.isnan),
    maths.IsInf: of(torch.isinf),
    maths.IsFinite: of(torch.isfinite),
    maths.Atan2: of(torch.atan2),
    maths.Hypot: of(hypot),
    maths.LogAddExp: of(torch.logaddexp),
    maths.Remainder: of(torch.remainder),
    maths.Fmod: of(torch.fmod),
    special.Lgamma: of(torch.lgamma),
    special.Digamma: lambda c, op, x: Polygamma.apply(x, 0),
    special.Polygamma: lambda c, op, x: Polygamma.apply(x, op.order),
    statistics.CumMax: lambda c, op, x: torch.cummax(x, op.axis).values,
    statistics.SearchSorted: lambda c, op, s, x: torch.searchsorted(s, x, right=op.right),
    state.Read: of(torch.Tensor.detach),
    state.Update: of(torch.Tensor.detach),
    prelu.PRelu: of(F.prelu),
    thresholds.Celu: of(lambda x, alpha: alpha * F.elu(x / alpha), "alpha"),
    thresholds.HardShrink: of(F.hardshrink, "bound"),
    thresholds.SoftShrink: of(F.softshrink, "bound"),
    thresholds.Threshold: of(F.threshold, "threshold", "value"),
}
