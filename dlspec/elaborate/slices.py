"""Subscripts of tensors: integers, slices, `...`, and lists of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Value
from dlspec.ir.static import Sequence
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator

ZERO, ONE = Dim.const(0), Dim.const(1)


def index_tensor(e: Evaluator, value: Value, expr: ast.Subscript) -> Value:
    """`x[:, 0]`, `x[..., :n]`, `x[:, ::-1]`, `x[:, [0, 2]]`."""
    scope = e.scope
    items = spread(e, value, expr)
    starts: list[Dim] = []
    stops = list(value.type.shape)
    steps: list[Dim] = []
    squeezed: list[int] = []
    backward: dict[int, Dim] = {}
    picked: list[tuple[int, Value]] = []
    for axis, item in enumerate(items):
        extent = value.type.shape[axis]
        start, stop, step = ZERO, extent, ONE
        if isinstance(item, ast.Slice):
            start, stop, step = bounds(e, item, extent)
            if (e.scope.peek(step) or 0) < 0:
                # the number itself: with a parameter of another sign it is another program
                backward[axis], step = Dim.const(-e.scope.known(step)), ONE
        elif item is not None:
            found = e.evaluate(item)
            with scope.at(item.span):
                if isinstance(static.raw(found), Dim):
                    start = wrapped(e, static.raw(found), extent)
                    stop = start + 1
                    squeezed.append(axis)
                else:
                    picked.append((axis, positions(e, found, extent)))
        starts.append(start)
        stops[axis] = stop
        steps.append(step)
    ranges = (tuple(starts), tuple(stops), tuple(steps))
    return build(e, value, ranges, backward, squeezed, picked)


def build(
    e: Evaluator,
    value: Value,
    ranges: tuple[tuple[Dim, ...], tuple[Dim, ...], tuple[Dim, ...]],
    backward: dict[int, Dim],
    squeezed: list[int],
    picked: list[tuple[int, Value]],
) -> Value:
    """backward: the axes that are turned round after the ranges, with the step there."""
    from dlspec.ops.indexing import Take
    from dlspec.ops.shape import Flip, Slice, Squeeze, slice_axis

    scope = e.scope
    whole = (tuple(ZERO for _ in ranges[0]), value.type.shape, tuple(ONE for _ in ranges[2]))
    result = value if ranges == whole else scope.emit(Slice(*ranges), value)
    if backward:
        result = scope.emit(Flip(tuple(backward)), result)
    for axis, step in backward.items():
        if step != ONE:
            every = slice_axis(result.type, axis, ZERO, result.type.shape[axis], step)
            result = scope.emit(every, result)
    for axis, indices in picked:
        result = scope.emit(Take(axis), result, indices)
    for axis in reversed(squeezed):
        result = scope.emit(Squeeze((axis,)), result)
    return result


def spread(e: Evaluator, value: Value, expr: ast.Subscript) -> list[ast.Expr | ast.Slice | None]:
    """One item an axis; None takes the axis whole."""
    rank = value.type.rank
    items: list[ast.Expr | ast.Slice | None] = list(expr.items)
    dots = [i for i, item in enumerate(items) if isinstance(item, ast.EllipsisExpr)]
    if len(dots) > 1:
        e.scope.fail(codes.STATIC_TYPE, "a subscript has at most one `...`")
    extra = rank - (len(items) - len(dots))
    if extra < 0:
        e.scope.fail(
            codes.RANK, f"{len(items) - len(dots)} subscripts, and {value.type} has {rank} axes"
        )
    at = dots[0] if dots else len(items)
    rest = items[at + 1 :] if dots else []
    return [*items[:at], *[None] * extra, *rest]


def bounds(e: Evaluator, item: ast.Slice, extent: Dim) -> tuple[Dim, Dim, Dim]:
    """Start, stop and step; with a negative step the range that is then read backward."""
    found: list[Dim | None] = []
    for part in (item.start, item.stop, item.step):
        value = None if part is None else static.integer(e.scope, e.evaluate(part), "a slice")
        found.append(value)
    step = ONE if found[2] is None else found[2]
    known = e.scope.peek(step)
    if known is None or known == 0:
        message = "the step of a slice of a tensor is a known number other than 0"
        e.scope.fail(codes.STATIC_VALUE, message)
    first, last = (found[0], found[1]) if known > 0 else (found[1], found[0])
    start = ZERO if first is None else wrapped(e, first, extent)
    stop = extent if last is None else wrapped(e, last, extent)
    if known < 0:  # from the start downward, to the one above the stop
        start = start if first is None else start + 1
        stop = stop if last is None else stop + 1
    return start, stop, step


def wrapped(e: Evaluator, at: Dim, extent: Dim) -> Dim:
    """A negative position counts from the end."""
    known = e.scope.peek(at)
    return extent + at if known is not None and known < 0 else at


def positions(e: Evaluator, found: object, extent: Dim) -> Value:
    from dlspec.ir.types import DType
    from dlspec.ops.elementwise import Constant

    scope = e.scope
    if isinstance(found, Value):
        return found
    if not isinstance(found, Sequence):
        static.wrong_kind(scope, f"a tensor cannot be indexed by {static.describe(found)}")
    numbers = tuple(scope.known(static.integer(scope, v, "a position")) for v in found.items)
    size = scope.peek(extent)
    for n in numbers:
        if size is not None and not -size <= n < size:
            scope.fail(codes.STATIC_VALUE, f"the position {n} is outside an axis of {size}")
    return scope.emit(Constant(numbers, DType.I64))  # type: ignore[arg-type]
