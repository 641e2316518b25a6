"""Images of another size, on [N, *S, C]."""

import jax.numpy as jnp
import numpy as np


def resize(x, size, mode, *, align_corners=False, antialias=False):
    """x [N, *S, C] to [N, *size, C], one axis after the other."""
    for axis, extent in enumerate(size, 1):
        n = x.shape[axis]
        if n == extent:
            continue
        if mode == "nearest" and extent % n == 0:
            x = jnp.repeat(x, extent // n, axis)
            continue
        matrix = resize_matrix(n, extent, mode, align_corners, antialias)
        product = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), (axis, 1))
        x = jnp.moveaxis(product, -1, axis)
    return x


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
        matrix = interpolation((old - centre[:, None]) / wide, mode, -0.5)
        return matrix / matrix.sum(axis=1, keepdims=True)
    taps = np.floor(centre)[:, None] + (np.arange(-1, 3) if mode == "cubic" else np.arange(2))
    matrix = np.zeros((size, n))
    place = np.clip(taps, 0, n - 1).astype(int)  # outside, the border goes on
    np.add.at(matrix, (new[:, None], place), interpolation(taps - centre[:, None], mode, -0.75))
    return matrix


def interpolation(x, mode, a):
    """The triangle, or the cubic of Keys (1981) with slope a at 1."""
    x = np.abs(x)
    if mode == "linear":
        return np.maximum(1 - x, 0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def pixel_shuffle(x, factor):
    """[N, H, W, C r²] to [N, H r, W r, C]."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, c // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(n, h * factor, w * factor, c // factor**2)


def pixel_unshuffle(x, factor):
    """[N, H r, W r, C] to [N, H, W, C r²]."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // factor, w // factor, c * factor**2)
