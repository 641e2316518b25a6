"""Patches in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import patches

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    patches.Unfold: "x: unfold(x, kernel, stride, padding, dilation)",
    patches.Fold: "x: fold(x, size, kernel, stride, padding, dilation)",
}
