"""Normalisation in torch, where it is no layer of `torch.nn`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import Unsupported, python
from dlspec.ops import layernorm, norm, response

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

MODE = "training"  # what a body substitutes: whether the network trains
OWN_GRADIENT = Unsupported("torch derives gradients itself")


def _batch_norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, norm.BatchNorm)
    x, mean, var, *factors = operands
    weight, bias = _both(factors, op.scale, op.shift)
    momentum, eps = static.value(op.momentum), static.value(op.eps)
    mode = python.name(MODE)
    return python.call("F.batch_norm", x, mean, var, weight, bias, mode, momentum, eps)


def _frozen_batch_norm(
    node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter
) -> ast.expr:
    op = node.op
    assert isinstance(op, norm.BatchNormInference)
    x, mean, var, *factors = operands
    weight, bias = _both(factors, op.scale, op.shift)
    return python.call("F.batch_norm", x, mean, var, weight, bias, eps=static.value(op.eps))


def _both(factors: Sequence[ast.expr], scale: bool, shift: bool) -> tuple[ast.expr, ast.expr]:
    """Scale and shift, `None` for what there is not."""
    rest = iter(factors)
    none = python.constant(None)
    return next(rest) if scale else none, next(rest) if shift else none


def _layer_norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, layernorm.LastAxes)
    x, *factors = operands
    shape = static.shape(node.operands[0].type.shape[-len(op.axes) :])
    eps = static.value(op.eps)
    weight, bias = _both(factors, op.scale, op.shift)
    if isinstance(op, layernorm.RmsNorm):
        return python.call("F.rms_norm", x, shape, weight, eps)
    return python.call("F.layer_norm", x, shape, weight, bias, eps)


def _group_norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, layernorm.GroupNorm)
    x, *factors = operands
    weight, bias = _both(factors, op.scale, op.shift)
    if op.shift and not op.scale:  # torch's own gradient fails without a weight
        weight = python.call("torch.ones_like", bias)
    eps = static.value(op.eps)
    return python.call("F.group_norm", x, static.dim(op.groups), weight, bias, eps)


def _instance_norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, layernorm.InstanceNorm)
    x, *factors = operands
    weight, bias = _both(factors, op.scale, op.shift)
    eps = static.value(op.eps)
    return python.call("F.instance_norm", x, weight=weight, bias=bias, eps=eps)


ROWS: dict[type[Op], Row] = {
    norm.BatchNorm: _batch_norm,
    norm.BatchNormGrad: OWN_GRADIENT,
    norm.BatchNormInference: _frozen_batch_norm,
    layernorm.LayerNorm: _layer_norm,
    layernorm.LayerNormGrad: OWN_GRADIENT,
    layernorm.RmsNorm: _layer_norm,
    layernorm.RmsNormGrad: OWN_GRADIENT,
    layernorm.GroupNorm: _group_norm,
    layernorm.InstanceNorm: _instance_norm,
    response.LocalResponseNorm: "x: F.local_response_norm(x, size, alpha=alpha, beta=beta, k=k)",
}
