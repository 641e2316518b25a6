"""Metrics of numbers that need all examples or moments of them: AUC, average precision, R² and
correlation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dlspec.codes import RANK
from dlspec.ir.graph import Metric
from dlspec.ops.base import Builtin, Statistic
from dlspec.ops.classified import flat, truths
from dlspec.ops.elementwise import Cast, Term
from dlspec.ops.loss import check_mask
from dlspec.ops.reduce import Mean, Sum
from dlspec.ops.rules import check_float, product, require_equal, text
from dlspec.ops.shape import BroadcastTo, Reshape, Stack
from dlspec.ops.whole import Array, Pooled, gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


def _same_shape(b: LayerBuilder, name: str, x: Value, other: Value) -> None:
    check_float(b, name, x.type)
    message = f"{name}: {text(x.type.shape)} and {text(other.type.shape)} differ"
    if x.type.rank != other.type.rank:
        b.fail(RANK, message)
    for one, two in zip(x.type.shape, other.type.shape, strict=True):
        require_equal(b, one, two, message)


# --- scores of all examples, [M, 3]: score, 1 or 0, counts ---


def _scores(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Statistic:
    x, label, mask = tensors["x"], tensors["label"], tensors["mask"]
    _same_shape(b, name, x, label)
    if not x.type.rank:
        b.fail(RANK, f"{name} needs the scores of a batch, not a scalar")
    columns = [x, b.emit(Cast(x.type.dtype), truths(b, label))]
    if mask is None:
        columns.append(b.emit(BroadcastTo(x.type.shape), b.constant(1.0, like=x)))
    else:
        check_mask(b, name, mask.type, label.type)
        columns.append(b.emit(Cast(x.type.dtype), mask))
    found = b.emit(Stack(-1), *(flat(b, column) for column in columns))
    return Statistic(found, Metric(name))


def _ranked(rows: Array) -> tuple[Array, Array]:
    """True and false positives at each distinct score, from the highest down."""
    rows = rows[rows[:, 2] > 0]
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    last = np.append(np.flatnonzero(np.diff(rows[:, 0])), len(rows) - 1)
    hits = np.cumsum(rows[:, 1])[last]
    return hits, last + 1 - hits


def _undecided(rows: Array) -> bool:
    """Whether there are no scores, one that is no number, or labels of one kind only."""
    kept = rows[rows[:, 2] > 0]
    return not len(kept) or bool(np.isnan(kept).any())


def _auc(rows: Array) -> float:
    """The area under the ROC curve: how likely a true one scores above a false one, ties by
    half (Mann and Whitney 1947)."""
    if _undecided(rows):
        return float("nan")
    hits, wrong = _ranked(rows)
    if not hits[-1] or not wrong[-1]:
        return float("nan")
    area = np.trapezoid(np.append(0, hits), np.append(0, wrong))
    return float(area / (hits[-1] * wrong[-1]))


def _average_precision(rows: Array) -> float:
    """Σ (recall_i - recall_{i-1}) precision_i over the distinct scores."""
    if _undecided(rows):
        return float("nan")
    hits, wrong = _ranked(rows)
    if not hits[-1]:
        return float("nan")
    return float(np.diff(np.append(0, hits)) / hits[-1] @ (hits / (hits + wrong)))


# --- moments, folded without cancellation (Chan et al. 1979): [D, …] ---


def _columns(b: LayerBuilder, name: str, x: Value, target: Value) -> tuple[Term, Term]:
    """Both as [N, D]."""
    _same_shape(b, name, x, target)
    if not x.type.rank:
        b.fail(RANK, f"{name} needs a batch of numbers, not a scalar")
    target = b.emit(Cast(x.type.dtype), target) if target.type != x.type else target
    if x.type.rank != 2:
        shape = (x.type.shape[0], product(x.type.shape[1:]))
        x, target = (b.emit(Reshape(shape), v) for v in (x, target))
    return Term(b, x), Term(b, target)


def _moments(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Statistic:
    """[D, 7]: count, both means, sums of x'², t'² and x't' about them, and of (x - t)²."""
    x, t = _columns(b, name, tensors["x"], tensors["target"])
    size = b.emit(Sum((0,)), b.emit(BroadcastTo(x.value.type.shape), x.like(1.0).value))
    means = [v.apply(Mean((0,))) for v in (x, t)]
    dx, dt = x - means[0], t - means[1]
    sums = [v.apply(Sum((0,))) for v in (dx.square(), dt.square(), dx * dt, (x - t).square())]
    found = b.emit(Stack(-1), size, *(v.value for v in (*means, *sums)))
    return Statistic(found, Metric(name))


def _together(first: Array, second: Array) -> Array:
    a, b = first.T, second.T
    count = a[0] + b[0]
    shift = b[1:3] - a[1:3]
    share = a[0] * b[0] / count
    about = np.stack([shift[0] ** 2, shift[1] ** 2, shift[0] * shift[1]]) * share
    means = a[1:3] + shift * b[0] / count
    return np.vstack([count, means, a[3:6] + b[3:6] + about, a[6] + b[6]]).T


def _r2(moments: Array) -> float:
    """1 - Σ(x - t)² / Σ(t - mean t)², the mean over the columns. A column whose target does not
    vary has 1 where x is the target, else 0."""
    spread, error = moments[:, 4], moments[:, 6]
    safe = np.where(spread > 0, spread, 1.0)
    return float(np.where(spread > 0, 1 - error / safe, error == 0).mean())


def _correlation(moments: Array) -> float:
    """Pearson's r, the mean over the columns; not a number where one does not vary."""
    return float((moments[:, 5] / np.sqrt(moments[:, 3] * moments[:, 4])).mean())


# --- the language ---


def _of_scores(name: str, finish: Callable[[Array], float], doc: str) -> Builtin:
    return Builtin(
        name,
        ("x", "label"),
        partial(_scores, name),
        optional=("mask",),
        doc=doc,
        whole=Pooled(finish, gathered),
    )


def _of_moments(name: str, finish: Callable[[Array], float], doc: str) -> Builtin:
    whole = Pooled(finish, _together)
    return Builtin(name, ("x", "target"), partial(_moments, name), doc=doc, whole=whole)


BUILTINS = (
    _of_scores("auc", _auc, "The area under the ROC curve of scores and labels of 0 and 1."),
    _of_scores("average_precision", _average_precision, "The area under precision and recall."),
    _of_moments("r2", _r2, "The share of the target's variance that x explains."),
    _of_moments("correlation", _correlation, "Pearson's correlation of x and target."),
)
