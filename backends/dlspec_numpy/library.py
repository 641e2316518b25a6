"""Definitions that files for NumPy copy."""

from __future__ import annotations

from pathlib import Path

from dlspec.codegen import Library

MODULES = (
    "weights",
    "initialisers",
    "tensors",
    "maths",
    "convolution",
    "pooling",
    "image",
    "patches",
    "normalization",
    "layernorm",
    "attention",
    "recurrent",
    "losses",
    "optimizers",
)
LIBRARY = Library(Path(__file__).parent / "emitted", MODULES)
STANDARD = frozenset(
    {"ctypes", "math", "re", "threading"}
)  # modules of Python that definitions use
