"""Norms, distances and the nearest vector of a codebook."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Any

from dlspec.codes import RANK
from dlspec.ir.dims import Dim
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Abs, Cast, Maximum, StopGradient, Term
from dlspec.ops.indexing import Take
from dlspec.ops.linalg import MatMul
from dlspec.ops.reduce import ArgMin, Max, Min, Norm, Sum
from dlspec.ops.rules import broadcast, check_float, check_rank, require_equal, text
from dlspec.ops.shape import BroadcastTo, Unsqueeze, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


def norm(b: LayerBuilder, x: Value, p: float, axes: tuple[int, ...], keep: bool) -> Term:
    """(Σ |x|^p)^(1/p); p = inf: max |x|; p = 0: how many are not 0."""
    check_float(b, "norm", x.type)
    if p == 2:
        return Term(b, b.emit(Norm(axes, keep), x))
    size = Term(b, x).apply(Abs())
    if isinf(p):
        return size.apply(Max(axes, keep) if p > 0 else Min(axes, keep))
    if p == 0:
        some = Term(b, b.emit(Cast(x.type.dtype), (size > 0.0).value))
        return some.apply(Sum(axes, keep))
    if p == 1:
        return size.apply(Sum(axes, keep))
    return (size**p).apply(Sum(axes, keep)) ** (1.0 / p)


# --- the language ---


def _norm(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axes = arg.axes(b, "norm", statics["axis"], x.type.rank)
    keep = arg.flag(statics["keepdims"])
    return norm(b, x, arg.bare(b, statics["p"]), axes, keep).value


def _normalize(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axis = arg.axis(b, "normalize", statics["axis"], x.type.rank)
    size = norm(b, x, arg.bare(b, statics["p"]), (axis,), True)
    least = size.static(arg.number(b, statics["eps"]))
    return (Term(b, x) / size.apply(Maximum(), least)).value


def _cosine(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, y = _together(b, "cosine_similarity", tensors["x"], tensors["y"])
    axis = arg.axis(b, "cosine_similarity", statics["axis"], x.type.rank)
    least = Term(b, x).static(arg.number(b, statics["eps"]))
    sizes = [Term(b, b.emit(Norm((axis,), True), v)).apply(Maximum(), least) for v in (x, y)]
    return ((Term(b, x) / sizes[0]) * (Term(b, y) / sizes[1])).apply(Sum((axis,))).value


def _together(b: LayerBuilder, name: str, x: Value, y: Value) -> tuple[Value, Value]:
    """Both in the shape to which they broadcast."""
    check_float(b, name, x.type, y.type)
    shape = broadcast(b, name, x.type.shape, y.type.shape)
    x, y = (v if v.type.shape == shape else b.emit(BroadcastTo(shape), v) for v in (x, y))
    return x, y


def _distance(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, y = _together(b, "pairwise_distance", tensors["x"], tensors["y"])
    check_rank(b, "pairwise_distance", x.type, 1)
    gap = Term(b, x) - Term(b, y) + Term(b, x).static(arg.number(b, statics["eps"]))
    keep = arg.flag(statics["keepdims"])
    return norm(b, gap.value, arg.bare(b, statics["p"]), (-1,), keep).value


def _cdist(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, y = tensors["x"], tensors["y"]
    check_float(b, "cdist", x.type, y.type)
    for value in (x, y):
        check_rank(b, "cdist", value.type, 2)
    left, right = x.type.shape, y.type.shape
    message = f"cdist: rows of {text(left)} and of {text(right)} differ"
    require_equal(b, left[-1], right[-1], message)
    broadcast(b, "cdist", left[:-2], right[:-2])
    gap = Term(b, b.emit(Unsqueeze((-2,)), x)) - Term(b, b.emit(Unsqueeze((-3,)), y))
    return norm(b, gap.value, arg.bare(b, statics["p"]), (-1,), False).value


def _distances(b: LayerBuilder, x: Value, codebook: Value) -> Term:
    """|x|² - 2 x · c + |c|² for each code c: [..., K]."""
    codes = Term(b, codebook)
    product = Term(b, x).apply(MatMul(), Term(b, b.emit(swapped(2), codebook)))
    own = Term(b, x).square().apply(Sum((-1,), True))
    return own - product * 2.0 + codes.square().apply(Sum((-1,)))


def _quantize(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Value, Value]:
    x, codebook = tensors["x"], tensors["codebook"]
    check_float(b, "quantize", x.type, codebook.type)
    check_rank(b, "quantize", x.type, 2)
    if codebook.type.rank != 2:
        b.fail(RANK, f"quantize: the codebook is [codes, size], not {text(codebook.type.shape)}")
    message = f"quantize: {text(x.type.shape)} and codes of {codebook.type.shape[-1]}"
    require_equal(b, x.type.shape[-1], codebook.type.shape[-1], message)
    fixed = b.emit(StopGradient(), codebook)
    index = _distances(b, b.emit(StopGradient(), x), fixed).apply(ArgMin(-1)).value
    return b.emit(Take(0), codebook, index), index


def _straight_through(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    value, source = Term(b, tensors["value"]), Term(b, tensors["source"])
    return (source + (value - source).apply(StopGradient())).value


_LAST = StaticParam("axis", Dim.const(-1), ("int",))
_P = StaticParam("p", 2.0, arg.NUMBER)
_KEEP = StaticParam("keepdims", False, arg.FLAG)

BUILTINS = (
    Builtin(
        "norm",
        ("x",),
        _norm,
        (StaticParam("axis", None, arg.AXES), _KEEP, _P),
        doc="(Σ |x|^p)^(1/p) over axes; p may be inf, -inf and 0.",
    ),
    Builtin(
        "normalize",
        ("x",),
        _normalize,
        (_LAST, _P, StaticParam("eps", 1e-12, arg.NUMBER)),
        doc="x / max(norm, eps) along an axis.",
    ),
    Builtin(
        "cosine_similarity",
        ("x", "y"),
        _cosine,
        (_LAST, StaticParam("eps", 1e-8, arg.NUMBER)),
        doc="x · y / (max(|x|, eps) max(|y|, eps)) along an axis.",
    ),
    Builtin(
        "pairwise_distance",
        ("x", "y"),
        _distance,
        (_P, StaticParam("eps", 1e-6, arg.NUMBER), _KEEP),
        doc="The norm of x - y + eps along the last axis.",
    ),
    Builtin(
        "cdist",
        ("x", "y"),
        _cdist,
        (StaticParam("p", 2.0, arg.NUMBER),),
        doc="The distance of each row of x [..., P, D] to each of y [..., R, D]: [..., P, R].",
    ),
    Builtin(
        "quantize",
        ("x", "codebook"),
        _quantize,
        output_names=("codes", "indices"),
        doc="For each vector its nearest row of the codebook [K, D], and which it is.",
    ),
    Builtin(
        "straight_through",
        ("value", "source"),
        _straight_through,
        doc="value, with the gradient of source (Bengio et al. 2013).",
    ),
)
