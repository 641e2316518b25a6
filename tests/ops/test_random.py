"""Random built-ins: backends agree on given draws, and draws have their distribution."""

from __future__ import annotations

import numpy as np
import pytest

import dlspec
import dlspec.api as api
from tests.codegen.build import module, text_unit

SPEC = """
model Net(x: [N, 4, 5], p = 0.3) {
  h = x -> dropout1d(p) -> drop_path(0.2) -> dense(6) -> flatten
  g = h + 0.1 * gumbel([N, 24]) * bernoulli([N, 24], p = 0.7)
  soft = g -> dense(5) -> gumbel_softmax(temperature = 0.5)
  hard = g -> dense(5) -> gumbel_softmax(temperature = 0.5, hard = true)
  return concat(soft, hard)
}
"""


def test_backends_agree() -> None:
    assert dlspec.verify(api.load(SPEC).model("Net"), ["numpy", "torch"]).ok


@pytest.mark.parametrize("backend", ["torch", "numpy", "jax"])
def test_distributions(backend: str) -> None:
    import importlib

    target = importlib.import_module(f"dlspec_{backend}").Target()
    text = """
    model Net(x: [N, 3]) -> (coins: [N, 3], noise: [N, 3], choice: [N, 3]) {
      return bernoulli([N, 3], p = 0.3), gumbel([N, 3]), x -> gumbel_softmax(hard = true)
    }
    """
    made = module(target, text_unit(text, "Net"))
    probabilities = np.array([0.5, 0.3, 0.2])
    x = np.tile(np.log(probabilities), (40_000, 1))
    found = made.predict(made.init(0, dtype="float64"), x=x)
    assert set(np.unique(found["coins"])) == {0.0, 1.0}
    assert abs(found["coins"].mean() - 0.3) < 0.01
    assert abs(found["noise"].mean() - 0.5772) < 0.02  # Euler's constant
    assert abs(found["noise"].var() - np.pi**2 / 6) < 0.05
    np.testing.assert_allclose(found["choice"].mean(0), probabilities, atol=0.01)
    np.testing.assert_allclose(found["choice"].sum(1), 1)


def test_whole_channels_and_samples_are_dropped() -> None:
    text = """
    model Net(x: [N, 3, 5]) -> (channel: [N, 3, 5], path: [N, 3, 5]) {
      return x -> dropout1d(0.5), x -> drop_path(0.5)
    }
    """
    import dlspec_torch
    import torch

    net = module(dlspec_torch.Target(), text_unit(text, "Net")).init().net.train()
    channel, path = net(torch.ones(200, 3, 5))
    assert set(channel.unique().tolist()) == set(path.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(channel, channel[..., :1].expand_as(channel))
    assert torch.equal(path, path[:, :1, :1].expand_as(path))
    assert not torch.equal(channel, channel[:, :1].expand_as(channel))
