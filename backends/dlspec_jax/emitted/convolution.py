"""Convolutions on [N, *S, C]; weights keep the canonical layouts."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv(params, x, *, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of x [N, *S, C] with weight [O, C / groups, *K]."""
    stride, dilation = per_axis(stride, x), per_axis(dilation, x)
    pads = padding_pairs(padding, x)
    run = partial(correlate, stride=stride, padding=pads, dilation=dilation, groups=groups)
    if padding != "SAME" and pieces_pay(params["weight"], groups):

        def weight_gradient(x, dy):
            found = window_products(x, dy, kernel, stride, pads, dilation)
            return jnp.moveaxis(found, (-1, -2), (0, 1))

        kernel = params["weight"].shape[2:]
        run = with_weight_gradient(run, weight_gradient)
    y = run(x, params["weight"])
    return y + params["bias"] if "bias" in params else y


def correlate(x, weight, *, stride, padding, dilation, groups):
    """Each window of x times weight."""
    axes = "DHW"[5 - x.ndim :]
    return lax.conv_general_dilated(
        x,
        weight,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"OI{axes}", f"N{axes}C"),
        feature_group_count=groups,
    )


def conv_transpose(params, x, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The transpose of a convolution; x [N, *S, C], weight [C, O / groups, *K]."""
    given = (stride, padding, output_padding, dilation)
    stride, padding, more, dilation = (per_axis(value, x) for value in given)
    run = partial(
        scatter_windows, stride=stride, padding=padding, more=more, dilation=dilation, groups=groups
    )
    if pieces_pay(params["weight"], groups):

        def weight_gradient(x, dy):
            found = window_products(dy, x, kernel, stride, [(p, p) for p in padding], dilation)
            return jnp.moveaxis(found, (-1, -2), (0, 1))

        kernel = params["weight"].shape[2:]
        run = with_weight_gradient(run, weight_gradient)
    y = run(x, params["weight"])
    return y + params["bias"] if "bias" in params else y


def scatter_windows(x, weight, *, stride, padding, more, dilation, groups):
    """Adds weight times each of x to the window around it: a convolution of x with gaps."""
    channels, outputs, *kernel = weight.shape
    weight = weight.reshape(groups, channels // groups, outputs, *kernel)
    weight = jnp.moveaxis(weight, 0, 1).reshape(channels // groups, -1, *kernel)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
    axes = "DHW"[5 - x.ndim :]
    return lax.conv_general_dilated(
        x,
        jnp.flip(weight, tuple(range(2, x.ndim))),
        (1,) * len(kernel),
        [(r - p, r - p + m) for r, p, m in zip(reach, padding, more)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"IO{axes}", f"N{axes}C"),
        feature_group_count=groups,
    )


def pieces_pay(weight, groups):
    """Whether `window_products` is the faster way: on a processor, but for few channels."""
    return jax.default_backend() == "cpu" and groups == 1 and sum(weight.shape[:2]) >= 32


def with_weight_gradient(run, weight_gradient):
    """run(x, weight), linear in both, with another way to the weight's gradient."""

    def forward(x, weight):
        return run(x, weight), (x, weight)

    def backward(saved, dy):
        x, weight = saved
        _, input_gradient = jax.vjp(lambda x: run(x, weight), x)
        return *input_gradient(dy), weight_gradient(x, dy)

    faster = jax.custom_vjp(run)
    faster.defvjp(forward, backward)
    return faster


def window_products(x, y, kernel, stride, padding, dilation):
    """Σ xᵀ y over the windows of x [N, *S, C] that y [N, *S', O] comes from or goes to, for each
    element of the kernel: [*K, C, O]. It takes what fits the cache at a time, some rows of an
    image or some images, where XLA's own turns all maps over, which takes 2 to 9 times as long.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    images, rows = piece(y.shape, 2**15 // x.shape[-1])
    pieces = y.shape[1] // rows
    reach = (rows - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1
    size = (rows, *y.shape[2:-1])

    def add(i, total):
        image, row = i // pieces * images, i % pieces * rows
        seen = lax.dynamic_slice_in_dim(x, image, images, 0)
        seen = lax.dynamic_slice_in_dim(seen, row * stride[0], reach, 1)
        there = lax.dynamic_slice_in_dim(y, image, images, 0)
        there = lax.dynamic_slice_in_dim(there, row, rows, 1).reshape(-1, y.shape[-1])
        products = [
            seen[(slice(None), *window(offset, size, stride, dilation))].reshape(len(there), -1).T
            @ there
            for offset in np.ndindex(*kernel)
        ]
        return total + jnp.stack(products)

    steps = y.shape[0] // images * pieces
    none = jnp.zeros((math.prod(kernel), x.shape[-1], y.shape[-1]), x.dtype)
    return lax.fori_loop(0, steps, add, none).reshape(*kernel, *none.shape[1:])


def window(offset, size, stride, dilation):
    """Index of what the kernel's element at `offset` sees. size: of the output."""
    starts = [o * d for o, d in zip(offset, dilation)]
    return [slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(starts, size, stride)]


def piece(shape, limit):
    """How many images and rows of [N, H, …, C] to take at a time, for about `limit` pixels."""
    images, height, *rest = shape[:-1]
    rows = largest_divisor(height, limit // math.prod(rest))
    room = limit // math.prod([rows, *rest]) if rows == height else 1
    return largest_divisor(images, room), rows


def largest_divisor(n, limit):
    """The largest that divides n and is at most limit, or 1."""
    return max(d for d in range(1, n + 1) if n % d == 0 and (d == 1 or d <= limit))


def per_axis(value, x):
    """An int for every spatial axis of x."""
    return (value,) * (x.ndim - 2) if isinstance(value, int) else value


def padding_pairs(padding, x):
    """(before, after) for every spatial axis of x; "SAME" as it is."""
    return ((padding, padding),) * (x.ndim - 2) if isinstance(padding, int) else padding
