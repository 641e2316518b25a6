"""Convolution and pooling in JAX, on [N, *S, C]."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import conv_transpose, pool
from dlspec.ops.conv import Conv, ConvInputGrad, ConvWeightGrad
from dlspec_jax.rows.norm import DERIVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def compact(values: Sequence[object], static: StaticPrinter) -> ast.expr:
    """One number for equal ones, else a tuple."""
    items = [static.value(v) for v in values]
    texts = {ast.dump(item) for item in items}
    return items[0] if len(texts) == 1 else python.tuple_of(*items)


def padding_of(pairs: object, static: StaticPrinter) -> ast.expr:
    """One number where every axis has it on both sides; else the pairs."""
    if isinstance(pairs, str):
        return python.constant(pairs.upper())
    assert isinstance(pairs, tuple)
    numbers = {n for pair in pairs for n in pair}
    return static.value(pairs[0][0] if len(numbers) == 1 else pairs)


def window(node: OpNode, static: StaticPrinter, defaults: dict[str, object]) -> dict[str, ast.expr]:
    """Keyword arguments of a window op that are not the helper's defaults."""
    keywords: dict[str, ast.expr] = {}
    for name, default in defaults.items():
        value = getattr(node.op, name)
        if name == "padding":
            printed = padding_of(value, static)
        else:
            printed = compact(value, static) if isinstance(value, tuple) else static.value(value)
        if ast.dump(printed) != ast.dump(python.constant(default)):
            keywords[name] = printed
    return keywords


CONV_DEFAULTS: dict[str, object] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def _conv(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    x, *weights = operands
    return conv_call(node, _tree(weights), x, static)


def _tree(weights: Sequence[ast.expr]) -> ast.expr:
    """`{"weight": w, "bias": b}`, the bias if there is one."""
    names = ("weight", "bias")[: len(weights)]
    return ast.Dict([python.constant(n) for n in names], list(weights))


def _conv_transpose(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    x, *weights = operands
    return conv_transpose_call(node, _tree(weights), x, static)


def conv_transpose_call(
    node: OpNode, params: ast.expr, x: ast.expr, static: StaticPrinter
) -> ast.expr:
    """`conv_transpose(params, x, stride=2)`"""
    op = node.op
    assert isinstance(op, conv_transpose.ConvTranspose) and not isinstance(op.padding, str)
    keywords = window(node, static, {"stride": 1})
    values: dict[str, tuple[Sequence[object], int]] = {
        "padding": ([before for before, _ in op.padding], 0),
        "output_padding": (op.output_padding, 0),
        "dilation": (op.dilation, 1),
    }
    for name, (given, usual) in values.items():
        printed = compact(given, static)
        if ast.dump(printed) != ast.dump(python.constant(usual)):
            keywords[name] = printed
    keywords |= window(node, static, {"groups": 1})
    return python.call("conv_transpose", params, x, **keywords)


def conv_call(node: OpNode, params: ast.expr, x: ast.expr, static: StaticPrinter) -> ast.expr:
    """`conv(params, x, padding=2)`"""
    return python.call("conv", params, x, **window(node, static, CONV_DEFAULTS))


def _pool(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, pool.MaxPool | pool.AvgPool)
    maximum = isinstance(op, pool.MaxPool)
    defaults: dict[str, object] = {"padding": 0, "ceil": False}
    if not maximum:
        defaults["count_padding"] = True
    keywords = window(node, static, defaults)
    if isinstance(op, pool.MaxPool) and op.dilation:
        keywords["dilation"] = compact(op.dilation, static)
    kernel, stride = compact(op.kernel, static), compact(op.stride, static)
    if ast.dump(kernel) != ast.dump(stride):
        keywords = {"stride": stride, **keywords}
    return python.call("max_pool" if maximum else "avg_pool", *operands, kernel, **keywords)


ROWS: dict[type[Op], Row] = {
    Conv: _conv,
    ConvInputGrad: DERIVED,
    ConvWeightGrad: DERIVED,
    conv_transpose.ConvTranspose: _conv_transpose,
    pool.MaxPool: _pool,
    pool.AvgPool: _pool,
    pool.MaxPoolGrad: DERIVED,
    pool.MaxPoolSelect: DERIVED,
    pool.AvgPoolGrad: DERIVED,
}
