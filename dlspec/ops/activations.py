"""Activations. At kinks the gradient is 0 (relu), else torch's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.dims import Dim
from dlspec.ir.static import Known, plain
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import Abs, Erf, LogicalAnd, Term, Unary, simple
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import check_axis, check_float, name_of, product

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Relu(Unary):
    """max(x, 0), gradient 0 at 0."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (y > 0.0).where(g, g.like(0.0))


@dataclass(frozen=True)
class Relu6(Unary):
    """min(max(x, 0), 6), gradient 0 on both bounds (torch)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        inside = (y > 0.0).apply(LogicalAnd(), y < 6.0)
        return inside.where(g, g.like(0.0))


@dataclass(frozen=True)
class HardTanh(Unary):
    """min(max(x, low), high), gradient 0 on both bounds (torch)."""

    low: float | Known = -1.0
    high: float | Known = 1.0

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        inside = (y > y.static(self.low)).apply(LogicalAnd(), y < y.static(self.high))
        return inside.where(g, g.like(0.0))


@dataclass(frozen=True)
class HardSigmoid(Unary):
    """min(max(x / 6 + 1 / 2, 0), 1) (torch's; Keras up to version 2 had slope 0.2)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        inside = (y > 0.0).apply(LogicalAnd(), y < 1.0)
        return inside.where(g * (1.0 / 6.0), g.like(0.0))


@dataclass(frozen=True)
class Step(Unary):
    """1 where x > 0, else 0: the perceptron's unit (Rosenblatt 1958). Its gradient is zero."""

    def pullback(self, x: Term, y: Term, g: Term) -> None:
        return None


@dataclass(frozen=True)
class Sigmoid(Unary):
    """1 / (1 + e^-x)"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * y * (1.0 - y)


@dataclass(frozen=True)
class LogSigmoid(Unary):
    """-ln(1 + e^-x), without overflow."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (-x).apply(Sigmoid())


@dataclass(frozen=True)
class Tanh(Unary):
    """tanh x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (1.0 - y.square())


@dataclass(frozen=True)
class Softplus(Unary):
    """ln(1 + e^x), without overflow."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Sigmoid())


@dataclass(frozen=True)
class Softsign(Unary):
    """x / (1 + |x|)"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / (x.apply(Abs()) + 1.0).square()


@dataclass(frozen=True)
class Elu(Unary):
    """x where x > 0, else alpha (e^x - 1) (Clevert et al. 2015)."""

    alpha: float | Known = 1.0

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x > 0.0).where(g, g * (y + x.static(self.alpha)))


@dataclass(frozen=True)
class Selu(Unary):
    """scale · (x where x > 0, else alpha (e^x - 1)), scale 1.0507, alpha 1.6733 (Klambauer et al.
    2017)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x > 0.0).where(g * SELU_SCALE, g * (y + SELU_SCALE * SELU_ALPHA))


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """x where x > 0, else slope · x."""

    slope: float | Known = 0.01

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x > 0.0).where(g, g * x.static(self.slope))


@dataclass(frozen=True)
class Silu(Unary):
    """x σ(x), also called swish (Elfwing et al. 2017)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        s = x.apply(Sigmoid())
        return g * (s + y * (1.0 - s))


@dataclass(frozen=True)
class HardSwish(Unary):
    """x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        middle = (x > -3.0).apply(LogicalAnd(), x < 3.0)
        slope = x * (1.0 / 3.0) + 0.5
        outside = (x >= 3.0).where(g, g.like(0.0))
        return middle.where(g * slope, outside)


@dataclass(frozen=True)
class Mish(Unary):
    """x tanh(ln(1 + e^x)) (Misra 2019)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        t = x.apply(Softplus()).apply(Tanh())
        return g * (t + x * x.apply(Sigmoid()) * (1.0 - t.square()))


@dataclass(frozen=True)
class Gelu(Unary):
    """x Φ(x) = x (1 + erf(x / √2)) / 2; approximate "tanh": x (1 + tanh(√(2/π) (x + 0.044715 x³)))
    / 2 (Hendrycks and Gimpel 2016)."""

    approximate: str = "none"

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return x.apply(GeluGrad(self.approximate), g)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 8 * product(results[0].shape)


@dataclass(frozen=True)
class GeluGrad(Composite):
    """g d gelu(x) / dx = g (Φ(x) + x φ(x)), φ the density of the normal distribution; of the
    approximation with t = tanh u: g (1 + t + x (1 - t²) du/dx) / 2. Operands: x, g."""

    approximate: str = "none"

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[0],)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, g = (Term(b, value) for value in operands)
        if self.approximate == "tanh":
            c = sqrt(2.0 / pi)
            square = x.square()
            t = (x * (square * (c * 0.044715) + c)).apply(Tanh())
            inner = square * (3.0 * 0.044715 * c) + c
            return ((g * 0.5 * (t + 1.0 + x * (1.0 - t.square()) * inner)).value,)
        cdf = ((x * (1.0 / sqrt(2.0))).apply(Erf()) + 1.0) * 0.5
        density = (x.square() * -0.5).exp() * (1.0 / sqrt(2.0 * pi))
        return ((g * (cdf + x * density)).value,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 12 * product(results[0].shape)


# --- along an axis ---


@dataclass(frozen=True)
class AlongAxis(Op):
    axis: int = -1

    cost: ClassVar[int] = 5

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, name_of(self), operands[0])
        check_axis(shapes, name_of(self), self.axis, operands[0].rank)
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return (None,)
        return (self.pullback(Term(b, results[0]), Term(b, g)).value,)

    def pullback(self, y: Term, g: Term) -> Term:
        raise NotImplementedError

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return self.cost * product(results[0].shape)


@dataclass(frozen=True)
class Softmax(AlongAxis):
    """e^(x - m) / Σ e^(x - m) along `axis`, m = max x."""

    def pullback(self, y: Term, g: Term) -> Term:
        return y * (g - (g * y).apply(Sum((self.axis,), True)))


@dataclass(frozen=True)
class LogSoftmax(AlongAxis):
    """x - m - ln Σ e^(x - m) along `axis`, m = max x."""

    def pullback(self, y: Term, g: Term) -> Term:
        return g - y.exp() * g.apply(Sum((self.axis,), True))


# --- the language ---


def _with_number(
    make: Callable[[Any], Op],
    key: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    return b.emit(make(arg.number(b, statics[key])), tensors["x"])


def _identity(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return tensors["x"]


def _gelu(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    mode = arg.word(b, "gelu: approximate", statics["approximate"], ("none", "tanh"))
    return b.emit(Gelu(mode), tensors["x"])


def _softplus(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_float(b, "softplus", x.type)
    beta = arg.number(b, statics["beta"])
    if arg.bare(b, beta) == 0:
        b.fail(BAD_ARGUMENT, "softplus: beta is 0, and divides")
    t = Term(b, x)
    scaled = t if beta == 1.0 else t * t.static(beta)
    y = scaled.apply(Softplus())
    y = y if beta == 1.0 else y / y.static(beta)
    if plain(statics["threshold"]) is not None:
        y = (scaled > scaled.static(arg.number(b, statics["threshold"]))).where(t, y)
    return y.value


def _hard_tanh(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    low, high = (arg.number(b, statics[key]) for key in ("low", "high"))
    if arg.bare(b, low) > arg.bare(b, high):
        shown = f"low {arg.bare(b, low)} is above high {arg.bare(b, high)}"
        b.fail(BAD_ARGUMENT, f"hard_tanh: {shown}")
    return b.emit(HardTanh(low, high), tensors["x"])


def _along(
    make: Callable[[int], Op],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    x = tensors["x"]
    return b.emit(make(arg.axis(b, name, statics["axis"], x.type.rank)), x)


def _leaky(name: str, make: Callable[[Any], Op], key: str, default: float, doc: str) -> Builtin:
    params = (StaticParam(key, default, arg.NUMBER),)
    return Builtin(name, ("x",), partial(_with_number, make, key), params, doc=doc)


_AXIS = (StaticParam("axis", Dim.const(-1), ("int",)),)

BUILTINS = (
    Builtin("identity", ("x",), _identity, doc="x itself."),
    simple("relu", Relu()),
    simple("relu6", Relu6()),
    simple("sigmoid", Sigmoid()),
    simple("log_sigmoid", LogSigmoid()),
    simple("tanh", Tanh()),
    Builtin(
        "softplus",
        ("x",),
        _softplus,
        (
            StaticParam("beta", 1.0, arg.NUMBER),
            StaticParam("threshold", None, (*arg.NUMBER, "none")),
        ),
        doc="ln(1 + e^(beta x)) / beta; x where beta x is above the threshold, if there is one.",
    ),
    simple("softsign", Softsign()),
    simple("selu", Selu()),
    simple("silu", Silu()),
    simple("swish", Silu()),
    simple("mish", Mish()),
    Builtin(
        "hard_tanh",
        ("x",),
        _hard_tanh,
        (StaticParam("low", -1.0, arg.NUMBER), StaticParam("high", 1.0, arg.NUMBER)),
        doc="min(max(x, low), high).",
    ),
    simple("hard_sigmoid", HardSigmoid()),
    simple("hard_swish", HardSwish()),
    simple("step", Step()),
    simple("heaviside", Step()),
    _leaky("leaky_relu", LeakyRelu, "slope", 0.01, "x where x > 0, else slope · x."),
    _leaky("elu", Elu, "alpha", 1.0, "x where x > 0, else alpha (e^x - 1)."),
    Builtin(
        "gelu",
        ("x",),
        _gelu,
        (StaticParam("approximate", "none", ("string",)),),
        doc='x Φ(x), exact; approximate = "tanh" for the tanh form.',
    ),
    Builtin("softmax", ("x",), partial(_along, Softmax, "softmax"), _AXIS, doc="e^x / Σ e^x."),
    Builtin(
        "log_softmax",
        ("x",),
        partial(_along, LogSoftmax, "log_softmax"),
        _AXIS,
        doc="x - ln Σ e^x.",
    ),
)
