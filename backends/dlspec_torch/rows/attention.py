"""Attention in torch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import Unsupported, python
from dlspec.ops import attention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _attention(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, attention.Attention)
    q, k, v, *rest = operands
    mask = rest.pop(0) if op.masked else None
    keywords: dict[str, ast.expr] = {}
    if op.causal and (mask is not None or op.biased):  # torch takes a mask or is_causal
        extents = (static.dim(x.type.shape[-2]) for x in node.operands[:2])
        ones = python.call("torch.ones", *extents, dtype=python.expr("torch.bool"))
        order = _method(ones, "tril")
        mask = order if mask is None else ast.BinOp(mask, ast.BitAnd(), order)
    elif op.causal:
        keywords["is_causal"] = python.constant(True)
    given = mask
    if op.biased:
        hidden = None if mask is None else ast.UnaryOp(ast.Invert(), mask)
        infinite = python.expr('float("-inf")')
        given = rest[0] if hidden is None else _method(rest[0], "masked_fill", hidden, infinite)
    if given is not None:
        keywords = {"attn_mask": given, **keywords}
    if op.scale is not None:
        keywords["scale"] = static.value(op.scale)
    if op.grouped:
        keywords["enable_gqa"] = python.constant(True)
    return python.call("F.scaled_dot_product_attention", q, k, v, **keywords)


def _method(x: ast.expr, name: str, *args: ast.expr) -> ast.Call:
    return python.call(ast.Attribute(x, name, ast.Load()), *args)


ROWS: dict[type[Op], Row] = {
    attention.Attention: _attention,
    attention.AttentionGrad: Unsupported("torch derives gradients itself"),
}
