"""Metrics of a classification that counts over all examples give: precision, recall, F1, IoU, Dice
and the confusion matrix. Definitions and defaults are scikit-learn's.

The statistic of a batch is [K, 3], for each class the hits, how often it was said and how often it
was true; of the confusion matrix [K, K], rows by what is true.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Metric
from dlspec.ir.static import plain
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam, Statistic
from dlspec.ops.elementwise import (
    Cast,
    Constant,
    Equal,
    Greater,
    LogicalAnd,
    NotEqual,
    Term,
    Where,
)
from dlspec.ops.indexing import OneHot, ScatterAdd
from dlspec.ops.loss import check_class_labels, check_mask
from dlspec.ops.reduce import ArgMax, Sum
from dlspec.ops.rules import axis_of, check_float, check_int, product, require_equal, text
from dlspec.ops.shape import BroadcastTo, Reshape, Stack, Transpose, Unsqueeze
from dlspec.ops.whole import Array, Pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder

AVERAGES = ("macro", "micro", "weighted", "none")

# --- the statistics of a batch ---


def flat(b: LayerBuilder, x: Value) -> Value:
    if x.type.rank == 1:
        return x
    return b.emit(Reshape((product(x.type.shape),)), x)


def counting(
    b: LayerBuilder, name: str, label: Value, mask: Value | None, ignore: Any
) -> Value | None:
    """Which labels count, as bools of their shape; None for all."""
    if mask is not None:
        check_mask(b, name, mask.type, label.type)
    if plain(ignore) is None:
        return mask
    wanted = arg.dim(b, f"{name}: ignore", ignore)
    kept = b.emit(NotEqual(), label, b.emit(Constant(wanted, label.type.dtype)))
    return kept if mask is None else b.emit(LogicalAnd(), kept, mask)


def _classes(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Value, Value, Value, Dim]:
    """Classes said and true, as [M], the weight of each, and how many classes there are."""
    logits, label = tensors["logits"], tensors["label"]
    check_int(b, name, "the labels", label.type)
    axis = arg.axis(b, name, statics["axis"], logits.type.rank)
    at = axis_of(axis, logits.type.rank)
    check_class_labels(b, name, logits.type, label.type, at)
    valid = counting(b, name, label, tensors["mask"], statics["ignore"])
    said = b.emit(Cast(label.type.dtype), b.emit(ArgMax(axis), logits))
    if valid is None:
        one = b.constant(1.0, like=logits)
        each = b.emit(BroadcastTo((product(label.type.shape),)), one)
    else:  # those that do not count have a class all the same
        label = b.emit(Where(), valid, label, b.constant(0, like=label))
        each = flat(b, b.emit(Cast(logits.type.dtype), valid))
    return flat(b, said), flat(b, label), each, logits.type.shape[at]


def _of_classes(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    said, label, each, classes = _classes(b, name, tensors, statics)
    hit = b.emit(Cast(each.type.dtype), b.emit(Equal(), said, label))
    hits = (Term(b, each) * Term(b, hit)).value
    pairs = ((label, hits), (said, each), (label, each))
    count = ScatterAdd(0, classes)
    return b.emit(Stack(-1), *(b.emit(count, index, x) for index, x in pairs))


def _matrix(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    said, label, each, classes = _classes(b, name, tensors, statics)
    hot = Term(b, b.emit(OneHot(classes, each.type.dtype), label))
    hot = hot * Term(b, b.emit(Unsqueeze((-1,)), each))
    return b.emit(Transpose((1, 0)), b.emit(ScatterAdd(0, classes), said, hot.value))


def _binary(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> list[Value]:
    """Yes or no for each element, as bools: hits, what was said, what is true, and what counts."""
    x, label = tensors["logits"], tensors["label"]
    check_float(b, name, x.type)
    message = f"{name}: {text(x.type.shape)} and {text(label.type.shape)} differ"
    for one, other in zip(x.type.shape, label.type.shape, strict=True):
        require_equal(b, one, other, message)
    bound = b.emit(Constant(arg.number(b, statics["threshold"]), x.type.dtype))
    said, truth = b.emit(Greater(), x, bound), truths(b, label)
    valid = counting(b, name, label, tensors["mask"], statics["ignore"])
    if valid is None:
        valid = b.emit(BroadcastTo(label.type.shape), b.emit(Constant(True, DType.BOOL)))
    else:
        said, truth = (b.emit(LogicalAnd(), v, valid) for v in (said, truth))
    return [b.emit(LogicalAnd(), said, truth), said, truth, valid]


def _number(b: LayerBuilder, said: Value, like: Value) -> Value:
    """How many of some bools are true."""
    axes = tuple(range(said.type.rank))
    return b.emit(Sum(axes), b.emit(Cast(like.type.dtype), said))


def truths(b: LayerBuilder, label: Value) -> Value:
    """Labels of 0 and 1, in any type, as bools."""
    if label.type.dtype is DType.BOOL:
        return label
    half = b.constant(0.5 if label.type.dtype.is_float else 0, like=label)
    return b.emit(Greater(), label, half)


def _is_binary(b: LayerBuilder, name: str, tensors: Mapping[str, Any]) -> bool:
    """Scores have the labels' shape, logits one axis more."""
    more = tensors["logits"].type.rank - tensors["label"].type.rank
    if more not in (0, 1):
        shapes = (text(tensors[n].type.shape) for n in ("logits", "label"))
        b.fail(
            RANK,
            f"{name}: {' and '.join(shapes)} do not belong together",
            help="scores have the labels' shape; logits have an axis of classes besides",
        )
    return not more


def _counts(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Statistic:
    average = plain(statics["average"])
    if _is_binary(b, name, tensors):
        if average not in (None, "binary"):
            b.fail(
                BAD_ARGUMENT,
                f"{name}: `average` is for several classes, and these are scores of one",
                help="give logits with an axis of classes",
            )
        found = _binary(b, name, tensors, statics)[:3]
        counts = b.emit(Stack(-1), *(_number(b, v, tensors["logits"]) for v in found))
        counts = b.emit(Unsqueeze((0,)), counts)
        return Statistic(counts, Metric(name, (("average", "macro"),)))
    average = arg.word(b, f"{name}: average", average or "macro", AVERAGES)
    counts = _of_classes(b, name, tensors, statics)
    return Statistic(counts, Metric(name, (("average", average),)))


def _confusion(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Statistic:
    name = "confusion_matrix"
    if not _is_binary(b, name, tensors):
        return Statistic(_matrix(b, name, tensors, statics), Metric(name))
    x = tensors["logits"]
    found = _binary(b, name, tensors, statics)
    both, said, true, all_ = (Term(b, _number(b, v, x)) for v in found)
    cells = ((all_ - said - true + both, said - both), (true - both, both))
    rows = [b.emit(Stack(-1), *(cell.value for cell in row)) for row in cells]
    return Statistic(b.emit(Stack(0), *rows), Metric(name))


# --- the value of a source ---


def _over(above: Array, below: Array) -> Array:
    """above / below; 0 where nothing counts."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _averaged(
    ratio: Callable[[Array, Array, Array], tuple[Array, Array]], counts: Array, average: str
) -> Any:
    """macro: the mean over the classes that are said or true; weighted: by how often they are
    true."""
    if average == "micro":
        return float(_over(*(np.atleast_1d(x) for x in ratio(*counts.sum(0)))).item())
    each = _over(*ratio(*counts.T))
    if average == "none":
        return each.tolist()
    seen = counts[:, 1] + counts[:, 2] > 0
    share = counts[:, 2] if average == "weighted" else seen.astype(float)
    return float(_over(np.array([share @ each]), np.array([share.sum()])).item())


def _precision(hits: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return hits, said


def _recall(hits: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return hits, true


def _f1(hits: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return 2 * hits, said + true


def _iou(hits: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return hits, said + true - hits


def _nested(matrix: Array) -> Any:
    return matrix.tolist()


def f1_of(counts: Array, average: str) -> Any:
    """F1 from [K, 3], for others that count so."""
    return _averaged(_f1, counts, average)


# --- the language ---

_COMMON = (
    StaticParam("threshold", 0.0, arg.NUMBER),
    StaticParam("ignore", None, ("int", "none")),
    StaticParam("axis", Dim.const(-1), ("int",)),
)


def _metric(
    name: str, ratio: Callable[[Array, Array, Array], tuple[Array, Array]], doc: str
) -> Builtin:
    return Builtin(
        name,
        ("logits", "label"),
        partial(_counts, name),
        (StaticParam("average", None, ("string", "none")), *_COMMON),
        optional=("mask",),
        doc=doc,
        whole=Pooled(partial(_averaged, ratio)),
    )


BUILTINS = (
    _metric("precision", _precision, "The share of what is said that is true."),
    _metric("recall", _recall, "The share of what is true that is said."),
    _metric("f1", _f1, "The harmonic mean of precision and recall."),
    _metric("mean_iou", _iou, "Intersection over union of the classes' elements."),
    _metric("mean_dice", _f1, "Twice the intersection over the sum of sizes of the classes."),
    Builtin(
        "confusion_matrix",
        ("logits", "label"),
        _confusion,
        _COMMON,
        optional=("mask",),
        doc="How often each class (row) was taken for each (column).",
        whole=Pooled(_nested),
    ),
)
