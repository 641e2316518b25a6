"""Training sections with more than one `data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.training.run import read_records, train
from dlspec.verification import verify

SPEC = """
model Line(x: [N, 1]) -> [N, 1] = x -> dense(1, bias = false)

train both {
  data (x: [N, 1]) from npz("x.npz", fields = ["x"], batch = 2, shuffle = false)
  data (y: [M, 1]) from npz("y.npz", fields = ["y"], batch = 1, shuffle = false)
  share net = Line()
  minimize sum(net(x)) + sum(net(y)) using sgd(1)
  report sum(x) as first, sum(y) as second
  evaluate on npz("x.npz", fields = ["x"], batch = 2), npz("y.npz", fields = ["y"], batch = 3)
  epochs EPOCHS
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.array([[1.0], [2], [4], [8], [16]]))
    np.savez(tmp_path / "y.npz", y=np.array([[100.0], [1000]]))
    return tmp_path


def run(folder: Path, text: str, **words: object):
    (folder / "both.dls").write_text(text)
    unit = dlspec.load(str(folder / "both.dls")).trainer(**words)
    return train(unit, "numpy", run_dir=folder / "run")


def test_an_epoch_is_one_pass_over_the_first(folder: Path):
    found = run(folder, SPEC.replace("EPOCHS", "2"))
    batches = [(r["first"], r["second"]) for r in found.records if r["split"] == "batch"]
    assert batches == [(3, 100), (12, 1000), (16, 100), (3, 1000), (12, 100), (16, 1000)]
    assert [r["epoch"] for r in found.records if r["split"] == "test"] == [1, 2]


def test_evaluation_takes_a_source_for_each(folder: Path):
    """Three batches of x, weighted 2, 2, 1; y whole each time."""
    found = run(folder, SPEC.replace("EPOCHS", "1"))
    assert found.final["test"]["first"] == pytest.approx((2 * 3 + 2 * 12 + 16) / 5)
    assert found.final["test"]["second"] == pytest.approx(1100)


def test_one_extent_means_equal_batches(folder: Path):
    text = SPEC.replace("[M, 1]", "[N, 1]").replace("batch = 1", "batch = 2")
    found = run(folder, text.replace("EPOCHS", "1").replace("sum(net(x))", "sum(net(x + y))"))
    batches = [(r["first"], r["second"]) for r in found.records if r["split"] == "batch"]
    assert batches == [(3, 1100), (12, 1100), (16, 100)]


def test_resumed_equals_uninterrupted(folder: Path):
    text = SPEC.replace(", shuffle = false", "").replace("epochs EPOCHS", "steps STEPS")
    whole = run(folder, text.replace("STEPS", "7"))
    (folder / "run").rename(folder / "whole")
    run(folder, text.replace("STEPS", "4"))
    (folder / "both.dls").write_text(text.replace("STEPS", "7"))
    unit = dlspec.load(str(folder / "both.dls")).trainer()
    resumed = train(unit, "numpy", resume=folder / "run")
    told = [r for r in read_records(folder / "whole") if r["split"] == "batch"]
    assert [r for r in resumed.records if r["split"] == "batch"] == told
    assert resumed.step == whole.step


def test_backends_agree(folder: Path):
    (folder / "both.dls").write_text(SPEC.replace("EPOCHS", "1"))
    unit = dlspec.load(str(folder / "both.dls")).trainer()
    found = verify(unit, optimizers=["declared"], steps=2)
    assert found.ok, found.text()
