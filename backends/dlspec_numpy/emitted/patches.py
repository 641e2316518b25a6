"""Patches of images."""

import math

import numpy as np


def taps(size, kernel, stride, padding, dilation):
    """The window's number of places on each axis, and for each of its elements the slices of the
    padded image that it meets."""
    sides = zip(size, kernel, stride, padding, dilation, strict=True)
    counts = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides]

    def reach(i, axis):
        start = i * dilation[axis]
        return slice(start, start + (counts[axis] - 1) * stride[axis] + 1, stride[axis])

    rows, columns = kernel
    slices = [(reach(i, 0), reach(j, 1)) for i in range(rows) for j in range(columns)]
    return counts, slices


def unfold(x, kernel, stride, padding, dilation):
    """The patches of x [N, C, H, W] as columns [N, C K, L]."""
    counts, slices = taps(x.shape[2:], kernel, stride, padding, dilation)
    x = np.pad(x, ((0, 0), (0, 0), *((side, side) for side in padding)))
    parts = np.stack([x[:, :, rows, columns] for rows, columns in slices], axis=2)
    return parts.reshape(len(x), x.shape[1] * len(slices), math.prod(counts))


def fold(columns, size, kernel, stride, padding, dilation):
    """The transpose of `unfold`: columns added up to [N, C, *size]."""
    counts, slices = taps(size, kernel, stride, padding, dilation)
    parts = columns.reshape(len(columns), columns.shape[1] // len(slices), len(slices), *counts)
    wide = [n + 2 * side for n, side in zip(size, padding, strict=True)]
    image = np.zeros((*parts.shape[:2], *wide), columns.dtype)
    for i, (rows, columns_) in enumerate(slices):
        image[:, :, rows, columns_] += parts[:, :, i]
    top, left = padding
    return image[:, :, top : wide[0] - top, left : wide[1] - left]
