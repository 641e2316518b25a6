"""`early_stop`, and which weights are the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.training.run import train
from dlspec.weights.files import read_with_metadata

# the weight starts at about 0 and grows by 1 each epoch; the target is 3.2
SPEC = """
model Line(x: [N, 1]) -> [N, 1] = x -> dense(1, bias = false, init = zeros)

train line {
  data (x: [N, 1]) from npz("x.npz", fields = ["x"], batch = full)
  share net = Line()
  y = net(x)
  minimize -mean(y) using sgd(1)
  report psnr(y, 3.2 * x) as quality, mae(y, 3.2 * x) as off
  evaluate dev on npz("x.npz", fields = ["x"])
  evaluate test on npz("x.npz", fields = ["x"])
  STOP
  epochs 9
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.array([[1.0], [1.0]]))
    return tmp_path


def unit(folder: Path, stop: str):
    (folder / "line.dls").write_text(SPEC.replace("STOP", stop))
    return dlspec.load(str(folder / "line.dls")).trainer()


def best(run: Path) -> tuple[float, dict[str, str]]:
    weights, told = read_with_metadata(run / "checkpoints" / "best.safetensors")
    return float(weights["dense.weight"].squeeze()), told


@pytest.mark.parametrize("metric", ["quality", "dev.quality", "off", "test.off", "train.off"])
def test_ends_after_its_patience(folder: Path, metric: str):
    """Best at 3: of larger psnr and of smaller mae. Of training, whose values are of before the
    update, one epoch later."""
    events = []
    run = train(unit(folder, f"early_stop {metric} patience 2"), "numpy",
                run_dir=folder / "run", watch=events.append)  # fmt: skip
    late = metric.startswith("train.")
    assert (run.status, run.step) == ("finished", 5 + late)
    weight, told = best(run.run_dir)
    assert weight == pytest.approx(3 + late)
    assert told["epoch"] == str(3 + late)
    assert metric.split(".")[-1] in told
    (ended,) = [e for e in events if e["event"] == "early_stop"]
    assert ended["epochs"] == 2
    again = train(unit(folder, f"early_stop {metric} patience 2"), "numpy", resume=run.run_dir)
    assert again.step == run.step


def test_waiting_goes_on_after_a_resume(folder: Path):
    stop = "early_stop off patience 3"
    whole = train(unit(folder, stop), "numpy", run_dir=folder / "whole")
    (folder / "line.dls").write_text(SPEC.replace("STOP", stop).replace("epochs 9", "epochs 5"))
    train(dlspec.load(str(folder / "line.dls")).trainer(), "numpy", run_dir=folder / "parts")
    resumed = train(unit(folder, stop), "numpy", resume=folder / "parts")
    assert resumed.step == whole.step == 6


def test_without_it_the_only_loss_decides(folder: Path):
    run = train(unit(folder, ""), "numpy", run_dir=folder / "run")
    assert run.step == 9
    weight, told = best(run.run_dir)
    assert weight == pytest.approx(9)
    assert "loss" in told


def test_several_losses_decide_nothing(tmp_path: Path):
    text = """
model Net(x: [N, 4]) -> [N, 4] = x -> dense(4)
train fit {
  data (x, _) from iris()
  share net = Net()
  step a { minimize mean(net(x)) using sgd(0.1) }
  step b { minimize -mean(net(x)) using sgd(0.1) }
  steps 2
}
"""
    train(dlspec.load(text).trainer(), "numpy", run_dir=tmp_path)
    assert not (tmp_path / "checkpoints" / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("stop", "code", "blamed"),
    [
        ("early_stop off", "E0504", "early_stop"),
        ("early_stop patience 2", "E0504", "early_stop"),
        ("early_stop of patience 2", "E0201", "of"),
        ("early_stop valid.off patience 2", "E0201", "valid.off"),
        ("early_stop off patience 0", "E0501", "patience 0"),
        ("early_stop off times 2", "E0504", "times 2"),
        ("early_stop 3 patience 2", "E0504", "3"),
        ("early_stop off patience 2\n  early_stop off patience 2", "E0501", "early_stop"),
        ("early_stop hits patience 2\n  report confusion_matrix(concat(y, y, axis = 1), "
         'argmax(x, axis = 1)) as hits', "E0501", "hits"),
    ],
)  # fmt: skip
def test_mistakes(stop: str, code: str, blamed: str):
    spec = dlspec.load(SPEC.replace("STOP", stop))
    spec.check()
    found = [(d.code.name, d.span.text) for d in spec.diagnostics.found]
    assert found == [(code, blamed)]
