"""Trees of parameters: nested dicts and lists whose keys are the parts of a weight's name."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Buffer(NamedTuple):
    """Marks a buffer among the parameters that an `init_…` function makes."""

    value: jax.Array


def partition(tree):
    """The parameters of a tree, and its buffers."""
    if isinstance(tree, Buffer):
        return None, tree.value
    if isinstance(tree, list):
        pairs = [partition(item) for item in tree]
        return [p for p, _ in pairs], [b for _, b in pairs]
    if not isinstance(tree, dict):
        return tree, None
    pairs = {key: partition(item) for key, item in tree.items()}
    params = {key: p for key, (p, _) in pairs.items() if p is not None}
    return params, {key: b for key, (_, b) in pairs.items() if b is not None}


class Stack(NamedTuple):
    """Many equal blocks as one, whose arrays have an axis more in front."""

    blocks: dict


def stacked(blocks):
    """From 12 blocks on a `Stack`: one scan then runs them, and XLA compiles a single one."""
    if len(blocks) < 12:
        return blocks
    return Stack(jax.tree.map(lambda *leaves: np.stack(leaves), *blocks))


def repeated(block, blocks, x):
    """block(i, weights, x) with the weights of one after the other."""
    if isinstance(blocks, Stack):
        count = len(jax.tree.leaves(blocks)[0])
        each = (jnp.arange(count), blocks.blocks)
        return lax.scan(lambda x, at: (block(*at, x), None), x, each)[0]
    for i, weights in enumerate(blocks):
        x = block(i, weights, x)
    return x


def unstacked(tree):
    """The tree with lists of blocks."""
    if isinstance(tree, Stack):
        leaves, form = jax.tree.flatten(tree.blocks)
        return [unstacked(form.unflatten(of_block)) for of_block in zip(*leaves)]
    if isinstance(tree, dict):
        return {key: unstacked(item) for key, item in tree.items()}
    return [unstacked(item) for item in tree] if isinstance(tree, list) else tree


def restacked(tree, like):
    """A tree with lists of blocks in the form of another."""
    if isinstance(like, Stack):
        return stacked([restacked(item, like.blocks) for item in tree])
    if isinstance(like, dict):
        return {key: restacked(tree[key], item) for key, item in like.items()}
    return [restacked(*pair) for pair in zip(tree, like)] if isinstance(like, list) else tree


def copied(tree):
    """A tree of new dicts and lists with the same arrays."""
    return jax.tree.map(lambda leaf: leaf, tree)


def cast(tree, dtype):
    """Floats of a tree as dtype."""
    return jax.tree.map(lambda x: x.astype(dtype) if is_float(x) else x, tree)


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def float_type(params):
    """The type that the network computes in."""
    none = jnp.zeros(()).dtype  # float64 once `init` was asked for it
    return next((x.dtype for x in jax.tree.leaves(params) if is_float(x)), none)


def in_bfloat16(function, kept=()):
    """The function computing in bfloat16, arguments at some places as they are. Its results have
    the type of its arguments."""

    def computed(*arguments, **more):
        half = [a if i in kept else cast(a, jnp.bfloat16) for i, a in enumerate(arguments)]
        return cast(function(*half, **more), float_type(arguments))

    return computed


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


def part(tree, paths, above=""):
    """{path: tree below it} for those of the paths that are there; "" is the whole tree."""
    if above in paths:
        return {above: tree}
    found = {}
    if isinstance(tree, dict | list):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found |= part(item, paths, f"{above}.{key}" if above else str(key))
    return found


def with_part(tree, found, above=""):
    """The tree with what `part` gave put back."""
    if above in found:
        return found[above]
    if isinstance(tree, dict):
        items = {k: (v, f"{above}.{k}" if above else str(k)) for k, v in tree.items()}
        return {k: with_part(v, found, path) for k, (v, path) in items.items()}
    if isinstance(tree, list):
        return [with_part(v, found, f"{above}.{i}") for i, v in enumerate(tree)]
    return tree


def prefixed(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


def without(prefix, arrays):
    """What begins with the prefix, without it."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def blank_row(drawn, row):
    """An array of which one row is zero."""
    return np.where(np.arange(len(drawn))[:, None] == row, 0, drawn)


def dirac(shape):
    """The identity at the centre of a kernel [out, in, *kernel]."""
    filled = np.zeros(shape)
    for i in range(min(shape[:2])):
        filled[(i, i, *(k // 2 for k in shape[2:]))] = 1
    return filled


def fan_in_uniform(rng, shape, fan_in=None):
    """U(±1 / √fan_in), fan_in that of a weight [out, in, *kernel] unless given."""
    bound = (fan_in or math.prod(shape[1:])) ** -0.5
    return rng.uniform(-bound, bound, shape)
