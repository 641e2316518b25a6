"""Ops that move elements: reshape, transpose, concat, split, slice, pad."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import reduce_to
from dlspec.ops.rules import (
    ONE,
    ZERO,
    axis_of,
    check_axes,
    check_axis,
    check_rank,
    check_same,
    divisors,
    eq,
    ge,
    le,
    product,
    refuted,
    require_equal,
    require_positive,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class Movement(Op):
    """Moves elements; costs no arithmetic. Linear in every operand: gradients of any order."""

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None or not g.type.dtype.is_float:
            return (None,) * len(operands)
        return self.pullback(b, operands, g)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        raise NotImplementedError


@dataclass(frozen=True)
class Reshape(Movement):
    """The same elements in row-major order, in another shape."""

    shape: Shape

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        old, new = product(x.shape), product(self.shape)
        message = f"reshape: {text(x.shape)} has not as many elements as {text(self.shape)}"
        require_equal(shapes, old, new, message, notes=[f"{old} and {new} elements"])
        return (TensorType(x.dtype, self.shape),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (b.emit(Reshape(operands[0].type.shape), g),)


@dataclass(frozen=True)
class Flatten(Movement):
    """All axes from `axis` on as one."""

    axis: int = 1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_rank(shapes, "flatten", x, 1)
        if x.rank == self.axis == 1:  # [N] becomes [N, 1]
            return (TensorType(x.dtype, (*x.shape, ONE)),)
        axis = check_axis(shapes, "flatten", self.axis, x.rank)
        return (TensorType(x.dtype, (*x.shape[:axis], product(x.shape[axis:]))),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (b.emit(Reshape(operands[0].type.shape), g),)


@dataclass(frozen=True)
class Unsqueeze(Movement):
    """New axes of extent 1, at places that count in the result."""

    axes: tuple[int, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        rank = x.rank + len(self.axes)
        places = check_axes(shapes, "unsqueeze", self.axes, rank)
        rest = iter(x.shape)
        return (
            TensorType(x.dtype, tuple(ONE if i in places else next(rest) for i in range(rank))),
        )

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (b.emit(Squeeze(self.axes), g),)


@dataclass(frozen=True)
class Squeeze(Movement):
    """Without the named axes, each of extent 1."""

    axes: tuple[int, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        gone = check_axes(shapes, "squeeze", self.axes, x.rank)
        for axis in gone:
            message = f"squeeze: axis {axis} of {text(x.shape)} is not of size 1"
            require_equal(shapes, x.shape[axis], ONE, message)
        return (TensorType(x.dtype, tuple(n for i, n in enumerate(x.shape) if i not in gone)),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        rank = operands[0].type.rank
        axes = tuple(sorted(axis_of(axis, rank) for axis in self.axes))
        return (b.emit(Unsqueeze(axes), g),)


@dataclass(frozen=True)
class Transpose(Movement):
    """y's axis i is x's axis perm[i]."""

    perm: tuple[int, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        if len(self.perm) != x.rank:
            shapes.fail(
                RANK,
                f"transpose: {len(self.perm)} axes are named, but {text(x.shape)} has {x.rank}",
            )
        perm = check_axes(shapes, "transpose", self.perm, x.rank)
        return (TensorType(x.dtype, tuple(x.shape[axis] for axis in perm)),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        perm = [axis_of(axis, len(self.perm)) for axis in self.perm]
        return (b.emit(Transpose(tuple(perm.index(i) for i in range(len(perm)))), g),)


def swapped(rank: int, first: int = -2, second: int = -1) -> Transpose:
    """Two axes exchanged."""
    perm = list(range(rank))
    perm[first], perm[second] = perm[second], perm[first]
    return Transpose(tuple(perm))


@dataclass(frozen=True)
class BroadcastTo(Movement):
    """x repeated along axes of extent 1 and new leading axes."""

    shape: Shape

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        lead = len(self.shape) - x.rank
        message = f"broadcast_to: {text(x.shape)} does not broadcast to {text(self.shape)}"
        if lead < 0:
            shapes.fail(RANK, message)
        for own, other in zip(x.shape, self.shape[lead:], strict=True):
            if own != ONE:
                require_equal(shapes, own, other, message)
        return (TensorType(x.dtype, self.shape),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (reduce_to(b, g, operands[0]),)


@dataclass(frozen=True)
class Concat(Movement):
    """The operands one after the other along `axis`."""

    axis: int = -1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        first = operands[0]
        dtype = check_same(shapes, "concat", *operands)
        axis = check_axis(shapes, "concat", self.axis, first.rank)
        total = first.shape[axis]
        for other in operands[1:]:
            message = (
                f"concat: {text(first.shape)} and {text(other.shape)} differ off axis {self.axis}"
            )
            if other.rank != first.rank:
                shapes.fail(RANK, message)
            for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
                if i != axis:
                    require_equal(shapes, a, b, message, notes=[f"axis {i}: {a} and {b}"])
            total = total + other.shape[axis]
        return (TensorType(dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :])),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        if len(operands) == 1:
            return (g,)
        sizes = tuple(v.type.shape[self.axis] for v in operands)
        return b.emit_all(Split(sizes, self.axis), g)


@dataclass(frozen=True)
class Stack(Movement):
    """Operands of one shape along a new axis, whose place counts in the result."""

    axis: int = 0

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        first = operands[0]
        dtype = check_same(shapes, "stack", *operands)
        axis = check_axis(shapes, "stack", self.axis, first.rank + 1)
        for other in operands[1:]:
            message = f"stack: shapes {text(first.shape)} and {text(other.shape)} differ"
            if other.rank != first.rank:
                shapes.fail(RANK, message)
            for a, b in zip(first.shape, other.shape, strict=True):
                require_equal(shapes, a, b, message)
        count = Dim.const(len(operands))
        return (TensorType(dtype, (*first.shape[:axis], count, *first.shape[axis:])),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        axis = axis_of(self.axis, g.type.rank)
        if len(operands) == 1:
            return (b.emit(Squeeze((axis,)), g),)
        parts = b.emit_all(Split((ONE,) * len(operands), axis), g)
        return tuple(b.emit(Squeeze((axis,)), part) for part in parts)


@dataclass(frozen=True)
class Split(Op):
    """Parts of the given sizes along `axis`, as many results as sizes."""

    sizes: tuple[Dim, ...]
    axis: int = -1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        axis = check_axis(shapes, "split", self.axis, x.rank)
        extent, total = x.shape[axis], sum(self.sizes, start=ZERO)
        message = (
            f"split: the parts have {total} along axis {self.axis}, but the input has {extent}"
        )
        require_equal(shapes, total, extent, message)
        return tuple(
            TensorType(x.dtype, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
            for size in self.sizes
        )

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        if all(g is None for g in grads) or not results[0].type.dtype.is_float:
            return (None,)
        parts = [
            zeros_like(b, result) if g is None else g
            for g, result in zip(grads, results, strict=True)
        ]
        return (b.emit(Concat(self.axis), *parts),)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


def zeros_like(b: Builder, value: Value) -> Value:
    return b.emit(BroadcastTo(value.type.shape), b.constant(0.0, like=value))


@dataclass(frozen=True)
class Slice(Movement):
    """x[starts[0]:stops[0]:steps[0], …], one of each for every axis; 0 <= start < stop <= n."""

    starts: tuple[Dim, ...]
    stops: tuple[Dim, ...]
    steps: tuple[Dim, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        out: list[Dim] = []
        for i, (n, start, stop, step) in enumerate(
            zip(x.shape, self.starts, self.stops, self.steps, strict=True)
        ):
            if (start, stop, step) == (ZERO, n, ONE):
                out.append(n)
                continue
            where = f"slice {start}:{stop} of axis {i} of {text(x.shape)}"
            shapes.require(ge(start, ZERO), f"{where} starts before 0", BAD_ARGUMENT)
            shapes.require(le(stop, n), f"{where} ends past {n}", BAD_ARGUMENT)
            require_positive(shapes, stop - start, f"{where} is empty")
            out.append((stop - start + step - 1) // step)
        return (TensorType(x.dtype, tuple(out)),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (b.emit(Unslice(operands[0].type.shape, self.starts, self.stops, self.steps), g),)


def slice_axis(x: TensorType, axis: int, start: Dim, stop: Dim, step: Dim = ONE) -> Slice:
    """A slice of one axis, the others whole."""
    starts, stops, steps = [ZERO] * x.rank, list(x.shape), [ONE] * x.rank
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return Slice(tuple(starts), tuple(stops), tuple(steps))


@dataclass(frozen=True)
class Unslice(Movement):
    """Zeros of `shape`, with x in the place that the slice names: the transpose of Slice."""

    shape: Shape
    starts: tuple[Dim, ...]
    stops: tuple[Dim, ...]
    steps: tuple[Dim, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (TensorType(operands[0].dtype, self.shape),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (b.emit(Slice(self.starts, self.stops, self.steps), g),)


@dataclass(frozen=True)
class Pad(Movement):
    """x with `value` before and after: low[i] and high[i] elements along axis i."""

    low: tuple[Dim, ...]
    high: tuple[Dim, ...]
    value: float = 0.0

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        for amount in (*self.low, *self.high):
            reason = f"pad: {amount} is negative; use a slice to crop"
            shapes.require(ge(amount, ZERO), reason, BAD_ARGUMENT)
        sizes = zip(x.shape, self.low, self.high, strict=True)
        return (TensorType(x.dtype, tuple(n + low + high for n, low, high in sizes)),)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        shape = operands[0].type.shape
        stops = tuple(low + n for low, n in zip(self.low, shape, strict=True))
        return (b.emit(Slice(self.low, stops, (ONE,) * len(shape)), g),)


@dataclass(frozen=True)
class Flip(Movement):
    """Reversed along axes."""

    axes: tuple[int, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_axes(shapes, "flip", self.axes, operands[0].rank)
        return (operands[0],)

    def pullback(self, b: Builder, operands: Sequence[Value], g: Value) -> Sequence[Value | None]:
        return (b.emit(self, g),)


@dataclass(frozen=True)
class Arange(Op):
    """0, 1, …, stop - 1, or start, start + step, … below stop: integers."""

    start: Dim
    stop: Dim
    step: Dim
    dtype: DType

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        size = (self.stop - self.start + self.step - 1) // self.step
        require_positive(shapes, size, f"arange: nothing from {self.start} to {self.stop}")
        return (TensorType(self.dtype, (size,)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return ()

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


# --- the language ---


def _reshape(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    wanted = list(arg.dims(b, "reshape: shape", statics["shape"]))
    open_axes = [i for i, extent in enumerate(wanted) if extent == -ONE]
    if len(open_axes) > 1:
        b.fail(BAD_ARGUMENT, "reshape: -1 stands twice")
    if open_axes:
        rest = product(extent for extent in wanted if extent != -ONE)
        total = product(x.type.shape)
        message = f"reshape: the {total} elements of {text(x.type.shape)} are no multiple of {rest}"
        b.require(eq(total % rest, ZERO), message, NOT_DIVISIBLE)
        wanted[open_axes[0]] = total // rest
    for extent in wanted:
        require_positive(b, extent, f"reshape: {text(wanted)} has no elements")
    return b.emit(Reshape(tuple(wanted)), x)


def _flatten(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(Flatten(arg.integer(b, statics["axis"])), tensors["x"])


def _transpose(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    given = statics["*perm"]
    if len(given) == 1 and arg.is_sequence(given[0]):
        given = arg.items(given[0])
    perm = tuple(arg.integer(b, axis) for axis in given)
    if perm:
        return b.emit(Transpose(perm), x)
    check_rank(b, "transpose", x.type, 2)
    return b.emit(swapped(x.type.rank), x)


def _unsqueeze(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    places = tuple(arg.integer(b, axis) for axis in arg.items(statics["axis"]))
    return b.emit(Unsqueeze(places), tensors["x"])


def _squeeze(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    axes = tuple(arg.integer(b, axis) for axis in arg.items(statics["axis"]))
    return b.emit(Squeeze(axes), tensors["x"])


def _concat(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    xs: tuple[Value, ...] = tensors["*xs"]
    axis = arg.axis(b, "concat", statics["axis"], xs[0].type.rank)
    return xs[0] if len(xs) == 1 else b.emit(Concat(axis), *xs)


def _stack(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(Stack(arg.integer(b, statics["axis"])), *tensors["*xs"])


def _split(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Value, ...]:
    x: Value = tensors["x"]
    axis = arg.axis(b, "split", statics["axis"], x.type.rank)
    extent, parts = x.type.shape[axis], statics["parts"]
    if arg.is_sequence(parts):
        sizes = arg.dims(b, "split: parts", parts)
    else:
        count = arg.integer(b, parts)
        if count < 1:
            b.fail(BAD_ARGUMENT, f"split: {count} parts, but there must be 1 or more")
        divided = eq(extent % count, ZERO)
        message = f"split: axis {axis} of {text(x.type.shape)} does not divide into {count} parts"
        if refuted(b, divided):
            notes = [f"its extent is {extent}"]
            b.fail(NOT_DIVISIBLE, message, notes=notes, help=divisors(extent))
        b.require(divided, message, NOT_DIVISIBLE)
        sizes = (extent // count,) * count
    for size in sizes:
        require_positive(b, size, f"split: a part of size {size}")
    return (x,) if len(sizes) == 1 else b.emit_all(Split(sizes, axis), x)


def _broadcast_to(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    shape = arg.dims(b, "broadcast_to: shape", statics["shape"])
    return b.emit(BroadcastTo(shape), tensors["x"])


def _flip(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    return b.emit(Flip(arg.axes(b, "flip", statics["axis"], x.type.rank)), x)


def _center_crop(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_rank(b, "center_crop", x.type, 2)
    found = x
    for axis, size in ((-2, statics["height"]), (-1, statics["width"])):
        extent = x.type.shape[axis]
        message = f"center_crop: {size} does not fit into {text(x.type.shape)}"
        require_positive(b, extent - size + 1, message)
        start = (extent - size) // 2
        if size != extent:
            at = axis + x.type.rank
            found = b.emit(slice_axis(found.type, at, start, start + size), found)
    return found


def _arange(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    start, stop, step = ZERO, statics["start"], ONE
    if arg.plain(statics["stop"]) is not None:
        start, stop = statics["start"], arg.dim(b, "arange: stop", statics["stop"])
    if arg.plain(statics["step"]) is not None:
        step = arg.dim(b, "arange: step", statics["step"])
    arg.at_least(b, "arange", "step", (step,), 1)
    return b.emit(Arange(start, stop, step, DType.I64))


def _filled(
    number: float, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    shape = arg.dims(b, "shape", statics["shape"])
    value = b.constant(number)
    return b.emit(BroadcastTo(shape), value) if shape else value


_AXES = (StaticParam("axis", kinds=arg.INTS),)
_SHAPE = (StaticParam("shape", kinds=("dims",)),)

BUILTINS = (
    Builtin("reshape", ("x",), _reshape, _SHAPE, doc="The same elements in another shape."),
    Builtin(
        "flatten",
        ("x",),
        _flatten,
        (StaticParam("axis", Dim.const(1), ("int",)),),
        doc="All axes from `axis` on as one.",
    ),
    Builtin(
        "transpose",
        ("x",),
        _transpose,
        (StaticParam("*perm", (), ("int",)),),
        doc="Axes in another order; without one, the last two exchanged.",
    ),
    Builtin("unsqueeze", ("x",), _unsqueeze, _AXES, doc="A new axis of extent 1."),
    Builtin("squeeze", ("x",), _squeeze, _AXES, doc="Without an axis of extent 1."),
    Builtin(
        "concat",
        ("*xs",),
        _concat,
        (StaticParam("axis", Dim.const(-1), ("int",)),),
        doc="Tensors one after the other along an axis.",
    ),
    Builtin(
        "stack",
        ("*xs",),
        _stack,
        (StaticParam("axis", Dim.const(0), ("int",)),),
        doc="Tensors of one shape along a new axis.",
    ),
    Builtin(
        "split",
        ("x",),
        _split,
        (StaticParam("parts", kinds=arg.INTS), StaticParam("axis", Dim.const(-1), ("int",))),
        doc="So many equal parts along an axis, or parts of the given sizes.",
    ),
    Builtin("broadcast_to", ("x",), _broadcast_to, _SHAPE, doc="x repeated to a shape."),
    Builtin(
        "flip",
        ("x",),
        _flip,
        (StaticParam("axis", Dim.const(-1), arg.INTS),),
        doc="Reversed along an axis.",
    ),
    Builtin(
        "center_crop",
        ("x",),
        _center_crop,
        (StaticParam("height", kinds=("int",)), StaticParam("width", kinds=("int",))),
        doc="The middle of the last two axes.",
    ),
    Builtin(
        "arange",
        (),
        _arange,
        (
            StaticParam("start", kinds=("int",)),
            StaticParam("stop", None, ("int", "none")),
            StaticParam("step", None, ("int", "none")),
        ),
        doc="0, 1, … below the first argument; or from it, below the second.",
    ),
    Builtin("zeros", (), partial(_filled, 0.0), _SHAPE, doc="A tensor of zeros."),
    Builtin("ones", (), partial(_filled, 1.0), _SHAPE, doc="A tensor of ones."),
)
