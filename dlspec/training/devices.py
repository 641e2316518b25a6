"""Where a run computes. An emitted file takes the best device that it sees, so what a run is told
is told by what its process may see; whether that is there is asked of the framework."""

from __future__ import annotations

import importlib
import re
import sys

from dlspec.training.errors import RunError

CUDA = re.compile(r"cuda(?::(\d{1,3}))?")


def environment(device: str | None) -> dict[str, str]:
    """Variables of the process that computes; RunError for a name that is no device."""
    if device is None:
        return {}
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    found = CUDA.fullmatch(device)
    if found is None:
        raise RunError(f"`{device}` is no device: cpu, cuda, or cuda:1 for the second")
    chosen = {"CUDA_VISIBLE_DEVICES": found[1]} if found[1] else {}
    return {"JAX_PLATFORMS": "cuda,cpu", **chosen}


def check(device: str | None) -> None:
    """In the process that has imported an emitted file: RunError where the device is not there."""
    if device in (None, "cpu"):
        return
    if "torch" in sys.modules:
        there = bool(importlib.import_module("torch").cuda.is_available())
    else:
        there = "jax" in sys.modules and _jax_has_cuda()
    if not there:
        raise RunError(f"this program finds no device `{device}` here")


def _jax_has_cuda() -> bool:
    try:
        return bool(importlib.import_module("jax").devices("cuda"))
    except RuntimeError:
        return False
