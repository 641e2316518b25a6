"""Normalisation across channels, and statistics of a batch as a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, NOT_DIVISIBLE
from dlspec.ir.dims import Dim
from dlspec.ir.static import plain
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import Constant, Pow, Rsqrt, Sqrt, Term
from dlspec.ops.pool import AvgPool
from dlspec.ops.reduce import Mean
from dlspec.ops.rules import ONE, ZERO, check_float, check_rank, eq, product
from dlspec.ops.shape import BroadcastTo, Concat, Reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.static import Known
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class LocalResponseNorm(Composite):
    """x / (k + alpha · mean(x² of `size` neighbouring channels))^beta, channels outside counted as
    zeros (torch's; Krizhevsky et al. 2012 have alpha times the sum, so theirs is alpha / size)."""

    size: Dim
    alpha: float | Known = 1e-4
    beta: float | Known = 0.75
    k: float | Known = 1.0

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, "local_response_norm", operands[0])
        check_rank(shapes, "local_response_norm", operands[0], 3)
        return (operands[0],)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        (x,) = operands
        batch, channels, *size = x.type.shape
        row = b.emit(Reshape((batch, ONE, channels, product(size))), Term(b, x).square().value)
        sides = ((self.size // 2, (self.size - 1) // 2), (ZERO, ZERO))
        near = b.emit(AvgPool((self.size, ONE), (ONE, ONE), sides), row)
        mean = Term(b, b.emit(Reshape(x.type.shape), near))
        divisor = mean * mean.static(self.alpha) + mean.static(self.k)
        beta = b.emit(Constant(self.beta, x.type.dtype))
        return ((Term(b, x) / divisor.apply(Pow(), Term(b, beta))).value,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return (self.size + 5) * product(results[0].shape)


# --- the language ---


def _local_response_norm(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    arg.at_least(b, "local_response_norm", "size", (statics["size"],), 1)
    alpha, beta, k = (arg.number(b, statics[name]) for name in ("alpha", "beta", "k"))
    return b.emit(LocalResponseNorm(statics["size"], alpha, beta, k), tensors["x"])


def _pixel_norm(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_rank(b, "pixel_norm", x.type, 2)
    mean = Term(b, x).square().apply(Mean((1,), True))
    return (Term(b, x) * (mean + mean.static(arg.number(b, statics["eps"]))).apply(Rsqrt())).value


def _minibatch_std(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    arg.spatial_rank(b, "minibatch_std", x)
    batch, _, *size = x.type.shape
    group = batch
    if plain(statics["group"]) is not None:
        group = arg.dim(b, "minibatch_std: group", statics["group"])
        arg.at_least(b, "minibatch_std", "group", (group,), 1)
        message = f"minibatch_std: a batch of {batch} does not divide into groups of {group}"
        b.require(eq(batch % group, ZERO), message, NOT_DIVISIBLE)
    eps = arg.number(b, statics["eps"])
    if arg.bare(b, eps) < 0:
        b.fail(BAD_ARGUMENT, f"minibatch_std: eps is {arg.bare(b, eps)}, but must not be negative")
    groups = batch // group
    parts = Term(b, b.emit(Reshape((group, groups, product(x.type.shape[1:]))), x))
    var = (parts - parts.apply(Mean((0,), True))).square().apply(Mean((0,)))
    mean = (var + var.static(eps)).apply(Sqrt()).apply(Mean((-1,), True))
    one = (ONE,) * (len(size) + 1)
    wide = b.emit(BroadcastTo((group, groups, ONE)), mean.value)
    each = b.emit(Reshape((batch, *one)), wide)
    return b.emit(Concat(1), x, b.emit(BroadcastTo((batch, ONE, *size)), each))


BUILTINS = (
    Builtin(
        "local_response_norm",
        ("x",),
        _local_response_norm,
        (
            StaticParam("size", kinds=("int",)),
            StaticParam("alpha", 1e-4, arg.NUMBER),
            StaticParam("beta", 0.75, arg.NUMBER),
            StaticParam("k", 1.0, arg.NUMBER),
        ),
        doc="Divides by a power of the mean square of neighbouring channels.",
    ),
    Builtin(
        "pixel_norm",
        ("x",),
        _pixel_norm,
        (StaticParam("eps", 1e-8, arg.NUMBER),),
        doc="x / √(mean(x²) + eps) over the channels (Karras et al. 2018).",
    ),
    Builtin(
        "minibatch_std",
        ("x",),
        _minibatch_std,
        (StaticParam("group", None, ("int", "none")), StaticParam("eps", 1e-8, arg.NUMBER)),
        doc="One more channel: the standard deviation over the batch, or over each group of it, "
        "in the mean of all features (Karras et al. 2018).",
    ),
)
