"""Resizing, padding and pixels in JAX, on [N, *S, C] (padding: as `layout` orders it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import padding, resize
from dlspec_jax.rows.norm import DERIVED

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

WORDS = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _resize(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, resize.Resize)
    flags = {name: getattr(op, name) for name in ("align_corners", "antialias")}
    extra = {name: python.constant(True) for name, flag in flags.items() if flag}
    mode = python.constant(op.mode)
    return python.call("resize", *operands, static.shape(op.size), mode, **extra)


def _pad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, padding.PadFrom)
    pairs = python.tuple_of(*map(static.shape, zip(op.low, op.high, strict=True)))
    return python.call("jnp.pad", *operands, pairs, mode=python.constant(WORDS[op.mode]))


ROWS: dict[type[Op], Row] = {
    resize.Resize: _resize,
    resize.ResizeGrad: DERIVED,
    resize.PixelShuffle: "x: pixel_shuffle(x, factor)",
    resize.PixelUnshuffle: "x: pixel_unshuffle(x, factor)",
    padding.PadFrom: _pad,
}
