"""Elementwise functions, reductions and movements that NumPy does not have, or has only slowly."""

import math

import numpy as np


def sigmoid(x):
    """1 / (1 + e^-x), by the hyperbolic tangent: no overflow, and faster."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def softplus(x):
    """ln(1 + e^x), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def in_blocks(function, *arrays, size=1 << 15):
    """An elementwise function of arrays of one shape, in pieces that fit the cache."""
    flat = [np.ascontiguousarray(x).reshape(-1) for x in arrays]
    y = np.empty_like(flat[0])
    for start in range(0, len(y), size):
        y[start : start + size] = function(*(x[start : start + size] for x in flat))
    return y.reshape(np.shape(arrays[0]))


def both_in_blocks(function, x, size=1 << 15):
    """As `in_blocks`, for a function of one array that gives two."""
    flat = np.ascontiguousarray(x).reshape(-1)
    a, b = np.empty_like(flat), np.empty_like(flat)
    for start in range(0, len(flat), size):
        piece = slice(start, start + size)
        a[piece], b[piece] = function(flat[piece])
    return a.reshape(x.shape), b.reshape(x.shape)


def polynomial(x, coefficients):
    """Σ c xᵏ, the highest power's coefficient first, by Horner's rule."""
    y = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        y *= x
        y += c
    return y


ERF_NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
ERF_DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def erf(x):
    """2/√π ∫₀ˣ e^(-t²) dt. float32: a rational function of x², to 5e-7; else to the last digits."""
    return in_blocks(rational_erf if x.dtype == np.float32 else series_erf, x)


def rational_erf(x):
    """erf to 5e-7, by the minimax approximation that Eigen and XLA use."""
    x = np.clip(x, -4, 4)
    square = x * x
    y = polynomial(square, ERF_NUMERATOR)
    y *= x
    y /= polynomial(square, ERF_DENOMINATOR)
    return y


def series_erf(x):
    """erf by a power series for small |x|, a continued fraction beyond."""
    a = np.minimum(np.abs(x), 6.0)
    square = a * a
    term = a.copy()
    series = a.copy()
    for n in range(1, 60):
        term = term * (square * 2 / (2 * n + 1))
        series = series + term
    near = 1.1283791670955126 * np.exp(-square) * series
    fraction = np.zeros_like(a)
    safe = np.maximum(a, 2.0)
    for n in range(60, 0, -1):
        fraction = (n / 2) / (safe + fraction)
    far = 1 - np.exp(-safe * safe) / ((safe + fraction) * 1.772453850905516)
    return np.sign(x) * np.where(a < 2.5, near, far)


def gelu(x):
    """x Φ(x)"""
    return in_blocks(lambda x: 0.5 * x * (1 + erf(x * 0.7071067811865476)), x)


def gelu_with_slope(x):
    """`gelu`, and its derivative Φ(x) + x φ(x)."""

    def piece(x):
        cdf = 0.5 * (1 + erf(x * 0.7071067811865476))
        return x * cdf, cdf + 0.3989422804014327 * x * np.exp(-0.5 * x * x)

    return both_in_blocks(piece, x)


def gelu_grad(x, g):
    """The gradient of `gelu`: g (Φ(x) + x φ(x))."""

    def piece(x, g):
        cdf = 0.5 * (1 + erf(x * 0.7071067811865476))
        return g * (cdf + 0.3989422804014327 * x * np.exp(-0.5 * x * x))

    return in_blocks(piece, x, g)


def gelu_tanh(x):
    """x (1 + tanh u) / 2, an approximation of `gelu` (Hendrycks and Gimpel 2016)."""
    return in_blocks(lambda x: 0.5 * x * (1 + np.tanh(normal_tanh(x))), x)


def gelu_with_slope_tanh(x):
    """`gelu_tanh`, and its derivative: with t = tanh u, (1 + t + x (1 - t²) du/dx) / 2."""

    def piece(x):
        t = np.tanh(normal_tanh(x))
        slope = 0.7978845608028654 * (1 + 3 * 0.044715 * x * x)
        return 0.5 * x * (1 + t), 0.5 * (1 + t + x * (1 - t * t) * slope)

    return both_in_blocks(piece, x)


def gelu_grad_tanh(x, g):
    """The gradient of `gelu_tanh`: with t = tanh u, g (1 + t + x (1 - t²) du/dx) / 2."""

    def piece(x, g):
        t = np.tanh(normal_tanh(x))
        slope = 0.7978845608028654 * (1 + 3 * 0.044715 * x * x)
        return 0.5 * g * (1 + t + x * (1 - t * t) * slope)

    return in_blocks(piece, x, g)


def normal_tanh(x):
    """u with Φ(x) ≈ (1 + tanh u) / 2."""
    return 0.7978845608028654 * x * (1 + 0.044715 * x * x)


def softmax(x, axis=-1):
    """e^(x - m) / Σ e^(x - m) along an axis, m = max x."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def log_sum_exp(x, axes, keepdims=False):
    """ln Σ e^x, by ln Σ e^(x - m) + m with m = max x."""
    m = x.max(axis=axes, keepdims=True)
    m = np.where(np.isfinite(m), m, 0).astype(x.dtype)
    y = np.log(np.exp(x - m).sum(axis=axes, keepdims=True)) + m
    return y if keepdims else np.squeeze(y, axis=axes)


def log_softmax(x, axis=-1):
    """x - ln Σ e^x along an axis."""
    return x - log_sum_exp(x, axis, keepdims=True)


def linear(x, weight, bias=None):
    """x Wᵀ + b over the last axis, as one product of matrices."""
    y = x.reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], len(weight))


def sum_rows(x, out=None):
    """Σ over axis 0 of a matrix, as a product: faster than a sum down the columns."""
    return np.matmul(np.ones(len(x), x.dtype), x, out=out)


def first_equal(x, y, axes):
    """Where x equals y (broadcast) for the first time along `axes`, in row-major order."""
    axes = tuple(axis % x.ndim for axis in axes)
    rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
    order = rest + axes
    equal = (x == y).transpose(order)
    flat = equal.reshape(*(x.shape[axis] for axis in rest), math.prod(x.shape[a] for a in axes))
    first = flat & (np.cumsum(flat, axis=-1) == 1)
    return first.reshape(equal.shape).transpose(np.argsort(order))


def argsort(x, axis, descending=False):
    """The indices that sort x; equal elements keep their order."""
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(order, axis)


def split(x, sizes, axis=-1):
    """Parts of the given sizes along an axis."""
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def unslice(x, shape, index):
    """Zeros of `shape` with x at `index`."""
    y = np.zeros(shape, x.dtype)
    y[index] = x
    return y


def dropout(x, p, rng):
    """(x m, m) with m = 0 with probability p, else 1 / (1 - p)."""
    keep = rng.random(x.shape, dtype=x.dtype) >= p
    mask = keep.astype(x.dtype)
    if p < 1:
        mask /= 1 - p
    return x * mask, mask


def apply_mask(x, mask):
    """(x m, m), for a mask that is given."""
    mask = np.asarray(mask, x.dtype)
    return x * mask, mask


def one_hot(labels, classes, dtype):
    """1 at the label, else 0, along a new last axis."""
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def scatter_add(indices, g, axis, size):
    """Zeros with `size` at `axis`, each part of g added at its index: the transpose of a take."""
    y = np.zeros((*g.shape[:axis], size, *g.shape[axis + indices.ndim :]), g.dtype)
    if axis or indices.size == 0 or y[0].size < 16:
        np.add.at(y, (slice(None),) * axis + (indices,), g)
        return y
    # rows of one index brought together and summed: less than half the time of `np.add.at`
    flat = indices.reshape(-1) % size
    order = flat.argsort(kind="stable")
    flat = flat[order]
    first = np.flatnonzero(np.diff(flat, prepend=-1))
    rows = g.reshape(len(order), *y.shape[1:])[order]
    y[flat[first]] = np.add.reduceat(rows, first, axis=0)
    return y


def scatter_add_along(indices, g, axis, size):
    """Zeros with `size` at `axis`, g added at its indices: the transpose of take_along_axis."""
    shape = list(g.shape)
    shape[axis] = size
    y = np.zeros(shape, g.dtype)
    grid = list(np.indices(g.shape, sparse=True))
    grid[axis] = indices
    np.add.at(y, tuple(grid), g)
    return y


def random_normal(rng, shape, dtype, mean=0.0, std=1.0):
    return (mean + std * rng.standard_normal(shape)).astype(dtype)


def random_uniform(rng, shape, dtype, low=0.0, high=1.0):
    return (low + (high - low) * rng.random(shape)).astype(dtype)
