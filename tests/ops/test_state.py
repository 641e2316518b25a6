"""Buffers that training writes: `update`, and spectral norm, which is made of it."""

from __future__ import annotations

from typing import Any

import dlspec_torch
import jax
import numpy as np
import pytest
import torch
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget

import dlspec
import dlspec.api as api
from dlspec.diagnostics import Failure
from tests.codegen.build import load as load_module
from tests.codegen.build import module, text_unit

TARGETS: dict[str, Any] = {
    "torch": dlspec_torch.Target(),
    "jax": JaxTarget(),
    "numpy": NumpyTarget(),
}
CENTRED = """
block Centre(x: [N, 4], keep = 0.9) {
  centre = buffer([4], init = zeros)
  return x - update(centre, keep * centre + (1 - keep) * mean(x, axis = 0))
}

block Nested(x: [N, 4]) {
  last = buffer([4], init = ones)
  if training {
    last = update(last, mean(x * last, axis = 0))
  }
  return x * last
}

model Net(x: [N, 4]) {
  share held = Centre(keep = 0.5)
  y = x -> held -> dense(4) -> tanh -> held -> Nested -> repeat(2, Centre)
  return dense(y, 3)
}

train Run {
  data (x: [N, 4], y: [N, 3]) from npz("none.npz", fields = "x, y", batch = 4)
  minimize mse(Net(x), y) using sgd(0.1)
}
"""
SPECTRAL = """
from std.image use SpectralConv, SpectralDense

model Net(x: [N, 3, 5, 4]) =
  x -> SpectralConv(6, 3, padding = 1) -> relu -> flatten -> SpectralDense(4)

train Run {
  data (x: [N, 3, 5, 4], y: [N, 4]) from npz("none.npz", fields = "x, y", batch = 4)
  minimize mse(Net(x), y) using sgd(0.1)
}
"""


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def test_backends_agree_on_what_is_kept() -> None:
    report = dlspec.verify(api.load(CENTRED).model("Net"), ["numpy", "torch", "jax"])
    assert report.ok


@pytest.mark.parametrize(
    "body",
    [
        "c = buffer([4], init = ones)\n  return x * c",
        "return x -> batch_norm(scale = false, shift = false)",
        "c = buffer([4], init = ones)\n  return x * update(c, c + 1)",
    ],
)
def test_networks_that_train_nothing(body: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    found: list[Any] = []
    for target in TARGETS.values():
        made = module(target, text_unit(f"model M(x: [N, 4]) {{\n  {body}\n}}", "M"))
        found.append(np.asarray(made.predict(made.init(0, dtype="float64"), x=x)))
        assert found[-1].dtype == np.float64
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-12)


def batch(seed: int, shape: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((4, *shape)), "y": rng.standard_normal((4, 4))}


@pytest.mark.parametrize("backend", TARGETS)
def test_a_buffer_is_written_in_training_alone(backend: str) -> None:
    text = """
    model Net(x: [N, 2]) {
      total = buffer([2], init = zeros)
      seen = update(total, total + sum(x, axis = 0))
      return dense(seen, 1, bias = false)
    }
    train Run {
      data (x: [N, 2], y: [1]) from npz("none.npz", fields = "x, y", batch = 3)
      minimize mse(Net(x), y) using sgd(0.1)
    }
    """
    made = load_module(api.load(text).trainer("Run").code(backend))
    state = made.init(0, dtype="float64")
    given = {"x": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "y": np.zeros(1)}
    for step in (1, 2, 3):
        made.predict(state, x=given["x"])
        state, _ = made.train_step(state, given, 0.1)
        found = made.export_weights(state)
        name = next(n for n in found if n.endswith("total"))
        np.testing.assert_allclose(found[name], step * np.array([9.0, 12.0]))


class Reference(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        norm = torch.nn.utils.parametrizations.spectral_norm
        self.conv = norm(torch.nn.Conv2d(3, 6, 3, padding=1).double())
        self.dense = norm(torch.nn.Linear(6 * 5 * 4, 4).double())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.conv(x).relu().flatten(1))


@pytest.mark.parametrize("backend", TARGETS)
def test_spectral_norm_is_torchs(backend: str) -> None:
    made = load_module(api.load(SPECTRAL).trainer("Run").code(backend))
    state = made.init(0, dtype="float64")
    names = made.export_weights(state)
    root = next(iter(names)).split("spectral_")[0]
    theirs = Reference()
    start: dict[str, Any] = {}
    for name, layer in (("conv", theirs.conv), ("dense", theirs.dense)):
        inner: Any = layer.parametrizations.weight
        here = f"{root}spectral_{name}"
        start |= {f"{here}.weight": inner.original, f"{here}.bias": layer.bias}
        start |= {f"{here}.spectral_norm.{k}": getattr(inner[0], f"_{k}") for k in "uv"}
    assert start.keys() == names.keys()
    state = made.import_weights(state, {n: t.detach().numpy().copy() for n, t in start.items()})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for step in range(3):
        given = batch(step, (3, 5, 4))
        x, y = torch.tensor(given["x"]), torch.tensor(given["y"])
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(theirs.train()(x), y)
        loss.backward()
        optimizer.step()
        state, metrics = made.train_step(state, given, 0.1)
        np.testing.assert_allclose(float(metrics["loss"]), loss.item(), rtol=1e-10)
        with torch.no_grad():
            wanted = theirs.eval()(x)
        np.testing.assert_allclose(made.predict(state, x=given["x"]), wanted, rtol=1e-9)


ERRORS = [
    ("m = param([4])\n  return x - update(m, mean(x, axis = 0))", "no buffer"),
    ("m = mean(x, axis = 0)\n  return x - update(m, m)", "no buffer"),
    ("m = buffer([4], init = zeros)\n  return x - update(m, x)", "the value [N, 4]"),
    ("m = buffer([4], init = zeros)\n  return x - update(m, mean(x[:, 1:], axis = 0))", "[3]"),
    ("m = buffer([4], init = zeros)\n  return x - update(m, argmax(x, axis = 0))", "types differ"),
]


@pytest.mark.parametrize(("body", "words"), ERRORS)
def test_refused(body: str, words: str) -> None:
    with pytest.raises(api.SpecError, match=words.replace("[", r"\[")):
        api.load(f"model M(x: [N, 4]) {{\n  {body}\n}}").model("M")


def test_torch_has_no_list_of_buffers() -> None:
    text = """
    model M(x: [N, 4]) {
      m = buffer([4], init = zeros)
      y = x - update(m, mean(x, axis = 0))
      m = buffer([4], init = ones)
      return y * m
    }
    """
    with pytest.raises(Failure) as caught:
        module(TARGETS["torch"], text_unit(text, "M"))
    assert caught.value.diagnostic.code.name == "E0701"
    assert "numbered buffer" in caught.value.diagnostic.message
