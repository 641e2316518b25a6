"""The layers lstm, gru and rnn against torch's, outputs and gradients, on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dlspec.api import load
from dlspec.diagnostics import Failure
from dlspec.verification import verify
from tests.codegen.build import load as module_of

torch = pytest.importorskip("torch")
pytest.importorskip("optax")

D, HIDDEN, N = 5, 4, 3
BACKENDS = ("numpy", "torch", "jax")
Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def _quick_to_compile():
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


@dataclass(frozen=True)
class Layer:
    """A layer of the language, and the arguments of torch's. kept: the mask's kind."""

    name: str
    arguments: str = ""
    biases: int = 1
    kept: str = ""
    held: bool = False

    @property
    def torch(self) -> Any:
        words = dict(part.split(" = ") for part in self.arguments.split(", ") if part)
        given: dict[str, Any] = {"num_layers": int(words.get("layers", "1"))}
        given["bidirectional"] = words.get("bidirectional") == "true"
        given["bias"] = self.biases > 0
        if "projection" in words:
            given["proj_size"] = int(words["projection"])
        if "act" in words:
            given["nonlinearity"] = words["act"].strip('"')
        kind = getattr(torch.nn, self.name.upper())
        return kind(D, HIDDEN, batch_first=True, dtype=torch.float64, **given)

    @property
    def states(self) -> list[tuple[int, int, int]]:
        layer = self.torch
        count = layer.num_layers * (1 + layer.bidirectional)
        size = (layer.proj_size if self.name == "lstm" else 0) or HIDDEN
        extents = (size, HIDDEN) if self.name == "lstm" else (size,)
        return [(count, N, extent) for extent in extents]

    @property
    def width(self) -> int:
        return self.states[0][2] * (1 + self.torch.bidirectional)

    def spec(self) -> str:
        """A model of y and the final states, and a training section over both."""
        letters = ("h", "c")[: len(self.states)]
        inputs, words = [f"x: [N, T, {D}]"], [str(HIDDEN), self.arguments, "final = true"]
        if self.biases != 1:
            words.append(f"biases = {self.biases}")
        if self.kept:
            inputs.append("lengths: i64[N]" if self.kept == "lengths" else "mask: bool[N, T]")
            words.append(f"{self.kept} = {self.kept}")
        if self.held:
            for letter, (count, _, size) in zip(letters, self.states, strict=True):
                inputs.append(f"{letter}0: [{count}, N, {size}]")
                words.append(f"{letter} = {letter}0")
        names = [text.split(":")[0] for text in inputs]
        ends = [f"{letter}n" for letter in letters]
        loss = " + ".join(
            ["mse(y, target)", *(f"mean(square({e} - 0.3)) * {k + 2}" for k, e in enumerate(ends))]
        )
        arguments = ", ".join(word for word in words if word)
        listed = ", ".join(f'"{name}"' for name in (*names, "target"))
        return f"""
model Net({", ".join(inputs)}) {{
  y, {", ".join(ends)} = {self.name}(x, {arguments})
  return y, {", ".join(ends)}
}}

train t {{
  data ({", ".join(inputs)}, target: [N, T, {self.width}])
    from npz("none.npz", fields = [{listed}], batch = 3)
  y, {", ".join(ends)} = Net({", ".join(names)})
  minimize {loss} using sgd(0.1)
}}
"""


def plain(name: str, *more: Layer) -> list[Layer]:
    return [
        Layer(name),
        Layer(name, "layers = 2"),
        Layer(name, "bidirectional = true", biases=2),
        Layer(name, "layers = 3, bidirectional = true", held=True),
        Layer(name, "layers = 2, bidirectional = true", kept="mask", held=True),
        Layer(name, "layers = 2", kept="lengths", biases=0),
        *more,
    ]


LAYERS = [
    *plain(
        "lstm",
        Layer("lstm", "projection = 3"),
        Layer(
            "lstm", "layers = 2, bidirectional = true, projection = 2", 2, kept="mask", held=True
        ),
    ),
    *plain("gru"),
    *plain("rnn", Layer("rnn", 'act = "relu", layers = 2', kept="mask")),
]
IDS = [f"{x.name}({x.arguments}) {x.biases} {x.kept} {x.held}" for x in LAYERS]


def inputs_of(layer: Layer, steps: int) -> Arrays:
    rng = np.random.default_rng(steps)
    found: Arrays = {"x": rng.standard_normal((N, steps, D))}
    if layer.kept == "lengths":
        found["lengths"] = np.array([steps, max(1, steps - 2), 0])
    if layer.kept == "mask":
        found["mask"] = rng.random((N, steps)) < 0.6
        found["mask"][0] = True
        found["mask"][1] = False
    if layer.held:
        for letter, shape in zip("hc", layer.states, strict=False):
            found[f"{letter}0"] = rng.standard_normal(shape)
    return found


def one_by_one(module: Any, inputs: Arrays) -> Any:
    """torch's layer on each sequence alone, cut to the steps that are there."""
    x = torch.from_numpy(inputs["x"])
    there = np.ones(x.shape[:2], bool)
    if "lengths" in inputs:
        there = np.arange(x.shape[1]) < inputs["lengths"][:, None]
    there = inputs.get("mask", there)
    given = [torch.from_numpy(inputs[k]) for k in ("h0", "c0") if k in inputs]
    rows, ends = [], []
    ways = 1 + module.bidirectional
    size = getattr(module, "proj_size", 0) or HIDDEN
    for n in range(N):
        seen = torch.from_numpy(there[n])
        state = [s[:, n : n + 1].contiguous() for s in given]
        if not state:
            count = module.num_layers * ways
            extents = (size, HIDDEN) if isinstance(module, torch.nn.LSTM) else (size,)
            state = [torch.zeros(count, 1, e, dtype=torch.float64) for e in extents]
        y = torch.zeros(x.shape[1], ways * size, dtype=torch.float64)
        if seen.any():
            passed = tuple(state) if len(state) > 1 else state[0]
            part, last = module(x[n : n + 1, seen], passed)
            y = y.index_put((seen.nonzero()[:, 0],), part[0])
            state = [*last] if len(state) > 1 else [last]
        rows.append(y)
        ends.append(state)
    return torch.stack(rows), [torch.cat(parts, 1) for parts in zip(*ends, strict=True)]


def named(layer: Layer, module: Any, of: Any) -> Arrays:
    """Its weights by our names: torch's, under the layer's."""
    return {
        f"{layer.name}.{name}": of(weight).numpy()
        for name, weight in module.named_parameters()
        if layer.biases == 2 or not name.startswith("bias_hh")
    }


@pytest.mark.parametrize("layer", LAYERS, ids=IDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_is_torch_s(layer: Layer, backend: str):
    code = module_of(load(layer.spec()).trainer().compile(backend).source)
    module = layer.torch
    if layer.biases == 1:
        for name, weight in module.named_parameters():
            if name.startswith("bias_hh"):
                torch.nn.init.zeros_(weight)
    state = code.init(0, dtype="float64")
    assert code.export_weights(state).keys() == named(layer, module, torch.detach).keys()
    state = code.import_weights(state, named(layer, module, torch.detach))
    compiles = backend == "jax" and (layer.arguments or layer.kept)  # anew for each length
    for steps in (3,) if compiles else (1, 3, 7):
        inputs = inputs_of(layer, steps)
        target = np.random.default_rng(9).standard_normal((N, steps, layer.width))
        module.zero_grad()
        y, ends = one_by_one(module, inputs)
        loss = torch.nn.functional.mse_loss(y, torch.from_numpy(target))
        loss = loss + sum(((e - 0.3) ** 2).mean() * (k + 2) for k, e in enumerate(ends))
        loss.backward()
        out = code.predict(state, **inputs)
        out = out.values() if isinstance(out, dict) else out
        for mine, theirs in zip(out, (y, *ends), strict=True):
            np.testing.assert_allclose(np.asarray(mine), theirs.detach(), rtol=0, atol=1e-12)
        metrics, found = code.gradients(state, {**inputs, "target": target})
        assert abs(float(metrics["loss"]) - float(loss.detach())) < 1e-12
        expected = named(layer, module, lambda w: w.grad)
        assert found.keys() == expected.keys()
        for path, wanted in expected.items():
            np.testing.assert_allclose(np.asarray(found[path]), wanted, rtol=0, atol=1e-12)


RESET_FIRST = """
cell Cell(x: [N, D], state h: [N, hidden], hidden) {
  xr, xz, xn = dense(x, 3 * hidden) as ih -> split(3, axis = -1)
  hr, hz = dense(h, 2 * hidden, bias = false) as hh -> split(2, axis = -1)
  r, z = sigmoid(xr + hr), sigmoid(xz + hz)
  n = tanh(xn + dense(r * h, hidden, bias = false) as hn)
  h = (1 - z) * n + z * h
  return h
}

model Layer(x: [N, T, 5], lengths: i64[N]) = gru(x, 4, reset_after = false, lengths = lengths)
model Cells(x: [N, T, 5], lengths: i64[N]) = x -> scan(Cell(4), lengths = lengths)
"""


def with_training(model: str) -> str:
    return (
        RESET_FIRST
        + f"""
train t {{
  data (x: [N, T, 5], lengths: i64[N], target: [N, T, 4])
    from npz("none.npz", fields = ["x", "lengths", "target"], batch = 3)
  minimize mse({model}(x, lengths), target) using sgd(0.1)
}}
"""
    )


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_the_reset_may_come_first(backend: str):
    layer, cells = (
        module_of(load(with_training(name)).trainer().compile(backend).source)
        for name in ("Layer", "Cells")
    )
    rng = np.random.default_rng(0)
    w_x, w_h = rng.standard_normal((12, 5)), rng.standard_normal((12, 4))
    bias = rng.standard_normal(12)
    one = {"gru.weight_ih_l0": w_x, "gru.weight_hh_l0": w_h, "gru.bias_ih_l0": bias}
    other = {"cell.ih.weight": w_x, "cell.ih.bias": bias}
    other |= {"cell.hh.weight": w_h[:8], "cell.hn.weight": w_h[8:]}
    batch = {"x": rng.standard_normal((3, 7, 5)), "lengths": np.array([7, 2, 5])}
    target = rng.standard_normal((3, 7, 4))
    states = [
        code.import_weights(code.init(0, dtype="float64"), weights)
        for code, weights in ((layer, one), (cells, other))
    ]
    outputs = [
        np.asarray(c.predict(s, **batch)) for c, s in zip((layer, cells), states, strict=True)
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=1e-12)
    _, mine = layer.gradients(states[0], {**batch, "target": target})
    _, theirs = cells.gradients(states[1], {**batch, "target": target})
    recurrent = np.concatenate([theirs["cell.hh.weight"], theirs["cell.hn.weight"]])
    np.testing.assert_allclose(mine["gru.weight_hh_l0"], recurrent, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        mine["gru.weight_ih_l0"], theirs["cell.ih.weight"], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(mine["gru.bias_ih_l0"], theirs["cell.ih.bias"], rtol=0, atol=1e-12)


def test_torch_says_that_it_has_no_such_gru():
    with pytest.raises(Failure) as failure:
        load(with_training("Layer")).trainer().compile("torch")
    assert failure.value.diagnostic.code.name == "E0701"
    assert "reset_after = false" in failure.value.diagnostic.message


DROPOUT = """
model Net(x: [N, T, 5], lengths: i64[N], h: [4, N, 2]) {
  y, hn, cn = lstm(x, 4, layers = 2, bidirectional = true, dropout = 0.5, projection = 2, h = h,
                   lengths = lengths, final = true)
  return concat(y -> mean(axis = 1), hn[3], cn[0]) -> gru_of
}

block gru_of(x: [N, D]) {
  y = x -> unsqueeze(axis = -1) -> gru(3, layers = 2, dropout = 0.25)
  return y -> rnn(2, layers = 3, dropout = 0.1, act = "relu")
}

train t {
  data (x: [N, T, 5], lengths: i64[N], h: [4, N, 2], target: [N, 10, 2])
    from npz("none.npz", fields = ["x", "lengths", "h", "target"], batch = 3)
  minimize mse(Net(x, lengths, h), target) using sgd(0.1)
}
"""


def test_dropout_between_layers_is_the_same_on_every_backend():
    """verify passes the draws in."""
    found = verify(load(DROPOUT).trainer(), steps=1)
    assert found.ok
