"""`import_weights` of emitted files takes a network's weights, all of them and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from dlspec.api import Purpose, load
from tests.codegen.build import load as load_module

SPEC = """
block Conv(channels) = conv(channels, 3) -> batch_norm -> relu
model Net(x: [N, 2, 6, 6]) = x -> repeat(2, Conv(4)) as half -> flatten -> dense(3) as head
"""
WRONG = {
    "shape": {"head.bias": np.ones(1)},
    "unknown": {"head.slope": np.ones(3)},
    "missing": {},
}


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("purpose", ["training", "inference"])
def test_only_the_networks_own_weights_are_taken(backend: str, purpose: Purpose) -> None:
    model = load(SPEC).model()
    module = load_module(model.compile(backend, purpose=purpose).source)
    weights = module.export_weights(module.init(3))
    kept = module.export_weights(module.import_weights(module.init(0), weights))
    assert kept.keys() == weights.keys()
    for name, weight in weights.items():  # `half` is a name of nn.Module
        np.testing.assert_array_equal(kept[name], weight)
    for what, change in WRONG.items():
        wrong = {k: w for k, w in weights.items() if what != "missing" or k != "head.bias"}
        with pytest.raises((KeyError, ValueError, RuntimeError), match="head"):
            module.import_weights(module.init(0), {**wrong, **change})
