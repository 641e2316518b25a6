"""Layers on [N, *S, C] and [N, C]; weights keep the canonical layouts."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from dlspec_jax.emitted.convolution import padding_pairs, per_axis


def dense(params, x):
    """x Wᵀ + b over the last axis."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def dense_nd(params, x):
    """x Wᵀ + b over the last axis; the others as one, which makes the weight's gradient fast."""
    y = x.reshape(-1, x.shape[-1]) @ params["weight"].T
    y = y + params["bias"] if "bias" in params else y
    return y.reshape(*x.shape[:-1], len(params["weight"]))


def scan_steps(cell, sequences, states, *, each=(), reverse=False):
    """cell(*steps, *each, *states) along axis 1: its outputs, stacked, then the final states.
    each: arrays of which every step has its own, time first."""

    def step(states, steps):
        results = cell(*steps, *states)
        split = len(results) - len(states)
        return results[split:], results[:split]

    steps = (*(jnp.moveaxis(x, 1, 0) for x in sequences), *each)
    states, outputs = lax.scan(step, states, steps, reverse=reverse)
    return (*(jnp.moveaxis(y, 0, 1) for y in outputs), *states)


def unrolled_steps(cell, sequences, states, *, reverse=False):
    """As `scan_steps`, a step after the other, so that each takes the next of given draws."""
    steps, rows = range(sequences[0].shape[1]), []
    for t in reversed(steps) if reverse else steps:
        results = cell(*(x[:, t] for x in sequences), *states)
        split = len(results) - len(states)
        rows.append(results[:split])
        states = results[split:]
    outputs = zip(*(rows[::-1] if reverse else rows))
    return (*(jnp.stack(y, 1) for y in outputs), *states)


def embedding(params, x):
    """The row of the table for each index."""
    return params["weight"][x]


def batch_norm(params, buffers, x, *, training, momentum=0.1, eps=1e-5):
    """(x - μ) / √(σ² + eps), scaled and shifted; running statistics move in training."""
    scale = params.get("weight", jnp.ones(x.shape[-1], x.dtype))
    shift = params.get("bias", jnp.zeros(x.shape[-1], x.dtype))
    running_mean, running_var = buffers["running_mean"], buffers["running_var"]
    if not training:
        return (x - running_mean) * lax.rsqrt(running_var + eps) * scale + shift, buffers
    y, mean, var = normalized(x, scale, shift, eps)
    count = math.prod(x.shape[:-1])
    unbiased = var * (count / (count - 1))
    return y, {
        "running_mean": running_mean + momentum * (mean - running_mean),
        "running_var": running_var + momentum * (unbiased - running_var),
    }


def batch_norm_inference(params, x, *, eps=1e-5):
    """(x - mean) / √(var + eps) with the running statistics, scaled and shifted."""
    scale = lax.rsqrt(params["running_var"] + eps)
    scale = scale * params["weight"] if "weight" in params else scale
    y = (x - params["running_mean"]) * scale
    return y + params["bias"] if "bias" in params else y


def normalized(x, scale, shift, eps):
    """(x - μ) / √(σ² + eps) scale + shift by channel, μ and σ², which pass no gradient on.

    With x̂ = (x - μ) r: dx = scale r (dy - mean(dy) - x̂ mean(dy x̂)), which reads the maps half
    as often as the gradient that is derived.
    """
    axes = tuple(range(x.ndim - 1))

    def forward(x, scale, shift):
        mean = jnp.mean(x, axes)
        var = jnp.mean(jnp.square(x - mean), axes)
        rstd = lax.rsqrt(var + eps)
        return ((x - mean) * rstd * scale + shift, mean, var), (x, scale, mean, rstd)

    def backward(saved, gradients):
        x, scale, mean, rstd = saved
        dy, count = gradients[0], math.prod(x.shape[:-1])
        normal = (x - mean) * rstd
        dscale, dshift = jnp.sum(dy * normal, axes), jnp.sum(dy, axes)
        dx = (dy - dshift / count - normal * (dscale / count)) * (rstd * scale)
        return dx, dscale, dshift

    run = jax.custom_vjp(lambda *given: forward(*given)[0])
    run.defvjp(forward, backward)
    return run(x, scale, shift)


def dropout(x, p, key, *, training):
    """Zeros with probability p, the rest scaled by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), scale, 0).astype(x.dtype)


def max_pool(x, kernel, *, stride=None, padding=0, ceil=False, dilation=1):
    """The largest of each window, one axis at a time; the gradient goes to the first of equals."""
    kernel, stride = per_axis(kernel, x), per_axis(stride or kernel, x)
    dilation = per_axis(dilation, x)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    pads = window_padding(x, spans, stride, padding, ceil)
    if any(map(any, pads)):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis in reversed(range(1, x.ndim - 1)):
        k, s, d = kernel[axis - 1], stride[axis - 1], dilation[axis - 1]
        reach = (x.shape[axis] - spans[axis - 1]) // s * s + 1
        parts = [lax.slice_in_dim(x, i * d, i * d + reach, s, axis) for i in range(k)]
        x = parts[0]
        for part in parts[1:]:
            x = jnp.where(part > x, part, x)
    return x


def avg_pool(x, kernel, *, stride=None, padding=0, ceil=False, count_padding=True):
    """The mean of each window; what hangs over the end never counts."""
    kernel, stride = per_axis(kernel, x), per_axis(stride or kernel, x)
    pads = window_padding(x, kernel, stride, padding, ceil)
    inner = (
        window_padding(x, kernel, stride, padding, False)
        if count_padding
        else ((0, 0),) * len(pads)
    )
    ones = jnp.pad(
        jnp.ones((1, *x.shape[1:-1], 1), x.dtype), ((0, 0), *inner, (0, 0)), constant_values=1
    )
    outer = [(p[0] - i[0], p[1] - i[1]) for p, i in zip(pads, inner)]
    window = ((1, *kernel, 1), (1, *stride, 1))
    total = lax.reduce_window(x, 0.0, lax.add, *window, ((0, 0), *pads, (0, 0)))
    return total / lax.reduce_window(ones, 0.0, lax.add, *window, ((0, 0), *outer, (0, 0)))


def window_padding(x, kernel, stride, padding, ceil):
    """(before, after) for every spatial axis, with what a last window hangs over (ceil)."""
    pads = []
    for n, k, s, pair in zip(x.shape[1:-1], kernel, stride, padding_pairs(padding, x)):
        if padding == "SAME":
            missing = max((math.ceil(n / s) - 1) * s + k - n, 0)
            pads.append((missing // 2, missing - missing // 2))
            continue
        before, after = pair
        over = -(n + before + after - k) % s if ceil else 0
        starts_inside = n + before + after + over - k < n + before
        pads.append((before, after + over if starts_inside else after))
    return pads


def flatten(x, axis=1):
    """All axes from `axis` on as one."""
    return x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]))


def channels_last(x):
    """[N, C, *S] to [N, *S, C]."""
    return jnp.moveaxis(x, 1, -1)


def channels_first(x):
    """[N, *S, C] to [N, C, *S]."""
    return jnp.moveaxis(x, -1, 1)


def prelu(x, slope):
    """x where x > 0, else slope x, with a slope for each channel of [N, C, ...] or one."""
    if x.ndim > 2:
        slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
    return jnp.where(x > 0, x, slope * x)
