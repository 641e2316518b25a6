"""The sequence specs reach the figures that they state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dlspec_torch import Target as TorchTarget

from dlspec.api import load
from dlspec.codegen.unit import unit_of
from dlspec.schemas import bind
from dlspec.training.module import load_module
from dlspec.training.run import train
from dlspec.training.sources import load as load_source

SPECS = Path(__file__).parents[2] / "specs" / "sequence"


@pytest.mark.slow
def test_transformer_reverses_every_string(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    trainer = load(str(SPECS / "transformer.dls")).trainer(epochs=6)
    result = train(trainer, "torch", run_dir=tmp_path / "run")
    assert result.final["test"]["exact"] >= 0.99
    source, wanted = held_out(1000)
    written = predicted("Reverse", result.weights, tmp_path, source)
    searched = predicted("Search", result.weights, tmp_path, source)
    assert (written == wanted).all(axis=1).mean() >= 0.99
    assert (searched["digits"] == wanted).all(axis=1).mean() >= 0.99


def held_out(count: int) -> tuple[Any, Any]:
    """Strings that the training part has not."""
    args = bind("reversed_digits", (), {"length": 8, "count": 10_000, "split": "test"})
    digits, target = load_source("reversed_digits", args, SPECS)
    return digits[:count], target[:count, 1:]


def predicted(model: str, weights: Mapping[str, Any], folder: Path, source: Any) -> Any:
    """What a model of the file writes with the weights of the trained network."""
    found = load(str(SPECS / "transformer.dls")).model(model)
    path = folder / f"{model}.py"
    path.write_text(TorchTarget().generate(unit_of(found.function, model)).source)
    made = load_module(path)
    state = made.init()
    prefix = "beam.net." if model == "Search" else "greedy.net."
    state = made.import_weights(state, {prefix + name: w for name, w in weights.items()})
    return made.predict(state, source=source)
