"""Indexing, sorting and running reductions in torch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import indexing, linalg, ordering, reduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _scatter_add(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    """`source.new_zeros(5, 4).index_add(0, indices, source)`"""
    op = node.op
    assert isinstance(op, indexing.ScatterAdd | indexing.ScatterAddAlong)
    indices, source = operands
    along = isinstance(op, indexing.ScatterAddAlong)
    rank = node.operands[0].type.rank
    if not along and rank != 1:
        source = _merged(node, source, static)
        indices = _method(indices, "flatten") if rank else _method(indices, "view", _number(1))
    extents = map(static.dim, node.results[0].type.shape)
    zeros = _method(operands[1], "new_zeros", *extents)
    name = "scatter_add" if along else "index_add"
    return _method(zeros, name, _number(op.axis), indices, source)


def _merged(node: OpNode, source: ast.expr, static: StaticPrinter) -> ast.expr:
    """The source with the axes of the indices as one."""
    op = node.op
    assert isinstance(op, indexing.ScatterAdd)
    rank = node.operands[0].type.rank
    if not rank:
        return _method(source, "unsqueeze", _number(op.axis))
    return _method(source, "flatten", _number(op.axis), _number(op.axis + rank - 1))


def _embedding(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, indexing.Embedding)
    extra = {} if op.padding is None else {"padding_idx": static.dim(op.padding)}
    return python.call("F.embedding", *operands, **extra)


def _argsort(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, ordering.ArgSort)
    extra = {"descending": python.constant(True)} if op.descending else {}
    axis, stable = _number(op.axis), python.constant(True)
    return python.call("torch.argsort", *operands, dim=axis, stable=stable, **extra)


def _number(value: int) -> ast.expr:
    return python.constant(value)


def _method(x: ast.expr, name: str, *args: ast.expr) -> ast.Call:
    return python.call(ast.Attribute(x, name, ast.Load()), *args)


ROWS: dict[type[Op], Row] = {
    indexing.Embedding: _embedding,
    indexing.ScatterAdd: _scatter_add,
    indexing.ScatterAddAlong: _scatter_add,
    ordering.ArgSort: _argsort,
    linalg.Bilinear: ("x, y, w: F.bilinear(x, y, w)", "x, y, w, b: F.bilinear(x, y, w, b)"),
    reduce.CumProd: "x: x.cumprod(axis)",
    reduce.LogCumSumExp: "x: x.logcumsumexp(axis)",
}
