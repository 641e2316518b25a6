"""Noise that training adds and inference leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ops import arguments as arg
from dlspec.ops.activations import SELU_ALPHA, SELU_SCALE, LeakyRelu
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Term
from dlspec.ops.random import RandomNormal, RandomUniform
from dlspec.ops.rules import ONE, check_float, check_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dlspec.ir.graph import Value
    from dlspec.ir.static import Known
    from dlspec.ops.base import LayerBuilder


DROPPED = -SELU_SCALE * SELU_ALPHA  # selu at -∞


def _gaussian_noise(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_float(b, "gaussian_noise", x.type)
    std = arg.number(b, statics["std"])
    if arg.bare(b, std) < 0:
        b.fail(BAD_ARGUMENT, f"gaussian_noise: std is {arg.bare(b, std)}, but must be 0 or more")

    def noisy() -> Value:
        return (Term(b, x) + Term(b, b.emit(RandomNormal(x.type.shape, 0.0, std)))).value

    return b.in_training(noisy, lambda: x)


def _gaussian_dropout(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_float(b, "gaussian_dropout", x.type)
    p = arg.probability(b, "gaussian_dropout", statics["p"], below=True)
    std = arg.computed("sqrt", arg.computed("/", p, arg.computed("-", 1.0, p)))

    def noisy() -> Value:
        return (Term(b, x) * Term(b, b.emit(RandomNormal(x.type.shape, 1.0, std)))).value

    return b.in_training(noisy, lambda: x)


def _restored(y: Term, p: float | Known) -> Term:
    """a (y - p s), which has mean 0 and variance 1 again after dropping: s the value of what is
    dropped, a = 1 / √((1 - p) (1 + p s²))."""
    spread = arg.computed("+", 1.0, arg.computed("*", p, DROPPED**2))
    root = arg.computed("sqrt", arg.computed("*", arg.computed("-", 1.0, p), spread))
    return (y - y.static(arg.computed("*", p, DROPPED))) / y.static(root)


def _alpha_dropout(name: str, whole: bool) -> Callable[..., Value]:
    """Alpha dropout of elements, or of whole channels."""

    def build(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
        x: Value = tensors["x"]
        check_float(b, name, x.type)
        check_rank(b, name, x.type, 2 if whole else 0)
        p = arg.probability(b, name, statics["p"], below=True)
        shape = x.type.shape
        if whole:
            shape = (*shape[:2], *(ONE,) * (x.type.rank - 2))

        def dropped() -> Value:
            t, draw = Term(b, x), Term(b, b.emit(RandomUniform(shape)))
            return _restored((draw < draw.static(p)).where(t.like(DROPPED), t), p).value

        return b.in_training(dropped, lambda: x)

    return build


def _rrelu(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_float(b, "rrelu", x.type)
    low, high = (arg.number(b, statics[key]) for key in ("low", "high"))
    if arg.bare(b, low) > arg.bare(b, high):
        shown = f"low {arg.bare(b, low)} is above high {arg.bare(b, high)}"
        b.fail(BAD_ARGUMENT, f"rrelu: {shown}")
    middle = arg.computed("/", arg.computed("+", low, high), 2.0)

    def drawn() -> Value:
        t, slope = Term(b, x), Term(b, b.emit(RandomUniform(x.type.shape, low, high)))
        return (t > 0.0).where(t, slope * t).value

    return b.in_training(drawn, lambda: b.emit(LeakyRelu(middle), x))


_P = (StaticParam("p", 0.5, arg.NUMBER),)

BUILTINS = (
    Builtin(
        "gaussian_noise",
        ("x",),
        _gaussian_noise,
        (StaticParam("std", kinds=arg.NUMBER),),
        doc="In training x + N(0, std²).",
    ),
    Builtin(
        "gaussian_dropout",
        ("x",),
        _gaussian_dropout,
        _P,
        doc="In training x · N(1, p / (1 - p)) (Srivastava et al. 2014, section 10).",
    ),
    Builtin(
        "alpha_dropout",
        ("x",),
        _alpha_dropout("alpha_dropout", whole=False),
        _P,
        doc="In training elements become selu(-∞) with probability p, then all are scaled and "
        "moved so that mean and variance stay (Klambauer et al. 2017).",
    ),
    Builtin(
        "feature_alpha_dropout",
        ("x",),
        _alpha_dropout("feature_alpha_dropout", whole=True),
        _P,
        doc="`alpha_dropout` of whole channels of [N, C, …].",
    ),
    Builtin(
        "rrelu",
        ("x",),
        _rrelu,
        (StaticParam("low", 1 / 8, arg.NUMBER), StaticParam("high", 1 / 3, arg.NUMBER)),
        doc="x where x > 0, else slope · x, the slope drawn in training for each element from "
        "U(low, high), else their middle (Xu et al. 2015).",
    ),
)
