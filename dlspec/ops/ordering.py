"""Sorting along an axis. Equal elements keep their order, also where the order descends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, DTYPE
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.indexing import TakeAlong
from dlspec.ops.rules import ZERO, check_axis, le, refuted, require_positive, text
from dlspec.ops.shape import slice_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class ArgSort(Op):
    """The indices that sort x along `axis`, stable: equal elements stay in order."""

    axis: int = -1
    descending: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype is DType.BOOL:
            shapes.fail(DTYPE, "argsort: needs numbers, but the input is bool")
        check_axis(shapes, "argsort", self.axis, x.rank)
        return (TensorType(DType.I64, x.shape),)

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


def _argsort(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axis = arg.axis(b, "argsort", statics["axis"], x.type.rank)
    return b.emit(ArgSort(axis, arg.flag(statics["descending"])), x)


def _sort(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    axis = arg.axis(b, "sort", statics["axis"], x.type.rank)
    order = b.emit(ArgSort(axis, arg.flag(statics["descending"])), x)
    return b.emit(TakeAlong(axis), x, order)


def _topk(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Value, Value]:
    x: Value = tensors["x"]
    axis, k = arg.axis(b, "topk", statics["axis"], x.type.rank), statics["k"]
    arg.at_least(b, "topk", "k", (k,), 1)
    require_positive(b, k, f"topk: k is {k}, but must be 1 or more")
    message = f"topk: axis {axis} of {text(x.type.shape)} has not {k} elements"
    if refuted(b, le(k, x.type.shape[axis])):
        b.fail(BAD_ARGUMENT, message)
    b.require(le(k, x.type.shape[axis]), message, BAD_ARGUMENT)
    order = b.emit(ArgSort(axis, arg.flag(statics["largest"])), x)
    first = b.emit(slice_axis(order.type, axis, ZERO, k), order)
    return b.emit(TakeAlong(axis), x, first), first


_LAST = StaticParam("axis", Dim.const(-1), ("int",))
_DESCENDING = StaticParam("descending", False, arg.FLAG)

BUILTINS = (
    Builtin(
        "argsort",
        ("x",),
        _argsort,
        (_LAST, _DESCENDING),
        doc="The indices that sort x along an axis; equal elements keep their order.",
    ),
    Builtin(
        "sort",
        ("x",),
        _sort,
        (_LAST, _DESCENDING),
        doc="x in order along an axis.",
    ),
    Builtin(
        "topk",
        ("x",),
        _topk,
        (StaticParam("k", kinds=("int",)), _LAST, StaticParam("largest", True, arg.FLAG)),
        output_names=("values", "indices"),
        doc="The k largest along an axis, from the largest on, and where they are.",
    ),
)
