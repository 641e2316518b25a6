"""Second derivatives through recurrent layers in float64: NumPy, which writes them out, as the
frameworks, which derive them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from dlspec.api import load
from dlspec.weights import initial_weights
from tests.codegen.build import load as load_module

SPEC = """
model Projected(x: [N, T, 3], m: bool[N, T]) {
  y = lstm(x, 4, mask = m, layers = 2, bidirectional = true, biases = 2, projection = 2)
  return grad(grad(y ** 2, x) ** 2, x)
}
model Held(x: [N, T, 3], m: bool[N, T], h: [2, N, 4]) {
  y = gru(x, 4, mask = m, layers = 2, biases = 2, h = h)
  a, b = grad(y ** 3, (x, h))
  return grad(sum(a ** 2) + sum(b ** 2), x)
}
model ResetFirst(x: [N, T, 3], h: [2, N, 4]) {
  y, last = gru(x, 4, bidirectional = true, reset_after = false, h = h, final = true)
  a, b = grad(sum(y ** 3) + sum(last ** 2), (x, h))
  return grad(sum(a ** 2) + sum(b ** 2), x)
}
model OfWeights(x: [N, T, 3]) {
  share f = rnn(4, layers = 2, biases = 0)
  y = x -> f
  a, b = grad(y ** 3, (f.weight_ih_l0, f.weight_hh_l1))
  return grad(sum(a ** 2) + sum(b ** 2), x)
}
"""
OTHERS = {"Projected": ("torch",), "Held": ("torch",), "ResetFirst": ("jax",)}  # torch lacks that


@pytest.mark.parametrize("name", ["Projected", "Held", "ResetFirst", "OfWeights"])
def test_backends_agree(name: str) -> None:
    model = load(SPEC).model(name)
    rng = np.random.default_rng(2)
    weights = {
        n: rng.normal(0, 0.7, w.shape) for n, w in initial_weights(model.function, 0).items()
    }
    sizes = {"N": 2, "T": 3}
    inputs: dict[str, Any] = {}
    for value in model.function.inputs:
        shape = [d.evaluate(sizes) for d in value.type.shape]
        normal = rng.standard_normal(shape)
        inputs[value.name] = normal if value.type.dtype.is_float else normal > -0.5

    def predict(backend: str) -> Any:
        module = load_module(model.code(backend))
        state = module.import_weights(module.init(0, dtype="float64"), weights)
        return np.asarray(module.predict(state, **inputs))

    found = predict("numpy")
    assert np.abs(found).max() > 1e-3
    for backend in OTHERS.get(name, ("torch", "jax")):
        with jax.enable_x64(True):
            wanted = predict(backend)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
