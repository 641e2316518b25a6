"""Movements that are made of others: repeating, rolling, naming axes, diagonals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import (
    ONE,
    ZERO,
    check_axes,
    check_rank,
    divisors,
    eq,
    ge,
    le,
    product,
    proved,
    refuted,
    require_equal,
    require_positive,
    text,
)
from dlspec.ops.shape import (
    BroadcastTo,
    Concat,
    Reshape,
    Split,
    Squeeze,
    Transpose,
    Unsqueeze,
    slice_axis,
    swapped,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


def _roll(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    shifts, axes = arg.items(statics["shift"]), arg.items(statics["axis"])
    if len(shifts) != len(axes):
        b.fail(BAD_ARGUMENT, f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for value, place in zip(shifts, axes, strict=True):
        axis = arg.place(b, "roll", place, x.type.rank)
        size = x.type.shape[axis]
        shift = arg.dim(b, "roll: shift", value) % size
        if shift == ZERO:
            continue
        if not proved(b, ge(shift, ONE)):
            message = f"roll: whether {value} is a multiple of {size} must be known"
            b.require(ge(shift, ONE), message, BAD_ARGUMENT)
        head, tail = b.emit_all(Split((size - shift, shift), axis), x)
        x = b.emit(Concat(axis), tail, head)
    return x


def _tile(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    times = arg.dims(b, "tile: times", statics["times"])
    for n in times:
        require_positive(b, n, f"tile: {n} times, but it must be 1 or more")
    if len(times) < x.type.rank:
        times = (ONE,) * (x.type.rank - len(times)) + times
    shape = (ONE,) * (len(times) - x.type.rank) + x.type.shape
    if all(n == ONE for n in times):
        return b.emit(Reshape(shape), x) if len(shape) > x.type.rank else x
    lead = tuple(extent for n in shape for extent in (ONE, n))
    wide = tuple(extent for pair in zip(times, shape, strict=True) for extent in pair)
    repeated = b.emit(BroadcastTo(wide), b.emit(Reshape(lead), x))
    return b.emit(Reshape(tuple(n * t for n, t in zip(shape, times, strict=True))), repeated)


def _repeat_interleave(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    axis, times = arg.place(b, "repeat_interleave", statics["axis"], x.type.rank), statics["times"]
    require_positive(b, times, f"repeat_interleave: {times} times, but it must be 1 or more")
    if times == ONE:
        return x
    before, size, after = x.type.shape[:axis], x.type.shape[axis], x.type.shape[axis + 1 :]
    wide = b.emit(BroadcastTo((*before, size, times, *after)), b.emit(Unsqueeze((axis + 1,)), x))
    return b.emit(Reshape((*before, size * times, *after)), wide)


def _unbind(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Value, ...]:
    x: Value = tensors["x"]
    axis = arg.place(b, "unbind", statics["axis"], x.type.rank)
    parts = b.known(x.type.shape[axis])
    if parts == 1:
        return (b.emit(Squeeze((axis,)), x),)
    return tuple(
        b.emit(Squeeze((axis,)), part) for part in b.emit_all(Split((ONE,) * parts, axis), x)
    )


def _chunk(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Value, ...]:
    x: Value = tensors["x"]
    axis, parts = (
        arg.place(b, "chunk", statics["axis"], x.type.rank),
        arg.integer(b, statics["parts"]),
    )
    if parts < 1:
        b.fail(BAD_ARGUMENT, f"chunk: {parts} parts, but there must be 1 or more")
    size = x.type.shape[axis]
    if parts == 1:
        return (x,)
    if size.is_const:  # torch's rule: parts of the rounded-up size, the last one smaller
        each = -(-size.value // parts)
        sizes = [min(each, size.value - at) for at in range(0, size.value, each)]
        return b.emit_all(Split(tuple(map(Dim.const, sizes)), axis), x)
    message = f"chunk: axis {axis} of {text(x.type.shape)} does not divide into {parts} parts"
    if refuted(b, eq(size % parts, ZERO)):
        b.fail(NOT_DIVISIBLE, message, help=divisors(size))
    b.require(eq(size % parts, ZERO), message, NOT_DIVISIBLE)
    return b.emit_all(Split((size // parts,) * parts, axis), x)


def _expand(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    wanted = list(arg.dims(b, "expand: shape", statics["shape"]))
    lead = len(wanted) - x.type.rank
    for i, n in enumerate(wanted):
        if n == -ONE:
            if i < lead:
                b.fail(BAD_ARGUMENT, f"expand: -1 at axis {i}, which {text(x.type.shape)} has not")
            wanted[i] = x.type.shape[i - lead]
    return b.emit(BroadcastTo(tuple(wanted)), x)


def _swapaxes(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    first, second = (
        arg.place(b, "swapaxes", statics[name], x.type.rank) for name in ("first", "second")
    )
    return x if first == second else b.emit(swapped(x.type.rank, first, second), x)


def _moveaxis(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    rank = x.type.rank
    sources, targets = (
        check_axes(b, "moveaxis", [arg.integer(b, i) for i in arg.items(statics[name])], rank)
        for name in ("source", "target")
    )
    if len(sources) != len(targets):
        b.fail(BAD_ARGUMENT, f"moveaxis: {len(sources)} axes to {len(targets)} places")
    rest = iter(axis for axis in range(rank) if axis not in sources)
    chosen = dict(zip(targets, sources, strict=True))
    perm = tuple(chosen[i] if i in chosen else next(rest) for i in range(rank))
    return x if perm == tuple(range(rank)) else b.emit(Transpose(perm), x)


def diagonal(b: LayerBuilder, name: str, x: Value, offset: Dim) -> Value:
    """x[..., i, i + offset] along a last axis: the matrix as one row, every (columns + 1)-th."""
    check_rank(b, name, x.type, 2)
    rows, columns = x.type.shape[-2:]
    lead = x.type.shape[:-2]
    if not offset.is_const:
        b.fail(BAD_ARGUMENT, f"{name}: the offset {offset} must be a number")
    start = offset if offset.value >= 0 else -offset * columns
    right, down = (offset, ZERO) if offset.value >= 0 else (ZERO, -offset)
    flat = b.emit(Reshape((*lead, rows * columns)), x)
    size = _least(b, name, rows - down, columns - right, x)
    stop = start + (size - 1) * (columns + 1) + 1
    return b.emit(slice_axis(flat.type, flat.type.rank - 1, start, stop, columns + 1), flat)


def _least(b: LayerBuilder, name: str, rows: Dim, columns: Dim, x: Value) -> Dim:
    """The smaller of two sizes; which one must be decided."""
    message = f"{name}: the offset leaves nothing of {text(x.type.shape)}"
    for size in (rows, columns):
        require_positive(b, size, message)
    if proved(b, le(rows, columns)):
        return rows
    if not proved(b, le(columns, rows)):
        reason = f"{name}: {text(x.type.shape)} must not have fewer rows than columns"
        b.require(le(columns, rows), reason, RANK)
    return columns


def _diagonal(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return diagonal(b, "diagonal", tensors["x"], arg.dim(b, "diagonal: offset", statics["offset"]))


def _trace(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(Sum((-1,)), diagonal(b, "trace", tensors["x"], ZERO))


def _outer(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    from dlspec.ops.elementwise import Mul

    x, y = tensors["x"], tensors["y"]
    for value in (x, y):
        check_rank(b, "outer", value.type, 1)
    return b.emit(Mul(), b.emit(Unsqueeze((-1,)), x), b.emit(Unsqueeze((-2,)), y))


def _unflatten(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axis = arg.place(b, "unflatten", statics["axis"], x.type.rank)
    parts = list(arg.dims(b, "unflatten: shape", statics["shape"]))
    extent = x.type.shape[axis]
    open_places = [i for i, part in enumerate(parts) if part == -ONE]
    if len(open_places) > 1:
        b.fail(BAD_ARGUMENT, "unflatten: -1 stands twice")
    rest = product(part for part in parts if part != -ONE)
    message = f"unflatten: axis {axis} of {text(x.type.shape)} does not divide into {text(parts)}"
    if open_places:
        b.require(eq(extent % rest, ZERO), message, NOT_DIVISIBLE)
        parts[open_places[0]] = extent // rest
    else:
        require_equal(b, extent, rest, message)
    shape = x.type.shape
    return b.emit(Reshape((*shape[:axis], *parts, *shape[axis + 1 :])), x)


_LAST = StaticParam("axis", Dim.const(-1), ("int",))
_TIMES = StaticParam("times", kinds=("int",))

BUILTINS = (
    Builtin(
        "roll",
        ("x",),
        _roll,
        (StaticParam("shift", kinds=arg.INTS), StaticParam("axis", Dim.const(-1), arg.INTS)),
        doc="Moved along axes; what leaves at the end comes in at the start.",
    ),
    Builtin(
        "tile",
        ("x",),
        _tile,
        (StaticParam("times", kinds=("dims",)),),
        doc="x as often along each axis as `times` says.",
    ),
    Builtin(
        "repeat_interleave",
        ("x",),
        _repeat_interleave,
        (_TIMES, _LAST),
        doc="Each element so many times, one after the other, along an axis.",
    ),
    Builtin(
        "unbind",
        ("x",),
        _unbind,
        (StaticParam("axis", Dim.const(0), ("int",)),),
        doc="The parts along an axis, without it.",
    ),
    Builtin(
        "chunk",
        ("x",),
        _chunk,
        (StaticParam("parts", kinds=("int",)), _LAST),
        doc="Parts of equal size along an axis; the last one may be smaller.",
    ),
    Builtin(
        "expand",
        ("x",),
        _expand,
        (StaticParam("shape", kinds=("dims",)),),
        doc="x repeated to a shape; -1 keeps an extent.",
    ),
    Builtin(
        "unflatten",
        ("x",),
        _unflatten,
        (StaticParam("axis", kinds=("int",)), StaticParam("shape", kinds=("dims",))),
        doc="One axis as several; -1 is what is left.",
    ),
    Builtin(
        "swapaxes",
        ("x",),
        _swapaxes,
        (StaticParam("first", kinds=("int",)), StaticParam("second", kinds=("int",))),
        doc="Two axes exchanged.",
    ),
    Builtin(
        "moveaxis",
        ("x",),
        _moveaxis,
        (StaticParam("source", kinds=arg.INTS), StaticParam("target", kinds=arg.INTS)),
        doc="Axes moved to other places, the rest in order.",
    ),
    Builtin(
        "diagonal",
        ("x",),
        _diagonal,
        (StaticParam("offset", Dim.const(0), ("int",)),),
        doc="The diagonal of the last two axes.",
    ),
    Builtin("trace", ("x",), _trace, doc="The sum of the diagonal of the last two axes."),
    Builtin("outer", ("x", "y"), _outer, doc="x[..., i] y[..., j]."),
)
