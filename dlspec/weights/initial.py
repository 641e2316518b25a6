"""Initial weights from one seeded stream keyed by path: equal on every backend, and a weight keeps
its numbers when another one is added."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlspec.ir.graph import Function, Training
from dlspec.ir.tree import leaves
from dlspec.ir.types import DType
from dlspec.weights.initialisers import draw

_NUMPY: dict[DType, type[np.generic]] = {
    DType.FLOAT: np.float64,
    DType.F32: np.float32,
    DType.F64: np.float64,
    DType.BF16: np.float32,
    DType.I64: np.int64,
    DType.I32: np.int32,
    DType.BOOL: np.bool_,
}


def stream(seed: int, path: str) -> np.random.Generator:
    """The generator of one weight: Philox keyed by the seed and the SHA-256 of the path."""
    digest = hashlib.sha256(path.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def initial_weights(graph: Function | Training, seed: int) -> dict[str, NDArray[Any]]:
    """{path: array}: parameters and buffers; working floats in float64."""
    weights: dict[str, NDArray[Any]] = {}
    for leaf in leaves(graph):
        if leaf.path in weights:
            raise ValueError(f"two weights are called {leaf.path}")
        drawn = draw(leaf.weight.init.kind, stream(seed, leaf.path), leaf.shape, leaf.args)
        weights[leaf.path] = drawn.astype(_NUMPY[leaf.weight.type.dtype])
    return weights
