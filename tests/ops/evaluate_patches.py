"""Patches and sampling by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec.ops import patches, sampling

if TYPE_CHECKING:
    from collections.abc import Callable

    from dlspec.ops.base import Op


def window(c: Any, op: Any) -> dict[str, Any]:
    return {name: c.number(getattr(op, name)) for name in ("dilation", "padding", "stride")}


def unfold(c: Any, op: Any, x: Tensor) -> Tensor:
    return F.unfold(x, c.number(op.kernel), **window(c, op))


def fold(c: Any, op: Any, x: Tensor) -> Tensor:
    return F.fold(x, c.number(op.size), c.number(op.kernel), **window(c, op))


def grid_sample(c: Any, op: Any, x: Tensor, grid: Tensor) -> Tensor:
    """torch has no second derivative of its own."""
    high, wide = x.shape[2:]
    total: Any = 0.0
    for j, row in corners(op, grid[..., 1], high):
        for i, column in corners(op, grid[..., 0], wide):
            read = torch.stack([x[n][:, j[n], i[n]] for n in range(len(x))])
            total = total + read * (row * column)[:, None]
    if not (x.requires_grad or grid.requires_grad):
        arguments = (op.mode, op.padding, op.align_corners)
        torch.testing.assert_close(total, F.grid_sample(x, grid, *arguments))
    return total


def corners(op: Any, at: Tensor, n: int) -> list[tuple[Tensor, Tensor]]:
    at = (at + 1) / 2 * (n - 1) if op.align_corners else ((at + 1) * n - 1) / 2
    at = at.clamp(0, n - 1) if op.padding == "border" else at
    low = at.round() if op.mode == "nearest" else at.floor()
    share = at - low
    weights = [torch.ones_like(at)] if op.mode == "nearest" else [1 - share, share]
    found = []
    for i, weight in enumerate(weights):
        inside = (low + i >= 0) & (low + i <= n - 1)
        found.append(((low + i).clamp(0, n - 1).long(), weight * inside))
    return found


ROWS: dict[type[Op], Callable[..., Any]] = {
    patches.Unfold: unfold,
    patches.Fold: fold,
    sampling.GridSample: grid_sample,
}
