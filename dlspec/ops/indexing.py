"""Reading by integer index, and its transpose. An index outside the axis is an error at the
data's edge; ops may assume that there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, DTYPE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Init
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Add, Constant, Term, Where
from dlspec.ops.initialisers import chosen, normal
from dlspec.ops.rules import (
    ZERO,
    axis_of,
    check_axis,
    check_float,
    check_int,
    check_same,
    ge,
    le,
    product,
    require_equal,
    text,
)
from dlspec.ops.shape import Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Take(Op):
    """x[…, indices, …] at `axis`: the axis is replaced by the axes of the indices.

    Operands: x, indices (integers of any shape).
    """

    axis: int = 0

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, indices = operands
        check_int(shapes, "take", "the indices", indices)
        axis = check_axis(shapes, "take", self.axis, x.rank)
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        return (TensorType(x.dtype, shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, indices) = grads, operands
        if g is None or not g.type.dtype.is_float:
            return (None, None)
        axis = axis_of(self.axis, x.type.rank)
        return b.emit(ScatterAdd(axis, x.type.shape[axis]), indices, g), None

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


@dataclass(frozen=True)
class ScatterAdd(Op):
    """The transpose of Take: zeros with `size` at `axis`, each part of g added at its index.

    Operands: indices, g. axis counts from 0.
    """

    axis: int
    size: Dim

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        indices, g = operands
        tail = g.shape[self.axis + indices.rank :]
        return (TensorType(g.dtype, (*g.shape[: self.axis], self.size, *tail)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        return None, b.emit(Take(self.axis), g, operands[0]) if g is not None else None

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[1].shape)


@dataclass(frozen=True)
class Embedding(Op):
    """weight[indices]: one row of the table for each index. Operands: indices, weight [V, D].

    padding: an index whose row takes no gradient from here.
    """

    padding: Dim | None = None

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        indices, weight = operands
        check_int(shapes, "embedding", "the indices", indices)
        return (TensorType(weight.dtype, (*indices.shape, *weight.shape[1:])),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (indices, weight) = grads, operands
        if g is None:
            return (None, None)
        if self.padding is not None:
            padded = Term(b, indices) == Term(b, b.emit(Constant(self.padding, indices.type.dtype)))
            padded = Term(b, b.emit(Unsqueeze((-1,)), padded.value))
            g = padded.where(Term(b, b.constant(0.0, like=g)), Term(b, g)).value
        return None, b.emit(ScatterAdd(0, weight.type.shape[0]), indices, g)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


@dataclass(frozen=True)
class TakeAlong(Op):
    """y[i, j] = x[i, index[i, j]] along `axis` (NumPy's take_along_axis)."""

    axis: int = -1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, indices = operands
        check_int(shapes, "take_along", "the indices", indices)
        axis = check_axis(shapes, "take_along", self.axis, x.rank)
        _check_along(shapes, "take_along", x, indices, axis)
        return (TensorType(x.dtype, indices.shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, indices) = grads, operands
        if g is None or not g.type.dtype.is_float:
            return (None, None)
        axis = axis_of(self.axis, x.type.rank)
        return b.emit(ScatterAddAlong(axis, x.type.shape[axis]), indices, g), None

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


def _check_along(shapes: Shapes, name: str, x: TensorType, indices: TensorType, axis: int) -> None:
    message = f"{name}: {text(indices.shape)} does not fit {text(x.shape)} off axis {axis}"
    if x.rank != indices.rank:
        shapes.fail(RANK, message)
    for i, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if i != axis:
            require_equal(shapes, a, b, message)


@dataclass(frozen=True)
class ScatterAddAlong(Op):
    """The transpose of TakeAlong: zeros with `size` at `axis`, g added. Operands: indices, g."""

    axis: int
    size: Dim

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        g = operands[1]
        shape = (*g.shape[: self.axis], self.size, *g.shape[self.axis + 1 :])
        return (TensorType(g.dtype, shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        return None, b.emit(TakeAlong(self.axis), g, operands[0]) if g is not None else None

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[1].shape)


@dataclass(frozen=True)
class OneHot(Op):
    """[…] to […, classes]: 1 at the index, else 0; all 0 for an index outside."""

    classes: Dim
    dtype: DType = DType.FLOAT

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_int(shapes, "one_hot", "the indices", operands[0])
        return (TensorType(self.dtype, (*operands[0].shape, self.classes)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


# --- the language ---


def _embedding(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    count, size = statics["count"], statics["size"]
    arg.at_least(b, "embedding", "count", (count,), 1)
    arg.at_least(b, "embedding", "size", (size,), 1)
    check_int(b, "embedding", "the indices", tensors["x"].type)
    padding = None
    if arg.plain(statics["padding_index"]) is not None:
        padding = arg.dim(b, "embedding: padding_index", statics["padding_index"])
        for relation in (ge(padding, ZERO), le(padding, count - 1)):
            b.require(relation, f"embedding: no row {padding} in {count} rows", BAD_ARGUMENT)
    b.attributes(count=count, size=size, padding_index=padding)
    init = chosen(statics["init"], normal(0.0, 1.0), count, size)
    if padding is not None:
        init = Init(init.kind, (*init.args, ("blank", padding)))
    weight = b.weight("weight", (count, size), init)
    return b.emit(Embedding(padding), tensors["x"], weight)


def _one_hot(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    arg.at_least(b, "one_hot", "classes", (statics["classes"],), 1)
    return b.emit(OneHot(statics["classes"]), tensors["x"])


def _take(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x = tensors["x"]
    axis = arg.axis(b, "take", statics["axis"], x.type.rank)
    return b.emit(Take(axis), x, tensors["indices"])


def _take_along(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x = tensors["x"]
    axis = arg.axis(b, "take_along", statics["axis"], x.type.rank)
    return b.emit(TakeAlong(axis), x, tensors["indices"])


def _index_select(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, indices = tensors["x"], tensors["indices"]
    if indices.type.rank > 1:
        b.fail(
            RANK,
            f"index_select: the indices are a vector, not {text(indices.type.shape)}",
            help="`take` reads by indices of any shape",
        )
    axis = arg.place(b, "index_select", statics["axis"], x.type.rank)
    return b.emit(Take(axis), x, indices)


def _scatter_add(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, indices, source = (tensors[name] for name in ("x", "indices", "source"))
    axis = arg.place(b, "scatter_add", statics["axis"], x.type.rank)
    check_int(b, "scatter_add", "the indices", indices.type)
    check_same(b, "scatter_add", x.type, source.type)
    _check_along(b, "scatter_add", x.type, indices.type, axis)
    _check_along(b, "scatter_add", indices.type, source.type, axis)
    message = f"scatter_add: {text(indices.type.shape)} and {text(source.type.shape)} differ"
    require_equal(b, indices.type.shape[axis], source.type.shape[axis], message)
    added = b.emit(ScatterAddAlong(axis, x.type.shape[axis]), indices, source)
    return b.emit(Add(), x, added)


def _index_add(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, indices, source = (tensors[name] for name in ("x", "indices", "source"))
    axis = arg.place(b, "index_add", statics["axis"], x.type.rank)
    check_int(b, "index_add", "the indices", indices.type)
    check_same(b, "index_add", x.type, source.type)
    wanted = (*x.type.shape[:axis], *indices.type.shape, *x.type.shape[axis + 1 :])
    message = f"index_add: the source is {text(wanted)}, not {text(source.type.shape)}"
    if len(wanted) != source.type.rank:
        b.fail(RANK, message)
    for mine, theirs in zip(source.type.shape, wanted, strict=True):
        require_equal(b, mine, theirs, message)
    added = b.emit(ScatterAdd(axis, x.type.shape[axis]), indices, source)
    return b.emit(Add(), x, added)


def _masked_fill(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, mask = tensors["x"], tensors["mask"]
    if mask.type.dtype is not DType.BOOL:
        b.fail(DTYPE, f"masked_fill: the mask must be bool, but is {mask.type.dtype.value}")
    value = statics["value"]
    if not isinstance(value, Dim):
        check_float(b, "masked_fill", x.type)
        value = arg.number(b, value)
    found = b.emit(Where(), mask, b.emit(Constant(value, x.type.dtype)), x)
    message = f"masked_fill: the mask {text(mask.type.shape)} is larger than {text(x.type.shape)}"
    if found.type.rank != x.type.rank:
        b.fail(RANK, message)
    for mine, theirs in zip(found.type.shape, x.type.shape, strict=True):
        require_equal(b, mine, theirs, message)
    return found


BUILTINS = (
    Builtin(
        "embedding",
        ("x",),
        _embedding,
        (
            StaticParam("count", kinds=("int",)),
            StaticParam("size", kinds=("int",)),
            StaticParam("init", None, ("init", "none")),
            StaticParam("padding_index", None, ("int", "none")),
        ),
        owns_weights=True,
        doc="A table of `count` vectors; each index becomes its vector.",
    ),
    Builtin(
        "one_hot",
        ("x",),
        _one_hot,
        (StaticParam("classes", kinds=("int",)),),
        doc="1 at the index, else 0, along a new last axis.",
    ),
    Builtin(
        "take",
        ("x", "indices"),
        _take,
        (StaticParam("axis", Dim.const(0), ("int",)),),
        doc="The elements at the indices along an axis.",
    ),
    Builtin(
        "take_along",
        ("x", "indices"),
        _take_along,
        (StaticParam("axis", Dim.const(-1), ("int",)),),
        doc="For each position, the element at its own index along an axis.",
    ),
    Builtin(
        "gather",
        ("x", "indices"),
        _take_along,
        (StaticParam("axis", Dim.const(-1), ("int",)),),
        doc="As `take_along`.",
    ),
    Builtin(
        "index_select",
        ("x", "indices"),
        _index_select,
        (StaticParam("axis", Dim.const(0), ("int",)),),
        doc="The parts at a vector of indices along an axis.",
    ),
    Builtin(
        "scatter_add",
        ("x", "indices", "source"),
        _scatter_add,
        (StaticParam("axis", Dim.const(-1), ("int",)),),
        doc="x, with each element of source added at its own index along an axis.",
    ),
    Builtin(
        "index_add",
        ("x", "indices", "source"),
        _index_add,
        (StaticParam("axis", Dim.const(0), ("int",)),),
        doc="x, with each part of source added at its index along an axis.",
    ),
    Builtin(
        "masked_fill",
        ("x", "mask"),
        _masked_fill,
        (StaticParam("value", kinds=arg.NUMBER),),
        doc="The value where the mask is true, else x.",
    ),
)
