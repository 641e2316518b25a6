"""Training sections with several steps: their order, what each trains, and that backends agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.training.run import train
from dlspec.training.worker import load_module
from dlspec.verification import verify

NETWORKS = """
block Gen(z: [N, L]) = z -> dense(6) -> batch_norm -> relu -> dense(4)
block Dis(x: [N, F]) -> [N, 1] = x -> dense(6) -> batch_norm -> leaky_relu(0.2) -> dense(1)
"""
GAN = f"""{NETWORKS}
train gan {{
  data (x: [N, 4], _) from iris(batch = 16)
  share G = Gen
  share D = Dis
  fake = normal([N, 3]) -> G
  step critic {{
    minimize bce_with_logits(D(x), 1) + bce_with_logits(D(stop_gradient(fake)), 0)
      over D using adam(1e-3)
    report mean(sigmoid(D(x))) as real
  }}
  step generator times 2 every 2 {{
    minimize bce_with_logits(D(fake), 1) over G using sgd(1e-2, momentum = 0.9)
  }}
  steps 12
}}
"""
TOGETHER = f"""{NETWORKS}
train both {{
  data (x: [N, 4], _) from iris(batch = 16)
  share G = Gen
  share D = Dis
  fake = x -> G
  step main {{
    minimize mse(fake, x) + 0.5 * mean(D(fake)) over G using adam(1e-3)
    minimize mean(D(x)) - mean(D(fake)) over D using adam(1e-3, beta1 = 0.5)
  }}
}}
"""


def trainer(text: str):
    return dlspec.load(text).trainer()


@pytest.mark.parametrize("text", [GAN, TOGETHER])
def test_backends_agree(text: str):
    found = verify(trainer(text), optimizers=["declared"], steps=3)
    assert found.ok, found.text()


@pytest.fixture
def module(tmp_path: Path, backend: str):
    path = tmp_path / "model.py"
    path.write_text(trainer(GAN).code(backend))
    return load_module(path)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_a_step_changes_only_what_it_trains(module, backend: str):
    state = module.init(0, "float64")
    before = {k: np.array(v) for k, v in module.export_weights(state).items()}
    batch = {"x": np.random.default_rng(0).normal(size=(8, 4))}
    state, _ = module.train_step(state, batch, (0.1,), "critic", seed=0, step=0)
    after = module.export_weights(state)
    for name, array in before.items():
        same = np.array_equal(array, after[name])
        assert same == name.startswith("G."), name  # statistics of G too


def test_times_and_every_in_a_run(tmp_path: Path):
    found = train(trainer(GAN), "numpy", run_dir=tmp_path)
    optimizer = np.asarray(0)
    from dlspec.training import checkpoint

    _, _, arrays = checkpoint.load(tmp_path / "checkpoints")
    optimizer = arrays["step/critic"]
    assert found.step == 12
    assert optimizer == 12
    assert {"critic_loss", "real", "generator_loss"} <= found.records[0].keys()


def test_resumed_equals_uninterrupted(tmp_path: Path):
    whole = train(trainer(GAN), "numpy", run_dir=tmp_path / "whole")
    short = trainer(GAN.replace("steps 12", "steps 5"))
    train(short, "numpy", run_dir=tmp_path / "parts")
    resumed = train(trainer(GAN), "numpy", resume=tmp_path / "parts")
    assert resumed.step == whole.step
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name], name)
