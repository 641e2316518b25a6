"""Activations with bounds and thresholds, and those that are formulas of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.dims import Dim
from dlspec.ir.static import Known
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Sigmoid, Softmax, Tanh
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Abs, Term, Unary
from dlspec.ops.maths import formula
from dlspec.ops.rules import check_float

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


@dataclass(frozen=True)
class Celu(Unary):
    """x where x > 0, else alpha (e^(x / alpha) - 1) (Barron 2017)."""

    alpha: float | Known = 1.0

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x > 0.0).where(g, g * (y / x.static(self.alpha) + 1.0))


@dataclass(frozen=True)
class HardShrink(Unary):
    """x where |x| > bound, else 0."""

    bound: float | Known = 0.5

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x.apply(Abs()) > x.static(self.bound)).where(g, g.like(0.0))


@dataclass(frozen=True)
class SoftShrink(Unary):
    """x moved towards 0 by bound, and 0 where |x| <= bound."""

    bound: float | Known = 0.5

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x.apply(Abs()) > x.static(self.bound)).where(g, g.like(0.0))


@dataclass(frozen=True)
class Threshold(Unary):
    """x where x > threshold, else value."""

    threshold: float | Known = 0.0
    value: float | Known = 0.0

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return (x > x.static(self.threshold)).where(g, g.like(0.0))


# --- the language ---


def _celu(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    alpha = arg.number(b, statics["alpha"])
    if arg.bare(b, alpha) == 0:
        b.fail(BAD_ARGUMENT, "celu: alpha is 0, and divides")
    return b.emit(Celu(alpha), tensors["x"])


def _bound(b: LayerBuilder, name: str, statics: Mapping[str, Any]) -> float | Known:
    bound = arg.number(b, statics["bound"])
    if arg.bare(b, bound) < 0:
        b.fail(BAD_ARGUMENT, f"{name}: bound is {arg.bare(b, bound)}, but must not be negative")
    return bound


def _hard_shrink(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(HardShrink(_bound(b, "hard_shrink", statics)), tensors["x"])


def _soft_shrink(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(SoftShrink(_bound(b, "soft_shrink", statics)), tensors["x"])


def _threshold(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    at, value = (arg.number(b, statics[key]) for key in ("threshold", "value"))
    return b.emit(Threshold(at, value), tensors["x"])


def _softmin(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x = tensors["x"]
    check_float(b, "softmin", x.type)
    axis = arg.axis(b, "softmin", statics["axis"], x.type.rank)
    return (-Term(b, x)).apply(Softmax(axis)).value


def _tanh_shrink(x: Term) -> Term:
    return x - x.apply(Tanh())


def _quick_gelu(x: Term) -> Term:
    return x * (x * 1.702).apply(Sigmoid())


_BOUND = (StaticParam("bound", 0.5, arg.NUMBER),)

BUILTINS = (
    Builtin(
        "celu",
        ("x",),
        _celu,
        (StaticParam("alpha", 1.0, arg.NUMBER),),
        doc="x where x > 0, else alpha (e^(x / alpha) - 1).",
    ),
    Builtin("hard_shrink", ("x",), _hard_shrink, _BOUND, doc="x where |x| > bound, else 0."),
    Builtin(
        "soft_shrink", ("x",), _soft_shrink, _BOUND, doc="x moved towards 0 by bound, at most to 0."
    ),
    Builtin(
        "threshold",
        ("x",),
        _threshold,
        (StaticParam("threshold", kinds=arg.NUMBER), StaticParam("value", 0.0, arg.NUMBER)),
        doc="x where x > threshold, else value.",
    ),
    Builtin(
        "softmin",
        ("x",),
        _softmin,
        (StaticParam("axis", Dim.const(-1), ("int",)),),
        doc="e^-x / Σ e^-x.",
    ),
    formula("tanh_shrink", _tanh_shrink, ("x",), "x - tanh x."),
    formula(
        "quick_gelu",
        _quick_gelu,
        ("x",),
        "x σ(1.702 x): CLIP's form of gelu.",
    ),
)
