"""Patches of images, and images at given places."""

import math

import jax
import jax.numpy as jnp
from jax import lax


def unfold(x, kernel, stride, padding, dilation):
    """The patches of x [N, C, H, W] as columns [N, C K, L]."""
    sides = [(side, side) for side in padding]
    found = lax.conv_general_dilated_patches(
        x, kernel, stride, sides, rhs_dilation=dilation, precision=lax.Precision.HIGHEST
    )
    return found.reshape(*found.shape[:2], math.prod(found.shape[2:]))


def fold(columns, size, kernel, stride, padding, dilation):
    """The transpose of `unfold`: columns added up to [N, C, *size]."""
    shape = len(columns), columns.shape[1] // math.prod(kernel), *size
    image = jax.ShapeDtypeStruct(shape, columns.dtype)
    back = jax.linear_transpose(lambda x: unfold(x, kernel, stride, padding, dilation), image)
    return back(columns)[0]


def grid_sample(x, grid, mode, padding, align_corners):
    """x [N, C, H, W] at the places grid [N, P, Q, 2], (x, y) from -1 to 1 over the image."""
    high, wide = x.shape[2:]

    def corners(at, extent):
        at = (at + 1) / 2 * (extent - 1) if align_corners else ((at + 1) * extent - 1) / 2
        if padding == "border":
            at = jnp.clip(at, 0, extent - 1)
        if mode == "nearest":
            pairs = [(jnp.round(at), 1)]
        else:
            low = jnp.floor(at)
            pairs = [(low, 1 - (at - low)), (low + 1, at - low)]
        for i, weight in pairs:
            inside = (i >= 0) & (i <= extent - 1)
            yield jnp.clip(i, 0, extent - 1).astype(int), jnp.where(inside, weight, 0)

    read = jax.vmap(lambda image, i, j: image[:, i, j])
    return sum(
        read(x, i, j) * (down * across)[:, None]
        for i, down in corners(grid[..., 1], high)
        for j, across in corners(grid[..., 0], wide)
    )
