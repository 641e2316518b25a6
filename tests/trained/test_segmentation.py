"""U-Nets trained in full, with the settings of their spec: the figures of docs/gallery.md."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlspec.api import load
from dlspec.resources import resources
from dlspec.training.run import Result, train
from dlspec.verification import verify

SPEC = resources("specs") / "vision" / "unet.dls"
PACKAGES = {"torch": "torch", "jax": "optax"}
NUCLEI = pytest.mark.skipif("DLSPEC_DATA" not in os.environ, reason="needs DLSPEC_DATA")


def trained(section: str, backend: str, folder: Path, **settings: object) -> Result:
    if backend in PACKAGES:
        pytest.importorskip(PACKAGES[backend])
    return train(load(SPEC).trainer(section, **settings), backend, run_dir=folder)


@NUCLEI
def test_nuclei(tmp_path: Path) -> None:
    result = trained("nuclei", "torch", tmp_path)
    assert result.final["test"]["dice_of_images"] >= 0.9  # the mean of all images' own
    assert result.final["test"]["dice"] >= 0.85  # of all pixels together
    with Image.open(tmp_path / "samples" / "overlay-15.png") as picture:
        red, green, blue = np.moveaxis(np.asarray(picture) / 255, -1, 0)
    said, true = red > blue + 0.2, green > blue + 0.1
    assert (said & true).sum() > 10 * (said & ~true).sum()


@NUCLEI
@pytest.mark.parametrize(
    ("backend", "settings", "least"),
    [("jax", {"epochs": 8}, 0.85), ("numpy", {"rate": 1e-2, "epochs": 6}, 0.84)],
)
def test_nuclei_by_a_smaller_network(
    tmp_path: Path, backend: str, settings: dict[str, object], least: float
) -> None:
    result = trained("nuclei", backend, tmp_path, widths=[4, 8, 16], **settings)
    assert result.final["test"]["dice"] >= least


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_drawn_cells(tmp_path: Path, backend: str) -> None:
    result = trained("drawn", backend, tmp_path)
    assert result.final["test"]["dice"] >= 0.94


@NUCLEI
@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("drawn", {"widths": [2, 3]}),
        ("nuclei", {"widths": [2, 3]}),
        ("paper", {"widths": [1, 2, 2, 3, 3], "size": 188}),
    ],
)
def test_steps_are_the_same_on_three_backends(section: str, settings: dict[str, object]) -> None:
    found = verify(load(SPEC).trainer(section, **settings), steps=2, optimizers=["declared"])
    assert found.ok, found.text()
