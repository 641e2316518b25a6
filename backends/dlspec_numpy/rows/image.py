"""Resizing and padding in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import padding, resize

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

WORDS = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _resize(name: str) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, resize.Resize)
        flags = {name: getattr(op, name) for name in ("align_corners", "antialias")}
        extra = {name: python.constant(True) for name, flag in flags.items() if flag}
        size = () if isinstance(op, resize.ResizeGrad) else (static.shape(op.size),)
        return python.call(name, *operands, *size, python.constant(op.mode), **extra)

    return lower


def _pad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, padding.PadFrom)
    pairs = python.tuple_of(*map(static.shape, zip(op.low, op.high, strict=True)))
    return python.call("np.pad", *operands, pairs, mode=python.constant(WORDS[op.mode]))


ROWS: dict[type[Op], Row] = {
    resize.Resize: _resize("resize"),
    resize.ResizeGrad: _resize("resize_grad"),
    padding.PadFrom: _pad,
}
