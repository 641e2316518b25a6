"""Classifiers trained in full, with the settings of their specs: the figures of docs/gallery.md.

Data are what `DLSPEC_DATA` names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.resources import resources
from dlspec.training.run import train

VISION = resources("specs") / "vision"
PACKAGES = {"torch": "torch", "jax": "optax"}

pytestmark = pytest.mark.skipif("DLSPEC_DATA" not in os.environ, reason="needs DLSPEC_DATA")


def accuracy(name: str, section: str, backend: str, folder: Path) -> float:
    if backend in PACKAGES:
        pytest.importorskip(PACKAGES[backend])
    unit = load(VISION / f"{name}.dls").trainer(section)
    return train(unit, backend, run_dir=folder).final["test"]["accuracy"]


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_lenet5_on_digits(tmp_path: Path, backend: str) -> None:
    assert accuracy("lenet5_trained", "digits", backend, tmp_path) >= 0.975


def test_lenet5_on_clothes(tmp_path: Path) -> None:
    assert accuracy("lenet5_trained", "clothes", "numpy", tmp_path) >= 0.82


def test_resnet_against_its_linear_baseline(tmp_path: Path) -> None:
    resnet = accuracy("resnet_cifar", "cifar", "torch", tmp_path / "resnet")
    linear = accuracy("resnet_cifar", "linear", "torch", tmp_path / "linear")
    assert resnet >= 0.6
    assert 0.33 <= linear <= 0.42
