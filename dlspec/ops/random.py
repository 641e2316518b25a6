"""Random ops. Draws are keyed by the run; a pass can make them inputs (`draws`, `given`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.static import Known
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Mul
from dlspec.ops.rules import check_float, require_positive, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Dropout(Op):
    """y = x m, where each element of the mask m is 0 with probability p, else 1 / (1 - p)
    (Srivastava et al. 2014, inverted scaling; p = 1 gives zeros). In inference y is x.

    Results: y, and m in x's element type.
    """

    random: ClassVar[bool] = True
    modal: ClassVar[bool] = True

    p: float | Known = 0.5

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_float(shapes, "dropout", x)
        return (x, x)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        g = grads[0]
        return (b.emit(Mul(), g, results[1]) if g is not None else None,)

    def inference(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value | None]:
        return (operands[0], None)

    def draws(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> TensorType:
        return results[1]

    def given(self, b: Builder, operands: Sequence[Value], draw: Value) -> Sequence[Value]:
        return (b.emit(Mul(), operands[0], draw), draw)


@dataclass(frozen=True)
class Draw(Op):
    """Independent draws of one shape."""

    random: ClassVar[bool] = True

    shape: tuple[Dim, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        for extent in self.shape:
            require_positive(shapes, extent, f"nothing to draw: the shape is {text(self.shape)}")
        return (TensorType(DType.FLOAT, self.shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return ()

    def draws(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> TensorType:
        return results[0]

    def given(self, b: Builder, operands: Sequence[Value], draw: Value) -> Sequence[Value]:
        return (draw,)


@dataclass(frozen=True)
class RandomNormal(Draw):
    """Normal with the given mean and standard deviation."""

    mean: float | Known = 0.0
    std: float | Known = 1.0


@dataclass(frozen=True)
class RandomUniform(Draw):
    """Uniform on [low, high)."""

    low: float | Known = 0.0
    high: float | Known = 1.0


# --- the language ---


def _dropout(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    p = arg.number(b, statics["p"])
    if not 0 <= arg.bare(b, p) <= 1:
        b.fail(BAD_ARGUMENT, f"dropout: p is {arg.bare(b, p)}, not between 0 and 1")
    return b.emit_all(Dropout(p), tensors["x"])[0]


def _normal(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    mean, std = arg.number(b, statics["mean"]), arg.number(b, statics["std"])
    return b.emit(RandomNormal(arg.dims(b, "shape", statics["shape"]), mean, std))


def _uniform(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    low, high = arg.number(b, statics["low"]), arg.number(b, statics["high"])
    return b.emit(RandomUniform(arg.dims(b, "shape", statics["shape"]), low, high))


BUILTINS = (
    Builtin(
        "dropout",
        ("x",),
        _dropout,
        (StaticParam("p", 0.5, arg.NUMBER),),
        doc="In training, elements become 0 with probability p and the rest grow by 1 / (1 - p).",
    ),
    Builtin(
        "normal",
        (),
        _normal,
        (
            StaticParam("shape", kinds=("dims",)),
            StaticParam("mean", 0.0, arg.NUMBER),
            StaticParam("std", 1.0, arg.NUMBER),
        ),
        doc="A tensor of normal draws.",
    ),
    Builtin(
        "uniform",
        (),
        _uniform,
        (
            StaticParam("shape", kinds=("dims",)),
            StaticParam("low", 0.0, arg.NUMBER),
            StaticParam("high", 1.0, arg.NUMBER),
        ),
        doc="A tensor of uniform draws.",
    ),
)
