"""Torch's elementwise functions as ours, and those along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .calls import Mapped, written

if TYPE_CHECKING:
    from collections.abc import Callable


def unary(name: str, **renamed: str) -> Callable[[Any], Mapped]:
    """A function of one tensor; renamed: torch's arguments by our names, in torch's order."""

    def call(sample: Any) -> Mapped:
        given = dict(zip(renamed, sample.args, strict=False)) | sample.kwargs
        named = {renamed.get(k, k): v for k, v in given.items() if v is not None}
        if name == "hard_shrink" and named.get("bound", 0) < 0:
            return "a bound on |x| is not negative"
        if "decimals" in named:
            return "round is to integers"
        return written(name, sample.input, named=named)

    return call


def gelu(sample: Any) -> Mapped:
    return written("gelu", sample.input, named=sample.kwargs)


def binary(name: str) -> Callable[[Any], Mapped]:
    def call(sample: Any) -> Mapped:
        return written(name, sample.input, *sample.args)

    return call


def along(name: str) -> Callable[[Any], Mapped]:
    """A function along an axis."""

    def call(sample: Any) -> Mapped:
        axis = sample.kwargs.get("dim", sample.args[0] if sample.args else -1)
        if sample.input.ndim == 0:
            return "a scalar has no axes"
        if not sample.input.shape[axis]:
            return "an axis without elements has no largest one"
        made = written(name, sample.input, named={"axis": axis})
        if sample.kwargs.get("dtype") not in (None, sample.input.dtype):
            return "no element type is changed on the way"
        return made

    return call


def softplus(sample: Any) -> Mapped:
    return written("softplus", sample.input, named={"threshold": 20, **sample.kwargs})


F = "nn.functional."
SAME = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg2rad"),
    *("erf", "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "frac", "isfinite", "isinf"),
    *("isnan", "log", "log10", "log1p", "log2", "rad2deg", "reciprocal", "rsqrt", "sigmoid"),
    *("sign", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "round"),
)
ACTIVATIONS: dict[str, Callable[[Any], Mapped]] = {
    F + "softmin": along("softmin"),
    F + "glu": along("glu"),
    F + "celu": unary("celu"),
    F + "elu": unary("elu"),
    F + "gelu": gelu,
    F + "hardshrink": unary("hard_shrink", lambd="bound"),
    F + "softshrink": unary("soft_shrink", lambd="bound"),
    F + "hardsigmoid": unary("hard_sigmoid"),
    F + "hardswish": unary("hard_swish"),
    F + "hardtanh": unary("hard_tanh", min_val="low", max_val="high"),
    F + "leaky_relu": unary("leaky_relu", negative_slope="slope"),
    F + "logsigmoid": unary("log_sigmoid"),
    F + "mish": unary("mish"),
    F + "relu": unary("relu"),
    F + "relu6": unary("relu6"),
    F + "selu": unary("selu"),
    F + "silu": unary("silu"),
    F + "softplus": softplus,
    F + "softsign": unary("softsign"),
    F + "tanhshrink": unary("tanh_shrink"),
    F + "threshold": unary("threshold", threshold="threshold", value="value"),
}
FUNCTIONS: dict[str, Callable[[Any], Mapped]] = {
    **{name: unary(name) for name in SAME},
    "logit": unary("logit", eps="eps"),
    "nan_to_num": unary("nan_to_num", nan="nan", posinf="posinf", neginf="neginf"),
    **{n: binary(n) for n in ("atan2", "hypot", "logaddexp", "fmod", "remainder", "xlogy")},
    **{n: binary(n) for n in ("maximum", "minimum")},
    "softmax": along("softmax"),
    "log_softmax": along("log_softmax"),
    **ACTIVATIONS,
}
