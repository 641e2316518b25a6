"""Normalisation in NumPy."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from dlspec.codegen import python
from dlspec.ops import layernorm, norm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def unusual(pairs: dict[str, tuple[ast.expr, Any]]) -> dict[str, ast.expr]:
    """Those that differ from their default."""
    return {
        name: value
        for name, (value, default) in pairs.items()
        if python.flat(value) != python.flat(python.constant(default))
    }


def _factors(operands: Sequence[ast.expr], scale: bool, shift: bool) -> dict[str, ast.expr]:
    names = [name for name, flag in (("scale", scale), ("shift", shift)) if flag]
    return dict(zip(names, operands, strict=True))


def _wanted(call: ast.expr, scale: bool, shift: bool) -> ast.expr:
    """Of the gradients for x, scale and shift those that there are."""
    if scale and shift:
        return call
    if not (scale or shift):
        return ast.Subscript(call, python.constant(0), ast.Load())
    chosen = python.expr("x[:2]" if scale else "x[::2]")
    assert isinstance(chosen, ast.Subscript)
    return ast.Subscript(call, chosen.slice, ast.Load())


def _batch_norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, norm.BatchNorm | norm.BatchNormInference)
    factors = _factors(operands[3:], op.scale, op.shift)
    pairs = {"eps": (static.value(op.eps), 1e-5)}
    name = "batch_norm_inference"
    if isinstance(op, norm.BatchNorm):
        pairs["momentum"] = (static.value(op.momentum), 0.1)
        name = "batch_norm"
    return python.call(name, *operands[:3], **factors, **unusual(pairs))


def _batch_norm_grad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, norm.BatchNormGrad)
    return _wanted(python.call("batch_norm_grad", *operands), op.scale, op.shift)


def _last_axes(name: str, eps: float) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, layernorm.LastAxes)
        pairs = {"axes": (python.constant(len(op.axes)), 1), "eps": (static.value(op.eps), eps)}
        backward = isinstance(op, layernorm.LayerNormGrad)
        given = 2 if backward else 1
        factors = _factors(operands[given:], op.scale, op.shift and not backward)
        call = python.call(name, *operands[:given], **factors, **unusual(pairs))
        return _wanted(call, op.scale, op.shift) if name == "layer_norm_grad" else call

    return lower


def _rms_norm_grad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, layernorm.RmsNormGrad)
    call = _last_axes("rms_norm_grad", 1e-6)(node, operands, static)
    return call if op.scale else ast.Subscript(call, python.constant(0), ast.Load())


ROWS: dict[type[Op], Row] = {
    norm.BatchNorm: _batch_norm,
    norm.BatchNormGrad: _batch_norm_grad,
    norm.BatchNormInference: _batch_norm,
    layernorm.LayerNorm: _last_axes("layer_norm", 1e-5),
    layernorm.LayerNormGrad: _last_axes("layer_norm_grad", 1e-5),
    layernorm.RmsNorm: _last_axes("rms_norm", 1e-6),
    layernorm.RmsNormGrad: _rms_norm_grad,
}
