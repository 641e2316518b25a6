"""Every architecture under `specs/`: it checks without a warning and its own tests hold; some
are the same on three backends, at a size that can be computed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.verification import verify

SPECS = Path(__file__).parents[2] / "specs"
FILES = sorted(p for p in SPECS.glob("*/*.dls") if p.parent.name != "std")

SMALL: dict[str, tuple[str, dict[str, object], dict[str, int]]] = {
    # name: the model, its static arguments, sizes
    "vision/densenet": ("DenseNet", {"depths": [2, 1], "growth": 4}, {"H": 32, "W": 32}),
    "vision/convnext": (
        "ConvNeXt",
        {"depths": [1, 2, 1, 1], "widths": [4, 6, 8, 10], "classes": 5},
        {"H": 64, "W": 64},
    ),
    "vision/vit": (
        "ViT",
        {"size": 32, "depth": 2, "heads": 2, "width": 8, "hidden": 16, "classes": 5},
        {},
    ),
    "vision/unet": ("UNetBilinear", {"widths": [4, 6, 8]}, {"C": 2, "H": 16, "W": 16}),
    "vision/lenet1998": ("LeNet1998", {}, {}),
}


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(SPECS)) for p in FILES])
def test_it_checks_and_its_tests_hold(path: Path) -> None:
    spec = load(path)
    assert spec.check(), spec.diagnostics.found
    assert not spec.diagnostics.found
    spec.test()
    assert spec.diagnostics.ok, spec.diagnostics.found


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_three_backends_agree(name: str) -> None:
    model, static, sizes = SMALL[name]
    unit = load(SPECS / f"{name}.dls").model(model, **static, **sizes)
    found = verify(unit, steps=2, optimizers=["sgd"])
    assert found.ok, found.text()
