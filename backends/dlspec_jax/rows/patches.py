"""Patches and sampling in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import patches, sampling

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    patches.Unfold: "x: unfold(x, kernel, stride, padding, dilation)",
    patches.Fold: "x: fold(x, size, kernel, stride, padding, dilation)",
    sampling.GridSample: "x, grid: grid_sample(x, grid, mode, padding, align_corners)",
}
