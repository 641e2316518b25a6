"""shared, in JAX. Written by dlspec."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

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


def dense(params, x):
    """x Wᵀ + b over the last axis."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def dropout(x, p, key, *, training):
    """Zeros with probability p, the rest scaled by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), scale, 0).astype(x.dtype)


def init_step(rng, in_features):
    return {
        "dense": {
            "weight": fan_in_uniform(rng, (in_features, in_features)),
            "bias": fan_in_uniform(rng, (in_features,)),
        },
    }


def step(params, mix, h):
    return h + jnp.tanh(dense(mix, dense(params["dense"], h)))


def init_shared(rng, width=16, depth=3, classes=4):
    return {
        "dense": {
            "weight": fan_in_uniform(rng, (width, 8)),
            "bias": fan_in_uniform(rng, (width,), 8),
        },
        "mix": {
            "weight": fan_in_uniform(rng, (width, width)),
            "bias": fan_in_uniform(rng, (width,)),
        },
        "step": [init_step(rng, width) for _ in range(depth)],
        "head": {
            "weight": fan_in_uniform(rng, (classes, width)),
            "bias": fan_in_uniform(rng, (classes,), width),
        },
    }


def shared(params, x, *, key, training):
    h = dense(params["mix"], dense(params["dense"], x))  # [N, width]
    for weights in params["step"]:
        h = step(weights, params["mix"], h)
    x = dropout(dense(params["mix"], h), 0.25, jax.random.fold_in(key, 0), training=training)
    return dense(params["head"], x)


OPTIMIZER = optax.scale_by_adam()  # adam, without lr


def loss_and_reports(params, x, label, *, key, training):
    """The loss of a batch, and what is reported."""
    logits = shared(params, x, key=jax.random.fold_in(key, 0), training=training)  # [N, 4]
    x = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))
    y = (jnp.argmax(logits, axis=-1).astype(int) == label).astype(float)  # [N]
    return x, {"accuracy": jnp.mean(y)}


def init(seed=0, dtype="float32"):
    """A new state. Weights are drawn with `seed` and computed with in `dtype`."""
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    params = jax.device_put(cast(init_shared(np.random.default_rng(seed)), dtype))
    return {"params": params, "optimizer": OPTIMIZER.init(params), "step": jnp.array(0)}


@jax.jit
def differentiate(state, batch, seed, step):
    """Metrics of a batch in training mode, and the gradient of every parameter."""
    batch = as_inputs(batch, state["params"])
    loss_and_grads = jax.value_and_grad(loss_and_reports, has_aux=True)
    (loss, reports), grads = loss_and_grads(
        state["params"],
        batch["x"],
        batch["label"],
        key=jax.random.fold_in(jax.random.key(seed), step),
        training=True,
    )
    return {"loss": loss, **reports}, grads


@partial(jax.jit, donate_argnums=0)
def update(state, batch, lr, seed, step):
    """One step of the optimizer. The old state's memory is used again."""
    metrics, grads = differentiate(state, batch, seed, step)
    updates, optimizer = OPTIMIZER.update(grads, state["optimizer"], state["params"])
    params = jax.tree.map(lambda p, u: p - lr * u, state["params"], updates)
    return {"params": params, "optimizer": optimizer, "step": state["step"] + 1}, metrics


def train_step(state, batch, lr, *, seed=0, step=0):
    """The new state and the metrics of a batch. The old state is used up."""
    return update(state, batch, lr, seed, step)


def gradients(state, batch, *, seed=0, step=0):
    """Metrics, and gradients by weight name, in training mode."""
    metrics, grads = differentiate(state, batch, seed, step)
    return metrics, named(grads)


@jax.jit
def evaluate(state, batch):
    """Metrics of a batch in inference mode."""
    batch = as_inputs(batch, state["params"])
    loss, reports = loss_and_reports(
        state["params"], batch["x"], batch["label"], key=jax.random.key(0), training=False
    )
    return {"loss": loss, **reports}


@jax.jit
def infer(state, inputs):
    inputs = as_inputs(inputs, state["params"])
    return shared(state["params"], inputs["x"], key=jax.random.key(0), training=False)


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
    arrays |= prefixed("exp_avg/", named(optax.tree_utils.tree_get(state["optimizer"], "mu")))
    arrays |= prefixed("exp_avg_sq/", named(optax.tree_utils.tree_get(state["optimizer"], "nu")))
    return arrays


def import_optimizer(state, arrays):
    """The state with these arrays in its optimizer."""
    optimizer, step = state["optimizer"], jnp.array(arrays["step"])
    exp_avg = renamed(state["params"], without("exp_avg/", arrays))
    exp_avg_sq = renamed(state["params"], without("exp_avg_sq/", arrays))
    optimizer = optax.tree_utils.tree_set(
        optimizer, mu=exp_avg, nu=exp_avg_sq, count=jnp.array(step, jnp.int32)
    )
    return {**state, "optimizer": optimizer, "step": step}


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    state = init()
    batch = {"x": rng.standard_normal((8, 8)), "label": rng.integers(4, size=(8,))}
    for step in range(5):
        state, metrics = train_step(state, batch, 0.01, step=step)
        print(f"step {step}: loss {float(metrics['loss']):.4f}")
