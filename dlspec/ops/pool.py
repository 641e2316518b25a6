"""Pooling over windows of the spatial axes of [N, C, *S]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.dims import Dim, dim_min
from dlspec.ir.static import plain
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Abs, FloorDiv, Minimum, Pow, Term
from dlspec.ops.indexing import Take
from dlspec.ops.reduce import Max, Mean
from dlspec.ops.rules import (
    ONE,
    ZERO,
    Padding,
    check_float,
    check_rank,
    eq,
    extent_of_kernel,
    le,
    name_of,
    product,
    proved,
    same_pairs,
    window_sizes,
)
from dlspec.ops.shape import Arange, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes
    from dlspec.ops.rules import Pairs


@dataclass(frozen=True)
class Pooling(Op):
    """padding: pairs (before, after) of each spatial axis, or "same" (TensorFlow's rule).
    ceil: a last window may hang over the end, if it starts inside the input or the padding
    before it (torch)."""

    kernel: tuple[Dim, ...]
    stride: tuple[Dim, ...]
    padding: Padding
    ceil: bool = False

    def pairs(self, sizes: Sequence[Dim]) -> Pairs:
        """The padding as pairs, for an input of these spatial sizes."""
        if isinstance(self.padding, str):
            return same_pairs(sizes, self.kernel, self.stride, self.spread())
        return self.padding

    def spread(self) -> tuple[Dim, ...]:
        """The distance of a window's elements along each axis."""
        return (ONE,) * len(self.kernel)

    def sizes(self, x: TensorType, shapes: Shapes) -> tuple[Dim, ...]:
        spread = self.spread()
        name = name_of(self)
        spatial = x.shape[2:]
        out = window_sizes(shapes, name, spatial, self.kernel, self.stride, self.padding, spread)
        if isinstance(self.padding, str):
            return out
        kernel = tuple(map(extent_of_kernel, self.kernel, spread))
        for k, (before, after) in zip(kernel, self.padding, strict=True):
            for pad in (before, after):  # else a window of nothing but padding
                reason = f"{name}: padding {pad} is more than half the window {k}"
                shapes.require(le(2 * pad, k), reason, BAD_ARGUMENT)
        if not self.ceil:
            return out
        return tuple(
            # the last window that is needed, or the last that starts in time
            dim_min(n + before + after - k + s - 1, n + before - 1) // s + 1
            for n, k, s, (before, after) in zip(
                spatial, kernel, self.stride, self.padding, strict=True
            )
        )

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x = operands[0]
        check_float(shapes, name_of(self), x)
        check_rank(shapes, name_of(self), x, len(self.kernel) + 2)
        return (TensorType(x.dtype, (*x.shape[:2], *self.sizes(x, shapes))),)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(results[0].shape) * product(self.kernel)


@dataclass(frozen=True)
class Spread(Pooling):
    """dilation: the distance of a window's elements along each axis; () for 1."""

    dilation: tuple[Dim, ...] = ()

    def spread(self) -> tuple[Dim, ...]:
        return self.dilation or super().spread()


@dataclass(frozen=True)
class MaxPool(Spread):
    """The largest element of each window; padding never wins. The gradient goes to the first of
    equal elements, in row-major order."""

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
        op = MaxPoolGrad(self.kernel, self.stride, self.padding, self.ceil, self.dilation)
        return (b.emit(op, operands[0], results[0], g),)


@dataclass(frozen=True)
class MaxPoolGrad(Spread):
    """From x, y = MaxPool(x) and dy to dx: each dy is added where its window has its maximum."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, y, _) = grads, operands
        if g is None:
            return (None, None, None)
        op = MaxPoolSelect(self.kernel, self.stride, self.padding, self.ceil, self.dilation)
        return None, None, b.emit(op, x, y, g)


@dataclass(frozen=True)
class MaxPoolSelect(Spread):
    """From x, y = MaxPool(x) and v of x's shape: v where each window of x has its maximum. The
    transpose of MaxPoolGrad in dy."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[1],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, y, _) = grads, operands
        if g is None:
            return (None, None, None)
        op = MaxPoolGrad(self.kernel, self.stride, self.padding, self.ceil, self.dilation)
        return None, None, b.emit(op, x, y, g)


@dataclass(frozen=True)
class AvgPool(Pooling):
    """The mean of each window. count_padding: padding counts as zeros (torch's default), else
    only elements of the input count. What hangs over the end (`ceil`) never counts."""

    count_padding: bool = True

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
        size = operands[0].type.shape[2:]
        op = AvgPoolGrad(
            self.kernel, self.stride, self.padding, self.ceil, self.count_padding, size
        )
        return (b.emit(op, g),)


@dataclass(frozen=True)
class AvgPoolGrad(Pooling):
    """The transpose of AvgPool: from dy to dx [N, C, *size]."""

    count_padding: bool = True
    size: tuple[Dim, ...] = ()

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (dy,) = operands
        return (TensorType(dy.dtype, (*dy.shape[:2], *self.size)),)

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
        op = AvgPool(self.kernel, self.stride, self.padding, self.ceil, self.count_padding)
        return (b.emit(op, g),)


# --- the language ---


def _pool(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    rank = arg.spatial_rank(b, name, x)
    kernel = arg.per_axis(b, name, "size", statics["size"], rank)
    stride = kernel
    if plain(statics["stride"]) is not None:
        stride = arg.per_axis(b, name, "stride", statics["stride"], rank)
    padding = arg.padding(b, name, statics["padding"], rank)
    ceil = arg.flag(statics["ceil"])
    if ceil and isinstance(padding, str):
        b.fail(BAD_ARGUMENT, f'{name}: padding "same" and ceil exclude each other')
    if name == "max_pool":
        dilation = arg.per_axis(b, name, "dilation", statics["dilation"], rank)
        spread = () if all(d == ONE for d in dilation) else dilation
        return b.emit(MaxPool(kernel, stride, padding, ceil, spread), x)
    return b.emit(AvgPool(kernel, stride, padding, ceil, arg.flag(statics["count_padding"])), x)


def _global(
    op: type[Max | Mean],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    x: Value = tensors["x"]
    rank = arg.spatial_rank(b, name, x)
    return b.emit(op(tuple(range(2, rank + 2)), arg.flag(statics["keepdims"])), x)


def _adaptive_max_pool(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    """Windows from floor(i n / size) to ceil((i + 1) n / size)."""
    x: Value = tensors["x"]
    name = "adaptive_max_pool"
    rank = arg.spatial_rank(b, name, x)
    size = arg.per_axis(b, name, "size", statics["size"], rank)
    sizes = list(zip(x.type.shape[2:], size, strict=True))
    if all(proved(b, eq(n % out, ZERO)) for n, out in sizes):  # all windows are alike
        kernel = tuple(n // out for n, out in sizes)
        return b.emit(MaxPool(kernel, kernel, ((ZERO, ZERO),) * rank), x)
    for axis, (n, out) in enumerate(sizes, 2):
        x = b.emit(Max((axis + 1,)), b.emit(Take(axis), x, _uneven_windows(b, n, out)))
    return x


def _uneven_windows(b: LayerBuilder, n: Dim, out: Dim) -> Value:
    """The elements of each window as indices [out, K]; a shorter one has its last twice."""
    first = Term(b, b.emit(Arange(ZERO, out, ONE, DType.I64)))
    start = (first * n).apply(FloorDiv(), first.like(out))
    last = (first * n + (n + out - 1)).apply(FloorDiv(), first.like(out)) - 1
    longest = n // out + 2
    tap = Term(b, b.emit(Arange(ZERO, longest, ONE, DType.I64)))
    column = Term(b, b.emit(Unsqueeze((1,)), start.value))
    return (column + tap).apply(Minimum(), Term(b, b.emit(Unsqueeze((1,)), last.value))).value


def _lp_pool(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    """(Σ |x|^p)^(1/p): the mean of |x|^p, times the window's size."""
    p = arg.number(b, statics["p"])
    if arg.bare(b, p) <= 0:
        b.fail(BAD_ARGUMENT, f"lp_pool: p is {arg.bare(b, p)}, but must be positive")
    x = Term(b, tensors["x"])
    powers = x.apply(Abs()).apply(Pow(), x.static(p)).value
    rest = {**statics, "padding": Dim.const(0), "count_padding": True}
    mean = Term(b, _pool("avg_pool", b, {"x": powers}, rest))
    area = product(arg.per_axis(b, "lp_pool", "size", statics["size"], x.value.type.rank - 2))
    root = mean.like(1.0) / mean.static(p)
    return (mean * area).apply(Pow(), root).value


_WINDOW = (
    StaticParam("size", kinds=arg.INTS),
    StaticParam("stride", None, ("ints", "none")),
    StaticParam("padding", Dim.const(0), ("ints", "string")),
    StaticParam("ceil", False, arg.FLAG),
)
_KEEP = (StaticParam("keepdims", False, arg.FLAG),)

BUILTINS = (
    Builtin(
        "max_pool",
        ("x",),
        partial(_pool, "max_pool"),
        (*_WINDOW, StaticParam("dilation", Dim.const(1), arg.INTS)),
        doc="The largest element of each window; stride is the size unless given.",
    ),
    Builtin(
        "avg_pool",
        ("x",),
        partial(_pool, "avg_pool"),
        (*_WINDOW, StaticParam("count_padding", True, arg.FLAG)),
        doc="The mean of each window; stride is the size unless given.",
    ),
    Builtin(
        "global_avg_pool",
        ("x",),
        partial(_global, Mean, "global_avg_pool"),
        _KEEP,
        doc="The mean over all spatial axes: [N, C, …] to [N, C].",
    ),
    Builtin(
        "global_max_pool",
        ("x",),
        partial(_global, Max, "global_max_pool"),
        _KEEP,
        doc="The largest element over all spatial axes: [N, C, …] to [N, C].",
    ),
    Builtin(
        "adaptive_max_pool",
        ("x",),
        _adaptive_max_pool,
        (StaticParam("size", kinds=arg.INTS),),
        doc="The largest of windows such that the result has the given size, a divisor.",
    ),
    Builtin(
        "lp_pool",
        ("x",),
        _lp_pool,
        (
            StaticParam("p", kinds=arg.NUMBER),
            StaticParam("size", kinds=arg.INTS),
            StaticParam("stride", None, ("ints", "none")),
            StaticParam("ceil", False, arg.FLAG),
        ),
        doc="The p-norm of each window; stride is the size unless given.",
    ),
)
