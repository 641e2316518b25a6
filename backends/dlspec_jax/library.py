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
EMITTED = Path(__file__).parent / "emitted"
LIBRARY = Library(EMITTED, MODULES)
# the same without what only a gradient needs: a later definition replaces one of its name
INFERENCE = Library(EMITTED, (*MODULES, "inference"))
