"""Pooling as running maxima and sums over shifted slices."""

import numpy as np

from dlspec_numpy.emitted.convolution import batch_last, out_size, window


def max_pool(x, kernel, stride, padding=(), dilation=(1, 1)):
    """The largest element of each window; padding never wins."""
    x = batch_last(x, padding, fill=-np.inf)
    size = out_size(x.shape[1:-1], kernel, stride, dilation)
    y = np.full((x.shape[0], *size, x.shape[-1]), -np.inf, x.dtype)
    for offset in np.ndindex(*kernel):
        np.maximum(y, x[window(offset, size, stride, dilation)], out=y)
    return np.moveaxis(y, -1, 0)


def max_pool_grad(dy, x, y, kernel, stride, padding=(), dilation=(1, 1)):
    """Gradient of `max_pool` for x: dy goes to the first maximum of each window."""
    size = x.shape[2:]
    padding = padding or ((0, 0),) * len(size)
    x, y, dy = batch_last(x, padding, fill=-np.inf), batch_last(y), batch_last(dy)
    dx = np.zeros_like(x)
    free = np.ones(y.shape, bool)  # windows whose maximum is still to come
    for offset in np.ndindex(*kernel):
        at = window(offset, y.shape[1:-1], stride, dilation)
        hit = x[at] == y
        hit &= free
        free ^= hit
        dx[at] += dy * hit
    inner = [slice(low, low + extent) for extent, (low, _) in zip(size, padding)]
    return np.moveaxis(dx[(slice(None), *inner)], -1, 0)


def window_sizes(size, kernel, stride, padding, count_padding, dtype):
    """By how much an average divides: elements of each window, [1, *S', 1]."""
    if count_padding or not any(low or high for low, high in padding):
        return dtype.type(np.prod(kernel))
    ones = batch_last(np.ones((1, 1, *size), dtype), padding)
    reach = out_size(ones.shape[1:-1], kernel, stride, (1,) * len(size))
    windows = (window(o, reach, stride, (1,) * len(size)) for o in np.ndindex(*kernel))
    return sum(ones[at] for at in windows)


def avg_pool(x, kernel, stride, padding=(), count_padding=True):
    """The mean of each window. count_padding: zeros of the padding count."""
    by = window_sizes(x.shape[2:], kernel, stride, padding, count_padding, x.dtype)
    x = batch_last(x, padding)
    size = out_size(x.shape[1:-1], kernel, stride, (1,) * len(kernel))
    y = np.zeros((x.shape[0], *size, x.shape[-1]), x.dtype)
    for offset in np.ndindex(*kernel):
        y += x[window(offset, size, stride, (1,) * len(kernel))]
    return np.moveaxis(y / by, -1, 0)


def avg_pool_grad(dy, size, kernel, stride, padding=(), count_padding=True):
    """Gradient of `avg_pool` for x, whose spatial extents are `size`."""
    padding = padding or ((0, 0),) * len(size)
    dy = batch_last(dy) / window_sizes(size, kernel, stride, padding, count_padding, dy.dtype)
    grown = [low + extent + high for extent, (low, high) in zip(size, padding)]
    dx = np.zeros((dy.shape[0], *grown, dy.shape[-1]), dy.dtype)
    for offset in np.ndindex(*kernel):
        dx[window(offset, dy.shape[1:-1], stride, (1,) * len(kernel))] += dy
    inner = [slice(low, low + extent) for extent, (low, _) in zip(size, padding)]
    return np.moveaxis(dx[(slice(None), *inner)], -1, 0)
