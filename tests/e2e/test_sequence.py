"""The sequence specs reach the figures that they state."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.training.run import train

SPECS = Path(__file__).parents[2] / "specs" / "sequence"


@pytest.mark.slow
def test_transformer_reverses_every_string(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    trainer = load(str(SPECS / "transformer.dls")).trainer(epochs=6)
    result = train(trainer, "torch", run_dir=tmp_path / "run")
    assert result.final["test"]["exact"] >= 0.99
