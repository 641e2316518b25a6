"""Sequences of several lengths: steps that keep the states and give zeros."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate.values import DefinedLayer
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.types import DType
from dlspec.ops.elementwise import Less, Where
from dlspec.ops.shape import Arange, Reshape
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.values import Scanned
    from dlspec.ir.graph import Value

ONE = Dim.const(1)
_MASKED: dict[int, tuple[ast.Definition, ast.Definition]] = {}


def mask_of(e: Evaluator, layer: Scanned, sequence: Value) -> Value | None:
    """bool[N, T]: the steps that are there."""
    if layer.mask is not None and layer.lengths is not None:
        e.scope.fail(codes.BAD_ARGUMENT, "scan takes `lengths` or `mask`, not both")
    batch, steps = sequence.type.shape[:2]
    if layer.mask is not None:
        same_axes(e, "mask", "bool[N, T]", layer.mask, DType.BOOL, (batch, steps))
        return layer.mask
    if layer.lengths is None:
        return None
    lengths = layer.lengths
    same_axes(e, "lengths", "i64[N]", lengths, DType.I64, (batch,))
    time = e.scope.emit(Arange(Dim.const(0), steps, ONE, lengths.type.dtype))
    return e.scope.emit(Less(), time, e.scope.emit(Reshape((batch, ONE)), lengths))


def same_axes(
    e: Evaluator, name: str, wanted: str, value: Value, dtype: DType, axes: tuple[Dim, ...]
) -> None:
    got = value.type
    message = f"`{name}` of scan is {wanted}, and this is {got.substitute(e.scope.values)}"
    if got.rank != len(axes):
        e.scope.fail(codes.RANK, message)
    if got.dtype is not dtype and not (got.dtype.is_int and dtype.is_int):
        e.scope.fail(codes.DTYPE, message)
    for have, want in zip(got.shape, axes, strict=True):
        e.scope.require(Relation("==", have, want), message)


def masked(cell: DefinedLayer, mask: Value) -> DefinedLayer:
    """The cell with one more input, bool[N], by keyword: whether a step is there."""
    definition = masked_definition(cell.definition)
    words = (*cell.keywords, (definition.params[-1].name, mask))
    return replace(cell, definition=definition, keywords=words)


def masked_definition(definition: ast.Definition) -> ast.Definition:
    found = _MASKED.get(id(definition))
    if found is None or found[0] is not definition:
        names = {p.name for p in definition.params}
        name = "mask"
        while name in names:
            name += "_"
        span = definition.name_span
        axes = (ast.Name(span, "_"),)
        param = ast.Param(span, name, ast.Subscript(span, ast.Name(span, "bool"), axes), None)
        new = replace(definition, params=(*definition.params, param))
        found = _MASKED[id(definition)] = (definition, new)
    return found[1]


def mask_input(e: Evaluator, definition: ast.Definition) -> Value | None:
    """The mask of a cell that was made by `masked`."""
    if all(new is not definition for _, new in _MASKED.values()):
        return None
    name = definition.params[-1].name
    return next(v for v in e.scope.function.inputs if v.name == name)


def where_there(e: Evaluator, mask: Value, value: Value, otherwise: Value) -> Value:
    """value where the step is there."""
    shape = (*mask.type.shape, *(ONE for _ in value.type.shape[1:]))
    there = e.scope.emit(Reshape(shape), mask) if value.type.rank > 1 else mask
    return e.scope.emit(Where(), there, value, otherwise)
