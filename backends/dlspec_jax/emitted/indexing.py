"""Reading and adding by integer index; products of three."""

import jax.numpy as jnp
from jax import lax


def padded_embedding(indices, weight, padding):
    """weight[indices], where the row `padding` takes no gradient."""
    rows = weight[indices]
    return jnp.where((indices == padding)[..., None], lax.stop_gradient(rows), rows)


def scatter_add(indices, source, axis, size):
    """Zeros with `size` at `axis`, each part of source added at its index."""
    tail = source.shape[axis + indices.ndim :]
    zeros = jnp.zeros((*source.shape[:axis], size, *tail), source.dtype)
    return zeros.at[(slice(None),) * axis + (indices,)].add(source)


def scatter_add_along(indices, source, axis, size):
    """Zeros with `size` at `axis`, each element of source added at its own index there."""
    shape = (*source.shape[:axis], size, *source.shape[axis + 1 :])
    grid = list(jnp.indices(source.shape, sparse=True))
    grid[axis] = indices
    return jnp.zeros(shape, source.dtype).at[tuple(grid)].add(source)


def bilinear(x, y, weight):
    """xᵀ W y over the last axes."""
    return jnp.einsum("...i,oij,...j->...o", x, weight, y)
