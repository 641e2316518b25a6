"""Metrics in reports: three backends against scikit-learn, and over several batches."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget
from sklearn.metrics import (
    f1_score,
    jaccard_score,
    log_loss,
    root_mean_squared_error,
    top_k_accuracy_score,
)

from dlspec import api
from dlspec.codegen.unit import unit_of
from dlspec.training.totals import Totals

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
model M(x: [N, 6]) -> [N, 6] = x -> dense(6)
train t {
  data (x: [N, 6], label: i64[N], mask: [N, 6]) from npz("a.npz", fields = ["x", "label", "mask"])
  y = M(x)
  minimize cross_entropy(y, label) using sgd(0.1)
  report top_k_accuracy(y, label, k = 2) as top, perplexity(y, label), rmse(y, mask)
  report psnr(y, mask, peak = 2), iou(y, mask, threshold = 0.1)
  report dice_score(y, mask, threshold = 0.1)
}
"""


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def batch(count: int = 12) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mask = (rng.random((count, 6)) < 0.4).astype(float)
    return {"x": rng.standard_normal((count, 6)), "label": np.arange(count) % 6, "mask": mask}


def expected(y: np.ndarray, label: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    errors = ((y - mask) ** 2).mean(1)
    pairs = list(zip(y > 0.1, mask > 0.5, strict=True))
    return {
        "top": float(top_k_accuracy_score(label, y, k=2, labels=range(6))),
        "perplexity": float(np.exp(log_loss(label, p, labels=list(range(6))))),
        "rmse": float(root_mean_squared_error(mask.ravel(), y.ravel())),
        "psnr": float((10 * np.log10(4 / errors)).mean()),
        "iou": float(np.mean([jaccard_score(t, s, zero_division=1) for s, t in pairs])),
        "dice_score": float(np.mean([f1_score(t, s, zero_division=1) for s, t in pairs])),
    }


@pytest.mark.parametrize("backend", TARGETS)
def test_against_references(backend: str) -> None:
    trainer = api.load(SPEC).trainer()
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(trainer.training, "t")).source, made.__dict__)
    state = made.init(dtype="float64")
    given = batch()
    found = {n: float(v) for n, v in made.evaluate(state, given).items() if n != "loss"}
    wanted = expected(made.predict(state, x=given["x"]), given["label"], given["mask"])
    assert found == pytest.approx(wanted, rel=1e-9)


def test_empty_masks_agree() -> None:
    trainer = api.load(SPEC.replace("threshold = 0.1", "threshold = 1e9")).trainer()
    made = ModuleType("emitted")
    exec(NumpyTarget().generate(unit_of(trainer.training, "t")).source, made.__dict__)
    nothing = {**batch(), "mask": np.zeros((12, 6))}
    found = made.evaluate(made.init(), nothing)
    assert (found["iou"], found["dice_score"]) == (1, 1)


@pytest.mark.parametrize("metric", ["rmse", "perplexity"])
def test_batches_put_together_are_the_whole(metric: str) -> None:
    rng = np.random.default_rng(1)
    y, label, mask = rng.standard_normal((12, 6)), np.arange(12) % 6, rng.random((12, 6))
    whole = expected(y, label, (mask > 0.5) * 1.0)[metric]
    totals = Totals([metric], {metric: (metric, {})})
    for part in (slice(0, 5), slice(5, 12)):
        value = expected(y[part], label[part], (mask[part] > 0.5) * 1.0)[metric]
        totals.add({metric: value}, part.stop - part.start)
    assert totals.values()[metric] == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("report", ["rmse(y, x)", "y -> rmse(x)", "error", "(y, x) -> rmse"])
def test_a_report_knows_its_metric_in_every_form(report: str) -> None:
    text = (
        SPEC.split("  report")[0]
        + f"  error = rmse(y, x)\n  report {report} as found, mse(y, x)\n}}\n"
    )
    reports = api.load(text).trainer().training.reports
    assert [metric.name for _, metric, _ in reports] == ["rmse", "mse"]


@pytest.mark.parametrize(
    "report",
    ["top_k_accuracy(y, label, k = 0)", "rmse(y, label)", "iou(y, y[:, 0])", "psnr(label, label)"],
)
def test_refused(report: str) -> None:
    text = SPEC.split("  report")[0] + f"  report {report} as bad\n}}\n"
    with pytest.raises(api.SpecError, match="error"):
        api.load(text).trainer()
