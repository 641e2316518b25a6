"""Elementwise mathematics in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import maths, special, statistics

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    special.Lgamma: "x: jax.scipy.special.gammaln(x)",
    special.Digamma: "x: jax.scipy.special.digamma(x)",
    special.Polygamma: "x: jax.scipy.special.polygamma(order, x)",
    statistics.CumMax: "x: cummax(x, axis)",
    statistics.SearchSorted: "order, x: searchsorted(order, x, right)",
    maths.Tan: "x: jnp.tan(x)",
    maths.Asin: "x: jnp.arcsin(x)",
    maths.Acos: "x: jnp.arccos(x)",
    maths.Atan: "x: jnp.arctan(x)",
    maths.Sinh: "x: jnp.sinh(x)",
    maths.Cosh: "x: jnp.cosh(x)",
    maths.Asinh: "x: jnp.arcsinh(x)",
    maths.Acosh: "x: jnp.arccosh(x)",
    maths.Atanh: "x: jnp.arctanh(x)",
    maths.Log2: "x: jnp.log2(x)",
    maths.Log10: "x: jnp.log10(x)",
    maths.Exp2: "x: jnp.exp2(x)",
    maths.Erfc: "x: jax.scipy.special.erfc(x)",
    maths.Erfinv: "x: jax.scipy.special.erfinv(x)",
    maths.Trunc: "x: jnp.trunc(x)",
    maths.NanToNum: "x: jnp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)",
    maths.IsNan: "x: jnp.isnan(x)",
    maths.IsInf: "x: jnp.isinf(x)",
    maths.IsFinite: "x: jnp.isfinite(x)",
    maths.Atan2: "a, b: jnp.arctan2(a, b)",
    maths.Hypot: "a, b: hypot(a, b)",
    maths.LogAddExp: "a, b: jnp.logaddexp(a, b)",
    maths.Remainder: "a, b: jnp.remainder(a, b)",
    maths.Fmod: "a, b: jnp.fmod(a, b)",
}
