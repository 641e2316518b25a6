"""Units that halve an axis: one half gates the other (Dauphin et al. 2016, Shazeer 2020), or the
larger of several pieces is kept (Goodfellow et al. 2013)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import NOT_DIVISIBLE
from dlspec.ir.dims import Dim
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Gelu, Relu, Sigmoid, Silu
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Term
from dlspec.ops.reduce import Max
from dlspec.ops.rules import (
    ZERO,
    axis_of,
    check_float,
    divisors,
    eq,
    refuted,
    text,
)
from dlspec.ops.shape import Reshape, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder, Op


def _pieces(b: LayerBuilder, name: str, x: Value, axis: int, count: int) -> Dim:
    """The extent of one of `count` equal pieces of an axis."""
    extent = x.type.shape[axis]
    message = f"{name}: axis {axis} of {text(x.type.shape)} does not divide into {count} parts"
    divided = eq(extent % count, ZERO)
    if refuted(b, divided):
        b.fail(NOT_DIVISIBLE, message, notes=[f"its extent is {extent}"], help=divisors(extent))
    b.require(divided, message, NOT_DIVISIBLE)
    return extent // count


def _glu(
    gate: Op, name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_float(b, name, x.type)
    axis = arg.axis(b, name, statics["axis"], x.type.rank)
    half = _pieces(b, name, x, axis_of(axis, x.type.rank), 2)
    value, gated = b.emit_all(Split((half, half), axis), x)
    return (Term(b, value) * Term(b, gated).apply(gate)).value


def _maxout(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_float(b, "maxout", x.type)
    axis = axis_of(arg.axis(b, "maxout", statics["axis"], x.type.rank), x.type.rank)
    (pieces,) = arg.dims(b, "maxout: pieces", statics["pieces"])
    arg.at_least(b, "maxout", "pieces", (pieces,), 1)
    shape = x.type.shape
    units = _pieces(b, "maxout", x, axis, b.known(pieces))
    parted = b.emit(Reshape((*shape[:axis], units, pieces, *shape[axis + 1 :])), x)
    return b.emit(Max((axis + 1,)), parted)


_AXIS = (StaticParam("axis", Dim.const(-1), ("int",)),)


def _gate(name: str, op: Op, doc: str) -> Builtin:
    return Builtin(name, ("x",), partial(_glu, op, name), _AXIS, doc=doc)


BUILTINS = (
    _gate("glu", Sigmoid(), "a σ(b), where a and b are the halves of x."),
    _gate("reglu", Relu(), "a relu(b), where a and b are the halves of x."),
    _gate("geglu", Gelu(), "a gelu(b), where a and b are the halves of x."),
    _gate("swiglu", Silu(), "a silu(b), where a and b are the halves of x."),
    Builtin(
        "maxout",
        ("x",),
        _maxout,
        (StaticParam("pieces", Dim.const(2), ("int",)), *_AXIS),
        doc="The largest of each `pieces` neighbours along an axis.",
    ),
)
