"""The rectifier whose slope is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.ir.graph import Init
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import Term
from dlspec.ops.initialisers import chosen
from dlspec.ops.rules import ONE, check_float, check_rank, require_equal, text
from dlspec.ops.shape import Reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class PRelu(Composite):
    """x where x > 0, else slope · x (He et al. 2015). Operands: x [N, C, …] and slope [C], or any
    x and slope [1]."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, slope = operands
        check_float(shapes, "prelu", x, slope)
        check_rank(shapes, "prelu", x, 1)
        if slope.shape[0] != ONE:
            check_rank(shapes, "prelu", x, 2)
            message = f"prelu: {text(slope.shape)} slopes for the channels of {text(x.shape)}"
            require_equal(shapes, slope.shape[0], x.shape[1], message)
        return (x,)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, slope = operands
        t, axes = Term(b, x), x.type.rank - 2
        if axes > 0:
            slope = b.emit(Reshape((slope.type.shape[0], *(ONE,) * axes)), slope)
        return ((t > 0.0).where(t, Term(b, slope) * t).value,)


def _prelu(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_float(b, "prelu", x.type)
    slopes = ONE
    if arg.flag(statics["per_channel"]):
        check_rank(b, "prelu", x.type, 2)
        slopes = x.type.shape[1]
    init = chosen(statics["init"], Init("constant", (("value", 0.25),)))
    b.attributes(slopes=slopes)
    return b.emit(PRelu(), x, b.weight("weight", (slopes,), init))


BUILTINS = (
    Builtin(
        "prelu",
        ("x",),
        _prelu,
        (
            StaticParam("per_channel", False, arg.FLAG),
            StaticParam("init", None, ("init", "none")),
        ),
        owns_weights=True,
        doc="x where x > 0, else slope · x, with one learned slope or one for each channel.",
    ),
)
