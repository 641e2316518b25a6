"""Normalisation in JAX: functions of `emitted.norms`, whose first argument is a layer's tree."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import Unsupported, python
from dlspec.codegen.statics import is_always
from dlspec.ops import layernorm, norm, response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

DERIVED = Unsupported("differentiates by itself and needs no gradient ops")
NAMES: dict[type[Op], str] = {
    layernorm.LayerNorm: "layer_norm",
    layernorm.RmsNorm: "rms_norm",
    layernorm.GroupNorm: "group_norm",
    layernorm.InstanceNorm: "instance_norm",
}


def norm_call(node: OpNode, params: ast.expr, x: ast.expr, static: StaticPrinter) -> ast.expr:
    """`layer_norm(params, x, eps=1e-12)`"""
    op = node.op
    assert isinstance(op, layernorm.Standard)
    keywords: dict[str, ast.expr] = {}
    usual = 1e-6 if isinstance(op, layernorm.RmsNorm) else 1e-5
    if isinstance(op, layernorm.LastAxes) and len(op.axes) > 1:
        keywords["axes"] = python.constant(op.axes)
    if isinstance(op, layernorm.GroupNorm):
        keywords["groups"] = static.dim(op.groups)
    if not is_always(op.eps, usual):
        keywords["eps"] = static.value(op.eps)
    return python.call(NAMES[type(op)], params, x, **keywords)


def batch_norm_call(node: OpNode, params: ast.expr, x: ast.expr, static: StaticPrinter) -> ast.expr:
    """`batch_norm_inference(params["norm"], x)`, of a network that is never trained."""
    op = node.op
    assert isinstance(op, norm.BatchNormInference)
    keywords = {} if is_always(op.eps, 1e-5) else {"eps": static.value(op.eps)}
    return python.call("batch_norm_inference", params, x, **keywords)


def _norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, layernorm.Standard)
    x, *factors = operands
    names = [n for n, flag in (("weight", op.scale), ("bias", op.shift)) if flag]
    params = ast.Dict([python.constant(n) for n in names], list(factors))
    return norm_call(node, params, x, static)


def _frozen_batch_norm(
    node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter
) -> ast.expr:
    op = node.op
    assert isinstance(op, norm.BatchNormInference)
    x, mean, var, *factors = operands
    names = [n for n, flag in (("weight", op.scale), ("bias", op.shift)) if flag]
    params = ast.Dict([python.constant(n) for n in names], list(factors))
    keys: list[ast.expr | None] = [python.constant(n) for n in ("running_mean", "running_var")]
    buffers = ast.Dict(keys, [mean, var])
    keywords = {"training": python.constant(False)}
    if not is_always(op.eps, 1e-5):
        keywords["eps"] = static.value(op.eps)
    made = python.call("batch_norm", params, buffers, x, **keywords)
    return ast.Subscript(made, python.constant(0), ast.Load())


ROWS: dict[type[Op], Row] = {
    norm.BatchNormInference: _frozen_batch_norm,
    norm.BatchNormGrad: DERIVED,
    layernorm.LayerNorm: _norm,
    layernorm.LayerNormGrad: DERIVED,
    layernorm.RmsNorm: _norm,
    layernorm.RmsNormGrad: DERIVED,
    layernorm.GroupNorm: _norm,
    layernorm.InstanceNorm: _norm,
    response.LocalResponseNorm: "x: local_response_norm(x, size, alpha, beta, k)",
}
