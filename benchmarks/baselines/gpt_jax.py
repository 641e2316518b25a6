"""A GPT of 6 pre-norm layers, as a competent JAX user trains it: one jit, donated arguments."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

VOCAB, D, HEADS, DEPTH, CONTEXT = 256, 384, 6, 6, 256


def dense(params, x):
    return x @ params["w"] + params["b"]


def norm(params, x, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + eps) * params["scale"] + params["shift"]


def attention(params, x):
    n, t, _ = x.shape
    q, k, v = jnp.split(dense(params["qkv"], x), 3, axis=-1)
    q, k, v = (p.reshape(n, t, HEADS, D // HEADS) for p in (q, k, v))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return dense(params["out"], y.reshape(n, t, D))


def layer(params, x):
    x = x + attention(params["attention"], norm(params["norm1"], x))
    h = jax.nn.gelu(dense(params["up"], norm(params["norm2"], x)), approximate=False)
    return x + dense(params["down"], h)


def forward(params, tokens):
    x = params["words"][tokens] + params["places"][: tokens.shape[1]]
    for each in params["layers"]:
        x = layer(each, x)
    return norm(params["final"], x) @ params["head"]


def loss_fn(params, tokens, labels):
    logits = forward(params, tokens)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def update(params, opt_state, tokens, labels, lr):
    loss, grads = jax.value_and_grad(loss_fn)(params, tokens, labels)
    updates, opt_state = optax.adamw(lr, weight_decay=0.01).update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


def init(seed=0, optimizer="adamw"):
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        bound = shape[0] ** -0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def linear(rows, columns):
        return {"w": uniform(rows, columns), "b": np.zeros(columns, np.float32)}

    def ones():
        return {"scale": np.ones(D, np.float32), "shift": np.zeros(D, np.float32)}

    params = {
        "words": rng.standard_normal((VOCAB, D)).astype(np.float32),
        "places": 0.02 * rng.standard_normal((CONTEXT, D)).astype(np.float32),
        "layers": [
            {
                "norm1": ones(),
                "attention": {"qkv": linear(D, 3 * D), "out": linear(D, D)},
                "norm2": ones(),
                "up": linear(D, 4 * D),
                "down": linear(4 * D, D),
            }
            for _ in range(DEPTH)
        ],
        "final": ones(),
        "head": uniform(D, VOCAB),
    }
    params = jax.device_put(params)
    return params, optax.adamw(0.0).init(params)


def train_step(state, batch, lr):
    params, opt_state, loss = update(*state, batch["tokens"], batch["next"], lr)
    return (params, opt_state), {"loss": loss}
