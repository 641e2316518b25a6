"""LSTM, GRU and the plain RNN over x [N, T, D], forward and backwards through time.

All steps' products with the input are one, before the loop; so are, after the loop back, those
that give the weights' gradients. Inside, time comes first. A cell is the list of its weights:
weight_ih, weight_hh, then its biases, then for an LSTM its projection.
"""

import numpy as np

from dlspec_numpy.emitted.tensors import sum_rows


def lstm(x, weights, states=(), mask=None, biases=1, projected=False, bidirectional=False):
    """y, the final h and c, and what `lstm_grad` needs."""
    cells = by_cell(weights, 2 + biases + projected)
    extra = 5 * cells[0][1].shape[0] // 4
    return forward_layers(lstm_steps, x, cells, states or (None, None), mask, extra, bidirectional)


def lstm_grad(
    x, weights, saved, grads, states=(), mask=None, biases=1, projected=False, bidirectional=False
):
    """Gradients for x, the initial states where given, and the weights; grads: of y, h and c,
    None for zero."""
    cells = by_cell(weights, 2 + biases + projected)
    return backward_layers(lstm_steps_grad, x, cells, states, mask, saved, grads, bidirectional)


def gru(x, weights, states=(), mask=None, biases=1, reset_after=True, bidirectional=False):
    """y, the final h, and what `gru_grad` needs."""
    cells = by_cell(weights, 2 + biases)
    extra = 4 * cells[0][1].shape[1]
    run = gru_steps if reset_after else gru_steps_reset_first
    return forward_layers(run, x, cells, states or (None,), mask, extra, bidirectional)


def gru_grad(
    x, weights, saved, grads, states=(), mask=None, biases=1, reset_after=True, bidirectional=False
):
    """Gradients for x, the initial state where given, and the weights."""
    cells = by_cell(weights, 2 + biases)
    run = gru_steps_grad if reset_after else gru_steps_reset_first_grad
    return backward_layers(run, x, cells, states, mask, saved, grads, bidirectional)


def rnn(x, weights, states=(), mask=None, biases=1, act="tanh", bidirectional=False):
    """y, the final h, and what `rnn_grad` needs."""
    cells = by_cell(weights, 2 + biases)
    run = rnn_steps if act == "tanh" else relu_steps
    return forward_layers(run, x, cells, states or (None,), mask, 0, bidirectional)


def rnn_grad(
    x, weights, saved, grads, states=(), mask=None, biases=1, act="tanh", bidirectional=False
):
    """Gradients for x, the initial state where given, and the weights."""
    cells = by_cell(weights, 2 + biases)
    run = rnn_steps_grad if act == "tanh" else relu_steps_grad
    return backward_layers(run, x, cells, states, mask, saved, grads, bidirectional)


# --- layers and directions ---


def by_cell(weights, size):
    """The weights of each layer and direction."""
    return [weights[k : k + size] for k in range(0, len(weights), size)]


def forward_layers(run, x, cells, states, mask, extra, bidirectional):
    """run(x, cell, states, there, saved), which gives the final states, for every layer and
    direction. What a step saves are `extra` numbers, then h."""
    ways = 2 if bidirectional else 1
    batch, steps, _ = x.shape
    x = np.ascontiguousarray(x.swapaxes(0, 1))
    there = None if mask is None else mask.T[:, :, None]
    saved = np.empty((len(cells), steps, batch, extra + cells[0][1].shape[1]), x.dtype)
    final = []
    for k in range(0, len(cells), ways):
        for way in range(ways):
            at = slice(None, None, -1 if way else 1)
            begin = [None if s is None else s[k + way] for s in states]
            seen = None if there is None else there[at]
            final.append(run(x[at], cells[k + way], begin, seen, saved[k + way]))
        x = outputs(saved[k : k + ways], extra, there)
    y = np.ascontiguousarray(x.swapaxes(0, 1))
    return (y, *(np.stack(state) for state in zip(*final)), saved)


def outputs(saved, extra, there):
    """What the directions of one layer give the next one, side by side."""
    ways = [part[:: -1 if way else 1, :, extra:] for way, part in enumerate(saved)]
    y = ways[0] if len(ways) == 1 else np.concatenate(ways, axis=-1)
    return y if there is None else y * there


def backward_layers(run, x, cells, states, mask, saved, grads, bidirectional):
    """run(x, cell, states, there, saved, dy, dstates), which gives the gradients for x, the states
    and the weights, for every layer and direction, the last one first."""
    ways = 2 if bidirectional else 1
    size = cells[0][1].shape[1]
    extra = saved.shape[-1] - size
    there = None if mask is None else mask.T[:, :, None]
    inputs = [np.ascontiguousarray(x.swapaxes(0, 1))]
    inputs += [
        outputs(saved[k : k + ways], extra, there) for k in range(0, len(cells) - ways, ways)
    ]
    dy, *dfinal = grads
    dy = np.zeros_like(outputs(saved[:ways], extra, None)) if dy is None else dy.swapaxes(0, 1)
    dstates, dcells = [], []
    for k in reversed(range(0, len(cells), ways)):
        dx = 0
        for way in reversed(range(ways)):
            at = slice(None, None, -1 if way else 1)
            seen = None if there is None else there[at]
            part = dy[at, :, way * size : (way + 1) * size]
            begin = [s[k + way] for s in states] or [None] * len(dfinal)
            last = [None if d is None else d[k + way] for d in dfinal]
            known = (inputs[k // ways][at], cells[k + way], begin, seen, saved[k + way])
            d, dbegin, dcell = run(*known, part if seen is None else part * seen, last)
            dx = dx + d[at]
            dstates.append(dbegin)
            dcells.append(dcell)
        dy = dx
    given = [np.stack(d[::-1]) for d in zip(*dstates)] if states else []
    return (dy.swapaxes(0, 1), *given, *(w for cell in dcells[::-1] for w in cell))


def products(x, weight, bias):
    """x Wᵀ + b of all steps at once."""
    steps, batch, features = x.shape
    rows = x.reshape(-1, features) @ weight.T
    if bias is not None:
        rows += bias
    return rows.reshape(steps, batch, -1)


def weight_gradients(d, x, h, h0, d_recurrent=None):
    """Of weight_ih, weight_hh and their biases, from the gradients of all steps' products."""
    e = d if d_recurrent is None else d_recurrent
    steps, batch, rows = d.shape
    flat, flat_e = d.reshape(-1, rows), e.reshape(-1, rows)
    dw_x = flat.T @ x.reshape(steps * batch, -1)
    dw_h = flat_e[batch:].T @ h[:-1].reshape((steps - 1) * batch, h.shape[-1])
    if h0 is not None:
        dw_h += e[0].T @ h0
    db = sum_rows(flat)
    return [dw_x, dw_h, db, db if e is d else sum_rows(flat_e)]


def zero_states(states, sizes, batch, dtype):
    """Those that are not given are zero."""
    pairs = zip(states, sizes)
    return [np.zeros((batch, n), dtype) if s is None else s for s, n in pairs]


def zero_gradients(grads, states):
    """The gradients of the final states, as arrays that may be changed."""
    pairs = zip(grads, states)
    return [np.zeros_like(s) if d is None else d.copy() for d, s in pairs]


# --- LSTM ---


def lstm_parts(cell):
    """weight_ih, weight_hh, the biases, the projection or None."""
    w_x, w_h, *rest = cell
    projection = rest.pop() if rest and rest[-1].ndim == 2 else None
    return w_x, w_h, rest, projection


def halves(hidden, dtype):
    """σ(x) = tanh(x / 2) / 2 + 1/2 makes all gates one tanh: the factor of each row."""
    half, one = np.full(hidden, 0.5, dtype), np.ones(hidden, dtype)
    return np.concatenate([half, half, one, half])


def lstm_columns(row, hidden):
    """i, f, g, o, c and h of what steps saved."""
    gates = [row[..., k * hidden : (k + 1) * hidden] for k in range(5)]
    return (*gates, row[..., 5 * hidden :])


def lstm_steps(x, cell, states, there, saved):
    """Saves the gates i, f, g, o, then c and h of every step; the final h and c."""
    w_x, w_h, biases, projection = lstm_parts(cell)
    hidden, batch = w_h.shape[0] // 4, x.shape[1]
    factor = halves(hidden, x.dtype)
    ahead = products(x, w_x * factor[:, None], sum(biases) * factor if biases else None)
    recurrent = (w_h * factor[:, None]).T
    h, c = zero_states(states, (w_h.shape[1], hidden), batch, x.dtype)
    product, part = np.empty_like(ahead[0]), np.empty((batch, hidden), x.dtype)
    for t, row in enumerate(saved):
        i, f, g, o, c_new, h_new = lstm_columns(row, hidden)
        gates = row[:, : 4 * hidden]
        np.matmul(h, recurrent, out=product)
        product += ahead[t]
        np.tanh(product, out=gates)
        for sigmoid_of in (row[:, : 2 * hidden], o):  # numbers are faster here than rows of them
            sigmoid_of *= 0.5
            sigmoid_of += 0.5
        np.multiply(f, c, out=c_new)
        c_new += np.multiply(i, g, out=part)
        np.tanh(c_new, out=part)
        if projection is None:
            np.multiply(o, part, out=h_new)
        else:
            h_new[...] = (o * part) @ projection.T
        if there is not None:
            np.copyto(h_new, h, where=~there[t])
            np.copyto(c_new, c, where=~there[t])
        h, c = h_new, c_new
    return h, c


def lstm_steps_grad(x, cell, states, there, saved, dy, dfinal):
    """Gradients for x, for h and c before the first step, and for the weights."""
    w_x, w_h, biases, projection = lstm_parts(cell)
    hidden, (steps, batch, _) = w_h.shape[0] // 4, x.shape
    h0, c0 = zero_states(states, (w_h.shape[1], hidden), batch, x.dtype)
    dh, dc = zero_gradients(dfinal, (h0, c0))
    d = np.empty((steps, batch, 4 * hidden), x.dtype)
    dh_of = None if projection is None else np.empty_like(dy)
    slope, part = np.empty_like(d[0]), np.empty_like(dc)
    for t in reversed(range(steps)):
        i, f, g, o, c, _ = lstm_columns(saved[t], hidden)
        gates, gate = saved[t, :, : 4 * hidden], lstm_columns(d[t], hidden)
        c_old = saved[t - 1, :, 4 * hidden : 5 * hidden] if t else c0
        dh += dy[t]
        if there is not None:
            dh_kept, dc_kept = dh * ~there[t], dc * ~there[t]
            dh *= there[t]
            dc *= there[t]
        dm = dh
        if projection is not None:
            dh_of[t] = dh
            dm = dh @ projection
        np.tanh(c, out=part)
        np.multiply(dm, part, out=gate[3])
        np.multiply(part, part, out=part)
        np.subtract(1, part, out=part)
        part *= o
        part *= dm
        dc += part
        np.multiply(dc, g, out=gate[0])
        np.multiply(dc, c_old, out=gate[1])
        np.multiply(dc, i, out=gate[2])
        np.multiply(gates, gates, out=slope)  # σ' = σ - σ², tanh' = 1 - tanh²
        np.subtract(gates, slope, out=slope)
        tanh_slope = slope[:, 2 * hidden : 3 * hidden]
        np.multiply(g, g, out=tanh_slope)
        np.subtract(1, tanh_slope, out=tanh_slope)
        d[t] *= slope
        dc *= f
        np.matmul(d[t], w_h, out=dh)
        if there is not None:
            dh += dh_kept
            dc += dc_kept
    grads = weight_gradients(d, x, saved[..., 5 * hidden :], states[0])[: 2 + len(biases)]
    if projection is not None:
        *_, o, c, _ = lstm_columns(saved, hidden)
        grads.append(dh_of.reshape(-1, dh.shape[1]).T @ (o * np.tanh(c)).reshape(-1, hidden))
    dx = d.reshape(-1, 4 * hidden) @ w_x
    return dx.reshape(x.shape), (dh, dc), grads


# --- GRU ---


def gru_columns(row, hidden):
    """r, z, n, the state's part of n's argument (or r h, where the reset comes first), and h."""
    return tuple(row[..., k * hidden : (k + 1) * hidden] for k in range(5))


def gru_gates(product, gates):
    """r, z = σ(product), by one tanh."""
    np.multiply(product, 0.5, out=gates)
    np.tanh(gates, out=gates)
    gates *= 0.5
    gates += 0.5


def gru_steps(x, cell, states, there, saved):
    """Saves r, z, n, q and h of every step, where n = tanh(Wₙ x + r q); the final h."""
    w_x, w_h, *biases = cell
    hidden, batch = w_h.shape[1], x.shape[1]
    ahead = products(x, w_x, biases[0] if biases else None)
    (h,) = zero_states(states, (hidden,), batch, x.dtype)
    product = np.empty_like(ahead[0])
    for t, row in enumerate(saved):
        r, z, n, q, h_new = gru_columns(row, hidden)
        np.matmul(h, w_h.T, out=product)
        if len(biases) == 2:
            product += biases[1]
        q[...] = product[:, 2 * hidden :]
        product[:, : 2 * hidden] += ahead[t, :, : 2 * hidden]
        gru_gates(product[:, : 2 * hidden], row[:, : 2 * hidden])
        np.multiply(r, q, out=n)
        n += ahead[t, :, 2 * hidden :]
        np.tanh(n, out=n)
        np.subtract(h, n, out=h_new)
        h_new *= z
        h_new += n
        if there is not None:
            np.copyto(h_new, h, where=~there[t])
        h = h_new
    return (h,)


def gru_steps_grad(x, cell, states, there, saved, dy, dfinal):
    """Gradients for x, for h before the first step, and for the weights."""
    w_x, w_h, *biases = cell
    hidden, (steps, batch, _) = w_h.shape[1], x.shape
    (h0,) = zero_states(states, (hidden,), batch, x.dtype)
    (dh,) = zero_gradients(dfinal, (h0,))
    d, e = (np.empty((steps, batch, 3 * hidden), x.dtype) for _ in range(2))
    for t in reversed(range(steps)):
        r, z, n, q, _ = gru_columns(saved[t], hidden)
        h = saved[t - 1, :, 4 * hidden :] if t else h0
        dh += dy[t]
        present = dh if there is None else dh * there[t]
        dn = present * (1 - z) * (1 - n * n)
        d[t, :, :hidden] = dn * q * r * (1 - r)
        d[t, :, hidden : 2 * hidden] = present * (h - n) * z * (1 - z)
        d[t, :, 2 * hidden :] = dn
        e[t, :, : 2 * hidden] = d[t, :, : 2 * hidden]
        e[t, :, 2 * hidden :] = dn * r
        kept = dh * z if there is None else np.where(there[t], dh * z, dh)
        np.matmul(e[t], w_h, out=dh)
        dh += kept
    grads = weight_gradients(d, x, saved[..., 4 * hidden :], states[0], e)
    dx = d.reshape(-1, 3 * hidden) @ w_x
    return dx.reshape(x.shape), (dh,), grads[: 2 + len(biases)]


def gru_steps_reset_first(x, cell, states, there, saved):
    """Saves r, z, n, q = r h and h of every step, where n = tanh(Wₙ x + Uₙ q); the final h."""
    w_x, w_h, *biases = cell
    hidden, batch = w_h.shape[1], x.shape[1]
    ahead = products(x, w_x, sum(biases) if biases else None)
    (h,) = zero_states(states, (hidden,), batch, x.dtype)
    for t, row in enumerate(saved):
        r, z, n, q, h_new = gru_columns(row, hidden)
        gru_gates(ahead[t, :, : 2 * hidden] + h @ w_h[: 2 * hidden].T, row[:, : 2 * hidden])
        np.multiply(r, h, out=q)
        np.tanh(ahead[t, :, 2 * hidden :] + q @ w_h[2 * hidden :].T, out=n)
        np.add(n, z * (h - n), out=h_new)
        if there is not None:
            np.copyto(h_new, h, where=~there[t])
        h = h_new
    return (h,)


def gru_steps_reset_first_grad(x, cell, states, there, saved, dy, dfinal):
    """Gradients for x, for h before the first step, and for the weights."""
    w_x, w_h, *biases = cell
    hidden, (steps, batch, _) = w_h.shape[1], x.shape
    (h0,) = zero_states(states, (hidden,), batch, x.dtype)
    (dh,) = zero_gradients(dfinal, (h0,))
    d = np.empty((steps, batch, 3 * hidden), x.dtype)
    for t in reversed(range(steps)):
        r, z, n, _, _ = gru_columns(saved[t], hidden)
        h = saved[t - 1, :, 4 * hidden :] if t else h0
        dh += dy[t]
        present = dh if there is None else dh * there[t]
        dn = present * (1 - z) * (1 - n * n)
        dq = dn @ w_h[2 * hidden :]
        d[t, :, :hidden] = dq * h * r * (1 - r)
        d[t, :, hidden : 2 * hidden] = present * (h - n) * z * (1 - z)
        d[t, :, 2 * hidden :] = dn
        kept = dh * z if there is None else np.where(there[t], dh * z, dh)
        dh = kept + dq * r + d[t, :, : 2 * hidden] @ w_h[: 2 * hidden]
    dw_x, dw_h, *dbiases = weight_gradients(d, x, saved[..., 4 * hidden :], states[0])
    q = saved[..., 3 * hidden : 4 * hidden].reshape(-1, hidden)
    dw_h[2 * hidden :] = d[..., 2 * hidden :].reshape(-1, hidden).T @ q
    dx = d.reshape(-1, 3 * hidden) @ w_x
    return dx.reshape(x.shape), (dh,), [dw_x, dw_h, *dbiases[: len(biases)]]


# --- the plain RNN ---


def rnn_steps(x, cell, states, there, saved, relu=False):
    """Saves h of every step; the final h."""
    w_x, w_h, *biases = cell
    ahead = products(x, w_x, sum(biases) if biases else None)
    (h,) = zero_states(states, (w_h.shape[1],), x.shape[1], x.dtype)
    for t, h_new in enumerate(saved):
        np.matmul(h, w_h.T, out=h_new)
        h_new += ahead[t]
        np.maximum(h_new, 0, out=h_new) if relu else np.tanh(h_new, out=h_new)
        if there is not None:
            np.copyto(h_new, h, where=~there[t])
        h = h_new
    return (h,)


def rnn_steps_grad(x, cell, states, there, saved, dy, dfinal, relu=False):
    """Gradients for x, for h before the first step, and for the weights."""
    w_x, w_h, *biases = cell
    hidden, (steps, batch, _) = w_h.shape[1], x.shape
    (h0,) = zero_states(states, (hidden,), batch, x.dtype)
    (dh,) = zero_gradients(dfinal, (h0,))
    d = np.empty((steps, batch, hidden), x.dtype)
    for t in reversed(range(steps)):
        dh += dy[t]
        slope = saved[t] > 0 if relu else 1 - saved[t] * saved[t]
        np.multiply(dh, slope, out=d[t])
        kept = None
        if there is not None:
            kept = dh * ~there[t]
            d[t] *= there[t]
        np.matmul(d[t], w_h, out=dh)
        if kept is not None:
            dh += kept
    grads = weight_gradients(d, x, saved, states[0])
    dx = d.reshape(-1, hidden) @ w_x
    return dx.reshape(x.shape), (dh,), grads[: 2 + len(biases)]


def relu_steps(x, cell, states, there, saved):
    """`rnn_steps` with max(·, 0)."""
    return rnn_steps(x, cell, states, there, saved, relu=True)


def relu_steps_grad(x, cell, states, there, saved, dy, dfinal):
    """`rnn_steps_grad` with max(·, 0)."""
    return rnn_steps_grad(x, cell, states, there, saved, dy, dfinal, relu=True)
