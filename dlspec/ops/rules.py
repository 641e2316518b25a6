"""What shape and gradient rules share: axes, broadcasting, element types, windows."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from dlspec.codes import BAD_ARGUMENT, DTYPE, NEGATIVE_SIZE, RANK, SHAPE
from dlspec.ir.dims import Dim, dim_max
from dlspec.ir.facts import Relation, Truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dlspec.ir.types import DType, TensorType
    from dlspec.ops.base import Builder, Op, Shapes

ONE = Dim.const(1)
ZERO = Dim.const(0)


def text(shape: Sequence[Dim]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def name_of(op: Op) -> str:
    """The op's name in messages: `LogSoftmax` is `log_softmax`."""
    word = type(op).__name__
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(word))


def product(extents: Iterable[Dim]) -> Dim:
    return prod(extents, start=ONE)


# --- relations ---


def eq(left: Dim, right: Dim) -> Relation:
    return Relation("==", left, right)


def ge(left: Dim, right: Dim) -> Relation:
    return Relation(">=", left, right)


def le(left: Dim, right: Dim) -> Relation:
    return Relation("<=", left, right)


def proved(shapes: Shapes | Builder, relation: Relation) -> bool:
    return shapes.decide(relation) is Truth.PROVED


def refuted(shapes: Shapes | Builder, relation: Relation) -> bool:
    return shapes.decide(relation) is Truth.REFUTED


def require_equal(
    shapes: Shapes, left: Dim, right: Dim, message: str, notes: Sequence[str] = (), help: str = ""
) -> None:
    """left == right, or `message` as an error of code SHAPE."""
    if left == right:
        return
    relation = eq(left, right)
    if refuted(shapes, relation):
        shapes.fail(SHAPE, message, notes=notes, help=help)
    shapes.require(relation, message, SHAPE)


def require_positive(shapes: Shapes, size: Dim, message: str, help: str = "") -> None:
    """size >= 1, or `message` as an error of code NEGATIVE_SIZE."""
    relation = ge(size, ONE)
    if refuted(shapes, relation):
        shapes.fail(NEGATIVE_SIZE, message, help=help)
    shapes.require(relation, message, NEGATIVE_SIZE)


# --- axes and element types ---


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from 0. Only for axes that `check_axis` has seen."""
    return axis + rank if axis < 0 else axis


def divisors(extent: Dim) -> str:
    """What a known extent divides by, as a help line."""
    if not extent.is_const or extent.value < 1:
        return ""
    found = [str(d) for d in range(1, min(extent.value, 4096) + 1) if extent.value % d == 0]
    return f"{extent} divides by {', '.join(found[:12])}{', …' if len(found) > 12 else ''}"


def check_axis(shapes: Shapes, name: str, axis: int, rank: int) -> int:
    """The axis counted from 0; an error where there is none."""
    if not -rank <= axis < rank:
        span = f"the axes are {-rank} to {rank - 1}" if rank else "a scalar has no axes"
        shapes.fail(BAD_ARGUMENT, f"{name}: no axis {axis} in a tensor of rank {rank}", help=span)
    return axis_of(axis, rank)


def check_axes(shapes: Shapes, name: str, axes: Sequence[int], rank: int) -> tuple[int, ...]:
    found = tuple(check_axis(shapes, name, axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        shapes.fail(BAD_ARGUMENT, f"{name}: axis given twice: {', '.join(map(str, axes))}")
    return found


def check_rank(
    shapes: Shapes, name: str, type: TensorType, least: int, what: str = "input"
) -> None:
    if type.rank < least:
        axes = "1 axis" if least == 1 else f"{least} axes"
        shapes.fail(RANK, f"{name}: the {what} needs at least {axes}, but is {text(type.shape)}")


def check_float(shapes: Shapes, name: str, *types: TensorType) -> DType:
    """All are floats of one type."""
    for type in types:
        if not type.dtype.is_float:
            shapes.fail(
                DTYPE,
                f"{name}: needs floats, but the input is {type.dtype.value}",
                help='`cast(x, "float")` converts',
            )
    return check_same(shapes, name, *types)


def check_same(shapes: Shapes, name: str, *types: TensorType) -> DType:
    for type in types[1:]:
        if type.dtype is not types[0].dtype:
            shapes.fail(
                DTYPE,
                f"{name}: element types differ: {types[0].dtype.value} and {type.dtype.value}",
                help="nothing is converted silently: use `cast`",
            )
    return types[0].dtype


def check_int(shapes: Shapes, name: str, what: str, type: TensorType) -> None:
    if not type.dtype.is_int:
        shapes.fail(DTYPE, f"{name}: {what} must be integers, but are {type.dtype.value}")


# --- broadcasting ---


def broadcast(
    shapes: Shapes, name: str, left: Sequence[Dim], right: Sequence[Dim]
) -> tuple[Dim, ...]:
    """NumPy's rule: aligned at the last axis, extents equal or one of them 1. An extent that is
    not known to be 1 must be equal to the other."""
    rank = max(len(left), len(right))
    wide_left = (ONE,) * (rank - len(left)) + tuple(left)
    wide_right = (ONE,) * (rank - len(right)) + tuple(right)
    return tuple(
        _broadcast_extent(shapes, name, a, b, left, right)
        for a, b in zip(wide_left, wide_right, strict=True)
    )


def _broadcast_extent(
    shapes: Shapes, name: str, a: Dim, b: Dim, left: Sequence[Dim], right: Sequence[Dim]
) -> Dim:
    if a == b or b == ONE:
        return a
    if a == ONE:
        return b
    relation = eq(a, b)
    if proved(shapes, relation):
        return a
    if proved(shapes, eq(a, ONE)):
        return b
    if proved(shapes, eq(b, ONE)):
        return a
    message = f"{name}: shapes {text(left)} and {text(right)} do not broadcast"
    if refuted(shapes, relation):
        shapes.fail(SHAPE, message, notes=[f"{a} is neither {b} nor 1"])
    shapes.require(relation, message, SHAPE)
    return a


# --- windows (convolution and pooling) ---

Pairs = tuple[tuple[Dim, Dim], ...]
Padding = Pairs | str  # pairs (before, after) of each spatial axis, or "same"


def window_text(kernel: Sequence[Dim]) -> str:
    return "×".join(map(str, kernel))


def extent_of_kernel(kernel: Dim, dilation: Dim) -> Dim:
    return dilation * (kernel - 1) + 1


def same_pairs(
    sizes: Sequence[Dim], kernel: Sequence[Dim], stride: Sequence[Dim], dilation: Sequence[Dim]
) -> Pairs:
    """What "same" pads: max(0, (ceil(n / s) - 1) s + (k - 1) d + 1 - n), its odd part at the end
    (TensorFlow's rule)."""
    pairs: list[tuple[Dim, Dim]] = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        covered = ((n + s - 1) // s - 1) * s
        total = dim_max(ZERO, covered + extent_of_kernel(k, d) - n)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


def window_sizes(
    shapes: Shapes,
    name: str,
    sizes: Sequence[Dim],
    kernel: Sequence[Dim],
    stride: Sequence[Dim],
    padding: Padding,
    dilation: Sequence[Dim],
) -> tuple[Dim, ...]:
    """floor((n + before + after - d (k - 1) - 1) / s) + 1 for each axis; "same": ceil(n / s)."""
    if isinstance(padding, str):
        return tuple((n + s - 1) // s for n, s in zip(sizes, stride, strict=True))
    out: list[Dim] = []
    for n, k, s, (before, after), d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        room = n + before + after - extent_of_kernel(k, d)
        require_positive(
            shapes,
            room + 1,
            f"{name}: a window of {window_text(kernel)} does not fit into {text(sizes)}",
            help="pad more, or make the window smaller",
        )
        out.append(room // s + 1)
    return tuple(out)
