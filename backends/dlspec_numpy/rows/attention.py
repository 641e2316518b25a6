"""Attention in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops.attention import Attention, AttentionGrad
from dlspec_numpy.ops import AttentionGradOfWeights, AttentionWithWeights

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _attention(name: str) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        if isinstance(op, AttentionWithWeights | AttentionGradOfWeights):
            op = op.op
        assert isinstance(op, Attention | AttentionGrad)
        keywords: dict[str, ast.expr] = {}
        if op.causal and not isinstance(node.op, AttentionGradOfWeights):
            keywords["causal"] = python.constant(True)
        if op.scale is not None:
            keywords["scale"] = static.value(op.scale)
        return python.call(name, *operands, **keywords)

    return lower


ROWS: dict[type[Op], Row] = {
    Attention: _attention("attention"),
    AttentionGrad: _attention("attention_grad"),
    AttentionWithWeights: _attention("attention_with_weights"),
    AttentionGradOfWeights: _attention("attention_grad_of_weights"),
}
