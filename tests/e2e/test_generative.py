"""The generative specs reach the figures that they state."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.training.run import train

SPECS = Path(__file__).parents[2] / "specs" / "generative"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # 30 passes are enough for a judge
def test_gan_paints_all_digits(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from .judge import judge

    trainer = load(str(SPECS / "gan.dls")).trainer(epochs=60)
    found = judge(train(trainer, "torch", run_dir=tmp_path / "run"))
    assert found.fewest >= 20, found
    assert found.entropy >= 2.1
    assert found.sure >= 0.3
