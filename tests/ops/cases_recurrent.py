"""Cases of recurrent layers, and the reference: the cells' formulas, a step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.recurrent import Gru, Lstm, Recurrent, RecurrentGrad, Rnn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.ops.cases import Case

OPS: list[Recurrent] = [
    Lstm(),
    Lstm(2, True, 2, True, True, projected=True),
    Lstm(2, biases=0, masked=True),
    Gru(2, True, 2, held=True),
    Gru(masked=True),
    Gru(2, True, 1, True, True, reset_after=False),
    Gru(biases=2, reset_after=False),
    Rnn(2, held=True),
    Rnn(1, True, 2, True, act="relu"),
]


def cases() -> list[Case]:
    from tests.ops.cases import of

    return [of(op, *operands(op)) for op in OPS]


def operands(op: Recurrent) -> list[str]:
    hidden = Dim.const(3)
    output = Dim.const(2) if getattr(op, "projected", False) else hidden
    found = ["f[N,T,D]"]
    if op.masked:
        found.append("b[N,T]")
    if op.held:
        count = op.layers * op.directions
        found += [f"f[{count},N,{size}]" for size in op.sizes(hidden, output)]
    for _, shape in op.weights(hidden, output, Dim.parse("D")):
        found.append(f"f[{','.join(map(str, shape))}]")
    return found


def cell(op: Any, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> Any:
    """The next states, and what the op saves besides h."""
    w_x, w_h, *rest = weights
    b_x, b_h = [*rest[: op.biases], *[torch.zeros(len(w_x), dtype=x.dtype)] * 2][:2]
    b_h = b_h if op.biases == 2 else torch.zeros_like(b_x)
    h = states[0]
    if isinstance(op, Rnn):
        return [getattr(torch, op.act)(x @ w_x.T + b_x + h @ w_h.T + b_h)], []
    if isinstance(op, Gru):
        (xr, xz, xn), (hr, hz, hn) = (v.chunk(3, -1) for v in (x @ w_x.T + b_x, h @ w_h.T + b_h))
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        size = h.shape[-1]
        q = hn if op.reset_after else r * h
        part = r * hn if op.reset_after else q @ w_h[2 * size :].T + b_h[2 * size :]
        n = torch.tanh(xn + part)
        return [(1 - z) * n + z * h], [r, z, n, q]
    i, f, g, o = (x @ w_x.T + b_x + h @ w_h.T + b_h).chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * states[1] + i * g
    h = o * torch.tanh(c)
    return [h @ rest[-1].T if op.projected else h, c], [i, f, g, o]


def recurrent(c: Any, op: Recurrent, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    given, weights = list(rest[: op.inputs - 1]), list(rest[op.inputs - 1 :])
    mask = given.pop(0) if op.masked else torch.ones(x.shape[:2], dtype=torch.bool)
    size = len(weights) // (op.layers * op.directions)
    final, kept = [], []
    for k in range(op.layers):
        ways = []
        for way in range(op.directions):
            at = k * op.directions + way
            own = weights[at * size : (at + 1) * size]
            sizes = (own[1].shape[1], len(own[1]) // 4)[: len(op.states)]
            states = (
                [x.new_zeros(len(x), n) for n in sizes] if not given else [s[at] for s in given]
            )
            rows, saved = {}, []
            for t in reversed(range(x.shape[1])) if way else range(x.shape[1]):
                new, parts = cell(op, x[:, t], states, own)
                there = mask[:, t, None]
                states = [torch.where(there, a, b) for a, b in zip(new, states, strict=True)]
                rows[t] = torch.where(there, states[0], 0)
                saved.append(torch.cat([*parts, *states[1:], states[0]], -1))
            ways.append(torch.stack([rows[t] for t in sorted(rows)], 1))
            final.append(states)
            kept.append(torch.stack(saved))
        x = torch.cat(ways, -1)
    return x, *(torch.stack(s) for s in zip(*final, strict=True)), torch.stack(kept)


def recurrent_grad(c: Any, op: RecurrentGrad, *rest: Tensor) -> tuple[Tensor, ...]:
    """From the forward operands alone; what was saved follows from them."""
    count = len(rest) - 1 - sum(op.present)
    with torch.enable_grad():
        leaves = [v.detach().requires_grad_(v.is_floating_point()) for v in rest[:count]]
        *results, _ = recurrent(c, op.forward, leaves[0], *leaves[1:])
        ys = [y for y, flag in zip(results, op.present, strict=True) if flag]
        floats = [v for v in leaves if v.requires_grad]
        return torch.autograd.grad(
            ys, floats, list(rest[count + 1 :]), allow_unused=True, materialize_grads=True
        )


def gradient() -> Function:
    """The gradient op by itself; what was saved is an input."""
    from tests.ops.cases import of

    inputs = of(Rnn(), *operands(Rnn()), "f[1,T,N,3]", "f[N,T,3]").values()
    function = Function("Net", "model", inputs=tuple(inputs))
    op = RecurrentGrad(Rnn(), (True, False))
    function.outputs = FunctionBuilder(function).emit_all(op, *inputs)
    return function


ROWS: dict[type[Any], Any] = {
    Lstm: recurrent,
    Gru: recurrent,
    Rnn: recurrent,
    RecurrentGrad: recurrent_grad,
}
