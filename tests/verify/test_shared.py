"""Shared networks that are used in several ways, verified on all three backends."""

from __future__ import annotations

import numpy as np
import pytest

from dlspec.api import load
from dlspec.verification import verify
from dlspec.weights import initial_weights
from tests.codegen.build import load as load_module

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


SUMS = """
block Part(x: [N, D]) = x -> dense(D) -> batch_norm
block Net(x: [N, D]) = x -> repeat(2, Part) as part -> dense(1) as head
model M(x: [N, 3]) {
  share net = Net()
  return (net(x), l2(net), l1(net), l2(net.part[1]), l1(net.head.weight))
}
"""


def test_a_penalty_is_the_sum_over_the_trainable_weights() -> None:
    """By hand, from the weights by their names; statistics of batch norm are none of them."""
    model = load(SUMS).model()
    kept = {f"net.{n}" for n in ("head.weight", "head.bias")}
    weights = {n: np.asarray(w) + 0.5 for n, w in initial_weights(model.graph, 0).items()}
    trained = {n: w for n, w in weights.items() if not n.split(".")[-1].startswith("running_")}
    assert kept < trained.keys() < weights.keys()
    second = [w for n, w in trained.items() if n.startswith("net.part.1.")]
    expected = [
        sum(float(np.square(w).sum()) for w in trained.values()),
        sum(float(np.abs(w).sum()) for w in trained.values()),
        sum(float(np.square(w).sum()) for w in second),
        float(np.abs(weights["net.head.weight"]).sum()),
    ]
    module = load_module(model.compile("numpy").source)
    state = module.import_weights(module.init(0, "float64"), weights)
    _, *found = module.predict(state, x=np.ones((2, 3))).values()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
