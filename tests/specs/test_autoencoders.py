"""The specs of autoencoders say what their sources do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dlspec_jax import Target as Jax
from dlspec_numpy import Target as Numpy
from dlspec_torch import Target as Torch

from dlspec.api import load
from dlspec.training.run import train
from tests.codegen.build import module, unit_of

SPECS = Path(__file__).parents[2] / "specs" / "generative"


@pytest.mark.parametrize("target", [Numpy(), Torch(), Jax()], ids=["numpy", "torch", "jax"])
def test_both_contractive_penalties_are_one(target: Numpy | Torch | Jax) -> None:
    """The Jacobian through `grad` and the closed form, and what either teaches the weights."""
    spec = load(str(SPECS / "contractive_autoencoder.dls"))
    image = np.random.default_rng(0).uniform(size=(5, 1, 28, 28))
    found = []
    for name in ("jacobian", "closed"):
        trainer = spec.trainer(name, code=3, strength=1.0)
        emitted = module(target, unit_of(trainer.training, name))
        state = emitted.init(0, "float64")
        metrics, gradients = emitted.gradients(state, {"image": image})
        found.append((metrics, gradients))
    (by_grad, slopes), (closed, formula) = found
    assert 0.01 < float(by_grad["penalty"]) < 100
    assert abs(float(by_grad["penalty"]) - float(closed["penalty"])) < 1e-12
    assert slopes.keys() == formula.keys() == {"layer.weight", "layer.bias", "decode.bias"}
    for weight, slope in slopes.items():
        np.testing.assert_allclose(slope, formula[weight], atol=1e-12, rtol=1e-10)


ZEROS = """
model Restore(image: [N, 1, 8, 8]) -> [N, 1, 8, 8] =
  image -> flatten -> dense(6) -> relu -> dense(64) -> sigmoid -> reshape([N, 1, 8, 8])

train zeros {
  data (image, label) from digits(classes = [0], batch = 16)
  restored = image -> Restore
  minimize mse(restored, image) using adam(1e-2)
  report auc(mean(square(restored - image), axis = [1, 2, 3]), cast(label != 0, "i64")) as auc
  evaluate on digits(split = "test", batch = full)
  epochs 10
}
"""


def test_what_was_not_seen_is_restored_badly(tmp_path: Path) -> None:
    """The anomalies of `autoencoder.dls`, small."""
    pytest.importorskip("sklearn")
    found = train(load(ZEROS).trainer(), "numpy", run_dir=tmp_path).final["test"]
    assert found["auc"] > 0.95
