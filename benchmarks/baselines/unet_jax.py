"""A small U-Net with batch norm, as a competent JAX user trains it: NHWC, donated state."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

WIDTHS = (16, 32, 64, 128)


def conv(w, x):
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv_transpose(params, x):
    y = lax.conv_transpose(
        x, params["w"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + params["b"]


def batch_norm(params, stats, x):
    mean = x.mean((0, 1, 2))
    var = x.var((0, 1, 2))
    n = x.size // x.shape[-1]
    stats = {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "var": 0.9 * stats["var"] + 0.1 * var * (n / (n - 1)),
    }
    return (x - mean) * (lax.rsqrt(var + 1e-5) * params["scale"]) + params["bias"], stats


def double(params, stats, x):
    new = []
    for p, s in zip(params, stats, strict=False):
        x, found = batch_norm(p["bn"], s, conv(p["w"], x))
        x = jax.nn.relu(x)
        new.append(found)
    return x, new


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def forward(params, stats, x):
    new, details = {"down": [], "up": []}, []
    for i in range(len(WIDTHS)):
        x, found = double(params["down"][i], stats["down"][i], max_pool(x) if i else x)
        new["down"].append(found)
        details.append(x)
    for i, detail in enumerate(details[-2::-1]):
        x = jnp.concatenate([detail, conv_transpose(params["wider"][i], x)], axis=-1)
        x, found = double(params["up"][i], stats["up"][i], x)
        new["up"].append(found)
    return conv(params["head"]["w"], x) + params["head"]["b"], new


def loss_fn(params, stats, image, label):
    logits, stats = forward(params, stats, image)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), stats


@partial(jax.jit, donate_argnums=(0, 1, 2))
def update(params, stats, opt_state, image, label, lr):
    image = image.transpose(0, 2, 3, 1)
    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats, image, label)
    updates, opt_state = optax.adam(lr).update(grads, opt_state, params)
    return optax.apply_updates(params, updates), stats, opt_state, loss


def init(seed=0, optimizer="adam"):
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        bound = np.prod(shape[:-1]) ** -0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def double_params(in_channels, channels):
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        return [
            {"w": uniform(3, 3, c, channels), "bn": {"scale": one, "bias": zero}}
            for c in (in_channels, channels)
        ]

    def double_stats(channels):
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        return [{"mean": zero, "var": one} for _ in range(2)]

    pairs = list(zip(WIDTHS[1:], WIDTHS, strict=False))[::-1]
    params = {
        "down": [double_params(c, w) for c, w in zip((3, *WIDTHS), WIDTHS, strict=False)],
        "wider": [{"w": uniform(2, 2, c, w), "b": np.zeros(w, np.float32)} for c, w in pairs],
        "up": [double_params(2 * w, w) for _, w in pairs],
        "head": {"w": uniform(1, 1, WIDTHS[0], 2), "b": np.zeros(2, np.float32)},
    }
    stats = {
        "down": [double_stats(w) for w in WIDTHS],
        "up": [double_stats(w) for _, w in pairs],
    }
    params, stats = jax.tree.map(jnp.array, (params, stats))
    return params, stats, optax.adam(0.0).init(params)


def train_step(state, batch, lr):
    *state, loss = update(*state, batch["image"], batch["label"], lr)
    return state, {"loss": loss}
