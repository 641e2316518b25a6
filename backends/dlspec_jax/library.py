"""Definitions that files for JAX copy."""

from __future__ import annotations

from pathlib import Path

from dlspec.codegen import Library

MODULES = (
    "trees",
    "convolution",
    "layers",
    "image",
    "patches",
    "norms",
    "maths",
    "indexing",
    "attention",
    "recurrent",
    "losses",
    "optimizers",
)
LIBRARY = Library(Path(__file__).parent / "emitted", MODULES)
