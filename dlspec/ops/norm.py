"""Normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT, SINGLE_VALUE_NORM
from dlspec.ir.dims import Dim
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import Add, Constant, Rsqrt, Term
from dlspec.ops.initialisers import ONES, ZEROS
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import (
    ONE,
    check_float,
    check_rank,
    eq,
    product,
    proved,
    require_equal,
    text,
)
from dlspec.ops.shape import BroadcastTo, Reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.static import Known
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


def _axes(rank: int) -> tuple[int, ...]:
    """All but the channel axis, which is axis 1."""
    return (0, *range(2, rank))


def per_channel(b: Builder, value: Value, rank: int) -> Value:
    """[C] as [C, 1, …], to broadcast over [N, C, *S]."""
    if rank == 2:
        return value
    return b.emit(Reshape((value.type.shape[0], *(ONE,) * (rank - 2))), value)


def _check(shapes: Shapes, operands: Sequence[TensorType], vectors: Sequence[TensorType]) -> None:
    x = operands[0]
    check_float(shapes, "batch_norm", *operands)
    check_rank(shapes, "batch_norm", x, 2)
    for vector in vectors:
        message = f"batch_norm: {text(vector.shape)} does not fit the channels of {text(x.shape)}"
        require_equal(shapes, vector.shape[0], x.shape[1], message)


@dataclass(frozen=True)
class BatchNorm(Op):
    """y = (x - μ) / √(σ² + eps) · scale + shift over all axes but the channel axis 1 (Ioffe and
    Szegedy 2015), with the batch's μ and biased σ², in two passes.

    Operands: x, running mean, running variance, then scale [C] and shift [C] where flagged.
    Results: y; the new running mean r + momentum (μ - r) and variance, for which σ² is unbiased
    (torch); then μ and 1 / √(σ² + eps), for the gradient. In inference it is `BatchNormInference`.
    """

    modal: ClassVar[bool] = True

    eps: float | Known = 1e-5
    momentum: float | Known = 0.1
    scale: bool = True
    shift: bool = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, mean, var = operands[:3]
        _check(shapes, operands, operands[1:])
        count = product(x.shape[axis] for axis in _axes(x.rank))
        if proved(shapes, eq(count, ONE)):
            shapes.fail(
                SINGLE_VALUE_NORM,
                f"batch_norm: {text(x.shape)} has one value per channel, its variance is 0",
                help="use a larger batch or image, or another normalisation",
            )
        return (x, mean, var, mean, var)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        x, mean, rstd = operands[0], results[3], results[4]
        dy, _, _, dmean, drstd = grads  # the running statistics take no gradient
        found: list[Value | None] = [None] * len(operands)
        if dy is not None:
            factors = [operands[3]] if self.scale else []
            op = BatchNormGrad(self.scale, self.shift)
            dx, *rest = b.emit_all(op, x, mean, rstd, dy, *factors)
            found = [dx, None, None, *rest]
        extra = _statistics_gradient(b, x, mean, rstd, dmean, drstd)
        if extra is not None:
            found[0] = extra if found[0] is None else b.emit(Add(), found[0], extra)
        return found

    def inference(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value | None]:
        op = BatchNormInference(self.eps, self.scale, self.shift)
        return (b.emit(op, *operands), operands[1], operands[2], None, None)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 8 * product(results[0].shape)


def _statistics_gradient(
    b: Builder, x: Value, mean: Value, rstd: Value, dmean: Value | None, drstd: Value | None
) -> Value | None:
    """What reaches x through μ (dμ/dx = 1/m) and through s = 1/√(σ² + eps), where
    ds/dx = -s³ (x - μ) / m. Occurs in second derivatives only."""
    rank = x.type.rank
    count = product(x.type.shape[axis] for axis in _axes(rank))
    total: Term | None = None
    if dmean is not None:
        total = Term(b, per_channel(b, dmean, rank)) / count
    if drstd is not None:
        s = Term(b, per_channel(b, rstd, rank))
        factor = Term(b, per_channel(b, drstd, rank)) * s * s * s / count
        part = (Term(b, per_channel(b, mean, rank)) - Term(b, x)) * factor
        total = part if total is None else total + part
    if total is None:
        return None
    return b.emit(BroadcastTo(x.type.shape), total.value)


@dataclass(frozen=True)
class BatchNormGrad(Composite):
    """The gradient of BatchNorm by x, and by scale and shift where it has them.

    Operands: x, μ, s = 1/√(σ² + eps), dy, then scale where there is one. With x̂ = (x - μ) s:
    dshift = Σ dy, dscale = Σ dy x̂, dx = scale s (dy - dshift / m - x̂ dscale / m).
    """

    scale: bool = True
    shift: bool = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, mean = operands[:2]
        return (x, *(mean for flag in (self.scale, self.shift) if flag))

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, mean, rstd, dy = operands[:4]
        rank = x.type.rank
        axes = _axes(rank)
        s = Term(b, per_channel(b, rstd, rank))
        normal = (Term(b, x) - Term(b, per_channel(b, mean, rank))) * s
        g = Term(b, dy)
        dshift = b.emit(Sum(axes), dy)
        dscale = b.emit(Sum(axes), (g * normal).value)
        count = product(x.type.shape[axis] for axis in axes)
        centred = g - Term(b, per_channel(b, dshift, rank)) / count
        dx = (centred - normal * (Term(b, per_channel(b, dscale, rank)) / count)) * s
        if self.scale:
            dx = dx * Term(b, per_channel(b, operands[4], rank))
        both = ((dscale, self.scale), (dshift, self.shift))
        return (dx.value, *(value for value, flag in both if flag))

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 11 * product(results[0].shape)


@dataclass(frozen=True)
class BatchNormInference(Composite):
    """(x - mean) / √(var + eps) · scale + shift with the running statistics.

    Operands: x, mean, var, then scale and shift where flagged.
    """

    eps: float | Known = 1e-5
    scale: bool = True
    shift: bool = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        _check(shapes, operands, operands[1:])
        return (operands[0],)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, mean, var, *factors = operands
        rank = x.type.rank
        eps = b.emit(Constant(self.eps, var.type.dtype))
        y = Term(b, x) - Term(b, per_channel(b, mean, rank))
        y = y * Term(b, per_channel(b, b.emit(Rsqrt(), b.emit(Add(), var, eps)), rank))
        rest = iter(factors)
        if self.scale:
            y = y * Term(b, per_channel(b, next(rest), rank))
        if self.shift:
            y = y + Term(b, per_channel(b, next(rest), rank))
        return (y.value,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * product(results[0].shape)


# --- the language ---


def _batch_norm(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_rank(b, "batch_norm", x.type, 2)
    eps, momentum = arg.number(b, statics["eps"]), arg.number(b, statics["momentum"])
    if arg.bare(b, eps) < 0:
        b.fail(BAD_ARGUMENT, f"batch_norm: eps is {arg.bare(b, eps)}, but must not be negative")
    if not 0 <= arg.bare(b, momentum) <= 1:
        shown = arg.bare(b, momentum)
        b.fail(BAD_ARGUMENT, f"batch_norm: momentum is {shown}, not between 0 and 1")
    features = x.type.shape[1]
    scale, shift = arg.flag(statics["scale"]), arg.flag(statics["shift"])
    b.attributes(
        features=features,
        eps=eps,
        momentum=momentum,
        scale=statics["scale"],
        shift=statics["shift"],
        rank=x.type.rank,
    )
    factors: list[Value] = []
    if scale:
        factors.append(b.weight("weight", (features,), ONES))
    if shift:
        factors.append(b.weight("bias", (features,), ZEROS))
    mean = b.buffer("running_mean", (features,), ZEROS)
    var = b.buffer("running_var", (features,), ONES)
    op = BatchNorm(eps, momentum, scale, shift)
    y, new_mean, new_var, _, _ = b.emit_all(op, x, mean, var, *factors)
    b.update(mean, new_mean)
    b.update(var, new_var)
    return y


BUILTINS = (
    Builtin(
        "batch_norm",
        ("x",),
        _batch_norm,
        (
            StaticParam("eps", 1e-5, arg.NUMBER),
            StaticParam("momentum", 0.1, arg.NUMBER),
            StaticParam("scale", True, arg.FLAG),
            StaticParam("shift", True, arg.FLAG),
        ),
        owns_weights=True,
        doc="Normalises each channel by the batch's statistics, in inference by the running ones.",
    ),
)
