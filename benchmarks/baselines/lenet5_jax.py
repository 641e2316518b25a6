"""LeNet-5 (LeCun et al. 1998, tanh and max pooling), as a competent JAX user trains it."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax


def init_conv(key, in_channels, channels, kernel):
    bound = (in_channels * kernel * kernel) ** -0.5
    w_key, b_key = jax.random.split(key)
    shape = (kernel, kernel, in_channels, channels)
    return {
        "w": jax.random.uniform(w_key, shape, minval=-bound, maxval=bound),
        "b": jax.random.uniform(b_key, (channels,), minval=-bound, maxval=bound),
    }


def init_dense(key, in_features, features):
    bound = in_features**-0.5
    w_key, b_key = jax.random.split(key)
    return {
        "w": jax.random.uniform(w_key, (in_features, features), minval=-bound, maxval=bound),
        "b": jax.random.uniform(b_key, (features,), minval=-bound, maxval=bound),
    }


def conv(params, x, padding):
    y = lax.conv_general_dilated(
        x, params["w"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + params["b"]


def dense(params, x):
    return x @ params["w"] + params["b"]


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def forward(params, x):
    x = max_pool(jnp.tanh(conv(params["conv1"], x, "SAME")))
    x = max_pool(jnp.tanh(conv(params["conv2"], x, "VALID")))
    x = x.reshape(x.shape[0], -1)
    x = jnp.tanh(dense(params["fc1"], x))
    x = jnp.tanh(dense(params["fc2"], x))
    return dense(params["fc3"], x)


def loss_fn(params, image, label):
    logits = forward(params, image)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


@partial(jax.jit, static_argnames="optimizer", donate_argnums=(0, 1))
def update(params, opt_state, image, label, lr, *, optimizer):
    loss, grads = jax.value_and_grad(loss_fn)(params, image, label)
    updates, opt_state = make_optimizer(optimizer, lr).update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


def make_optimizer(name, lr):
    return optax.adam(lr) if name == "adam" else optax.sgd(lr, momentum=0.9)


def init(seed=0, optimizer="sgd"):
    k1, k2, k3, k4, k5 = jax.random.split(jax.random.key(seed), 5)
    params = {
        "conv1": init_conv(k1, 1, 6, 5),
        "conv2": init_conv(k2, 6, 16, 5),
        "fc1": init_dense(k3, 400, 120),
        "fc2": init_dense(k4, 120, 84),
        "fc3": init_dense(k5, 84, 10),
    }
    return params, make_optimizer(optimizer, 0.0).init(params), optimizer


def train_step(state, batch, lr):
    params, opt_state, optimizer = state
    image = batch["image"].reshape(-1, 28, 28, 1)  # NHWC: one channel, so no transpose
    params, opt_state, loss = update(
        params, opt_state, image, batch["label"], lr, optimizer=optimizer
    )
    return (params, opt_state, optimizer), {"loss": loss}
