"""Convolutions of any rank as im2col and one matrix product per group."""

import numpy as np


def batch_last(x, padding=(), fill=0.0):
    """x [N, C, *S] as a contiguous [C, *S, N], its spatial axes padded by (low, high) pairs."""
    moved = np.moveaxis(x, 0, -1)
    if not any(low or high for low, high in padding):
        return np.ascontiguousarray(moved)
    channels, *size, batch = moved.shape
    grown = [low + extent + high for extent, (low, high) in zip(size, padding)]
    padded = np.full((channels, *grown, batch), fill, x.dtype)
    inner = [slice(low, low + extent) for extent, (low, _) in zip(size, padding)]
    padded[(slice(None), *inner)] = moved
    return padded


def window(offset, size, stride, dilation):
    """Index of what the kernel's element at `offset` sees, over [C, *S, N]. size: of the output."""
    steps = zip(offset, size, stride, dilation)
    starts = ((o * d, o * d + (n - 1) * s + 1, s) for o, n, s, d in steps)
    return (slice(None), *(slice(*start) for start in starts))


def out_size(size, kernel, stride, dilation):
    """Extents that a window of `kernel` takes over padded extents `size`."""
    extents = zip(size, kernel, stride, dilation)
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in extents)


def columns(x, kernel, stride, dilation, groups):
    """im2col: [C, *S, N] as [G, C/G·K, S'·N], one row for each channel and kernel element."""
    channels, *size, batch = x.shape
    size = out_size(size, kernel, stride, dilation)
    if np.prod(kernel) == 1 and set(stride) == {1}:
        return x.reshape(groups, channels // groups, -1)
    rows = np.empty((channels, *kernel, *size, batch), x.dtype)
    for offset in np.ndindex(*kernel):
        rows[(slice(None), *offset)] = x[window(offset, size, stride, dilation)]
    return rows.reshape(groups, channels // groups * int(np.prod(kernel)), -1)


def conv(x, weight, bias=None, stride=(1, 1), padding=(), dilation=(1, 1), groups=1):
    """Cross-correlation. x [N, C, *S], weight [O, C/G, *K], bias [O]."""
    x = batch_last(x, padding)
    out, _, *kernel = weight.shape
    size = out_size(x.shape[1:-1], kernel, stride, dilation)
    y = weight.reshape(groups, out // groups, -1) @ columns(x, kernel, stride, dilation, groups)
    y = y.reshape(out, -1)
    if bias is not None:
        y += bias[:, None]
    return np.moveaxis(y.reshape(out, *size, -1), -1, 0)


def conv_input_grad(dy, weight, size, stride=(1, 1), padding=(), dilation=(1, 1), groups=1):
    """Gradient of `conv` for x, whose spatial extents are `size`: col2im of weightᵀ dy."""
    dy = batch_last(dy)
    out, per_group, *kernel = weight.shape
    batch, reach = dy.shape[-1], dy.shape[1:-1]
    padding = padding or ((0, 0),) * len(size)
    w = weight.reshape(groups, out // groups, -1)
    rows = w.transpose(0, 2, 1) @ dy.reshape(groups, out // groups, -1)
    rows = rows.reshape(groups * per_group, *kernel, *reach, batch)
    grown = [low + extent + high for extent, (low, high) in zip(size, padding)]
    dx = np.zeros((groups * per_group, *grown, batch), dy.dtype)
    for offset in np.ndindex(*kernel):
        dx[window(offset, reach, stride, dilation)] += rows[(slice(None), *offset)]
    inner = [slice(low, low + extent) for extent, (low, _) in zip(size, padding)]
    return np.moveaxis(dx[(slice(None), *inner)], -1, 0)


def conv_weight_grad(dy, x, kernel, stride=(1, 1), padding=(), dilation=(1, 1), groups=1):
    """Gradient of `conv` for its weight: dy columnsᵀ, with the columns built once more."""
    x, dy = batch_last(x, padding), batch_last(dy)
    out = dy.shape[0]
    rows = columns(x, kernel, stride, dilation, groups)
    dw = dy.reshape(groups, out // groups, -1) @ rows.transpose(0, 2, 1)
    return dw.reshape(out, -1, *kernel)
