"""Batch normalisation (Ioffe and Szegedy 2015) over rows [C, M], one for each channel."""

import numpy as np

from dlspec_numpy.emitted.convolution import batch_last


def batch_norm(x, running_mean, running_var, scale=None, shift=None, eps=1e-5, momentum=0.1):
    """(x - μ) / √(σ² + eps) · scale + shift with the batch's statistics.

    Returns y, the new running mean and (unbiased) variance, μ, and 1 / √(σ² + eps).
    """
    last = batch_last(x)
    rows = last.reshape(len(last), -1)
    count = rows.shape[1]
    mean = rows.mean(axis=1)
    y = rows - mean[:, None]
    var = np.einsum("cm,cm->c", y, y) / count
    rstd = 1 / np.sqrt(var + eps)
    y *= (rstd if scale is None else rstd * scale)[:, None]
    if shift is not None:
        y += shift[:, None]
    new_mean = running_mean + momentum * (mean - running_mean)
    new_var = running_var + momentum * (var * (count / (count - 1)) - running_var)
    return np.moveaxis(y.reshape(last.shape), -1, 0), new_mean, new_var, mean, rstd


def batch_norm_grad(x, mean, rstd, dy, scale=None):
    """Gradients of `batch_norm` for x, scale and shift. With x̂ = (x - μ) rstd:
    dx = scale rstd (dy - mean(dy) - x̂ mean(dy x̂))."""
    last = batch_last(x)
    normal = (last.reshape(len(last), -1) - mean[:, None]) * rstd[:, None]
    g = batch_last(dy).reshape(normal.shape)
    dshift = g.sum(axis=1)
    dscale = np.einsum("cm,cm->c", g, normal)
    count = g.shape[1]
    normal *= (dscale / count)[:, None]
    dx = g - (dshift / count)[:, None]
    dx -= normal
    dx *= (rstd if scale is None else rstd * scale)[:, None]
    return np.moveaxis(dx.reshape(last.shape), -1, 0), dscale, dshift


def batch_norm_inference(x, mean, var, scale=None, shift=None, eps=1e-5):
    """(x - mean) / √(var + eps) · scale + shift with the running statistics."""
    factor = 1 / np.sqrt(var + eps)
    if scale is not None:
        factor = factor * scale
    ones = (1,) * (x.ndim - 2)
    y = x - mean.reshape(-1, *ones)
    y *= factor.reshape(-1, *ones)
    if shift is not None:
        y += shift.reshape(-1, *ones)
    return y
