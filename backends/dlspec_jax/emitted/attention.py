"""Attention over [..., heads, T, d], by jax.nn's where that is exact."""

import jax
import jax.numpy as jnp


def attention(q, k, v, mask=None, bias=None, causal=False, scale=None):
    """softmax(scale q kᵀ + bias) v. mask: true where a query may attend; one that sees no key
    gives 0. k and v may have fewer heads than q."""
    if mask is not None and causal:
        mask = mask & jnp.tril(jnp.ones((q.shape[-2], k.shape[-2]), bool))
    if q.dtype == jnp.float64 or v.shape[-1] != k.shape[-1]:
        y = exact_attention(q, k, v, mask, bias, causal, scale)
    else:
        call = jax.nn.dot_product_attention
        extra = {name: four_axes(x, q) for name, x in (("mask", mask), ("bias", bias))}
        q4, k4, v4 = (four_axes(x, x).swapaxes(1, 2) for x in (q, k, v))
        y = call(q4, k4, v4, **extra, scale=scale, is_causal=causal and mask is None)
        y = y.swapaxes(1, 2).reshape(*q.shape[:-1], v.shape[-1])
    if mask is None:
        return y
    return jnp.where(mask.any(axis=-1, keepdims=True), y, 0)


def four_axes(x, full):
    """[B, heads, T, d] for any number of axes before the heads, those of `full`."""
    if x is None:
        return None
    lead = full.shape[:-3]
    x = x.reshape((1,) * max(0, full.ndim - x.ndim, 3 - x.ndim) + x.shape)
    return jnp.broadcast_to(x, (*lead, *x.shape[-3:])).reshape(-1, *x.shape[-3:])


def exact_attention(q, k, v, mask, bias, causal, scale):
    """The same in the type of q; jax.nn.dot_product_attention takes its softmax in float32."""
    if q.ndim > 2 and q.shape[-3] != k.shape[-3]:
        k, v = (jnp.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    score = (q / q.shape[-1] ** 0.5 if scale is None else q * scale) @ k.swapaxes(-1, -2)
    if bias is not None:
        score = score + bias
    if mask is None and causal:
        mask = jnp.tril(jnp.ones(score.shape[-2:], bool))
    if mask is not None:
        score = jnp.where(mask, score, -1e30)
    return jax.nn.softmax(score) @ v
