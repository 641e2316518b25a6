"""Losses that jax and optax lack, or have with another gradient."""

import jax
import jax.numpy as jnp
from jax import lax


def huber(x, target, delta):
    """(x - t)² / 2 where |x - t| <= delta, else delta (|x - t| - delta / 2)."""
    distance = x - target
    size = jnp.abs(distance)
    far = delta * (size - delta / 2)
    return jnp.where(size <= delta, jnp.square(distance) / 2, far)


def binary_cross_entropy(p, target):
    """-t ln p - (1 - t) ln (1 - p), the logarithms not below -100."""
    log_p = jnp.maximum(jnp.log(p), -100)
    log_q = jnp.maximum(jnp.log1p(-p), -100)
    return -target * log_p - (1 - target) * log_q


def cross_entropy(
    logits, labels, *, axis=-1, weight=None, mask=None, ignore=None, smoothing=0.0, reduction="mean"
):
    """-ln softmax(x)[t], smoothed, weighted by class; "mean" divides by the labels' weights."""
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    if ignore is not None:
        counts = counts & (labels != ignore)
    labels = jnp.where(counts, labels, 0)
    log_p = jnp.moveaxis(jax.nn.log_softmax(logits, axis), axis, -1)
    each = counts.astype(logits.dtype)
    scaled = log_p
    if weight is not None:
        weight = lax.stop_gradient(weight)
        each, scaled = each * weight[labels], log_p * weight
    loss = -jnp.take_along_axis(log_p, labels[..., None], -1)[..., 0] * each
    if smoothing:
        spread = -jnp.mean(scaled, -1) * counts
        loss = (1 - smoothing) * loss + smoothing * spread
    if reduction == "none":
        return loss
    total, share = jnp.sum(loss), jnp.sum(each)
    return total if reduction == "sum" else total / jnp.where(share == 0, 1, share)
