"""BLEU, span F1 and SSIM on three backends, in uneven batches, against references by hand."""

from __future__ import annotations

import re
from collections import Counter
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget
from torch.nn import functional as F

from dlspec import api
from dlspec.codegen.unit import unit_of
from dlspec.training.totals import Totals

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
model M(x: [N, 1]) -> [N, 1] = x -> dense(1)
train t {
  data (x: [N, 1], FIELDS) from npz("a.npz", fields = NAMES)
  minimize mse(M(x), x) using sgd(0.1)
  report REPORT as found
}
"""
COUNT = 11


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def spec(report: str, fields: str) -> str:
    names = ["x", *re.findall(r"(\w+):", fields)]
    text = SPEC.replace("REPORT", report).replace("FIELDS", fields)
    return text.replace("NAMES", str(names).replace("'", '"'))


def value(report: str, fields: str, backend: str, given: dict[str, Any], size: int = 4) -> Any:
    trainer = api.load(spec(report, fields)).trainer()
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(trainer.training, "t")).source, made.__dict__)
    state = made.init(dtype="float64")
    told = {n: (m.name, dict(m.settings)) for n, m, _ in trainer.training.reports}
    totals = Totals(["found"], told)
    given = {"x": np.zeros((COUNT, 1)), **given}
    for start in range(0, COUNT, size):
        batch = {name: array[start : start + size] for name, array in given.items()}
        totals.add(made.evaluate(state, batch), len(batch["x"]))
    return totals.values()["found"]


# --- BLEU ---


def grams(tokens: list[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def cut(row: Any, ends: tuple[int, ...]) -> list[int]:
    stop = next((i for i, t in enumerate(row) if t in ends), len(row))
    return [int(t) for t in row[:stop]]


def bleu(said: Any, true: Any, ends: tuple[int, ...]) -> float:
    pairs = [(cut(s, ends), cut(t, ends)) for s, t in zip(said, true, strict=True)]
    logs = []
    for n in range(1, 5):
        hits = sum(sum((grams(s, n) & grams(t, n)).values()) for s, t in pairs)
        total = sum(sum(grams(s, n).values()) for s, _ in pairs)
        if not hits:
            return 0.0
        logs.append(np.log(hits / total))
    ours, theirs = (sum(len(p[i]) for p in pairs) for i in (0, 1))
    return float(np.exp(min(0, 1 - theirs / ours)) * np.exp(np.mean(logs)))


def sentences(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    true = rng.integers(2, 6, size=(COUNT, 12))
    said = np.where(rng.random((COUNT, 9)) < 0.25, rng.integers(2, 6, size=(COUNT, 9)), true[:, :9])
    for row in (*true, *said):
        row[rng.integers(5, 12) :] = 0
    said[3, 4], true[5, 6] = 1, 1  # an end before the padding
    return said, true


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(
    ("arguments", "ends"),
    [("", ()), (", end = 1", (1,)), (", end = 1, padding = 0", (0, 1)), (", padding = 0", (0,))],
)
def test_bleu(arguments: str, ends: tuple[int, ...], backend: str) -> None:
    said, true = sentences(0)
    report = f"bleu(said, goal{arguments})"
    fields = "said: i64[N, T], goal: i64[N, S]"
    found = value(report, fields, backend, {"said": said, "goal": true})
    assert found == pytest.approx(bleu(said, true, ends), rel=1e-12)
    assert 0.1 < found < 1


def test_bleu_clips_what_is_repeated_and_short_ones_have_no_grams() -> None:
    the = np.full((COUNT, 7), 3)
    true = np.tile([3, 4, 3, 5, 6, 2, 2], (COUNT, 1))
    fields = "said: i64[N, T], goal: i64[N, S]"
    assert value("bleu(said, goal)", fields, "numpy", {"said": the, "goal": true}) == 0
    assert value("bleu(said, goal)", fields, "numpy", {"said": true, "goal": true}) == 1
    few = true[:, :3]
    assert value("bleu(said, goal)", fields, "numpy", {"said": few, "goal": few}) == 0


# --- spans ---


def spans(tags: list[int]) -> set[tuple[int, int, int]]:
    """(kind, first, last), as seqeval reads tags that are not held to a scheme."""
    found, start = set(), None
    for i, tag in enumerate([*tags, 0]):
        kind = (tag + 1) // 2
        if start is not None and (tag == 0 or tag % 2 == 1 or kind != start[0]):
            found.add((start[0], start[1], i - 1))
            start = None
        if tag and start is None:
            start = (kind, i)
    return found


def span_counts(said: Any, true: Any, kept: Any) -> np.ndarray:
    counts = np.zeros((3, 3))
    for s, t, k in zip(said, true, kept, strict=True):
        ours, theirs = spans([*s[k]]), spans([*t[k]])
        for i, found in enumerate((ours & theirs, ours, theirs)):
            for kind, _, _ in found:
                counts[kind - 1, i] += 1
    return counts


def averaged(counts: np.ndarray, average: str) -> Any:
    each = 2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])
    total = counts.sum(0)
    return {
        "micro": 2 * total[0] / (total[1] + total[2]),
        "macro": each.mean(),
        "weighted": each @ counts[:, 2] / total[2],
        "none": each,
    }[average]


def tagged() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(1)
    true = rng.integers(0, 7, size=(COUNT, 15))
    said = np.where(rng.random((COUNT, 15)) < 0.3, rng.integers(0, 7, size=(COUNT, 15)), true)
    return np.eye(7)[said] + 0.1 * rng.random((COUNT, 15, 7)), said, true


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
def test_span_f1(average: str, backend: str) -> None:
    logits, said, true = tagged()
    report = f'span_f1(logits, label, average = "{average}")'
    fields = "logits: [N, T, 7], label: i64[N, T]"
    found = value(report, fields, backend, {"logits": logits, "label": true})
    counts = span_counts(said, true, np.full(true.shape, True))
    np.testing.assert_allclose(found, averaged(counts, average), rtol=1e-12)
    assert 0.1 < np.mean(found) < 0.9


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("way", ["ignore = -100", "mask = kept"])
def test_span_f1_leaves_out(way: str, backend: str) -> None:
    """What does not count is as if it were not there: a span goes on over it."""
    logits, said, true = tagged()
    kept = np.random.default_rng(2).random(true.shape) < 0.7
    label = np.where(kept, true, -100 if "ignore" in way else true)
    fields = "logits: [N, T, 7], label: i64[N, T]" + (", kept: bool[N, T]" if "mask" in way else "")
    given = {"logits": logits, "label": label, "kept": kept}
    found = value(f"span_f1(logits, label, {way})", fields, backend, given)
    assert found == pytest.approx(averaged(span_counts(said, true, kept), "micro"), rel=1e-12)


# --- SSIM ---


def ssim(x: Any, t: Any, peak: float, window: int, sigma: float) -> float:
    at = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    line = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = (line / line.sum())[:, None] * (line / line.sum())[None]
    kernel = kernel.expand(x.shape[1], 1, -1, -1)

    def mean(v: Any) -> Any:
        return F.conv2d(v, kernel, groups=x.shape[1])

    mx, mt = mean(x), mean(t)
    vx, vt, cov = mean(x * x) - mx**2, mean(t * t) - mt**2, mean(x * t) - mx * mt
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    found = (2 * mx * mt + c1) * (2 * cov + c2) / ((mx**2 + mt**2 + c1) * (vx + vt + c2))
    return float(found.mean())


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(
    ("arguments", "settings"),
    [("", (1.0, 11, 1.5)), (", peak = 2, window = 5, sigma = 1", (2.0, 5, 1.0))],
)
def test_ssim(arguments: str, settings: tuple[float, int, float], backend: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.random((COUNT, 3, 16, 13))
    t = np.clip(x + 0.3 * rng.standard_normal(x.shape), 0, 1)
    fields = "image: [N, 3, 16, 13], other: [N, 3, 16, 13]"
    report = f"ssim(image, other{arguments})"
    found = value(report, fields, backend, {"image": x, "other": t})
    wanted = ssim(torch.tensor(x), torch.tensor(t), *settings)
    assert found == pytest.approx(wanted, rel=1e-9)
    assert 0.1 < found < 0.95


@pytest.mark.parametrize("backend", TARGETS)
def test_ssim_as_a_loss(backend: str) -> None:
    text = """
    model M(x: [N, 2, 9, 8]) = x -> conv(2, 3, padding = 1)
    train t {
      data (x: [N, 2, 9, 8]) from npz("a.npz", fields = ["x"])
      minimize 1 - ssim(M(x), x, window = 5) using sgd(0.1)
    }
    """
    made = ModuleType("emitted")
    trainer = api.load(text).trainer()
    exec(TARGETS[backend].generate(unit_of(trainer.training, "t")).source, made.__dict__)
    x = np.random.default_rng(0).random((4, 2, 9, 8))
    weights = {"conv.weight": np.full((2, 2, 3, 3), 0.1), "conv.bias": np.zeros(2)}
    state = made.import_weights(made.init(dtype="float64"), weights)
    _, grads = made.gradients(state, {"x": x})
    w = torch.tensor(weights["conv.weight"], requires_grad=True)
    inside = torch.tensor(x)
    out = F.conv2d(inside, w, padding=1)
    at = torch.arange(5, dtype=torch.float64) - 2
    line = torch.exp(-(at**2) / 4.5)
    kernel = ((line / line.sum())[:, None] * (line / line.sum())).expand(2, 1, -1, -1)
    m = [F.conv2d(v, kernel, groups=2) for v in (out, inside, out**2, inside**2, out * inside)]
    both, squares = m[0] * m[1], m[0] ** 2 + m[1] ** 2
    found = (2 * both + 1e-4) * (2 * (m[4] - both) + 9e-4)
    found = found / ((squares + 1e-4) * (m[2] + m[3] - squares + 9e-4))
    (1 - found.mean()).backward()
    np.testing.assert_allclose(np.asarray(grads["conv.weight"]), w.grad, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("bleu(logits, label)", "integers"),
        ("bleu(label[:, 0], label)", "not \\[N\\]"),
        ("span_f1(logits, label)", "outside and two"),
        ("span_f1(label, label)", "are needed"),
        ("span_f1(logits[:, :, :3], label[:, 1:])", "does not label"),
        ('span_f1(logits[:, :, :3], label, average = "binary")', "binary"),
        ("ssim(logits, logits)", "images"),
        ("ssim(image, image)", "does not fit"),
        ("ssim(image, image, window = 0)", "window"),
        ("ssim(image, image, window = 3, sigma = 0)", "positive"),
    ],
)
def test_refused(report: str, told: str) -> None:
    fields = "logits: [N, 5, 4], label: i64[N, 5], image: [N, 1, 8, 8]"
    with pytest.raises(api.SpecError, match=told):
        api.load(spec(report, fields)).trainer()
