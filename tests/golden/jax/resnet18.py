"""ResNet18, in JAX. Written by dlspec."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

jax.config.update("jax_default_matmul_precision", "float32")


class Buffer(NamedTuple):
    """Marks a buffer among the parameters that an `init_…` function makes."""

    value: jax.Array


def partition(tree):
    """The parameters of a tree, and its buffers."""
    if isinstance(tree, Buffer):
        return None, tree.value
    if isinstance(tree, list):
        pairs = [partition(item) for item in tree]
        return [p for p, _ in pairs], [b for _, b in pairs]
    if not isinstance(tree, dict):
        return tree, None
    pairs = {key: partition(item) for key, item in tree.items()}
    params = {key: p for key, (p, _) in pairs.items() if p is not None}
    return params, {key: b for key, (_, b) in pairs.items() if b is not None}


def copied(tree):
    """A tree of new dicts and lists with the same arrays."""
    return jax.tree.map(lambda leaf: leaf, tree)


def cast(tree, dtype):
    """Floats of a tree as dtype."""
    return jax.tree.map(lambda x: x.astype(dtype) if is_float(x) else x, tree)


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def float_type(params):
    """The type that the network computes in."""
    none = jnp.zeros(()).dtype  # float64 once `init` was asked for it
    return next((x.dtype for x in jax.tree.leaves(params) if is_float(x)), none)


def as_inputs(arrays, params):
    """Floats in the type that the network computes in."""
    return cast({name: jnp.asarray(array) for name, array in arrays.items()}, float_type(params))


def named(tree, prefix=""):
    """{name: array}: the keys on the way to each array, joined with dots."""
    if not isinstance(tree, dict | list):
        return {prefix: np.array(tree)} if tree is not None else {}
    found = {}
    for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found |= named(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def renamed(tree, arrays, prefix=""):
    """A tree of the same shape with the arrays of those names."""
    if isinstance(tree, dict):
        return {
            k: renamed(v, arrays, f"{prefix}.{k}" if prefix else str(k)) for k, v in tree.items()
        }
    if isinstance(tree, list):
        return [renamed(v, arrays, f"{prefix}.{i}") for i, v in enumerate(tree)]
    if tree is None:
        return None
    if np.shape(arrays[prefix]) != tree.shape:
        raise ValueError(f"{prefix} is {list(tree.shape)}, not {list(np.shape(arrays[prefix]))}")
    return jax.device_put(np.array(arrays[prefix], tree.dtype))


def fan_in_uniform(rng, shape, fan_in=None):
    """U(±1 / √fan_in), fan_in that of a weight [out, in, *kernel] unless given."""
    bound = (fan_in or math.prod(shape[1:])) ** -0.5
    return rng.uniform(-bound, bound, shape)


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


def dense(params, x):
    """x Wᵀ + b over the last axis."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


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


def channels_last(x):
    """[N, C, *S] to [N, *S, C]."""
    return jnp.moveaxis(x, 1, -1)


def init_conv_norm(rng, in_channels, channels, kernel):
    return {
        "conv": {"weight": fan_in_uniform(rng, (channels, in_channels, kernel, kernel))},
        "batch_norm": {
            "weight": np.ones((channels,)),
            "bias": np.zeros((channels,)),
            "running_mean": Buffer(np.zeros((channels,))),
            "running_var": Buffer(np.ones((channels,))),
        },
    }


def conv_norm(params, buffers, x, *, kernel, stride=1, training):
    buffers = copied(buffers)
    x, buffers["batch_norm"] = batch_norm(
        params["batch_norm"],
        buffers["batch_norm"],
        conv(params["conv"], x, stride=stride, padding=kernel // 2),
        training=training,
    )
    return x, buffers


def init_basic(rng, in_channels, channels, stride=1):
    params = {
        "conv_norm": {
            0: init_conv_norm(rng, in_channels, channels, 3),
            1: init_conv_norm(rng, channels, channels, 3),
        },
    }
    if stride != 1 or in_channels != channels:
        params["conv_norm"][2] = init_conv_norm(rng, in_channels, channels, 1)
    return params


def basic(params, buffers, x, *, channels, stride=1, training):
    c = x.shape[3]
    buffers = copied(buffers)
    y, buffers["conv_norm"][0] = conv_norm(
        params["conv_norm"][0],
        buffers["conv_norm"][0],
        x,
        kernel=3,
        stride=stride,
        training=training,
    )
    main, buffers["conv_norm"][1] = conv_norm(
        params["conv_norm"][1], buffers["conv_norm"][1], jax.nn.relu(y), kernel=3, training=training
    )
    if stride == 1 and c == channels:
        skip = x  # [N, H, W, C]
    else:
        x, buffers["conv_norm"][2] = conv_norm(
            params["conv_norm"][2],
            buffers["conv_norm"][2],
            x,
            kernel=1,
            stride=stride,
            training=training,
        )
        skip = x  # [N, (H - 1) // stride + 1, (W - 1) // stride + 1, channels]
    return jax.nn.relu(main + skip), buffers


def init_stage(rng, in_channels, channels, depth, stride):
    return {
        "basic": [
            init_basic(rng, in_channels, channels, stride=stride),
            *[init_basic(rng, channels, channels) for _ in range(depth - 1)],
        ],
    }


def stage(params, buffers, x, *, channels, stride, training):
    buffers = copied(buffers)
    x, buffers["basic"][0] = basic(
        params["basic"][0],
        buffers["basic"][0],
        x,
        channels=channels,
        stride=stride,
        training=training,
    )
    for i, weights in enumerate(params["basic"][1:], 1):
        x, buffers["basic"][i] = basic(
            weights, buffers["basic"][i], x, channels=channels, training=training
        )
    return x, buffers


def init_res_net18(rng, depths, classes=1000):
    return {
        "conv_norm": init_conv_norm(rng, 3, 64, 7),
        "stage": [
            init_stage(rng, 64, 64, depths[0], 1),
            init_stage(rng, 64, 128, depths[1], 2),
            init_stage(rng, 128, 256, depths[2], 2),
            init_stage(rng, 256, 512, depths[3], 2),
        ],
        "head": {
            "weight": fan_in_uniform(rng, (classes, 512)),
            "bias": fan_in_uniform(rng, (classes,), 512),
        },
    }


def res_net18(params, buffers, image, *, training):
    buffers = copied(buffers)
    x, buffers["conv_norm"] = conv_norm(
        params["conv_norm"], buffers["conv_norm"], image, kernel=7, stride=2, training=training
    )
    stem = max_pool(jax.nn.relu(x), 3, stride=2, padding=1)  # [N, (H + 3) // 4, (W + 3) // 4, 64]
    x, buffers["stage"][0] = stage(
        params["stage"][0], buffers["stage"][0], stem, channels=64, stride=1, training=training
    )
    x, buffers["stage"][1] = stage(
        params["stage"][1], buffers["stage"][1], x, channels=128, stride=2, training=training
    )
    x, buffers["stage"][2] = stage(
        params["stage"][2], buffers["stage"][2], x, channels=256, stride=2, training=training
    )
    body, buffers["stage"][3] = stage(
        params["stage"][3], buffers["stage"][3], x, channels=512, stride=2, training=training
    )
    return dense(params["head"], jnp.mean(body, axis=(1, 2))), buffers


def init(seed=0, dtype="float32"):
    """A new state. Weights are drawn with `seed` and computed with in `dtype`."""
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    weights = init_res_net18(np.random.default_rng(seed), [2, 2, 2, 2])
    params, buffers = partition(jax.device_put(cast(weights, dtype)))
    return {"params": params, "buffers": buffers}


@jax.jit
def infer(state, inputs):
    inputs = as_inputs(inputs, state["params"])
    y, _ = res_net18(
        state["params"], state["buffers"], channels_last(inputs["image"]), training=False
    )
    return y


def predict(state, **inputs):
    """The output in inference mode."""
    return np.asarray(infer(state, inputs))


def export_weights(state):
    """Weights by name, in the canonical layouts."""
    return named(state["params"]) | named(state["buffers"])


def import_weights(state, weights):
    """The state with these weights."""
    if unknown := sorted(weights.keys() - export_weights(state).keys()):
        raise KeyError(f"nothing is called {', '.join(unknown)}")
    return {
        **state,
        "params": renamed(state["params"], weights),
        "buffers": renamed(state["buffers"], weights),
    }


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    state = init()
    outputs = predict(state, image=rng.standard_normal((8, 3, 32, 32)))
    print(jax.tree.map(np.shape, outputs))
