"""More elementwise mathematics. Gradients are torch's where a function has a kink."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import log, pi, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.static import Known, plain
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Sigmoid
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import (
    Binary,
    Clip,
    Compare,
    Floor,
    Log,
    LogicalAnd,
    LogicalNot,
    Rsqrt,
    Sin,
    Term,
    Unary,
    pair,
    simple,
)
from dlspec.ops.rules import check_float, check_same, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder, Shapes

# --- of one tensor ---


@dataclass(frozen=True)
class Tan(Unary):
    """tan x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (y.square() + 1.0)


@dataclass(frozen=True)
class Asin(Unary):
    """arcsin x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (1.0 - x.square()).apply(Rsqrt())


@dataclass(frozen=True)
class Acos(Unary):
    """arccos x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return -g * (1.0 - x.square()).apply(Rsqrt())


@dataclass(frozen=True)
class Atan(Unary):
    """arctan x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / (x.square() + 1.0)


@dataclass(frozen=True)
class Sinh(Unary):
    """(e^x - e^-x) / 2"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Cosh())


@dataclass(frozen=True)
class Cosh(Unary):
    """(e^x + e^-x) / 2"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Sinh())


@dataclass(frozen=True)
class Asinh(Unary):
    """ln(x + √(x² + 1))"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (x.square() + 1.0).apply(Rsqrt())


@dataclass(frozen=True)
class Acosh(Unary):
    """ln(x + √(x² - 1)), for x >= 1."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (x.square() - 1.0).apply(Rsqrt())


@dataclass(frozen=True)
class Atanh(Unary):
    """ln((1 + x) / (1 - x)) / 2"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / (1.0 - x.square())


@dataclass(frozen=True)
class Log2(Unary):
    """log₂ x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / (x * log(2.0))


@dataclass(frozen=True)
class Log10(Unary):
    """log₁₀ x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / (x * log(10.0))


@dataclass(frozen=True)
class Exp2(Unary):
    """2^x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * y * log(2.0)


@dataclass(frozen=True)
class Erfc(Unary):
    """1 - erf x, exact where erf is near 1."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (-2.0 / sqrt(pi)) * (-x.square()).exp()


@dataclass(frozen=True)
class Erfinv(Unary):
    """y with erf y = x, for -1 < x < 1."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (sqrt(pi) / 2.0) * y.square().exp()


@dataclass(frozen=True)
class Trunc(Unary):
    """x rounded towards 0, as a float."""

    def pullback(self, x: Term, y: Term, g: Term) -> None:
        return None


@dataclass(frozen=True)
class NanToNum(Unary):
    """x with numbers in the place of NaN and of both infinities. No gradient reaches those."""

    nan: float | Known = 0.0
    posinf: float | Known | None = None
    neginf: float | Known | None = None

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return x.apply(IsFinite()).where(g, g.like(0.0))


@dataclass(frozen=True)
class Test(Compare):
    """Whether each element is of a kind; the result is bool."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, name_of(self), *operands)
        return (TensorType(DType.BOOL, operands[0].shape),)


@dataclass(frozen=True)
class IsNan(Test):
    """Whether x is NaN."""


@dataclass(frozen=True)
class IsInf(Test):
    """Whether x is infinite, of either sign."""


@dataclass(frozen=True)
class IsFinite(Test):
    """Whether x is neither NaN nor infinite."""


# --- of two tensors ---


@dataclass(frozen=True)
class FloatBinary(Binary):
    """z = f(x, y) of floats, broadcast."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_same(shapes, name_of(self), *operands)
        check_float(shapes, name_of(self), *operands)
        return super().infer(operands, shapes)


@dataclass(frozen=True)
class Atan2(FloatBinary):
    """The angle of the point (y, x), from -π to π: first operand the ordinate."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        scaled = g / (x.square() + y.square())
        return scaled * y, -scaled * x


@dataclass(frozen=True)
class Hypot(FloatBinary):
    """√(x² + y²), without overflow; gradient 0 where both are 0."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        scaled = g / (z == 0.0).where(z.like(1.0), z)
        return scaled * x, scaled * y


@dataclass(frozen=True)
class LogAddExp(FloatBinary):
    """ln(e^x + e^y), without overflow."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g * (x - y).apply(Sigmoid()), g * (y - x).apply(Sigmoid())


@dataclass(frozen=True)
class Remainder(FloatBinary):
    """x - y floor(x / y), with the sign of y (Python's `%`)."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g, -g * (x / y).apply(Floor())


@dataclass(frozen=True)
class Fmod(FloatBinary):
    """x - y trunc(x / y), with the sign of x (C's fmod)."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g, -g * (x / y).apply(Trunc())


# --- the language ---


def formula(name: str, body: Callable[..., Term], tensors: tuple[str, ...], doc: str) -> Builtin:
    """A built-in that is a formula of its tensors, each of which but the first may be a number."""

    def apply(b: LayerBuilder, given: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
        values = [given[key] for key in tensors]
        check_float(b, name, *(v.type for v in values))
        return body(*(Term(b, v) for v in values)).value

    return Builtin(name, tensors, apply, scalars=tensors[1:], doc=doc)


def _sinc(x: Term) -> Term:
    zero = x == 0.0
    angle = zero.where(x.like(1.0), x) * pi
    return zero.where(x.like(1.0), angle.apply(Sin()) / angle)


def _xlogy(x: Term, y: Term) -> Term:
    zero = (x == 0.0).apply(LogicalAnd(), y.apply(IsNan()).apply(LogicalNot()))
    return zero.where(x.like(0.0), x * zero.where(y.like(1.0), y).apply(Log()))


def _nan_to_num(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    bounds = [
        None if plain(statics[key]) is None else arg.number(b, statics[key])
        for key in ("posinf", "neginf")
    ]
    return b.emit(NanToNum(arg.number(b, statics["nan"]), *bounds), tensors["x"])


def _logit(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x = Term(b, tensors["x"])
    check_float(b, "logit", x.value.type)
    if plain(statics["eps"]) is not None:
        eps = arg.bare(b, statics["eps"])
        if not 0 <= eps <= 0.5:
            b.fail(BAD_ARGUMENT, f"logit: eps is {eps}, not between 0 and 0.5")
        x = x.apply(Clip(eps, 1.0 - eps))
    return (x / (1.0 - x)).apply(Log()).value


def _frac(x: Term) -> Term:
    return x - x.apply(Trunc())


def _lerp(x: Term, y: Term, weight: Term) -> Term:
    return x + weight * (y - x)


def _scaled(factor: float, x: Term) -> Term:
    return x * factor


_MAYBE = (*arg.NUMBER, "none")

BUILTINS = (
    simple("tan", Tan()),
    simple("asin", Asin()),
    simple("acos", Acos()),
    simple("atan", Atan()),
    simple("sinh", Sinh()),
    simple("cosh", Cosh()),
    simple("asinh", Asinh()),
    simple("acosh", Acosh()),
    simple("atanh", Atanh()),
    simple("log2", Log2()),
    simple("log10", Log10()),
    simple("exp2", Exp2()),
    simple("erfc", Erfc()),
    simple("erfinv", Erfinv()),
    simple("trunc", Trunc()),
    simple("isnan", IsNan()),
    simple("isinf", IsInf()),
    simple("isfinite", IsFinite()),
    pair("atan2", Atan2()),
    pair("hypot", Hypot()),
    pair("logaddexp", LogAddExp()),
    pair("remainder", Remainder()),
    pair("fmod", Fmod()),
    formula("frac", _frac, ("x",), "x - trunc x."),
    formula("sinc", _sinc, ("x",), "sin(π x) / (π x), 1 at 0."),
    formula("xlogy", _xlogy, ("x", "y"), "x ln y, 0 where x is 0."),
    formula("lerp", _lerp, ("x", "y", "weight"), "x + weight (y - x)."),
    formula("deg2rad", partial(_scaled, pi / 180.0), ("x",), "Degrees as radians: x π / 180."),
    formula("rad2deg", partial(_scaled, 180.0 / pi), ("x",), "Radians as degrees: x 180 / π."),
    Builtin(
        "logit",
        ("x",),
        _logit,
        (StaticParam("eps", None, _MAYBE),),
        doc="ln(x / (1 - x)); eps keeps x within [eps, 1 - eps].",
    ),
    Builtin(
        "nan_to_num",
        ("x",),
        _nan_to_num,
        (
            StaticParam("nan", 0.0, arg.NUMBER),
            StaticParam("posinf", None, _MAYBE),
            StaticParam("neginf", None, _MAYBE),
        ),
        doc="Numbers for NaN and both infinities (none: the largest of the type).",
    ),
)
