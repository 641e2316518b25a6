"""Structural similarity of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.conv import Conv
from dlspec.ops.elementwise import Cast, Term
from dlspec.ops.reduce import Mean, Sum
from dlspec.ops.rules import ONE, ZERO, check_float, require_equal, text
from dlspec.ops.shape import Arange, Concat, Reshape, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


def _gaussian(b: LayerBuilder, window: Dim, statics: Mapping[str, Any], dtype: DType) -> Term:
    """exp(-d² / 2 σ²) at the distances d from the middle, of sum 1."""
    at = Term(b, b.emit(Cast(dtype), b.emit(Arange(ZERO, window, ONE, DType.I64))))
    distance = at - (at.like(window) - 1.0) * 0.5
    sigma = at.static(arg.number(b, statics["sigma"]))
    height = (-(distance / sigma).square() * 0.5).exp()
    return height / height.apply(Sum((0,)))


def _smoothed(b: LayerBuilder, maps: list[Term], kernel: Term, window: Dim) -> list[Term]:
    """Each image plane [N, C, H, W] filtered by the kernel along both axes, inside only."""
    n, c, h, w = maps[0].value.type.shape
    flat = [m.apply(Reshape((n * c, ONE, h, w))).value for m in maps]
    planes = b.emit(Concat(0), *flat)
    for shape in ((ONE, ONE, window, ONE), (ONE, ONE, ONE, window)):
        weight = b.emit(Reshape(shape), kernel.value)
        inside = Conv((ONE, ONE), ((ZERO, ZERO), (ZERO, ZERO)), (ONE, ONE), ONE)
        planes = b.emit(inside, planes, weight)
    return [Term(b, v) for v in b.emit_all(Split((n * c,) * len(maps), 0), planes)]


def _ssim(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    """(2 μx μt + c1) (2 σxt + c2) / ((μx² + μt² + c1) (σx² + σt² + c2)), the mean over places,
    channels and images; c1 = (0.01 peak)², c2 = (0.03 peak)² (Wang et al. 2004)."""
    x, target = tensors["x"], tensors["target"]
    if x.type.rank != 4 or target.type.rank != 4:
        shapes = f"{text(x.type.shape)} and {text(target.type.shape)}"
        b.fail(RANK, f"ssim needs images [N, C, H, W], not {shapes}")
    check_float(b, "ssim", x.type, target.type)
    message = f"ssim: {text(x.type.shape)} and {text(target.type.shape)} differ"
    for one, other in zip(x.type.shape, target.type.shape, strict=True):
        require_equal(b, one, other, message)
    window = arg.dim(b, "ssim: window", statics["window"])
    arg.at_least(b, "ssim", "`window`", (window,), 1)
    for name in ("sigma", "peak"):
        if arg.bare(b, arg.number(b, statics[name])) <= 0:
            b.fail(BAD_ARGUMENT, f"ssim: `{name}` must be positive")
    first, second = Term(b, x), Term(b, target)
    kernel = _gaussian(b, window, statics, x.type.dtype)
    maps = [first, second, first.square(), second.square(), first * second]
    mx, mt, xx, tt, xt = _smoothed(b, maps, kernel, window)
    peak = first.static(arg.number(b, statics["peak"])).square()
    c1, c2 = peak * 0.01**2, peak * 0.03**2
    both, squares = mx * mt, mx.square() + mt.square()
    above = (both * 2.0 + c1) * ((xt - both) * 2.0 + c2)
    below = (squares + c1) * (xx + tt - squares + c2)
    return (above / below).apply(Mean((0, 1, 2, 3))).value


BUILTINS = (
    Builtin(
        "ssim",
        ("x", "target"),
        _ssim,
        (
            StaticParam("peak", 1.0, arg.NUMBER),
            StaticParam("window", Dim.const(11), ("int",)),
            StaticParam("sigma", 1.5, arg.NUMBER),
        ),
        doc="Structural similarity of images [N, C, H, W], by a gaussian window.",
    ),
)
