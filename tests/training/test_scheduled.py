"""Schedules in expressions: scalars that the host computes at each iteration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.interchange import dump, load
from dlspec.training.run import train
from dlspec.verification import verify

VAE = """
model Net(x: [N, 4]) -> [N, 4] = x -> dense(3) -> dense(4)

train fit {
  data (x, _) from iris(batch = 24)
  share net = Net()
  beta = linear(0.0, 1.0, steps = 8)
  temperature = 1 + cosine(1)
  y = net(x) / temperature
  minimize mse(y, x) + beta * mean(square(y)) using sgd(0.01)
  report beta, temperature, linear(0.0, 1.0, steps = 8) as again
  evaluate on iris(split = "test")
  sample y * beta as scaled
  steps 10
}
"""
STEPS = """
model Net(x: [N, 4]) -> [N, 4] = x -> dense(4)

train fit {
  data (x, _) from iris(batch = 24)
  share net = Net()
  fade = linear(0.0, 4.0, steps = 4)
  step a times 2 { minimize mse(net(x), x * fade) using sgd(0.01)
    report fade }
  step b { minimize mean(net(x)) using sgd(linear(0.1, 0.0)) }
  steps 4
}
"""


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_values_at_each_iteration(tmp_path: Path, backend: str):
    found = train(dlspec.load(VAE).trainer(), backend, run_dir=tmp_path)
    told = [r for r in found.records if r["split"] == "batch"]
    steps = np.arange(10)
    np.testing.assert_allclose([r["beta"] for r in told], np.minimum(steps / 8, 1), atol=1e-6)
    cosine = 1 + (1 + np.cos(np.pi * steps / 10)) / 2
    np.testing.assert_allclose([r["temperature"] for r in told], cosine, atol=1e-6)
    assert [r["again"] for r in told] == [r["beta"] for r in told]
    tested = [r["beta"] for r in found.records if r["split"] == "test"]
    np.testing.assert_allclose(tested, [5 / 8, 1], atol=1e-6)


def test_in_steps(tmp_path: Path):
    found = train(dlspec.load(STEPS).trainer(), "numpy", run_dir=tmp_path)
    assert [r["fade"] for r in found.records if r["split"] == "batch"] == [0, 1, 2, 3]


@pytest.mark.parametrize("text", [VAE, STEPS])
def test_backends_agree(text: str):
    found = verify(dlspec.load(text).trainer(), optimizers=["declared"], steps=2)
    assert found.ok, found.text()


def test_equal_schedules_are_one_input():
    training = dlspec.load(VAE).trainer().training
    assert training.scheduled == {
        "linear": {"kind": "linear", "rate": 0.0, "end": 1.0, "steps": 8},
        "cosine": {"kind": "cosine", "rate": 1},
    }
    assert [value.name for value in training.function.inputs] == ["x", "", "linear", "cosine"]
    assert dump(load(dump(training))) == dump(training)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("y = x * linear(0.0)", "E0205"),
        ("y = x * linear(0.0, 1.0, stepz = 3)", "E0204"),
        ("y = x * linear", "E0201"),
        ("y = x -> linear(0.0, 1.0)", "E0201"),
    ],
)
def test_mistakes(line: str, code: str):
    text = f"""
model Net(x: [N, 4]) -> [N, 4] = x -> dense(4)
train fit {{
  data (x, _) from iris()
  {line}
  minimize mse(Net(y), x) using sgd(0.1)
}}
"""
    spec = dlspec.load(text)
    spec.check()
    assert code in [d.code.name for d in spec.diagnostics.found], spec.diagnostics.found


def test_outside_training_there_are_none():
    spec = dlspec.load("model M(x: [N, 4]) -> [N, 4] = x * linear(0.0, 1.0)\n")
    spec.check()
    assert not spec.diagnostics.ok
