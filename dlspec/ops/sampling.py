"""Images read at given places (Jaderberg et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import RANK, SHAPE
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import (
    Cast,
    Floor,
    GreaterEqual,
    LessEqual,
    LogicalAnd,
    Maximum,
    Minimum,
    Round,
    Term,
)
from dlspec.ops.indexing import TakeAlong
from dlspec.ops.linalg import MatMul
from dlspec.ops.rules import ONE, ZERO, check_float, eq, product, refuted, require_equal, text
from dlspec.ops.shape import Arange, BroadcastTo, Reshape, Stack, slice_axis, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

TWO = Dim.const(2)


@dataclass(frozen=True)
class GridSample(Composite):
    """x [N, C, H, W] at the places grid [N, P, Q, 2], (x, y) from -1 to 1 over the image (torch's).

    align_corners: -1 and 1 are the centres of the outer pixels, else their outer edges. Outside
    are zeros, or with padding "border" the outer pixels go on.
    """

    mode: str = "bilinear"
    padding: str = "zeros"
    align_corners: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, grid = operands
        check_float(shapes, "grid_sample", x, grid)
        if x.rank != 4 or grid.rank != 4:
            found = f"{text(x.shape)} and {text(grid.shape)}"
            shapes.fail(RANK, f"grid_sample: {found} are not [N, C, H, W] and [N, P, Q, 2]")
        message = f"grid_sample: {x.shape[0]} images and {grid.shape[0]} grids"
        require_equal(shapes, x.shape[0], grid.shape[0], message)
        if refuted(shapes, eq(grid.shape[3], TWO)):
            shapes.fail(SHAPE, f"grid_sample: a place of {text(grid.shape)} is not a pair (x, y)")
        message = f"grid_sample: {grid.shape[3]} numbers for a place"
        require_equal(shapes, grid.shape[3], TWO, message)
        return (TensorType(x.dtype, (*x.shape[:2], *grid.shape[1:3])),)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, grid = operands
        batch, channels, high, wide = x.type.shape
        count = product(grid.type.shape[1:3])
        flat = b.emit(Reshape((batch, channels, high * wide)), x)
        across, down = (
            self.place(Term(b, _coordinate(b, grid, i, count)), n)
            for i, n in ((0, wide), (1, high))
        )
        total: Term | None = None
        for row, row_weight in self.corners(down, high):
            for column, weight in self.corners(across, wide):
                index = (row * wide + column).apply(Cast(DType.I64)).value
                spread = b.emit(BroadcastTo((batch, channels, count)), index)
                part = Term(b, b.emit(TakeAlong(2), flat, spread)) * (row_weight * weight)
                total = part if total is None else total + part
        assert total is not None
        return (b.emit(Reshape((batch, channels, *grid.type.shape[1:3])), total.value),)

    def place(self, at: Term, extent: Dim) -> Term:
        """A coordinate from -1 to 1 as a pixel's index."""
        if self.align_corners:
            found = (at + 1.0) * 0.5 * (extent - 1)
        else:
            found = ((at + 1.0) * extent - 1.0) * 0.5
        return _within(found, extent) if self.padding == "border" else found

    def corners(self, at: Term, extent: Dim) -> list[tuple[Term, Term]]:
        """The pixels on both sides, or the nearest, inside the image, with their weights; the
        weight of one outside is 0."""
        if self.mode == "nearest":
            first = at.apply(Round())
            return [(_within(first, extent), _inside(first, extent))]
        first = at.apply(Floor())
        share = at - first
        return [
            (_within(first, extent), (1.0 - share) * _inside(first, extent)),
            (_within(first + 1.0, extent), share * _inside(first + 1.0, extent)),
        ]

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return (8 if self.mode == "bilinear" else 1) * product(results[0].shape)


def _coordinate(b: Builder, grid: Value, i: int, count: Dim) -> Value:
    """One coordinate of each place, [N, 1, L]."""
    part = b.emit(slice_axis(grid.type, 3, Dim.const(i), Dim.const(i + 1)), grid)
    return b.emit(Reshape((grid.type.shape[0], ONE, count)), part)


def _within(at: Term, extent: Dim) -> Term:
    return at.apply(Maximum(), at.like(0.0)).apply(Minimum(), at.like(extent - 1))


def _inside(at: Term, extent: Dim) -> Term:
    above, below = (
        at.apply(GreaterEqual(), at.like(0.0)),
        at.apply(LessEqual(), at.like(extent - 1)),
    )
    return above.apply(LogicalAnd(), below).apply(Cast(at.value.type.dtype))


# --- the language ---


def _grid_sample(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    mode = arg.word(b, "grid_sample: mode", statics["mode"], ("bilinear", "nearest"))
    padding = arg.word(b, "grid_sample: padding", statics["padding"], ("zeros", "border"))
    op = GridSample(mode, padding, arg.flag(statics["align_corners"]))
    return b.emit(op, tensors["x"], tensors["grid"])


def _line(b: LayerBuilder, like: Value, extent: Dim, align: bool) -> Term:
    """The centres of so many pixels between -1 and 1."""
    index = Term(b, b.emit(Arange(ZERO, extent, ONE, DType.I64)))
    at = index.apply(Cast(like.type.dtype))
    if align:
        return at * 2.0 / (extent - 1) - 1.0
    return (at * 2.0 + 1.0) / extent - 1.0


def _affine_grid(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    theta: Value = tensors["theta"]
    check_float(b, "affine_grid", theta.type)
    high, wide = arg.per_axis(b, "affine_grid", "size", statics["size"], 2)
    shape = theta.type.shape
    if len(shape) != 3 or any(
        refuted(b, eq(n, Dim.const(k))) for n, k in zip(shape[1:], (2, 3), strict=True)
    ):
        b.fail(SHAPE, f"affine_grid: {text(shape)} is not [N, 2, 3], one matrix for each image")
    for n, k in zip(shape[1:], (2, 3), strict=True):
        require_equal(b, n, Dim.const(k), f"affine_grid: {text(shape)} is not [N, 2, 3]")
    align = arg.flag(statics["align_corners"])
    across = _line(b, theta, wide, align).value
    down = b.emit(Reshape((high, ONE)), _line(b, theta, high, align).value)
    plane = (high, wide)
    ones = b.emit(BroadcastTo(plane), b.constant(1.0, like=theta))
    sides = [b.emit(BroadcastTo(plane), v) for v in (across, down)]
    places = b.emit(Reshape((high * wide, Dim.const(3))), b.emit(Stack(2), *sides, ones))
    moved = b.emit(MatMul(), places, b.emit(swapped(3), theta))
    return b.emit(Reshape((shape[0], high, wide, TWO)), moved)


_ALIGN = StaticParam("align_corners", False, arg.FLAG)

BUILTINS = (
    Builtin(
        "grid_sample",
        ("x", "grid"),
        _grid_sample,
        (
            StaticParam("mode", "bilinear", ("string",)),
            StaticParam("padding", "zeros", ("string",)),
            _ALIGN,
        ),
        doc="[N, C, H, W] at the places [N, P, Q, 2], (x, y) from -1 to 1 over the image.",
    ),
    Builtin(
        "affine_grid",
        ("theta",),
        _affine_grid,
        (StaticParam("size", kinds=arg.INTS), _ALIGN),
        doc="The places to which matrices [N, 2, 3] move the pixels of an image of a size: "
        "[N, H, W, 2].",
    ),
)
