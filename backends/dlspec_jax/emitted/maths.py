"""Functions whose gradients at kinks are not those of jax.numpy."""

import math

import jax.numpy as jnp
from jax import lax


def absolute(x):
    """|x|, gradient 0 at 0."""
    return x * lax.stop_gradient(jnp.sign(x))


def clip(x, low, high):
    """min(max(x, low), high), gradient 1 inside and on the bounds."""
    clipped = lax.stop_gradient(jnp.clip(x, low, high))
    return jnp.where(clipped == x, x, clipped)


def saturate(x, low, high):
    """min(max(x, low), high), gradient 0 on the bounds."""
    return jnp.where((x > low) & (x < high), x, lax.stop_gradient(jnp.clip(x, low, high)))


def reduce_max(x, axis=None, keepdims=False):
    """Largest elements; the gradient goes to the first of equal ones."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(a % x.ndim for a in axes)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    size = math.prod(x.shape[a] for a in axes)
    rows = x.transpose(*kept, *axes).reshape(*(x.shape[a] for a in kept), size)
    first = jnp.argmax(rows, axis=-1, keepdims=True)
    y = jnp.take_along_axis(rows, first, axis=-1)[..., 0]
    return jnp.expand_dims(y, axes) if keepdims else y


def reduce_min(x, axis=None, keepdims=False):
    """Smallest elements; the gradient goes to the first of equal ones."""
    return -reduce_max(-x, axis, keepdims)


def norm(x, axis=None, keepdims=False):
    """√(Σ x²), gradient 0 where it is 0."""
    total = jnp.sum(jnp.square(x), axis=axis, keepdims=keepdims)
    return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1)), 0)


def cumsum(x, axis, reverse=False):
    """Sums of all elements up to each, or from each on."""
    return lax.cumsum(x, axis % x.ndim, reverse)


def hypot(x, y):
    """√(x² + y²), gradient 0 where both are 0."""
    zero = (x == 0) & (y == 0)
    return jnp.where(zero, 0, jnp.hypot(jnp.where(zero, 1, x), y))


def cummax(x, axis):
    """The largest so far; the gradient goes to the last of equal elements."""
    axis %= x.ndim
    largest = lax.cummax(lax.stop_gradient(x), axis)
    places = lax.broadcasted_iota(int, x.shape, axis)
    last = lax.cummax(jnp.where(x == largest, places, 0), axis)
    return jnp.take_along_axis(x, last, axis)


def searchsorted(order, values, right):
    """For each value how many elements of an ascending vector are less, or not greater."""
    return jnp.searchsorted(order, values, side="right" if right else "left").astype(int)
