"""JAX: gradients of convolutions for their weights, piece by piece, against torch."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlspec_jax.emitted import convolution

CASES: list[tuple[tuple[int, ...], dict[str, int], bool, tuple[int, int]]] = [
    ((3, 3, 7, 6), {"stride": 2, "padding": 1}, False, (3, 4)),
    ((3, 3, 9), {"stride": 2, "dilation": 2}, True, (3, 9)),
    ((2, 1024, 7, 24), {"stride": 2, "padding": 1}, False, (1, 2)),
    ((2, 1024, 4, 12), {"padding": 1}, False, (1, 2)),
    ((6, 512, 5, 5), {}, False, (6, 3)),
]  # shape, window, whether transposed, and how many images and rows are taken at a time


@pytest.fixture(autouse=True)
def _double() -> Any:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize(("shape", "window", "transposed", "piece"), CASES)
def test_weight_gradient(
    shape: tuple[int, ...], window: dict[str, int], transposed: bool, piece: tuple[int, int]
) -> None:
    rng, rank = np.random.default_rng(0), len(shape) - 2
    channels = (shape[1], 32) if transposed else (32, shape[1])
    x, weight = rng.standard_normal(shape), rng.standard_normal((*channels, *[3] * rank))
    theirs = getattr(F, f"conv{'_transpose' if transposed else ''}{rank}d")
    ours = convolution.conv_transpose if transposed else convolution.conv
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight)]
    y = theirs(*tensors, **window)
    dy = rng.standard_normal(y.shape)
    expected = [y, *torch.autograd.grad(y, tensors, torch.tensor(dy))]

    @jax.jit
    def run(x: Any, weight: Any, dy: Any) -> Any:
        y, backward = jax.vjp(lambda x, w: ours({"weight": w}, x, **window), x, weight)
        return y, *backward(dy)

    y, dx, dw = run(np.moveaxis(x, 1, -1), weight, np.moveaxis(dy, 1, -1))
    found = [np.moveaxis(y, -1, 1), np.moveaxis(dx, -1, 1), dw]
    for own, their in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, their.detach().numpy(), atol=1e-9)
    scanned = y if not transposed else np.moveaxis(x, 1, -1)
    assert convolution.piece(scanned.shape, 2**15 // (32 if transposed else shape[1])) == piece
