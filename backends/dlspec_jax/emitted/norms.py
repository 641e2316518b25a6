"""Normalisation of each example: over the last axes, or of [N, *S, C] over groups and space."""

import math

import jax.numpy as jnp
from jax import lax


def layer_norm(params, x, *, axes=-1, eps=1e-5):
    """(x - μ) / √(σ² + eps) over the last axes, scaled and shifted."""
    return affine(params, standardised(x, axes, eps))


def rms_norm(params, x, *, axes=-1, eps=1e-6):
    """x / √(mean(x²) + eps) over the last axes, scaled."""
    square = jnp.mean(jnp.square(x), axes, keepdims=True)
    return affine(params, x * lax.rsqrt(square + eps))


def group_norm(params, x, *, groups, eps=1e-5):
    """Each group of channels standardised over its channels and space."""
    size = math.prod(x.shape[1:-1])
    parts = x.reshape(x.shape[0], size, groups, x.shape[-1] // groups)
    return affine(params, standardised(parts, (1, 3), eps).reshape(x.shape))


def instance_norm(params, x, *, eps=1e-5):
    """Each channel standardised over space."""
    return affine(params, standardised(x, tuple(range(1, x.ndim - 1)), eps))


def local_response_norm(x, size, alpha, beta, k):
    """x / (k + alpha · mean(x² of `size` neighbouring channels))^beta."""
    padding = ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),)
    window = (1,) * (x.ndim - 1) + (size,)
    total = lax.reduce_window(jnp.square(x), 0.0, lax.add, window, (1,) * x.ndim, padding)
    return x / (k + alpha * total / size) ** beta


def standardised(x, axes, eps):
    """(x - μ) / √(σ² + eps), in two passes."""
    x = x - jnp.mean(x, axes, keepdims=True)
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axes, keepdims=True) + eps)


def affine(params, x):
    """x · weight + bias, where there are such."""
    x = x * params["weight"] if "weight" in params else x
    return x + params["bias"] if "bias" in params else x
