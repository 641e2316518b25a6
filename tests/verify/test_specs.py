"""Specs verified on all three backends, on the files that `compile` writes."""

from __future__ import annotations

import hashlib

import pytest

from dlspec.api import load
from dlspec.verification import verify

pytest.importorskip("torch")
pytest.importorskip("optax")

TRAIN = """
train t {
  data (image, label) from digits(batch = 16)
  minimize cross_entropy(image -> Net, label) using sgd(0.05, momentum = 0.9, nesterov = true)
}
"""

SPECS = {
    "mlp": """
model Net(x: [N, 1, 8, 8]) = x -> flatten -> dense(32) -> relu -> dense(10)
""",
    "norm and skips": """
block Unit(x: [N, C, H, W], channels) {
  main = x -> conv(channels, 3, padding = 1, bias = false) -> batch_norm -> relu
  return main + x if C == channels else main
}
model Net(x: [N, 1, 8, 8]) =
  x -> Unit(4) -> repeat(2, Unit(4)) -> max_pool(2) -> Unit(6) -> global_avg_pool -> dense(10)
""",
    "shared inside a repeat and outside": """
model Net(x: [N, 1, 8, 8]) {
  share mix = dense(64)
  h = x -> flatten -> mix -> tanh
  h = h -> repeat(3, mix -> tanh -> dense(64) -> tanh)
  return h -> mix -> dense(10)
}
""",
    "cells": """
cell Gate(x: [N, D], bias: [N, H], state h: [N, hidden], state c: [N, hidden], hidden) {
  f, g = concat(x, h, bias) -> dense(2 * hidden) -> split(2, axis = -1)
  c = sigmoid(f) * c + (1 - sigmoid(f)) * tanh(g)
  h = h + tanh(c)
  return h
}
model Net(x: [N, 1, 8, 8]) {
  rows = reshape(x, [N, 8, 8])
  bias = dense(mean(rows, axis = 1), 3)
  y, h, c = rows -> scan(Gate(bias = bias, hidden = 4), final = true)
  z = rows -> scan(Gate(bias = bias, hidden = 4, c = h), reverse = true)
  w = concat(y, z, axis = -1) -> repeat(2, scan(Gate(bias = c, hidden = 5)))
  one, next, _ = Gate(rows[:, 0], bias, 5)
  return concat(mean(w, axis = 1), one * next) -> dense(10)
}
""",
    "an addition that an equality admits": """
block Unit(x: [N, C, H, W], channels) {
  y = x -> conv(channels, 3, padding = 1, groups = 2) -> relu
  return x + y if C == channels else y
}
model Net(x: [N, 1, 8, 8]) =
  x -> conv(8, 3) -> Unit(4) -> repeat(2, Unit(4)) -> Unit(8) -> Unit(8) -> flatten -> dense(10)
""",
    "dropout": """
model Net(x: [N, 1, 8, 8]) =
  x -> flatten -> dense(32) -> relu -> dropout(0.5) -> repeat(2, dense(32) -> dropout(0.2))
    -> dense(10)
""",
}


@pytest.mark.parametrize("name", SPECS)
def test_three_backends_agree(name: str):
    trainer = load(SPECS[name] + TRAIN).trainer()
    found = verify(trainer)
    assert found.ok, found.text()
    assert {pair.program for pair in found.pairs} == {"sgd", "adam"}
    drawn = any("random" in note for note in found.notes)
    assert drawn == (name == "dropout")
    if not drawn:
        code = trainer.compile("torch").source
        assert found.hashes["torch sgd"] == hashlib.sha256(code.encode()).hexdigest()


def test_a_model_alone():
    model = load("model M(x: [N, D, T], D = 6) = x -> conv(4, 3) -> relu").model()
    found = verify(model, sizes={"T": 9})
    assert found.ok, found.text()
    assert found.sizes["T"] == 9


@pytest.mark.slow
@pytest.mark.parametrize(("path", "size"), [("lenet5", {}), ("resnet18", {"H": 64, "W": 64})])
def test_the_specs_of_the_project(path: str, size: dict[str, int], monkeypatch: pytest.MonkeyPatch):
    """With XLA's optimiser, which `make test` turns off elsewhere."""
    from dlspec.resources import resources

    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
    spec = load(resources("specs") / f"vision/{path}.dls")
    found = verify(spec.trainer() if spec.trainings else spec.model(), sizes=size)
    assert found.ok, found.text()


def test_a_field_that_nobody_wants_and_draws_in_the_loss():
    """`_` in the data; a variational autoencoder's draws in training alone."""
    from tests.codegen.build import ROOT

    trainer = load(str(ROOT / "specs" / "generative" / "vae.dls")).trainer()
    assert verify(trainer, steps=3, optimizers=["declared"]).ok
