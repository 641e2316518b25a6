"""Shared networks that are used in several ways, verified on all three backends."""

from __future__ import annotations

import pytest

from dlspec.api import load
from dlspec.verification import verify

pytest.importorskip("torch")
pytest.importorskip("optax")

SPEC = """
block Part(x: [N, D], gain = 1.0) {
  scale = param([D], init = ones)
  return gain * ((x * scale) -> dense(D)) as mix
}
block Net(x: [N, D], depth = 1, gain = 1.0, deep = false) -> (sum, parts) {
  x = x -> dense(5) as code -> batch_norm
  y = tanh(x -> repeat(depth, Part(gain)))
  if deep { y = y -> dense(5) as extra }
  return (x + y, (x, [y]))
}
block Peek(x: [N, D], net) = net(relu(x @ net.code.weight), depth = 2)
train t {
  data (x, label) from iris(batch = 8)
  share net = Net()
  share deep = Part()
  share still = Part()
  a, (b, c) = net(x, depth = 3)
  d = net(x, gain = 0.5, deep = true).sum + Peek(a, net).parts[0] + net.part[1].scale
  freeze still, net.part[2]
  y = (a + b + c[0] + d) -> repeat(2, deep) -> still -> dense(3)
  penalty = 0.01 * l2(net) + 0.1 * l1(net.part[0]) + 0.1 * l2(deep) + l1(net.code.weight)
  minimize cross_entropy(y, label) + penalty using sgd(0.05, momentum = 0.9)
}
"""


def test_backends_agree() -> None:
    found = verify(load(SPEC).trainer("t"), optimizers=["declared"], steps=2)
    assert found.ok, found.text()
