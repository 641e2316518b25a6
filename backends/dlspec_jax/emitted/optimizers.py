"""Optimizers that optax has not, or has with another definition."""

import jax
import jax.numpy as jnp
import optax

from .trees import Stack


def by_rule(rule, slots):
    """An optax transformation from a rule for one weight: (weight, grad, slots, step) to the
    direction and the new slots, which start at zero."""

    def start(params):
        zeros = {name: jax.tree.map(jnp.zeros_like, params) for name in slots}
        return {"count": jnp.zeros([], jnp.int32), **zeros}

    def update(grads, state, params):
        count = state["count"] + 1

        def each(*arrays):
            if isinstance(arrays[0], Stack):
                blocks = (array.blocks for array in arrays)
                return Stack(jax.tree.map(jax.vmap(lambda *a: rule(*a, count)), *blocks))
            return rule(*arrays, count)

        trees = [state[name] for name in slots]
        found = jax.tree.map(each, params, grads, *trees, is_leaf=lambda x: isinstance(x, Stack))
        inner = jax.tree.structure((0,) * (1 + len(slots)))
        direction, *new = jax.tree.transpose(jax.tree.structure(params), inner, found)
        return direction, {"count": count, **dict(zip(slots, new, strict=True))}

    return optax.GradientTransformation(start, update)


def clip_norm(grads, limit):
    """Gradients scaled so that their joint norm is at most limit; torch's, with norm + 1e-6."""
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(grad)) for grad in jax.tree.leaves(grads)))
    scale = jnp.minimum(1, limit / (norm + 1e-6))
    return jax.tree.map(lambda grad: grad * scale, grads)


def clip_value(grads, limit):
    """Every gradient between -limit and limit."""
    return jax.tree.map(lambda grad: jnp.clip(grad, -limit, limit), grads)
