"""Images of another size, one axis after the other."""

import numpy as np


def resize(x, size, mode, align_corners=False, antialias=False):
    """x [N, C, *S] to [N, C, *size]."""
    for axis, extent in enumerate(size, 2):
        n = x.shape[axis]
        if n == extent:
            continue
        if mode == "nearest":
            x = x.take((2 * np.arange(extent) + 1) * n // (2 * extent), axis)
            continue
        x = along(x, resize_matrix(n, extent, mode, align_corners, antialias), axis)
    return x


def resize_grad(dy, size, mode, align_corners=False, antialias=False):
    """Gradient of `resize` for x, whose spatial extents are `size`."""
    for axis, n in enumerate(size, 2):
        extent = dy.shape[axis]
        if n == extent:
            continue
        if mode == "nearest" and extent % n == 0:
            parts = (*dy.shape[:axis], n, extent // n, *dy.shape[axis + 1 :])
            dy = dy.reshape(parts).sum(axis=axis + 1)
            continue
        dy = along(dy, resize_matrix(n, extent, mode, align_corners, antialias).T, axis)
    return dy


def along(x, matrix, axis):
    """The product of a matrix with an axis of x."""
    return np.moveaxis(np.tensordot(x, matrix.astype(x.dtype), (axis, 1)), -1, axis)


def resize_matrix(n, size, mode, align_corners=False, antialias=False):
    """[size, n]: what each new pixel takes of each old one."""
    new, old = np.arange(size), np.arange(n)
    if mode == "nearest":
        return (old == (2 * new[:, None] + 1) * n // (2 * size)) * 1.0
    if mode == "area":
        first, end = new * n // size, -(-(new + 1) * n // size)
        inside = (old >= first[:, None]) & (old < end[:, None])
        return inside / (end - first)[:, None]
    centre = new * (n - 1) / max(size - 1, 1) if align_corners else (new + 0.5) * n / size - 0.5
    if antialias:
        wide = max(n / size, 1.0)
        matrix = cubic_kernel((old - centre[:, None]) / wide, mode, -0.5)
        return matrix / matrix.sum(axis=1, keepdims=True)
    taps = np.floor(centre)[:, None] + (np.arange(-1, 3) if mode == "cubic" else np.arange(2))
    matrix = np.zeros((size, n))
    place = np.clip(taps, 0, n - 1).astype(int)  # outside, the border goes on
    np.add.at(matrix, (new[:, None], place), cubic_kernel(taps - centre[:, None], mode, -0.75))
    return matrix


def cubic_kernel(x, mode, a):
    """The triangle, or the cubic of Keys (1981) with slope a at 1."""
    x = np.abs(x)
    if mode == "linear":
        return np.maximum(1 - x, 0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
