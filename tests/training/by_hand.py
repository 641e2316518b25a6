"""Runs of emitted files beside the same training written by hand in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import dlspec
from dlspec.training.module import load_module

Arrays = dict[str, NDArray[Any]]
BACKENDS = ("numpy", "torch", "jax")
# three features that differ in size, so that gradients do
BATCHES = [
    {
        "x": np.random.default_rng(i).normal(size=(6, 4)) * [1.0, 2.0, 0.5, 3.0],
        "y": np.random.default_rng(i + 100).integers(0, 3, 6),
    }
    for i in range(4)
]


def run(
    text: str, backend: str, folder: Path, rates: Any, batches: Sequence[Arrays] = BATCHES
) -> tuple[Any, Any, Arrays]:
    """An emitted file after one `train_step` a batch: (module, state, the first weights)."""
    path = folder / f"{backend}.py"
    path.write_text(dlspec.load(text).trainer("t").code(backend))
    module = load_module(path)
    state = module.init(0, "float64")
    # the same start on all backends
    rng = np.random.default_rng(7)
    first = {name: np.array(w, "float64") for name, w in module.export_weights(state).items()}
    for name, array in sorted(first.items()):
        if not name.endswith(("running_mean", "running_var")):
            array[...] = rng.normal(size=array.shape) / 2
    state = module.import_weights(state, first)
    for number, batch in enumerate(batches):
        state, _ = module.train_step(state, dict(batch), rates, seed=0, step=number)
    return module, state, first


def tensors(weights: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(w).requires_grad_() for name, w in weights.items()}


def agree(found: Arrays, expected: Arrays | dict[str, torch.Tensor], tolerance: float = 1e-11):
    for name, array in expected.items():
        wanted = array.detach().numpy() if isinstance(array, torch.Tensor) else array
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=tolerance, err_msg=name)


Forward = Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor]


def batch_tensors(batch: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(batch["x"]), torch.tensor(batch["y"])
