"""Indexing, sorting and running reductions in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import indexing, ordering, reduce

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    indexing.Take: "x, i: np.take(x, i, axis=axis)",
    indexing.Embedding: "i, w: w[i]",
    indexing.TakeAlong: "x, i: np.take_along_axis(x, i, axis=axis)",
    indexing.ScatterAdd: "i, g: scatter_add(i, g, axis, size)",
    indexing.ScatterAddAlong: "i, g: scatter_add_along(i, g, axis, size)",
    ordering.ArgSort: "x: argsort(x, axis, descending)",
    reduce.CumProd: "x: np.cumprod(x, axis=axis)",
    reduce.LogCumSumExp: "x: np.logaddexp.accumulate(x, axis=axis)",
}
