"""Resizing, padding and pixels in torch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import Unsupported, python
from dlspec.ops import padding, resize
from dlspec_torch.rows.norm import OWN_GRADIENT
from dlspec_torch.rows.windows import ZERO, scalar_or_tuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _resize(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, resize.Resize)
    (x,) = operands
    rank = len(op.size)
    if op.mode == "area":
        return python.call(f"F.adaptive_avg_pool{rank}d", x, scalar_or_tuple(op.size, static))
    factor = _factor(node, op)
    keywords: dict[str, ast.expr] = {}
    if factor:
        keywords["scale_factor"] = python.constant(factor)
    else:
        keywords["size"] = static.shape(op.size)
    if op.mode != "nearest":
        word = LINEAR[rank] if op.mode == "linear" else "bicubic"
        keywords["mode"] = python.constant(word)
    elif not factor:  # torch's "nearest" rounds down from the pixel's corner
        keywords["mode"] = python.constant("nearest-exact")
    if op.align_corners:
        keywords["align_corners"] = python.constant(True)
    if op.antialias:
        keywords["antialias"] = python.constant(True)
    return python.call("F.interpolate", x, **keywords)


def _factor(node: OpNode, op: resize.Resize) -> int:
    """How many times as large each axis becomes; 0 where that is no one number."""
    old = node.operands[0].type.shape[2:]
    for factor in range(2, 17):
        if all(n * factor == size for n, size in zip(old, op.size, strict=True)):
            return factor
    return 0


def _pad(
    node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter
) -> ast.expr | Unsupported:
    op = node.op
    assert isinstance(op, padding.PadFrom)
    pairs = list(zip(op.low, op.high, strict=True))
    x = operands[0]
    rank = node.operands[0].type.rank
    # F.pad wants all axes but one or two
    while len(pairs) > max(1, rank - 2) and pairs[0] == (ZERO, ZERO):
        pairs.pop(0)
    if len(pairs) == 3 == rank or len(pairs) > 3:
        return Unsupported("F.pad takes the last axes only, and not all of them")
    amounts = python.tuple_of(*(static.dim(n) for pair in reversed(pairs) for n in pair))
    mode = python.constant(op.mode)
    if len(pairs) < rank:
        return python.call("F.pad", x, amounts, mode=mode)
    # F.pad wants an axis more than it pads
    wide = ast.Subscript(x, python.constant(None), ast.Load())
    found = python.call("F.pad", wide, amounts, mode=mode)
    return ast.Subscript(found, python.constant(0), ast.Load())


ROWS: dict[type[Op], Row] = {
    resize.Resize: _resize,
    resize.ResizeGrad: OWN_GRADIENT,
    resize.PixelShuffle: "x: F.pixel_shuffle(x, factor)",
    resize.PixelUnshuffle: "x: F.pixel_unshuffle(x, factor)",
    padding.PadFrom: _pad,
}
