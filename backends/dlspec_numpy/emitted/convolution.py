"""Convolutions of any rank as im2col and one matrix product per group."""

import threading

import numpy as np


class Scratch(threading.local):
    """Large temporaries, kept from call to call: fresh memory costs a page fault every 4 KiB.

    An array is valid until the next one for the same use.
    """

    def __init__(self):
        self.arrays = {}

    def array(self, use, shape, dtype):
        size = int(np.prod(shape))
        found = self.arrays.get((use, dtype))
        if found is None or found.size < size:
            found = self.arrays[use, dtype] = np.empty(size, dtype)
        return found[:size].reshape(shape)


SCRATCH = Scratch()


def geometry(size, kernel, stride, padding, dilation=1):
    """stride, padding and dilation for each axis; an int stands for all of them.

    padding: (low, high) pairs in the end; "same" gives ceil(size / stride) outputs, the odd
    element at the high end (TensorFlow's rule).
    """
    rank = len(size)
    stride = stride if isinstance(stride, tuple) else (stride,) * rank
    dilation = dilation if isinstance(dilation, tuple) else (dilation,) * rank
    if padding == "same":
        extents = zip(size, kernel, stride, dilation, strict=True)
        total = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in extents]
        return stride, tuple((t // 2, t - t // 2) for t in total), dilation
    padding = padding if isinstance(padding, tuple) else (padding,) * rank
    return stride, tuple(p if isinstance(p, tuple) else (p, p) for p in padding), dilation


def batch_last(x, padding=(), fill=0.0):
    """x [N, C, *S] as a contiguous [C, *S, N], its spatial axes padded by (low, high) pairs."""
    moved = np.moveaxis(x, 0, -1)
    if not any(low or high for low, high in padding):
        return np.ascontiguousarray(moved)
    channels, *size, batch = moved.shape
    grown = [low + extent + high for extent, (low, high) in zip(size, padding, strict=True)]
    padded = np.full((channels, *grown, batch), fill, x.dtype)
    padded[inside(size, padding)] = moved
    return padded


def inside(size, padding):
    """Index of what is not padding, over [C, *S, N]."""
    return (slice(None), *(slice(low, low + n) for n, (low, _) in zip(size, padding, strict=True)))


def window(offset, size, stride, dilation):
    """Index of what the kernel's element at `offset` sees, over [C, *S, N]. size: of the output."""
    steps = zip(offset, size, stride, dilation, strict=True)
    starts = ((o * d, o * d + (n - 1) * s + 1, s) for o, n, s, d in steps)
    return (slice(None), *(slice(*start) for start in starts))


def out_size(size, kernel, stride, dilation):
    """Extents that a window of `kernel` takes over padded extents `size`."""
    extents = zip(size, kernel, stride, dilation, strict=True)
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in extents)


def columns(x, kernel, stride, dilation, groups):
    """im2col: [C, *S, N] as [G, C/G·K, S'·N], one row for each channel and kernel element."""
    channels, *size, batch = x.shape
    rows = channels // groups * int(np.prod(kernel))
    if set(kernel) == set(stride) == {1}:
        return x.reshape(groups, rows, -1)
    size = out_size(size, kernel, stride, dilation)
    found = SCRATCH.array("columns", (channels, *kernel, *size, batch), x.dtype)
    for offset in np.ndindex(*kernel):
        found[(slice(None), *offset)] = x[window(offset, size, stride, dilation)]
    return found.reshape(groups, rows, -1)


def conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation. x [N, C, *S], weight [O, C/G, *K], bias [O]."""
    out, _, *kernel = weight.shape
    stride, padding, dilation = geometry(x.shape[2:], kernel, stride, padding, dilation)
    x = batch_last(x, padding)
    size = out_size(x.shape[1:-1], kernel, stride, dilation)
    y = weight.reshape(groups, out // groups, -1) @ columns(x, kernel, stride, dilation, groups)
    y = y.reshape(out, -1)
    if bias is not None:
        y += bias[:, None]
    return np.moveaxis(y.reshape(out, *size, -1), -1, 0)


def conv_input_grad(dy, weight, size, stride=1, padding=0, dilation=1, groups=1):
    """Gradient of `conv` for x, whose spatial extents are `size`: col2im of weightᵀ dy."""
    out, per_group, *kernel = weight.shape
    stride, padding, dilation = geometry(size, kernel, stride, padding, dilation)
    dy = batch_last(dy)
    _, *reach, batch = dy.shape
    w = weight.reshape(groups, out // groups, -1)
    rows = SCRATCH.array("rows", (groups * per_group, *kernel, *reach, batch), dy.dtype)
    whole = rows.reshape(groups, per_group * int(np.prod(kernel)), -1)
    np.matmul(w.transpose(0, 2, 1), dy.reshape(groups, out // groups, -1), out=whole)
    grown = [low + extent + high for extent, (low, high) in zip(size, padding, strict=True)]
    dx = np.zeros((groups * per_group, *grown, batch), dy.dtype)
    for offset in np.ndindex(*kernel):
        dx[window(offset, reach, stride, dilation)] += rows[(slice(None), *offset)]
    return np.moveaxis(dx[inside(size, padding)], -1, 0)


def conv_weight_grad(x, dy, kernel, stride=1, padding=0, dilation=1, groups=1):
    """Gradient of `conv` for its weight: dy columnsᵀ, with the columns built once more."""
    stride, padding, dilation = geometry(x.shape[2:], kernel, stride, padding, dilation)
    x, dy = batch_last(x, padding), batch_last(dy)
    size = dy.shape[1:-1]
    # what no window reaches would give a column too many
    reach = [
        d * (k - 1) + (n - 1) * s + 1
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    x = x[(slice(None), *(slice(extent) for extent in reach))]
    rows = columns(x, kernel, stride, dilation, groups)
    dw = dy.reshape(groups, len(dy) // groups, -1) @ rows.transpose(0, 2, 1)
    return dw.reshape(len(dy), -1, *kernel)


def conv_transpose(
    x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, output_padding=0
):
    """The transpose of `conv` for x [N, C, *S], weight [C, O/G, *K], bias [O]."""
    stride, padding, dilation = geometry(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    more = output_padding if isinstance(output_padding, tuple) else (output_padding,) * len(stride)
    extents = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, more, strict=True)
    size = tuple(
        (n - 1) * s - low - high + d * (k - 1) + 1 + extra
        for n, k, s, (low, high), d, extra in extents
    )
    y = conv_input_grad(x, weight, size, stride, padding, dilation, groups)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(size))
    return y
