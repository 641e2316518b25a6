"""Pooling as running maxima and sums over shifted slices."""

import numpy as np

from dlspec_numpy.emitted.convolution import batch_last, geometry, inside, out_size, window


def hang_over(size, kernel, stride, padding, dilation):
    """padding with as much more at the high end as the last windows of `ceil` need (torch)."""
    grown = []
    for n, k, s, (low, high), d in zip(size, kernel, stride, padding, dilation, strict=True):
        k = d * (k - 1) + 1
        last = min(-(-(n + low + high - k) // s), (n + low - 1) // s)
        grown.append((low, max(high, last * s + k - n - low)))
    return tuple(grown)


def max_pool(x, kernel, stride, padding=0, ceil=False, dilation=1):
    """The largest element of each window; padding never wins."""
    size = x.shape[2:]
    stride, padding, dilation = geometry(size, kernel, stride, padding, dilation)
    padding = hang_over(size, kernel, stride, padding, dilation) if ceil else padding
    x = batch_last(x, padding, fill=-np.inf)
    reach = out_size(x.shape[1:-1], kernel, stride, dilation)
    first, *others = (x[window(o, reach, stride, dilation)] for o in np.ndindex(*kernel))
    y = first.copy()
    for other in others:
        np.maximum(y, other, out=y)
    return np.moveaxis(y, -1, 0)


def max_pool_grad(x, y, dy, kernel, stride, padding=0, ceil=False, dilation=1):
    """Gradient of `max_pool` for x: dy goes to the first maximum of each window."""
    size = x.shape[2:]
    stride, padding, dilation = geometry(size, kernel, stride, padding, dilation)
    padding = hang_over(size, kernel, stride, padding, dilation) if ceil else padding
    x, y, dy = batch_last(x, padding, fill=-np.inf), batch_last(y), batch_last(dy)
    dx = np.zeros_like(x)
    free = np.ones(y.shape, bool)  # windows whose maximum is still to come
    for offset in np.ndindex(*kernel):
        at = window(offset, y.shape[1:-1], stride, dilation)
        hit = x[at] == y
        hit &= free
        free ^= hit
        dx[at] += dy * hit
    return np.moveaxis(dx[inside(size, padding)], -1, 0)


def max_pool_select(x, y, values, kernel, stride, padding=0, ceil=False, dilation=1):
    """`values` (of x's shape) where each window of x has its first maximum."""
    size = x.shape[2:]
    stride, padding, dilation = geometry(size, kernel, stride, padding, dilation)
    padding = hang_over(size, kernel, stride, padding, dilation) if ceil else padding
    x, values, y = batch_last(x, padding, fill=-np.inf), batch_last(values, padding), batch_last(y)
    found, free = np.zeros_like(y), np.ones(y.shape, bool)
    for offset in np.ndindex(*kernel):
        at = window(offset, y.shape[1:-1], stride, dilation)
        hit = x[at] == y
        hit &= free
        free ^= hit
        found += values[at] * hit
    return np.moveaxis(found, -1, 0)


def window_counts(size, kernel, stride, padding, ceil, count_padding, dtype):
    """What counts in each window, and the padding to use."""
    ones, step = np.ones((1, 1, *size), dtype), (1,) * len(size)
    counted = padding if count_padding else ((0, 0),) * len(size)
    if count_padding:
        ones = np.pad(ones, ((0, 0), (0, 0), *padding), constant_values=1)
    grown = hang_over(size, kernel, stride, padding, step) if ceil else padding
    rest = tuple((g[0] - c[0], g[1] - c[1]) for g, c in zip(grown, counted, strict=True))
    ones = batch_last(ones, rest)
    reach = out_size(ones.shape[1:-1], kernel, stride, step)
    total = sum(ones[window(o, reach, stride, step)] for o in np.ndindex(*kernel))
    return total, grown


def avg_pool(x, kernel, stride, padding=0, ceil=False, count_padding=True):
    """The mean of each window. count_padding: zeros of the padding count."""
    size = x.shape[2:]
    stride, padding, ones = geometry(size, kernel, stride, padding)
    counts, padding = window_counts(size, kernel, stride, padding, ceil, count_padding, x.dtype)
    x = batch_last(x, padding)
    reach = counts.shape[1:-1]
    y = np.zeros((x.shape[0], *reach, x.shape[-1]), x.dtype)
    for offset in np.ndindex(*kernel):
        y += x[window(offset, reach, stride, ones)]
    y /= counts
    return np.moveaxis(y, -1, 0)


def avg_pool_grad(dy, size, kernel, stride, padding=0, ceil=False, count_padding=True):
    """Gradient of `avg_pool` for x, whose spatial extents are `size`."""
    stride, padding, ones = geometry(size, kernel, stride, padding)
    counts, padding = window_counts(size, kernel, stride, padding, ceil, count_padding, dy.dtype)
    dy = batch_last(dy) / counts
    grown = [low + extent + high for extent, (low, high) in zip(size, padding, strict=True)]
    dx = np.zeros((dy.shape[0], *grown, dy.shape[-1]), dy.dtype)
    for offset in np.ndindex(*kernel):
        dx[window(offset, counts.shape[1:-1], stride, ones)] += dy
    return np.moveaxis(dx[inside(size, padding)], -1, 0)
