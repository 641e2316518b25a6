"""Attention in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import Unsupported, python
from dlspec.ops import attention

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _attention(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, attention.Attention)
    q, k, v, *rest = operands
    keywords: dict[str, ast.expr] = {}
    if op.masked:
        keywords["mask"] = rest.pop(0)
    if op.biased:
        keywords["bias"] = rest.pop(0)
    if op.causal:
        keywords["causal"] = python.constant(True)
    if op.scale is not None:
        keywords["scale"] = static.value(op.scale)
    return python.call("attention", q, k, v, **keywords)


ROWS: dict[type[Op], Row] = {
    attention.Attention: _attention,
    attention.AttentionGrad: Unsupported("differentiates by itself and needs no gradient ops"),
}
