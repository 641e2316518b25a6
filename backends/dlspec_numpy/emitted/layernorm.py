"""Layer norm (Ba et al. 2016) and root-mean-square norm over rows, one for each example."""

import math

import numpy as np

from dlspec_numpy.emitted.tensors import sum_rows


def as_rows(x, axes):
    """The last `axes` axes as one, and all others as one."""
    return x.reshape(-1, math.prod(x.shape[x.ndim - axes :]))


def standard_rows(x, axes, eps):
    """Rows of (x - μ) / √(σ² + eps), and the column 1 / √(σ² + eps)."""
    rows = as_rows(x, axes)
    rows = rows - rows.mean(axis=1, keepdims=True)
    var = np.einsum("rm,rm->r", rows, rows) / rows.shape[1]
    rstd = (1 / np.sqrt(var + eps))[:, None]
    rows *= rstd
    return rows, rstd


def layer_norm(x, scale=None, shift=None, axes=1, eps=1e-5):
    """(x - μ) / √(σ² + eps) · scale + shift over the last `axes` axes."""
    y = standard_rows(x, axes, eps)[0].reshape(x.shape)
    if scale is not None:
        y *= scale
    if shift is not None:
        y += shift
    return y


def layer_norm_grad(x, dy, scale=None, axes=1, eps=1e-5):
    """Gradients of `layer_norm` for x, scale and shift. With g = scale dy:
    dx = (g - mean(g) - x̂ mean(g x̂)) / √(σ² + eps)."""
    normal, rstd = standard_rows(x, axes, eps)
    g = as_rows(dy, axes)
    shape = x.shape[x.ndim - axes :]
    dscale, dshift = np.einsum("rm,rm->m", g, normal), sum_rows(g)
    g = g.copy() if scale is None else g * scale.reshape(-1)
    normal *= (np.einsum("rm,rm->r", g, normal) / g.shape[1])[:, None]
    g -= g.mean(axis=1, keepdims=True)
    g -= normal
    g *= rstd
    return g.reshape(x.shape), dscale.reshape(shape), dshift.reshape(shape)


def root_rows(x, axes, eps):
    """Rows of x / √(mean(x²) + eps), and the column 1 / √(mean(x²) + eps)."""
    rows = as_rows(x, axes)
    square = np.einsum("rm,rm->r", rows, rows) / rows.shape[1]
    rstd = (1 / np.sqrt(square + eps))[:, None]
    return rows * rstd, rstd


def rms_norm(x, scale=None, axes=1, eps=1e-6):
    """x / √(mean(x²) + eps) · scale over the last `axes` axes."""
    y = root_rows(x, axes, eps)[0].reshape(x.shape)
    if scale is not None:
        y *= scale
    return y


def rms_norm_grad(x, dy, scale=None, axes=1, eps=1e-6):
    """Gradients of `rms_norm` for x and scale. With g = scale dy:
    dx = (g - x̂ mean(g x̂)) / √(mean(x²) + eps)."""
    normal, rstd = root_rows(x, axes, eps)
    g = as_rows(dy, axes)
    dscale = np.einsum("rm,rm->m", g, normal).reshape(x.shape[x.ndim - axes :])
    g = g if scale is None else g * scale.reshape(-1)
    normal *= (np.einsum("rm,rm->r", g, normal) / g.shape[1])[:, None]
    dx = g - normal
    dx *= rstd
    return dx.reshape(x.shape), dscale
