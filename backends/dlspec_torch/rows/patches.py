"""Patches and sampling in torch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import patches, sampling
from dlspec_torch.rows.windows import ONE, ZERO, scalar_or_tuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _window(op: patches.Patches, static: StaticPrinter) -> dict[str, ast.expr]:
    """The keywords that differ from torch's defaults."""
    given = {
        "dilation": (op.dilation, ONE),
        "padding": (op.padding, ZERO),
        "stride": (op.stride, ONE),
    }
    return {
        name: scalar_or_tuple(values, static)
        for name, (values, default) in given.items()
        if any(v != default for v in values)
    }


def _unfold(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, patches.Unfold)
    kernel = scalar_or_tuple(op.kernel, static)
    return python.call("F.unfold", *operands, kernel, **_window(op, static))


def _fold(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, patches.Fold)
    size, kernel = static.shape(op.size), scalar_or_tuple(op.kernel, static)
    return python.call("F.fold", *operands, size, kernel, **_window(op, static))


def _grid_sample(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, sampling.GridSample)
    keywords = {"align_corners": python.constant(op.align_corners)}
    if op.padding != "zeros":
        keywords = {"padding_mode": python.constant(op.padding), **keywords}
    if op.mode != "bilinear":
        keywords = {"mode": python.constant(op.mode), **keywords}
    return python.call("F.grid_sample", *operands, **keywords)


ROWS: dict[type[Op], Row] = {
    patches.Unfold: _unfold,
    patches.Fold: _fold,
    sampling.GridSample: _grid_sample,
}
