"""Random ops. Draws are keyed by the run; a pass can make them inputs (`draws`, `given`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.static import Known
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Softmax
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Cast, Log, Mul, StopGradient, Term
from dlspec.ops.indexing import OneHot
from dlspec.ops.reduce import ArgMax
from dlspec.ops.rules import ONE, check_float, check_rank, require_positive, text
from dlspec.ops.shape import BroadcastTo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
    p = arg.probability(b, "dropout", statics["p"])
    return b.emit_all(Dropout(p), tensors["x"])[0]


def _normal(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    mean, std = arg.number(b, statics["mean"]), arg.number(b, statics["std"])
    return b.emit(RandomNormal(arg.dims(b, "shape", statics["shape"]), mean, std))


def _uniform(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    low, high = arg.number(b, statics["low"]), arg.number(b, statics["high"])
    return b.emit(RandomUniform(arg.dims(b, "shape", statics["shape"]), low, high))


def _bernoulli(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    p = arg.probability(b, "bernoulli", statics["p"])
    u = Term(b, b.emit(RandomUniform(arg.dims(b, "shape", statics["shape"]))))
    return (u < u.static(p)).apply(Cast(DType.FLOAT)).value


def gumbel(b: Builder, shape: Sequence[Dim]) -> Term:
    """-ln(-ln u), u uniform on [0, 1) and kept away from both ends."""
    u = Term(b, b.emit(RandomUniform(tuple(shape))))
    inside = u * (1.0 - 2e-7) + 1e-7
    return -(-inside.apply(Log())).apply(Log())


def _gumbel(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return gumbel(b, arg.dims(b, "shape", statics["shape"])).value


def _gumbel_softmax(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_float(b, "gumbel_softmax", x.type)
    check_rank(b, "gumbel_softmax", x.type, 1)
    temperature = arg.number(b, statics["temperature"])
    if arg.bare(b, temperature) <= 0:
        shown = arg.bare(b, temperature)
        b.fail(BAD_ARGUMENT, f"gumbel_softmax: temperature is {shown}, but must be positive")
    noisy = Term(b, x) + gumbel(b, x.type.shape)
    soft = (noisy / noisy.static(temperature)).apply(Softmax(-1))
    if not arg.flag(statics["hard"]):
        return soft.value
    classes = x.type.shape[-1]
    chosen = soft.apply(ArgMax(-1, False)).apply(OneHot(classes, x.type.dtype))
    return (chosen + soft - soft.apply(StopGradient())).value  # straight through


def _shared_dropout(name: str, spatial: int | None) -> Callable[..., Value]:
    """Dropout with one draw for a whole channel, or (None) for a whole sample."""

    def build(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
        x: Value = tensors["x"]
        check_float(b, name, x.type)
        p = arg.probability(b, name, statics["p"])
        if spatial is None:
            check_rank(b, name, x.type, 1)
        elif x.type.rank != spatial + 2:
            b.fail(RANK, f"{name}: needs [N, C] and {spatial} axes more, but got {x.type}")
        kept = 1 if spatial is None else 2
        shape = (*x.type.shape[:kept], *(ONE,) * (x.type.rank - kept))
        ones = b.emit(BroadcastTo(shape), b.constant(1.0, like=x))
        return b.emit(Mul(), x, b.emit_all(Dropout(p), ones)[0])

    return build


_P = (StaticParam("p", 0.5, arg.NUMBER),)
_SHAPE = StaticParam("shape", kinds=("dims",))
BUILTINS = (
    *(
        Builtin(
            f"dropout{n}d",
            ("x",),
            _shared_dropout(f"dropout{n}d", n),
            _P,
            doc="`dropout` of whole channels of [N, C, …] (Tompson et al. 2015).",
        )
        for n in (1, 2, 3)
    ),
    Builtin(
        "drop_path",
        ("x",),
        _shared_dropout("drop_path", None),
        (StaticParam("p", 0.1, arg.NUMBER),),
        doc="`dropout` of whole samples: stochastic depth (Huang et al. 2016).",
    ),
    Builtin(
        "bernoulli",
        (),
        _bernoulli,
        (_SHAPE, StaticParam("p", 0.5, arg.NUMBER)),
        doc="A tensor of draws that are 1 with probability p, else 0.",
    ),
    Builtin(
        "gumbel",
        (),
        _gumbel,
        (_SHAPE,),
        doc="A tensor of draws of the standard Gumbel distribution, -ln(-ln u).",
    ),
    Builtin(
        "gumbel_softmax",
        ("x",),
        _gumbel_softmax,
        (StaticParam("temperature", 1.0, arg.NUMBER), StaticParam("hard", False, arg.FLAG)),
        doc="softmax((x + Gumbel noise) / temperature) over the last axis (Jang, Gu and Poole "
        "2017); hard: the largest as one-hot, with the gradient of the soft choice.",
    ),
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
