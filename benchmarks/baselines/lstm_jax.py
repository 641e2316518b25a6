"""A two-layer LSTM language model, as a competent JAX user trains it: lax.scan, one jit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

VOCAB, HIDDEN, DEPTH = 256, 256, 2


def lstm(params, x):
    """x [N, T, D] to [N, T, HIDDEN]."""

    def step(state, x):
        h, c = state
        gates = x @ params["w_x"] + h @ params["w_h"] + params["b"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], HIDDEN), x.dtype)
    _, y = jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1))
    return y.swapaxes(0, 1)


def loss_fn(params, tokens, labels):
    x = params["words"][tokens]
    for each in params["layers"]:
        x = lstm(each, x)
    logits = x @ params["head"]["w"] + params["head"]["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def update(params, opt_state, tokens, labels, lr):
    loss, grads = jax.value_and_grad(loss_fn)(params, tokens, labels)
    updates, opt_state = optax.adam(lr).update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


def init(seed=0, optimizer="adam"):
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        bound = HIDDEN**-0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    params = {
        "words": rng.standard_normal((VOCAB, HIDDEN)).astype(np.float32),
        "layers": [
            {
                "w_x": uniform(HIDDEN, 4 * HIDDEN),
                "w_h": uniform(HIDDEN, 4 * HIDDEN),
                "b": uniform(4 * HIDDEN),
            }
            for _ in range(DEPTH)
        ],
        "head": {"w": uniform(HIDDEN, VOCAB), "b": uniform(VOCAB)},
    }
    params = jax.device_put(params)
    return params, optax.adam(0.0).init(params)


def train_step(state, batch, lr):
    params, opt_state, loss = update(*state, batch["tokens"], batch["next"], lr)
    return (params, opt_state), {"loss": loss}
