"""Convolution and pooling in NumPy."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from dlspec.codegen import python
from dlspec.ops import conv, conv_transpose, pool
from dlspec_numpy.rows.norm import unusual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def per_axis(values: Sequence[Any], static: StaticPrinter) -> ast.expr:
    """One number where all are equal, else a tuple."""
    first = values[0]
    if all(v == first for v in values):
        return static.value(first)
    return static.value(tuple(values))


def padding_of(padding: Any, static: StaticPrinter) -> ast.expr:
    """One number, or one for each axis, or pairs."""
    if isinstance(padding, str):
        return python.constant(padding)
    if all(low == high for low, high in padding):
        return per_axis([low for low, _ in padding], static)
    return static.value(tuple(padding))


def _conv_keywords(op: conv.Window, static: StaticPrinter) -> dict[str, ast.expr]:
    return unusual(
        {
            "stride": (per_axis(op.stride, static), 1),
            "padding": (padding_of(op.padding, static), 0),
            "dilation": (per_axis(op.dilation, static), 1),
            "groups": (static.dim(op.groups), 1),
        }
    )


def _conv(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, conv.Conv)
    return python.call("conv", *operands, **_conv_keywords(op, static))


def _conv_input_grad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, conv.ConvInputGrad)
    return python.call("conv_input_grad", *operands, **_conv_keywords(op, static))


def _conv_weight_grad(
    node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter
) -> ast.expr:
    op = node.op
    assert isinstance(op, conv.ConvWeightGrad)
    kernel = static.shape(op.kernel)
    return python.call("conv_weight_grad", *operands, kernel, **_conv_keywords(op, static))


def _pool(function: str) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, pool.Pooling)
        pairs: dict[str, tuple[Any, Any]] = {
            "padding": (padding_of(op.padding, static), 0),
            "ceil": (static.value(op.ceil), False),
        }
        if isinstance(op, pool.AvgPool | pool.AvgPoolGrad):
            pairs["count_padding"] = (static.value(op.count_padding), True)
        if isinstance(op, pool.Spread) and op.dilation:
            pairs["dilation"] = (per_axis(op.dilation, static), 1)
        window = [static.shape(op.kernel), per_axis(op.stride, static)]
        return python.call(function, *operands, *window, **unusual(pairs))

    return lower


def _conv_transpose(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, conv_transpose.ConvTranspose)
    keywords = _conv_keywords(op, static)
    more = unusual({"output_padding": (per_axis(op.output_padding, static), 0)})
    return python.call("conv_transpose", *operands, **keywords, **more)


ROWS: dict[type[Op], Row] = {
    conv.Conv: _conv,
    conv.ConvInputGrad: _conv_input_grad,
    conv.ConvWeightGrad: _conv_weight_grad,
    conv_transpose.ConvTranspose: _conv_transpose,
    pool.MaxPool: _pool("max_pool"),
    pool.MaxPoolGrad: _pool("max_pool_grad"),
    pool.MaxPoolSelect: _pool("max_pool_select"),
    pool.AvgPool: _pool("avg_pool"),
    pool.AvgPoolGrad: _pool("avg_pool_grad"),
}
