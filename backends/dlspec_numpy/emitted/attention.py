"""Scaled dot-product attention (Vaswani et al. 2017)."""

import math

import numpy as np


def attention_weights(q, k, causal, scale):
    """softmax(scale q kᵀ) over the keys [..., T, S]; causal: query i sees keys 0 to i."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    w = (q * scale) @ k.swapaxes(-1, -2)
    if causal:
        hidden = np.triu(np.ones(w.shape[-2:], bool), 1)
        np.copyto(w, -np.inf, where=hidden)
    w -= w.max(axis=-1, keepdims=True)
    np.exp(w, out=w)
    w /= w.sum(axis=-1, keepdims=True)
    return w


def attention(q, k, v, causal=False, scale=None):
    """softmax(scale q kᵀ) v; scale 1 / √d unless given."""
    return attention_weights(q, k, causal, scale) @ v


def attention_with_weights(q, k, v, causal=False, scale=None):
    """`attention`, and the weights that its gradient needs."""
    w = attention_weights(q, k, causal, scale)
    return w @ v, w


def attention_grad(q, k, v, dy, causal=False, scale=None):
    """Gradients of `attention` for q, k and v."""
    w = attention_weights(q, k, causal, scale)
    return attention_grad_of_weights(q, k, v, w, dy, scale)


def attention_grad_of_weights(q, k, v, w, dy, scale=None):
    """Gradients of `attention` for q, k and v. With weights w and g = dy vᵀ:
    ds = scale w (g - Σ w g), dq = ds k, dk = dsᵀ q, dv = wᵀ dy."""
    dv = w.swapaxes(-1, -2) @ dy
    ds = dy @ v.swapaxes(-1, -2)
    ds -= np.einsum("...s,...s->...", w, ds)[..., None]
    ds *= w
    ds *= 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return ds @ k, ds.swapaxes(-1, -2) @ q, dv
