"""Medians, quantiles, running extremes and places in an order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, DTYPE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Term
from dlspec.ops.indexing import ScatterAddAlong, TakeAlong
from dlspec.ops.ordering import ArgSort
from dlspec.ops.rules import (
    ONE,
    ZERO,
    axis_of,
    check_axis,
    check_float,
    check_same,
    text,
)
from dlspec.ops.shape import Arange, BroadcastTo, Reshape, Squeeze, slice_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class CumMax(Op):
    """The largest so far along `axis`; the gradient goes to the last of equal elements (torch)."""

    axis: int = -1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype is DType.BOOL:
            shapes.fail(DTYPE, "cummax: needs numbers, but the input is bool")
        check_axis(shapes, "cummax", self.axis, x.rank)
        return (x,)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x,), (y,) = grads, operands, results
        if g is None or not g.type.dtype.is_float:
            return (None,)
        shape = x.type.shape
        axis = axis_of(self.axis, len(shape))
        line = b.emit(Arange(ZERO, shape[axis], ONE, DType.I64))
        along = tuple(n if i == axis else ONE for i, n in enumerate(shape))
        places = Term(b, b.emit(BroadcastTo(shape), b.emit(Reshape(along), line)))
        reached = (Term(b, x) == Term(b, y)).where(places, places.like(0))
        last = reached.apply(CumMax(axis)).value
        return (b.emit(ScatterAddAlong(axis, shape[axis]), last, g),)


@dataclass(frozen=True)
class SearchSorted(Op):
    """For each value how many elements of an ascending vector are less (right: or equal).

    Operands: the vector, the values.
    """

    right: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        order, values = operands
        check_same(shapes, "searchsorted", order, values)
        if order.rank != 1:
            shapes.fail(RANK, f"searchsorted: the order is a vector, not {text(order.shape)}")
        if order.dtype is DType.BOOL:
            shapes.fail(DTYPE, "searchsorted: needs numbers, but the input is bool")
        return (TensorType(DType.I64, values.shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None, None)


# --- the language ---


def _cumulative(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    op = CumMax(arg.axis(b, name, statics["axis"], x.type.rank))
    if name == "cummax":
        return b.emit(op, x)
    return (-(-Term(b, x)).apply(op)).value


def _sorted(b: LayerBuilder, name: str, x: Value, axis: int) -> Value:
    check_float(b, name, x.type)
    return b.emit(TakeAlong(axis), x, b.emit(ArgSort(axis), x))


def _at(b: LayerBuilder, x: Value, axis: int, place: Dim, keep: bool) -> Term:
    """One place of an axis."""
    part = b.emit(slice_axis(x.type, axis, place, place + 1), x)
    return Term(b, part if keep else b.emit(Squeeze((axis,)), part))


def _median(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axis = arg.place(b, "median", statics["axis"], x.type.rank)
    middle = (x.type.shape[axis] - 1) // 2
    order = _sorted(b, "median", x, axis)
    return _at(b, order, axis, middle, arg.flag(statics["keepdims"])).value


def _quantile(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axis = arg.place(b, "quantile", statics["axis"], x.type.rank)
    q = Fraction(arg.bare(b, statics["q"])).limit_denominator(1 << 16)
    if not 0 <= q <= 1:
        b.fail(BAD_ARGUMENT, f"quantile: q is {float(q)}, not between 0 and 1")
    order, keep = _sorted(b, "quantile", x, axis), arg.flag(statics["keepdims"])
    scaled = (x.type.shape[axis] - 1) * q.numerator
    low, high = scaled // q.denominator, (scaled + q.denominator - 1) // q.denominator
    below, above = (_at(b, order, axis, place, keep) for place in (low, high))
    share = below.like(scaled % q.denominator) / float(q.denominator)
    return (below + (above - below) * share).value


def _searchsorted(
    first: str, second: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    return b.emit(SearchSorted(arg.flag(statics["right"])), tensors[first], tensors[second])


_LAST = StaticParam("axis", Dim.const(-1), ("int",))
_KEEP = StaticParam("keepdims", False, arg.FLAG)
_RIGHT = StaticParam("right", False, arg.FLAG)

BUILTINS = (
    *(
        Builtin(name, ("x",), partial(_cumulative, name), (_LAST,), doc=f"The {word} so far.")
        for name, word in (("cummax", "largest"), ("cummin", "smallest"))
    ),
    Builtin(
        "median",
        ("x",),
        _median,
        (_LAST, _KEEP),
        doc="The middle of an axis in order, the lower one of two (torch's).",
    ),
    Builtin(
        "quantile",
        ("x",),
        _quantile,
        (StaticParam("q", kinds=arg.NUMBER), _LAST, _KEEP),
        doc="What a share q of an axis lies below, between two elements in proportion.",
    ),
    Builtin(
        "searchsorted",
        ("order", "values"),
        partial(_searchsorted, "order", "values"),
        (_RIGHT,),
        doc="For each value how many elements of an ascending vector are less (right: or equal).",
    ),
    Builtin(
        "bucketize",
        ("x", "boundaries"),
        partial(_searchsorted, "boundaries", "x"),
        (_RIGHT,),
        doc="`searchsorted` with the values first.",
    ),
)
