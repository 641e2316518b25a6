"""Indexing, sorting and running reductions in JAX."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import indexing, linalg, ordering, reduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _embedding(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, indexing.Embedding)
    indices, weight = operands
    if op.padding is None:
        return ast.Subscript(weight, indices, ast.Load())
    return python.call("padded_embedding", indices, weight, static.dim(op.padding))


def _argsort(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, ordering.ArgSort)
    extra = {"descending": python.constant(True)} if op.descending else {}
    return python.call("jnp.argsort", *operands, axis=python.constant(op.axis), **extra)


ROWS: dict[type[Op], Row] = {
    indexing.Embedding: _embedding,
    indexing.ScatterAdd: "i, g: scatter_add(i, g, axis, size)",
    indexing.ScatterAddAlong: "i, g: scatter_add_along(i, g, axis, size)",
    ordering.ArgSort: _argsort,
    linalg.Bilinear: ("x, y, w: bilinear(x, y, w)", "x, y, w, b: bilinear(x, y, w) + b"),
    reduce.CumProd: "x: jnp.cumprod(x, axis=axis)",
    reduce.LogCumSumExp: "x: lax.cumlogsumexp(x, axis % x.ndim)",
}
