"""Cells written in the language against torch's recurrent layers, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlspec.api import load
from tests.codegen.build import load as module_of

torch = pytest.importorskip("torch")
pytest.importorskip("optax")

D, HIDDEN, N = 5, 4, 3
BACKENDS = ("numpy", "torch", "jax")
Arrays = dict[str, np.ndarray]

LSTM = """
cell Cell(x: [N, D], state h: [N, hidden], state c: [N, hidden], hidden) {
  i, f, g, o = concat(x, h) -> dense(4 * hidden) -> split(4, axis = -1)
  c = sigmoid(f) * c + sigmoid(i) * tanh(g)
  h = sigmoid(o) * tanh(c)
  return h
}
"""
GRU = """
cell Cell(x: [N, D], state h: [N, hidden], hidden) {
  a, b = dense(x, 3 * hidden) as new, dense(h, 3 * hidden) as old
  xr, xz, xn = a -> split(3, axis = -1)
  hr, hz, hn = b -> split(3, axis = -1)
  z = sigmoid(xz + hz)
  h = (1 - z) * tanh(xn + sigmoid(xr + hr) * hn) + z * h
  return h
}
"""
RNN = """
cell Cell(x: [N, D], state h: [N, hidden], hidden) {
  h = tanh(concat(x, h) -> dense(hidden))
  return h
}
"""
TRAIN = """
model Net(x: [N, T, 5]) = x -> scan(Cell(4){REVERSE})

train t {
  data (x: [N, T, 5], target: [N, T, 4]) from npz("none.npz", fields = ["x", "target"], batch = 3)
  minimize mse(x -> Net, target) using sgd(0.1)
}
"""


def joined(layer: Any, of: Callable[[Any], Any]) -> Arrays:
    """torch's two matrices and biases as those of one dense on concat(x, h)."""
    weight = torch.cat([of(layer.weight_ih_l0), of(layer.weight_hh_l0)], 1)
    return {"cell.dense.weight": weight.numpy(), "cell.dense.bias": of(layer.bias_ih_l0).numpy()}


def apart(layer: Any, of: Callable[[Any], Any]) -> Arrays:
    return {
        "cell.new.weight": of(layer.weight_ih_l0).numpy(),
        "cell.new.bias": of(layer.bias_ih_l0).numpy(),
        "cell.old.weight": of(layer.weight_hh_l0).numpy(),
        "cell.old.bias": of(layer.bias_hh_l0).numpy(),
    }


BOTH = """
model Net(x: [N, T, 5], lengths: i64[N]) = x -> bidirectional(Cell(4), lengths = lengths)

train t {
  data (x: [N, T, 5], lengths: i64[N], target: [N, T, 8])
    from npz("none.npz", fields = ["x", "lengths", "target"], batch = 3)
  minimize mse(Net(x, lengths), target) using sgd(0.1)
}
"""


def both(layer: Any, of: Callable[[Any], Any]) -> Arrays:
    found: Arrays = {}
    for way, end in (("forward", ""), ("backward", "_reverse")):
        w_x, w_h = (getattr(layer, f"weight_{k}_l0{end}") for k in ("ih", "hh"))
        root = f"bidirectional.{way}.dense"
        found[f"{root}.weight"] = torch.cat([of(w_x), of(w_h)], 1).numpy()
        found[f"{root}.bias"] = of(getattr(layer, f"bias_ih_l0{end}")).numpy()
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_lengths_both_ways_are_torch_s_packed_sequences(backend: str):
    code = module_of(load(LSTM + BOTH).trainer().compile(backend).source)
    layer = torch.nn.LSTM(D, HIDDEN, batch_first=True, bidirectional=True, dtype=torch.float64)
    for name in ("bias_hh_l0", "bias_hh_l0_reverse"):
        torch.nn.init.zeros_(getattr(layer, name))
    rng = np.random.default_rng(2)
    x, target = rng.standard_normal((N, 7, D)), rng.standard_normal((N, 7, 2 * HIDDEN))
    lengths = np.array([4, 7, 1])
    state = code.init(0, dtype="float64")
    state = code.import_weights(state, both(layer, lambda w: w.detach()))
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(
        torch.from_numpy(x), torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )
    y, _ = rnn.pad_packed_sequence(layer(packed)[0], batch_first=True)
    torch.nn.functional.mse_loss(y, torch.from_numpy(target)).backward()
    out = np.asarray(code.predict(state, x=x, lengths=lengths))
    np.testing.assert_allclose(out, y.detach().numpy(), rtol=0, atol=1e-12)
    _, found = code.gradients(state, {"x": x, "lengths": lengths, "target": target})
    for path, wanted in both(layer, lambda w: w.grad).items():
        np.testing.assert_allclose(np.asarray(found[path]), wanted, rtol=0, atol=1e-12)


CASES = {"LSTM": (LSTM, joined), "RNN": (RNN, joined), "GRU": (GRU, apart)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cell_is_torch_s_layer(kind: str, backend: str, reverse: bool):
    cell, paths = CASES[kind]
    flag = ", reverse = true" if reverse else ""
    trainer = load(cell + TRAIN.replace("{REVERSE}", flag)).trainer()
    code = module_of(trainer.compile(backend).source)
    layer = getattr(torch.nn, kind)(D, HIDDEN, batch_first=True, dtype=torch.float64)
    if paths is joined:
        torch.nn.init.zeros_(layer.bias_hh_l0)
    rng = np.random.default_rng(1)
    for steps in (1, 3, 7):
        x, target = rng.standard_normal((N, steps, D)), rng.standard_normal((N, steps, HIDDEN))
        state = code.init(0, dtype="float64")
        state = code.import_weights(state, paths(layer, lambda w: w.detach()))
        layer.zero_grad()
        given = torch.from_numpy(x)
        y, _ = layer(given.flip(1) if reverse else given)
        y = y.flip(1) if reverse else y
        torch.nn.functional.mse_loss(y, torch.from_numpy(target)).backward()
        out = np.asarray(code.predict(state, x=x))
        np.testing.assert_allclose(out, y.detach().numpy(), rtol=0, atol=1e-12)
        _, found = code.gradients(state, {"x": x, "target": target})
        for path, wanted in paths(layer, lambda w: w.grad).items():
            np.testing.assert_allclose(np.asarray(found[path]), wanted, rtol=0, atol=1e-12)
