"""Elementwise mathematics in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import maths, special, statistics

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    special.Lgamma: "x: lgamma(x)",
    special.Digamma: "x: digamma(x)",
    special.Polygamma: "x: polygamma(order, x)",
    statistics.CumMax: "x: np.maximum.accumulate(x, axis=axis)",
    statistics.SearchSorted: "order, x: searchsorted(order, x, right)",
    maths.Tan: "x: np.tan(x)",
    maths.Asin: "x: np.arcsin(x)",
    maths.Acos: "x: np.arccos(x)",
    maths.Atan: "x: np.arctan(x)",
    maths.Sinh: "x: np.sinh(x)",
    maths.Cosh: "x: np.cosh(x)",
    maths.Asinh: "x: np.arcsinh(x)",
    maths.Acosh: "x: np.arccosh(x)",
    maths.Atanh: "x: np.arctanh(x)",
    maths.Log2: "x: np.log2(x)",
    maths.Log10: "x: np.log10(x)",
    maths.Exp2: "x: np.exp2(x)",
    maths.Erfc: "x: erfc(x)",
    maths.Erfinv: "x: erfinv(x)",
    maths.Trunc: "x: np.trunc(x)",
    maths.NanToNum: "x: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)",
    maths.IsNan: "x: np.isnan(x)",
    maths.IsInf: "x: np.isinf(x)",
    maths.IsFinite: "x: np.isfinite(x)",
    maths.Atan2: "a, b: np.arctan2(a, b)",
    maths.Hypot: "a, b: np.hypot(a, b)",
    maths.LogAddExp: "a, b: np.logaddexp(a, b)",
    maths.Remainder: "a, b: np.remainder(a, b)",
    maths.Fmod: "a, b: np.fmod(a, b)",
}
