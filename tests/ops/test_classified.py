"""Metrics of a whole source on three backends, in uneven batches, against scikit-learn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import sklearn.metrics as sk
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget

from dlspec import api, interchange
from dlspec.codegen.unit import unit_of
from dlspec.diagnostics import Failure
from dlspec.ir.graph import Metric, Training
from dlspec.training.progress import Watch
from dlspec.training.run import train
from dlspec.training.totals import Totals

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
model M(x: [N, 5]) -> [N, 5] = x -> dense(5)
train t {
  data (x: [N, 5], label: i64[N], yes: [N], flag: bool[N], goal: [N, 5])
    from npz("a.npz", fields = ["x", "label", "yes", "flag", "goal"], batch = 16)
  y = M(x)
  minimize mse(y, goal) using sgd(0.1)
  REPORTS
  epochs 1
}
"""


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def data(count: int = 53) -> dict[str, Any]:
    """Labels of four of five classes, coarse inputs with ties."""
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal((count, 5)), 1)
    label = rng.integers(4, size=count)
    yes = (x[:, 0] + rng.standard_normal(count) > 0).astype(float)
    goal = 1e3 + x + rng.standard_normal((count, 5))
    return {"x": x, "label": label, "yes": yes, "flag": rng.random(count) < 0.8, "goal": goal}


def value(report: str, backend: str, given: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """The report over batches of 16, 16, 16 and 5, and what the network gave."""
    trainer = api.load(SPEC.replace("REPORTS", f"report {report} as found")).trainer()
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(trainer.training, "t")).source, made.__dict__)
    state = made.init(dtype="float64")
    eye = {"dense.weight": np.eye(5)[[0, 1, 2, 4, 3]], "dense.bias": np.zeros(5)}
    state = made.import_weights(state, eye)
    told = {n: (m.name, dict(m.settings)) for n, m, _ in trainer.training.reports}
    totals = Totals(["found"], told)
    for start in range(0, len(given["x"]), 16):
        batch = {name: array[start : start + 16] for name, array in given.items()}
        totals.add(made.evaluate(state, batch), len(batch["x"]))
        # what a checkpoint holds is all there is to know
        totals = Totals(["found"], told, json.loads(json.dumps(totals.saved())))
    return totals.values()["found"], made.predict(state, x=given["x"])


def iou(true: Any, said: Any, average: str = "macro") -> Any:
    return sk.jaccard_score(true, said, average=average, zero_division=0)


CASES: dict[str, Any] = {
    "precision(y, label)": lambda d, y: sk.precision_score(
        d["label"], y.argmax(1), average="macro", zero_division=0
    ),
    'recall(y, label, average = "none")': lambda d, y: sk.recall_score(
        d["label"], y.argmax(1), average=None, labels=range(5), zero_division=0
    ),
    'f1(y, label, average = "micro")': lambda d, y: sk.f1_score(
        d["label"], y.argmax(1), average="micro"
    ),
    'f1(y, label, average = "weighted", ignore = 2)': lambda d, y: sk.f1_score(
        *(v[d["label"] != 2] for v in (d["label"], y.argmax(1))), average="weighted"
    ),
    "f1(y, label, mask = flag)": lambda d, y: sk.f1_score(
        d["label"][d["flag"]], y.argmax(1)[d["flag"]], average="macro"
    ),
    "f1(y[:, 0], yes)": lambda d, y: sk.f1_score(d["yes"], y[:, 0] > 0),
    "precision(y[:, 0], flag, threshold = 0.5)": lambda d, y: sk.precision_score(
        d["flag"], y[:, 0] > 0.5
    ),
    "recall(y[:, 0], yes, mask = flag)": lambda d, y: sk.recall_score(
        d["yes"][d["flag"]], y[d["flag"], 0] > 0
    ),
    "mean_iou(y, label)": lambda d, y: iou(d["label"], y.argmax(1)),
    'mean_dice(y, label, average = "none")': lambda d, y: sk.f1_score(
        d["label"], y.argmax(1), average=None, labels=range(5), zero_division=0
    ),
    "mean_iou(y[:, 0], yes)": lambda d, y: iou(d["yes"], y[:, 0] > 0, "binary"),
    "confusion_matrix(y, label)": lambda d, y: sk.confusion_matrix(
        d["label"], y.argmax(1), labels=range(5)
    ),
    "confusion_matrix(y, label, ignore = 0, mask = flag)": lambda d, y: sk.confusion_matrix(
        *(v[d["flag"] & (d["label"] != 0)] for v in (d["label"], y.argmax(1))), labels=range(5)
    ),
    "confusion_matrix(y[:, 0], yes, mask = flag)": lambda d, y: sk.confusion_matrix(
        d["yes"][d["flag"]], y[d["flag"], 0] > 0
    ),
    "auc(y[:, 0], yes)": lambda d, y: sk.roc_auc_score(d["yes"], y[:, 0]),
    "auc(y[:, 0], yes, mask = flag)": lambda d, y: sk.roc_auc_score(
        d["yes"][d["flag"]], y[d["flag"], 0]
    ),
    "average_precision(y[:, 0], yes)": lambda d, y: sk.average_precision_score(d["yes"], y[:, 0]),
    "r2(y, goal)": lambda d, y: sk.r2_score(d["goal"], y),
    "r2(y[:, 0], goal[:, 0])": lambda d, y: sk.r2_score(d["goal"][:, 0], y[:, 0]),
    "correlation(y, goal)": lambda d, y: np.mean(
        [np.corrcoef(y[:, i], d["goal"][:, i])[0, 1] for i in range(5)]
    ),
    # logits with the classes on another axis, as images have them
    "f1(reshape(y, [N, 5, 1]), reshape(label, [N, 1]), axis = 1)": lambda d, y: sk.f1_score(
        d["label"], y.argmax(1), average="macro", zero_division=0
    ),
}


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("report", CASES)
def test_against_references(report: str, backend: str) -> None:
    given = data()
    found, y = value(report, backend, given)
    np.testing.assert_allclose(found, CASES[report](given, y), rtol=1e-9)


def test_what_is_not_defined_is_no_number() -> None:
    given = data()
    for yes in (np.zeros(53), np.ones(53)):
        assert np.isnan(value("auc(y[:, 0], yes)", "numpy", {**given, "yes": yes})[0])
    still = {**given, "goal": np.ones((53, 5))}
    assert np.isnan(value("correlation(y, goal)", "numpy", still)[0])
    assert value("r2(y, goal)", "numpy", still)[0] == 0
    nothing = {**given, "flag": np.zeros(53, bool)}
    assert value("f1(y, label, mask = flag)", "numpy", nothing)[0] == 0
    assert np.isnan(value("auc(y[:, 0], yes, mask = flag)", "numpy", nothing)[0])


def test_float32_keeps_a_large_mean() -> None:
    """Sums of squares would lose every digit of the variance."""
    given = data()
    trainer = api.load(SPEC.replace("REPORTS", "report r2(y + 1000, goal) as found")).trainer()
    made = ModuleType("emitted")
    exec(NumpyTarget().generate(unit_of(trainer.training, "t")).source, made.__dict__)
    state = made.init()
    totals = Totals(["found"], {"found": ("r2", {})})
    totals.add(made.evaluate(state, given), 53)
    y = made.predict(state, x=given["x"]).astype(float) + 1000
    assert totals.values()["found"] == pytest.approx(sk.r2_score(given["goal"], y), rel=1e-3)


def test_a_run_tells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = data()
    np.savez(tmp_path / "a.npz", **given)
    fields = '["x", "label", "yes", "flag", "goal"]'
    told = f"""report confusion_matrix(y, label), auc(y[:, 0], yes)
    evaluate on npz("a.npz", fields = {fields}, batch = 7)"""
    file = tmp_path / "a.dls"
    file.write_text(SPEC.replace("REPORTS", told))
    watch = Watch(sys.stdout, "t")
    result = train(api.load(file).trainer(), run_dir=tmp_path / "run", watch=watch)
    steps = [r for r in result.records if r["split"] == "batch"]
    # a step's record is of the pass so far
    assert [np.sum(r["confusion_matrix"]) for r in steps] == [16, 32, 48, 53]
    assert np.sum(result.final["test"]["confusion_matrix"]) == 53
    assert 0 < result.final["train"]["auc"] < 1
    assert "train confusion_matrix\n" in capsys.readouterr().out


def labelled_minus_one(folder: Path, report: str) -> Any:
    given = data()
    given["label"][3] = -1
    np.savez(folder / "a.npz", **given)
    file = folder / "a.dls"
    file.write_text(SPEC.replace("REPORTS", f"report {report}"))
    return train(api.load(file).trainer(), run_dir=folder / "run")


@pytest.mark.parametrize(
    "report", ["f1(y, label)", "confusion_matrix(y, label)", "f1(y, label, ignore = -2)"]
)
def test_a_label_out_of_range(report: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="label"):
        labelled_minus_one(tmp_path, report)


def test_an_ignored_label(tmp_path: Path) -> None:
    assert labelled_minus_one(tmp_path, "f1(y, label, ignore = -1)").status == "finished"


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("f1(y, label) + 1", "metric"),
        ("mean(f1(y, label))", "metric"),
        ('f1(y, label, average = "big")', "big"),
        ('f1(y[:, 0], yes, average = "macro")', "several classes"),
        ("f1(y, yes)", "integers"),
        ("f1(y[:, :2], goal)", "differ"),
        ("precision(label, y)", "belong together"),
        ("auc(y, yes)", "differ"),
        ("auc(label, label)", "floats"),
        ("r2(y, yes)", "differ"),
        ("confusion_matrix(y, label, axis = 2)", "axis"),
        ("recall(y, label, mask = yes)", "mask"),
    ],
)
def test_refused(report: str, told: str) -> None:
    with pytest.raises(api.SpecError, match=told):
        api.load(SPEC.replace("REPORTS", f"report {report}")).trainer()


def test_the_json_form_keeps_metrics_and_their_settings() -> None:
    report = 'report f1(y, label, average = "none", ignore = 1), auc(y[:, 0], yes) as area'
    training = api.load(SPEC.replace("REPORTS", report)).trainer().training
    again = interchange.load(interchange.dump(training))
    assert isinstance(again, Training)
    kept = [(name, metric) for name, metric, _ in again.reports]
    assert kept == [(name, metric) for name, metric, _ in training.reports]
    assert kept[0][1] == Metric("f1", (("average", "none"),))


def test_no_loss() -> None:
    text = SPEC.replace("mse(y, goal)", "f1(y, label)").replace("REPORTS", "")
    with pytest.raises(api.SpecError, match="metric"):
        api.load(text).trainer()


@pytest.mark.parametrize("report", ['f1(y, label, average = "none")', "confusion_matrix(y, label)"])
def test_what_is_no_number_stops_nothing(report: str) -> None:
    text = SPEC.replace("REPORTS", f"report {report} as found\n  early_stop found patience 1")
    with pytest.raises(api.SpecError, match="no number that could improve"):
        api.load(text).trainer()


def test_a_larger_one_is_better() -> None:
    text = SPEC.replace("REPORTS", "report f1(y, label)\n  early_stop f1 patience 1")
    stop = api.load(text).trainer().training.settings["early_stop"]
    assert isinstance(stop, dict) and stop["larger"] is True
