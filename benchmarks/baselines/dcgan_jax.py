"""DCGAN on 64 x 64 images, as a competent JAX user trains it: NHWC, donated state.

Both updates draw their own noise (Goodfellow et al. 2014, algorithm 1), each in one jit.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

WIDTH, LATENT = 32, 100
NHWC = ("NHWC", "HWIO", "NHWC")


def batch_norm(params, stats, x):
    mean = x.mean((0, 1, 2))
    var = x.var((0, 1, 2))
    n = x.size // x.shape[-1]
    stats = {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "var": 0.9 * stats["var"] + 0.1 * var * (n / (n - 1)),
    }
    return (x - mean) * (lax.rsqrt(var + 1e-5) * params["scale"]) + params["bias"], stats


def generate(params, stats, z):
    x, new = z.reshape(-1, 1, 1, LATENT), []
    for i, s in enumerate(stats):
        stride, padding = ((2, 2), "SAME") if i else ((1, 1), "VALID")
        x = lax.conv_transpose(x, params["w"][i], stride, padding, dimension_numbers=NHWC)
        x, found = batch_norm(params["bn"][i], s, x)
        x = jax.nn.relu(x)
        new.append(found)
    x = lax.conv_transpose(x, params["w"][-1], (2, 2), "SAME", dimension_numbers=NHWC)
    return jnp.tanh(x), new


def conv(w, x, stride, padding):
    return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=NHWC)


def criticise(params, stats, x):
    x, new = jax.nn.leaky_relu(conv(params["w"][0], x, 2, "SAME"), 0.2), []
    for w, bn, s in zip(params["w"][1:], params["bn"], stats, strict=False):
        x, found = batch_norm(bn, s, conv(w, x, 2, "SAME"))
        x = jax.nn.leaky_relu(x, 0.2)
        new.append(found)
    return conv(params["w"][-1], x, 1, "VALID").reshape(-1), new


def bce(logits, target):
    return optax.sigmoid_binary_cross_entropy(logits, target).mean()


def adam(lr):
    return optax.adam(lr, b1=0.5)


@partial(jax.jit, donate_argnums=0)
def discriminate(state, generator, real, lr, key):
    params, stats, opt_state = state
    real = real.transpose(0, 2, 3, 1)
    fake, _ = generate(*generator, jax.random.normal(key, (len(real), LATENT)))

    def loss_fn(params, stats):
        x, stats = criticise(params, stats, real)
        y, stats = criticise(params, stats, fake)
        return bce(x, 1.0) + bce(y, 0.0), stats

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats)
    updates, opt_state = adam(lr).update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), stats, opt_state), loss


@partial(jax.jit, donate_argnums=0, static_argnames="size")
def deceive(state, critic, size, lr, key):
    params, stats, opt_state = state

    def loss_fn(params, stats):
        fake, stats = generate(params, stats, jax.random.normal(key, (size, LATENT)))
        return bce(criticise(*critic, fake)[0], 1.0), stats

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats)
    updates, opt_state = adam(lr).update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), stats, opt_state), loss


def init(seed=0, optimizer="adam"):
    rng = np.random.default_rng(seed)

    def net(widths, normed):
        def uniform(*shape):
            bound = np.prod(shape[:-1]) ** -0.5
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        weights = [uniform(4, 4, c, o) for c, o in itertools.pairwise(widths)]
        norms = [{"scale": np.ones(c, np.float32), "bias": np.zeros(c, np.float32)} for c in normed]
        stats = [{"mean": np.zeros(c, np.float32), "var": np.ones(c, np.float32)} for c in normed]
        params, stats = jax.tree.map(jnp.array, ({"w": weights, "bn": norms}, stats))
        return params, stats, adam(0.0).init(params)

    widths = [8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH]
    generator = net([LATENT, *widths, 3], widths)
    critic = net([3, *reversed(widths), 1], widths[-2::-1])
    return generator, critic, jax.random.key(seed)


def train_step(state, batch, lr):
    generator, critic, key = state
    key, first, second = jax.random.split(key, 3)
    critic, loss = discriminate(critic, generator[:2], batch["real"], lr, first)
    generator, _ = deceive(generator, critic[:2], len(batch["real"]), lr, second)
    return (generator, critic, key), {"loss": loss}
