"""The cells of std.recurrent against torch's layers of two biases."""

from __future__ import annotations

import numpy as np
import pytest

from dlspec.api import load
from tests.codegen.build import load as module_of

torch = pytest.importorskip("torch")
pytest.importorskip("optax")

TEXT = """
from std.recurrent use {KIND}

model Net(x: [N, T, 5]) = x -> repeat(2, scan({KIND}(4, biases = 2)) as layer)

train t {
  data (x: [N, T, 5], target: [N, T, 4]) from npz("none.npz", fields = ["x", "target"], batch = 3)
  minimize mse(x -> Net, target) using sgd(0.1)
}
"""
PARTS = {
    "ih.weight": "weight_ih",
    "ih.bias": "bias_ih",
    "hh.weight": "weight_hh",
    "hh.bias": "bias_hh",
}


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_two_layers_are_torch_s(kind: str, backend: str):
    code = module_of(load(TEXT.replace("{KIND}", kind)).trainer().compile(backend).source)
    layers = getattr(torch.nn, kind)(5, 4, num_layers=2, batch_first=True, dtype=torch.float64)
    names = {
        f"layer.{i}.{ours}": f"{theirs}_l{i}" for i in range(2) for ours, theirs in PARTS.items()
    }
    weights = {ours: getattr(layers, name).detach().numpy() for ours, name in names.items()}
    state = code.import_weights(code.init(0, dtype="float64"), weights)
    rng = np.random.default_rng(1)
    x, target = rng.standard_normal((3, 7, 5)), rng.standard_normal((3, 7, 4))
    y, _ = layers(torch.from_numpy(x))
    torch.nn.functional.mse_loss(y, torch.from_numpy(target)).backward()
    found = np.asarray(code.predict(state, x=x))
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=0, atol=1e-12)
    _, grads = code.gradients(state, {"x": x, "target": target})
    for ours, name in names.items():
        wanted = getattr(layers, name).grad.numpy()
        np.testing.assert_allclose(np.asarray(grads[ours]), wanted, rtol=0, atol=1e-12)
