"""Loaded data against what the spec says about it: types, ranks, sizes, label ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Value
from dlspec.ir.types import DType
from dlspec.training.errors import DataError
from dlspec.training.limits import Limit


def name_fields(
    fields: Sequence[Value], arrays: Sequence[NDArray[Any]], source: str
) -> dict[str, NDArray[Any]]:
    """The arrays by field name; a field called `_` is left out."""
    if len(fields) != len(arrays):
        few = f"{len(fields)} field{'s'[: len(fields) != 1]}"
        raise DataError(f"{few} from `{source}`, which yields {len(arrays)}")
    named = zip(fields, arrays, strict=True)
    return {field.name: array for field, array in named if field.name not in ("", "_")}


def check_fields(
    fields: Sequence[Value],
    arrays: Mapping[str, NDArray[Any]],
    symbols: dict[str, int],
    limits: Mapping[str, Limit],
) -> dict[str, NDArray[Any]]:
    """The arrays in their fields' element types. symbols: sizes known so far, added to; the
    first axis, which is cut into batches, is not among them. DataError when they do not fit."""
    checked: dict[str, NDArray[Any]] = {}
    for field in fields:
        if field.name in arrays:
            array = arrays[field.name]
            _check_shape(field, array, symbols)
            checked[field.name] = _typed(field, array, limits.get(field.name))
    return checked


def _check_shape(field: Value, array: NDArray[Any], symbols: dict[str, int]) -> None:
    shape = field.type.shape
    if len(shape) != array.ndim:
        raise DataError(f"`{field.name}` has {array.ndim} axes in the data, {field.type} says "
                        f"{len(shape)}")  # fmt: skip
    for axis in range(1, array.ndim):
        extent, dim = array.shape[axis], shape[axis]
        expected = _known(dim, symbols)
        if expected is None:
            if len(dim.symbols) == 1 and dim == Dim.symbol(next(iter(dim.symbols))):
                symbols[next(iter(dim.symbols))] = extent
        elif expected != extent:
            where = f"axis {axis} of `{field.name}`"
            raise DataError(f"{where} is {extent} in the data, {expected} in the spec")


def _known(dim: Dim, symbols: Mapping[str, int]) -> int | None:
    return dim.evaluate(symbols) if dim.symbols <= symbols.keys() else None


def _typed(field: Value, array: NDArray[Any], limit: Limit | None) -> NDArray[Any]:
    dtype = field.type.dtype
    kind = array.dtype.kind
    if dtype.is_int:
        if kind not in "iub":
            raise DataError(
                f"`{field.name}` is {dtype.value} in the spec, {array.dtype} in the data"
            )
        _check_range(field.name, array, limit)
        return array.astype(np.int64 if dtype is DType.I64 else np.int32)
    if dtype is DType.BOOL:
        if kind != "b":
            raise DataError(f"`{field.name}` is bool in the spec, {array.dtype} in the data")
        return array
    if kind != "f":
        return array.astype(np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"`{field.name}` has values that are not finite")
    return array


def _check_range(name: str, array: NDArray[Any], limit: Limit | None) -> None:
    if limit is None or not array.size:
        return
    wrong = (array < 0) | (array >= limit.below)
    for value in limit.allowed:
        wrong &= array != value
    if wrong.any():
        value = array[wrong][0]
        raise DataError(f"`{name}` holds {value}, outside 0 to {limit.below - 1}: {limit.reason}")
