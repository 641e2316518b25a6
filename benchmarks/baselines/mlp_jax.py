"""A 784-128-64-10 perceptron, as a competent JAX user trains it."""

from functools import partial

import jax
import optax


def init_dense(key, in_features, features):
    bound = in_features**-0.5
    w_key, b_key = jax.random.split(key)
    return {
        "w": jax.random.uniform(w_key, (in_features, features), minval=-bound, maxval=bound),
        "b": jax.random.uniform(b_key, (features,), minval=-bound, maxval=bound),
    }


def dense(params, x):
    return x @ params["w"] + params["b"]


def forward(params, x):
    x = jax.nn.relu(dense(params["fc1"], x))
    x = jax.nn.relu(dense(params["fc2"], x))
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
    k1, k2, k3 = jax.random.split(jax.random.key(seed), 3)
    params = {
        "fc1": init_dense(k1, 784, 128),
        "fc2": init_dense(k2, 128, 64),
        "fc3": init_dense(k3, 64, 10),
    }
    return params, make_optimizer(optimizer, 0.0).init(params), optimizer


def train_step(state, batch, lr):
    params, opt_state, optimizer = state
    params, opt_state, loss = update(
        params, opt_state, batch["image"], batch["label"], lr, optimizer=optimizer
    )
    return (params, opt_state, optimizer), {"loss": loss}
