"""LSTM, GRU and the plain RNN over x [N, T, D], with torch's names of the weights.

All steps' products with the input are one, before the loop; and one product after the loop back
gives the gradient of a recurrent weight, where automatic differentiation would add up one a step.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


def lstm(params, x, h=None, c=None, mask=None, layer=None):
    """y, and the final h and c [layers · directions, N, _]."""
    return recurrent(lstm_cell, params, x, (h, c), mask, layer)


def gru(params, x, h=None, mask=None, layer=None):
    """y, and the final h."""
    return recurrent(gru_cell, params, x, (h,), mask, layer)


def gru_reset_first(params, x, h=None, mask=None, layer=None):
    """y, and the final h, where the reset comes before the product."""
    return recurrent(gru_cell_reset_first, params, x, (h,), mask, layer)


def rnn(params, x, h=None, mask=None, layer=None):
    """y, and the final h."""
    return recurrent(tanh_cell, params, x, (h,), mask, layer)


def rnn_relu(params, x, h=None, mask=None, layer=None):
    """y, and the final h."""
    return recurrent(relu_cell, params, x, (h,), mask, layer)


def recurrent(cell, params, x, states, mask, layer):
    """All layers, or the given one, in every direction; inside, time comes first."""
    x = x.swapaxes(0, 1)
    there = None if mask is None else mask.T[..., None]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    ends = ("", "_reverse") if f"weight_ih_l{layer or 0}_reverse" in params else ("",)
    final = []
    for k in layers_of(params) if layer is None else [layer]:
        ways = []
        for end in ends:
            weights = {name: params.get(f"{name}_l{k}{end}") for name in names}
            given = [None if s is None else s[len(final)] for s in states]
            start = initial_states(weights, x, given)
            y, last = one_way(cell, weights, x, start, there, reverse=bool(end))
            ways.append(y if there is None else jnp.where(there, y, 0))
            final.append(last)
        x = ways[0] if len(ways) == 1 else jnp.concatenate(ways, -1)
    return x.swapaxes(0, 1), *map(jnp.stack, zip(*final))


def layers_of(params):
    """The numbers of the layers."""
    return range(sum(name[:11] == "weight_ih_l" and name[11:].isdigit() for name in params))


def initial_states(weights, x, states):
    """Those that are not given are zero: h as long as a row of weight_hh, c as the cell is wide."""
    rows, columns = weights["weight_hh"].shape
    sizes = (columns, rows // 4)
    pairs = zip(states, sizes)
    return tuple(jnp.zeros((x.shape[1], n), x.dtype) if s is None else s for s, n in pairs)


def one_way(cell, weights, x, states, there, *, reverse):
    """h of all steps, and the final states."""
    rows = x.reshape(-1, x.shape[-1]) @ weights["weight_ih"].T
    if weights["bias_ih"] is not None:
        rows = rows + weights["bias_ih"]
    ahead = rows.reshape(*x.shape[:2], -1)
    if cell is gru_cell_reset_first or weights["weight_hr"] is not None:
        return plain_loop(cell, weights, ahead, states, there, reverse)
    return loop(cell, reverse, ahead, weights["weight_hh"], weights["bias_hh"], states, there)


def arguments(cell, ahead, product):
    """What a cell takes: the sum of both products, a GRU each of them."""
    return (ahead, product) if cell is gru_cell else (ahead + product,)


def product_of(h, weight, bias):
    return h @ weight.T if bias is None else h @ weight.T + bias


def chosen(there, new, old):
    """The new states where the step is there."""
    return new if there is None else tuple(jnp.where(there, a, b) for a, b in zip(new, old))


def loop(cell, reverse, *operands):
    """The steps of a cell whose only product is h · weight, with a gradient of its own."""
    run = jax.custom_vjp(partial(loop_steps, cell, reverse))
    run.defvjp(partial(loop_forward, cell, reverse), partial(loop_backward, cell, reverse))
    return run(*operands)


def loop_steps(cell, reverse, ahead, weight, bias, states, there):
    """h of all steps, and the final states."""

    def step(states, at):
        ahead, there = at
        parts = arguments(cell, ahead, product_of(states[0], weight, bias))
        states = chosen(there, cell(parts, states), states)
        return states, states[0]

    states, y = lax.scan(step, states, (ahead, there), reverse=reverse)
    return y, states


def loop_forward(cell, reverse, ahead, weight, bias, states, there):
    """As `loop_steps`; keeps each step's pullback, which is a tree of arrays."""

    def step(states, at):
        ahead, there = at

        def pointwise(parts, states):
            return chosen(there, cell(parts, states), states)

        parts = arguments(cell, ahead, product_of(states[0], weight, bias))
        new, pullback = jax.vjp(pointwise, parts, states)
        return new, (new[0], states[0], pullback)

    states, (y, before, pullbacks) = lax.scan(step, states, (ahead, there), reverse=reverse)
    return (y, states), (before, pullbacks, weight, bias)


def loop_backward(cell, reverse, kept, grads):
    """The gradients, that of the weight by one product over all steps."""
    before, pullbacks, weight, bias = kept
    dy, dstates = grads

    def step(dstates, at):
        pullback, dy = at
        dparts, (dh, *rest) = pullback((dstates[0] + dy, *dstates[1:]))
        return (dh + dparts[-1] @ weight, *rest), dparts

    dstates, dparts = lax.scan(step, dstates, (pullbacks, dy), reverse=not reverse)
    rows = dparts[-1].reshape(-1, weight.shape[0])
    dweight = rows.T @ before.reshape(-1, weight.shape[1])
    dbias = None if bias is None else rows.sum(0)
    return dparts[0], dweight, dbias, dstates, None


def plain_loop(cell, weights, ahead, states, there, reverse):
    """The steps of a cell with more products than one."""
    weight, bias, projection = (weights[n] for n in ("weight_hh", "bias_hh", "weight_hr"))

    def step(states, at):
        ahead, there = at
        if cell is gru_cell_reset_first:
            new = cell(ahead, states, weight, bias)
        else:
            h, *rest = cell(arguments(cell, ahead, product_of(states[0], weight, bias)), states)
            new = (h @ projection.T, *rest)
        states = chosen(there, new, states)
        return states, states[0]

    states, y = lax.scan(step, states, (ahead, there), reverse=reverse)
    return y, states


def lstm_cell(parts, states):
    """Gates in the order i, f, g, o."""
    i, f, g, o = jnp.split(parts[0], 4, -1)
    c = jax.nn.sigmoid(f) * states[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(parts, states):
    """Gates in the order r, z, n."""
    (xr, xz, xn), (hr, hz, hn) = (jnp.split(part, 3, -1) for part in parts)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + r * hn)
    return (n + z * (states[0] - n),)


def gru_cell_reset_first(ahead, states, weight, bias):
    """n takes the product with r h."""
    (h,), size = states, states[0].shape[-1]
    b = jnp.zeros(3 * size, h.dtype) if bias is None else bias
    product = h @ weight[: 2 * size].T + b[: 2 * size]
    r, z = jnp.split(jax.nn.sigmoid(ahead[..., : 2 * size] + product), 2, -1)
    n = jnp.tanh(ahead[..., 2 * size :] + (r * h) @ weight[2 * size :].T + b[2 * size :])
    return (n + z * (h - n),)


def tanh_cell(parts, states):
    return (jnp.tanh(parts[0]),)


def relu_cell(parts, states):
    return (jax.nn.relu(parts[0]),)
