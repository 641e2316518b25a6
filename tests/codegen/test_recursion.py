"""A recursion that a list of widths ends: merged, only its static condition knows when."""

from __future__ import annotations

import numpy as np
import pytest
from dlspec_jax import Target as Jax
from dlspec_numpy import Target as Numpy
from dlspec_torch import Target as Torch

from .build import module, text_unit

SPEC = """block Level(x: [N, D], widths) -> [N, D] {
  if len(widths) == 1 { return x -> dense(D) as bottom }
  return x + (x -> dense(widths[1]) as down -> Level(widths[1:]) as inner -> dense(D) as up)
}

model Net(x: [N, 4], widths = [4, 3, 2]) = x -> Level(widths)

train fit {
  data (x: [N, 4], y: [N, 4]) from npz("none.npz", fields = ["x", "y"], batch = 4)
  minimize mse(x -> Net, y) using adam(0.1)
  steps 1
}
"""


@pytest.mark.parametrize("target", [Numpy(), Torch(), Jax()], ids=["numpy", "torch", "jax"])
def test_a_section_over_it_trains(target: Numpy | Torch | Jax) -> None:
    emitted = module(target, text_unit(SPEC, "train"))
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((4, 4)), "y": rng.standard_normal((4, 4))}
    state, losses = emitted.init(), []
    for step in range(20):
        state, metrics = emitted.train_step(state, batch, 0.05, step=step)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    names = {"level.inner.inner.bottom.weight", "level.inner.down.weight", "level.up.bias"}
    assert names <= emitted.export_weights(state).keys()
