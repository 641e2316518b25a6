"""Tensors from sizes alone, and the triangles of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Cast, Constant, Equal, GreaterEqual, LessEqual, Term, Where
from dlspec.ops.rules import ONE, ZERO, check_rank, require_positive
from dlspec.ops.shape import Arange, BroadcastTo, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Op


def count(b: Builder, size: Dim, start: Dim = ZERO) -> Value:
    """start, start + 1, … : `size` of them."""
    return b.emit(Arange(start, start + size, ONE, DType.I64))


def _compared(b: Builder, op: Op, rows: Dim, columns: Dim, offset: Dim = ZERO) -> Value:
    """op(row + offset, column) over a matrix: bool [rows, columns]."""
    down = b.emit(Unsqueeze((1,)), count(b, rows, offset))
    return b.emit(op, down, count(b, columns))


def causal(b: Builder, queries: Dim, keys: Dim) -> Value:
    """Whether key j is not after query i: bool [queries, keys]."""
    return _compared(b, GreaterEqual(), queries, keys)


def zero_of(b: Builder, x: Value) -> Value:
    """The scalar 0 (false) of x's element type."""
    dtype = x.type.dtype
    return b.emit(Constant(False if dtype is DType.BOOL else 0.0 if dtype.is_float else 0, dtype))


# --- the language ---


def _full(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    shape = arg.dims(b, "full: shape", statics["shape"])
    value = b.emit(Constant(arg.number(b, statics["value"])))
    return b.emit(BroadcastTo(shape), value) if shape else value


def _like(
    number: int, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    dtype = x.type.dtype
    kind = bool if dtype is DType.BOOL else float if dtype.is_float else int
    value = b.emit(Constant(kind(number), dtype))
    return b.emit(BroadcastTo(x.type.shape), value) if x.type.rank else value


def _zeros_like(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return _like(0, b, tensors, statics)


def _ones_like(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return _like(1, b, tensors, statics)


def _size(b: LayerBuilder, name: str, value: Any, default: Dim) -> Dim:
    found = default if arg.plain(value) is None else arg.dim(b, name, value)
    require_positive(b, found, f"{name} is {found}, but must be 1 or more")
    return found


def _eye(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    rows = _size(b, "eye: n", statics["n"], ONE)
    columns = _size(b, "eye: m", statics["m"], rows)
    return b.emit(Cast(DType.FLOAT), _compared(b, Equal(), rows, columns))


def _linspace(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    """start + i · (stop - start) / (count - 1)"""
    size = _size(b, "linspace: count", statics["count"], ONE)
    first = Term(b, b.emit(Constant(arg.number(b, statics["start"]))))
    if size == ONE:
        return b.emit(BroadcastTo((ONE,)), first.value)
    last = Term(b, b.emit(Constant(arg.number(b, statics["stop"]))))
    step = (last - first) / (size - 1)
    place = Term(b, b.emit(Cast(DType.FLOAT), count(b, size)))
    return (first + place * step).value


def _causal_mask(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    queries = _size(b, "causal_mask: T", statics["T"], ONE)
    return causal(b, queries, _size(b, "causal_mask: S", statics["S"], queries))


def _triangle(name: str, op: Op) -> Any:
    def build(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
        x: Value = tensors["x"]
        check_rank(b, name, x.type, 2)
        rows, columns = x.type.shape[-2:]
        offset = arg.dim(b, f"{name}: diagonal", statics["diagonal"])
        inside = _compared(b, op, rows, columns, offset)
        zero = zero_of(b, x)
        return b.emit(Where(), inside, x, zero)

    return build


_N = StaticParam("n", kinds=("int",))
_DIAGONAL = (StaticParam("diagonal", Dim.const(0), ("int",)),)
_SHAPE = StaticParam("shape", kinds=("dims",))

BUILTINS = (
    Builtin(
        "full",
        (),
        _full,
        (_SHAPE, StaticParam("value", kinds=arg.NUMBER)),
        doc="A tensor of one number.",
    ),
    Builtin("zeros_like", ("x",), _zeros_like, doc="Zeros of x's shape and element type."),
    Builtin("ones_like", ("x",), _ones_like, doc="Ones of x's shape and element type."),
    Builtin(
        "eye",
        (),
        _eye,
        (_N, StaticParam("m", None, ("int", "none"))),
        doc="The identity matrix [n, n], or [n, m] with ones on its diagonal.",
    ),
    Builtin(
        "linspace",
        (),
        _linspace,
        (
            StaticParam("start", kinds=arg.NUMBER),
            StaticParam("stop", kinds=arg.NUMBER),
            StaticParam("count", kinds=("int",)),
        ),
        doc="`count` numbers from start to stop, evenly spaced.",
    ),
    Builtin(
        "causal_mask",
        (),
        _causal_mask,
        (StaticParam("T", kinds=("int",)), StaticParam("S", None, ("int", "none"))),
        doc="bool [T, S], true where the column is not after the row.",
    ),
    Builtin(
        "tril",
        ("x",),
        _triangle("tril", GreaterEqual()),
        _DIAGONAL,
        doc="The lower triangle of the last two axes, zeros above `diagonal`.",
    ),
    Builtin(
        "triu",
        ("x",),
        _triangle("triu", LessEqual()),
        _DIAGONAL,
        doc="The upper triangle of the last two axes, zeros below `diagonal`.",
    ),
)
