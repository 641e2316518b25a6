"""Convolution and pooling in torch, and how windows are printed."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from dlspec.codegen import Unsupported, python
from dlspec.ir.dims import Dim
from dlspec.ops import conv, conv_transpose, pool
from dlspec.ops.rules import extent_of_kernel, same_pairs
from dlspec_torch.rows.norm import OWN_GRADIENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

    Operands = Sequence[ast.expr]
    RowFunction = Callable[[OpNode, Operands, StaticPrinter], ast.expr | Unsupported]

ZERO, ONE = Dim.const(0), Dim.const(1)


def scalar_or_tuple(values: Sequence[Any], static: StaticPrinter) -> ast.expr:
    """`3` for (3, 3), `(3, 5)` otherwise."""
    if all(v == values[0] for v in values):
        return static.value(values[0])
    return static.value(tuple(values))


def padded(
    x: ast.expr, pairs: Sequence[tuple[Dim, Dim]], value: float, static: StaticPrinter
) -> ast.expr:
    """F.pad, which counts axes from the last; leading axes without padding are left out."""
    pairs = list(pairs)
    while len(pairs) > 1 and pairs[0] == (ZERO, ZERO):
        pairs.pop(0)
    amounts = python.tuple_of(*(static.dim(n) for pair in reversed(pairs) for n in pair))
    extra = {"value": python.constant(value)} if value else {}
    return python.call("F.pad", x, amounts, **extra)


def same(
    x: ast.expr,
    op: Any,
    sizes: Sequence[Dim],
    kernel: Sequence[Dim],
    value: float,
    static: StaticPrinter,
) -> ast.expr | None:
    """x for windows with "same" padding, where how much it is depends on the image."""
    if not isinstance(op.padding, str) or not depends(op, sizes, kernel):
        return None
    spread = [extent_of_kernel(k, d) for k, d in zip(kernel, dilation_of(op), strict=True)]
    window = [scalar_or_tuple(spread, static), scalar_or_tuple(op.stride, static)]
    extra = {"value": python.constant(value)} if value else {}
    return python.call("pad_same", x, *window, **extra)


def depends(op: Any, sizes: Sequence[Dim], kernel: Sequence[Dim]) -> bool:
    """Whether "same" is not the same for all images."""
    image = frozenset[str]().union(*(n.symbols for n in sizes))
    pairs = same_pairs(sizes, kernel, op.stride, dilation_of(op))
    return any(n.symbols & image for pair in pairs for n in pair)


def dilation_of(op: Any) -> Sequence[Dim]:
    return op.dilation if isinstance(op, conv.Conv) else op.spread()


def symmetric(pairs: Sequence[tuple[Dim, Dim]]) -> bool:
    return all(before == after for before, after in pairs)


def conv_of(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, conv.Conv)
    x, weight = (v.type.shape for v in node.operands[:2])
    pairs = op.pairs(x[2:], weight[2:])
    image, keywords = operands[0], window_keywords(op.stride, op.dilation, op.groups, static)
    if (around := same(image, op, x[2:], weight[2:], 0.0, static)) is not None:
        image = around
    elif not symmetric(pairs):
        image = padded(image, pairs, 0.0, static)
    elif any(before != ZERO for before, _ in pairs):
        keywords["padding"] = scalar_or_tuple([before for before, _ in pairs], static)
    return python.call(f"F.conv{len(op.stride)}d", image, *operands[1:], **keywords)


def window_keywords(
    stride: Sequence[Dim], dilation: Sequence[Dim], groups: Dim, static: StaticPrinter
) -> dict[str, ast.expr]:
    """What differs from torch's defaults."""
    found: dict[str, ast.expr] = {}
    if any(s != ONE for s in stride):
        found["stride"] = scalar_or_tuple(stride, static)
    if any(d != ONE for d in dilation):
        found["dilation"] = scalar_or_tuple(dilation, static)
    if groups != ONE:
        found["groups"] = static.dim(groups)
    return found


def pooling(name: str) -> RowFunction:
    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr | Unsupported:
        op: Any = node.op
        rank = len(op.kernel)
        sizes = node.operands[0].type.shape[2:]
        if isinstance(op.padding, str):
            pairs = same_pairs(sizes, op.kernel, op.stride, op.spread())
        else:
            pairs = op.padding
        x = operands[0]
        keywords: dict[str, ast.expr] = {}
        if op.stride != op.kernel:
            keywords["stride"] = scalar_or_tuple(op.stride, static)
        average = name == "avg_pool"
        border = 0.0 if average else -float("inf")
        counts = not average or op.count_padding
        if counts and (around := same(x, op, sizes, op.kernel, border, static)) is not None:
            x, pairs = around, ((ZERO, ZERO),) * rank
        elif not symmetric(pairs):
            if not counts:
                return averaged(x, node, pairs, keywords, static)
            x = padded(x, pairs, border, static)
        elif any(before != ZERO for before, _ in pairs):
            keywords["padding"] = scalar_or_tuple([before for before, _ in pairs], static)
        if any(d != ONE for d in op.spread()):
            keywords["dilation"] = scalar_or_tuple(op.spread(), static)
        if op.ceil:
            keywords["ceil_mode"] = python.constant(True)
        if average and not op.count_padding and symmetric(pairs):
            keywords["count_include_pad"] = python.constant(False)
        kernel = scalar_or_tuple(op.kernel, static)
        return python.call(f"F.{name}{rank}d", x, kernel, **keywords)

    return row


def averaged(
    x: ast.expr,
    node: OpNode,
    pairs: Sequence[tuple[Dim, Dim]],
    keywords: dict[str, ast.expr],
    static: StaticPrinter,
) -> ast.expr:
    """The mean over what is no padding: that of x over that of ones."""
    op: Any = node.op
    name = f"F.avg_pool{len(op.kernel)}d"
    kernel = scalar_or_tuple(op.kernel, static)
    ones = python.call("torch.ones_like", x)
    sums = python.call(name, padded(x, pairs, 0.0, static), kernel, **keywords)
    counts = python.call(name, padded(ones, pairs, 0.0, static), kernel, **keywords)
    return ast.BinOp(sums, ast.Div(), counts)


def conv_transpose_of(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, conv_transpose.ConvTranspose) and not isinstance(op.padding, str)
    padding = [before for before, _ in op.padding]
    keywords = transposed_keywords(op, padding, op.output_padding, static)
    return python.call(f"F.conv_transpose{len(op.stride)}d", *operands, **keywords)


def transposed_keywords(
    window: Any, padding: Sequence[Dim], output_padding: Sequence[Dim], static: StaticPrinter
) -> dict[str, ast.expr]:
    """What differs from torch's defaults, in the order of its signature."""
    found = window_keywords(window.stride, window.dilation, window.groups, static)
    for name, values in (("padding", padding), ("output_padding", output_padding)):
        if any(n != ZERO for n in values):
            found[name] = scalar_or_tuple(values, static)
    order = ("stride", "padding", "output_padding", "groups", "dilation")
    return {key: found[key] for key in order if key in found}


ROWS: dict[type[Op], Row] = {
    conv.Conv: conv_of,
    conv.ConvInputGrad: OWN_GRADIENT,
    conv.ConvWeightGrad: OWN_GRADIENT,
    conv_transpose.ConvTranspose: conv_transpose_of,
    pool.MaxPool: pooling("max_pool"),
    pool.MaxPoolGrad: OWN_GRADIENT,
    pool.MaxPoolSelect: OWN_GRADIENT,
    pool.AvgPool: pooling("avg_pool"),
    pool.AvgPoolGrad: OWN_GRADIENT,
}
