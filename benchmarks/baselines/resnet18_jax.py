"""ResNet-18 for 32 x 32 images, as a competent JAX user trains it: NHWC, donated state."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

BLOCKS = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))


def conv(w, x, stride=1):
    return lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def batch_norm(params, stats, x):
    mean = x.mean((0, 1, 2))
    var = x.var((0, 1, 2))
    n = x.size // x.shape[-1]
    stats = {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "var": 0.9 * stats["var"] + 0.1 * var * (n / (n - 1)),
    }
    return (x - mean) * (lax.rsqrt(var + 1e-5) * params["scale"]) + params["bias"], stats


def conv_norm(params, stats, x, stride=1):
    return batch_norm(params["bn"], stats, conv(params["w"], x, stride))


def block(params, stats, x, stride):
    stats = dict(stats)
    y, stats["a"] = conv_norm(params["a"], stats["a"], x, stride)
    y, stats["b"] = conv_norm(params["b"], stats["b"], jax.nn.relu(y))
    if "skip" in params:
        x, stats["skip"] = conv_norm(params["skip"], stats["skip"], x, stride)
    return jax.nn.relu(x + y), stats


def forward(params, stats, x):
    stats = dict(stats, blocks=list(stats["blocks"]))
    x, stats["stem"] = conv_norm(params["stem"], stats["stem"], x)
    x = jax.nn.relu(x)
    for i, (_, stride) in enumerate(BLOCKS):
        x, stats["blocks"][i] = block(params["blocks"][i], stats["blocks"][i], x, stride)
    return x.mean((1, 2)) @ params["head"]["w"] + params["head"]["b"], stats


def loss_fn(params, stats, image, label):
    logits, stats = forward(params, stats, image)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), stats


@partial(jax.jit, static_argnames="optimizer", donate_argnums=(0, 1, 2))
def update(params, stats, opt_state, image, label, lr, *, optimizer):
    image = image.transpose(0, 2, 3, 1)
    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats, image, label)
    updates, opt_state = make_optimizer(optimizer, lr).update(grads, opt_state, params)
    return optax.apply_updates(params, updates), stats, opt_state, loss


def make_optimizer(name, lr):
    return optax.adam(lr) if name == "adam" else optax.sgd(lr, momentum=0.9)


def init(seed=0, optimizer="sgd"):
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        bound = np.prod(shape[:-1]) ** -0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def conv_norm_params(kernel, in_channels, channels):
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        params = {
            "w": uniform(kernel, kernel, in_channels, channels),
            "bn": {"scale": one, "bias": zero},
        }
        return params, {"mean": zero, "var": one}

    params, stats = {"blocks": []}, {"blocks": []}
    params["stem"], stats["stem"] = conv_norm_params(3, 3, 64)
    in_channels = 64
    for channels, stride in BLOCKS:
        parts = {
            "a": conv_norm_params(3, in_channels, channels),
            "b": conv_norm_params(3, channels, channels),
        }
        if stride != 1 or in_channels != channels:
            parts["skip"] = conv_norm_params(1, in_channels, channels)
        params["blocks"].append({name: p for name, (p, _) in parts.items()})
        stats["blocks"].append({name: s for name, (_, s) in parts.items()})
        in_channels = channels
    params["head"] = {"w": uniform(512, 10), "b": np.zeros(10, np.float32)}
    params, stats = jax.tree.map(jnp.array, (params, stats))
    return params, stats, make_optimizer(optimizer, 0.0).init(params), optimizer


def train_step(state, batch, lr):
    *state, optimizer = state
    *state, loss = update(*state, batch["image"], batch["label"], lr, optimizer=optimizer)
    return (*state, optimizer), {"loss": loss}
