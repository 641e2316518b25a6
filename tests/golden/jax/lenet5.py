"""mnist, in JAX. Written by dlspec."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

jax.config.update("jax_default_matmul_precision", "float32")


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


def prefixed(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


def without(prefix, arrays):
    """What begins with the prefix, without it."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


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


def flatten(x, axis=1):
    """All axes from `axis` on as one."""
    return x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]))


def channels_last(x):
    """[N, C, *S] to [N, *S, C]."""
    return jnp.moveaxis(x, 1, -1)


def channels_first(x):
    """[N, *S, C] to [N, C, *S]."""
    return jnp.moveaxis(x, -1, 1)


def init_le_net5(rng, classes=10):
    return {
        "c1": {"weight": fan_in_uniform(rng, (6, 1, 5, 5)), "bias": fan_in_uniform(rng, (6,), 25)},
        "c3": {
            "weight": fan_in_uniform(rng, (16, 6, 5, 5)),
            "bias": fan_in_uniform(rng, (16,), 150),
        },
        "f5": {"weight": fan_in_uniform(rng, (120, 400)), "bias": fan_in_uniform(rng, (120,), 400)},
        "f6": {"weight": fan_in_uniform(rng, (84, 120)), "bias": fan_in_uniform(rng, (84,), 120)},
        "head": {
            "weight": fan_in_uniform(rng, (classes, 84)),
            "bias": fan_in_uniform(rng, (classes,), 84),
        },
    }


def le_net5(params, image):
    x = max_pool(jnp.tanh(conv(params["c1"], image, padding=2)), 2)  # [N, 14, 14, 6]
    x = max_pool(jnp.tanh(conv(params["c3"], x)), 2)  # [N, 5, 5, 16]
    x = jnp.tanh(dense(params["f5"], flatten(channels_first(x))))  # [N, 120]
    return dense(params["head"], jnp.tanh(dense(params["f6"], x)))


OPTIMIZER = optax.trace(0.9)  # sgd, without lr


def loss_and_reports(params, image, label):
    """The loss of a batch, and what is reported."""
    image = channels_last(image)
    logits = le_net5(params, image)  # [N, 10]
    x = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))
    y = (jnp.argmax(logits, axis=-1).astype(int) == label).astype(float)  # [N]
    return x, {"accuracy": jnp.mean(y)}


def init(seed=0, dtype="float32"):
    """A new state. Weights are drawn with `seed` and computed with in `dtype`."""
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    params = jax.device_put(cast(init_le_net5(np.random.default_rng(seed)), dtype))
    return {"params": params, "optimizer": OPTIMIZER.init(params), "step": jnp.array(0)}


@jax.jit
def differentiate(state, batch):
    """Metrics of a batch in training mode, and the gradient of every parameter."""
    batch = as_inputs(batch, state["params"])
    loss_and_grads = jax.value_and_grad(loss_and_reports, has_aux=True)
    (loss, reports), grads = loss_and_grads(state["params"], batch["image"], batch["label"])
    return {"loss": loss, **reports}, grads


@partial(jax.jit, donate_argnums=0)
def update(state, batch, lr):
    """One step of the optimizer. The old state's memory is used again."""
    metrics, grads = differentiate(state, batch)
    updates, optimizer = OPTIMIZER.update(grads, state["optimizer"], state["params"])
    params = jax.tree.map(lambda p, u: p - lr * u, state["params"], updates)
    return {"params": params, "optimizer": optimizer, "step": state["step"] + 1}, metrics


def train_step(state, batch, lr, *, seed=0, step=0):
    """The new state and the metrics of a batch. The old state is used up."""
    return update(state, batch, lr)


def gradients(state, batch, *, seed=0, step=0):
    """Metrics, and gradients by weight name, in training mode."""
    metrics, grads = differentiate(state, batch)
    return metrics, named(grads)


@jax.jit
def evaluate(state, batch):
    """Metrics of a batch in inference mode."""
    batch = as_inputs(batch, state["params"])
    loss, reports = loss_and_reports(state["params"], batch["image"], batch["label"])
    return {"loss": loss, **reports}


@jax.jit
def infer(state, inputs):
    inputs = as_inputs(inputs, state["params"])
    return le_net5(state["params"], channels_last(inputs["image"]))


def predict(state, **inputs):
    """The output in inference mode."""
    return np.asarray(infer(state, inputs))


def export_weights(state):
    """Weights by name, in the canonical layouts."""
    return named(state["params"])


def import_weights(state, weights):
    """The state with these weights."""
    if unknown := sorted(weights.keys() - export_weights(state).keys()):
        raise KeyError(f"nothing is called {', '.join(unknown)}")
    return {**state, "params": renamed(state["params"], weights)}


def export_optimizer(state):
    """The optimizer's arrays as `kind/weight`, and the number of steps."""
    arrays = {"step": np.array(state["step"])}
    arrays |= prefixed("momentum/", named(optax.tree_utils.tree_get(state["optimizer"], "trace")))
    return arrays


def import_optimizer(state, arrays):
    """The state with these arrays in its optimizer."""
    optimizer, step = state["optimizer"], jnp.array(arrays["step"])
    momentum = renamed(state["params"], without("momentum/", arrays))
    optimizer = optax.tree_utils.tree_set(optimizer, trace=momentum)
    return {**state, "optimizer": optimizer, "step": step}


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    state = init()
    batch = {"image": rng.standard_normal((8, 1, 28, 28)), "label": rng.integers(10, size=(8,))}
    for step in range(5):
        state, metrics = train_step(state, batch, 0.01, step=step)
        print(f"step {step}: loss {float(metrics['loss']):.4f}")
