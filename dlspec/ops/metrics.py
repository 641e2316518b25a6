"""Metrics to report that are scalars of a batch."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

from dlspec.codes import RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Cast, Constant, Exp, Greater, Less, Log, Sqrt, Term
from dlspec.ops.indexing import TakeAlong
from dlspec.ops.loss import CrossEntropy
from dlspec.ops.reduce import Mean, Sum
from dlspec.ops.rules import check_float, check_int, require_equal, text
from dlspec.ops.shape import Unsqueeze
from dlspec.ops.whole import EXPONENTIAL, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder

TENSORS = ("x", "target")


def _mean(x: Term) -> Term:
    return x.apply(Mean(tuple(range(x.value.type.rank))))


def _alike(b: LayerBuilder, name: str, x: Value, target: Value) -> None:
    check_float(b, name, x.type)
    message = f"{name}: {text(x.type.shape)} and {text(target.type.shape)} differ"
    if x.type.rank != target.type.rank:
        b.fail(RANK, message)
    for one, other in zip(x.type.shape, target.type.shape, strict=True):
        require_equal(b, one, other, message)


def _pair(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any]
) -> tuple[Term, Term, tuple[int, ...]]:
    """x and target as floats of one shape, and the axes of one example."""
    x, target = tensors["x"], tensors["target"]
    _alike(b, name, x, target)
    if x.type.rank < 2:
        b.fail(RANK, f"{name} needs a batch of arrays, not {text(x.type.shape)}")
    if target.type.dtype is not x.type.dtype:
        target = b.emit(Cast(x.type.dtype), target)
    return Term(b, x), Term(b, target), tuple(range(1, x.type.rank))


def _rmse(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, target = tensors["x"], tensors["target"]
    _alike(b, "rmse", x, target)
    return _mean((Term(b, x) - Term(b, target)).square()).apply(Sqrt()).value


def _perplexity(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(Exp(), b.emit(CrossEntropy(), tensors["logits"], tensors["label"]))


def _top_k(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    logits, label = tensors["logits"], tensors["label"]
    name = "top_k_accuracy"
    check_int(b, name, "the labels", label.type)
    message = f"{name}: {text(label.type.shape)} does not label {text(logits.type.shape)}"
    if logits.type.rank != label.type.rank + 1:
        b.fail(RANK, message)
    for one, other in zip(logits.type.shape, label.type.shape, strict=False):
        require_equal(b, one, other, message)
    k = arg.dim(b, name, statics["k"])
    arg.at_least(b, name, "`k`", (k,), 1)
    own = b.emit(TakeAlong(-1), logits, b.emit(Unsqueeze((-1,)), label))
    above = b.emit(Cast(logits.type.dtype), b.emit(Greater(), logits, own))
    count = b.emit(Sum((-1,)), above)
    bound = b.emit(Constant(k, logits.type.dtype))
    return _mean(Term(b, b.emit(Cast(DType.FLOAT), b.emit(Less(), count, bound)))).value


def _psnr(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, target, axes = _pair(b, "psnr", tensors)
    error = (x - target).square().apply(Mean(axes))
    top = x.static(arg.number(b, statics["peak"])).square()
    return (_mean((top / error).apply(Log())) * (10.0 / log(10.0))).value


def _overlap(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Term, Term, Term]:
    """The common part, the sum of both sizes of each example, and where both are empty."""
    x, target, axes = _pair(b, name, tensors)
    said = x.apply(Greater(), x.static(arg.number(b, statics["threshold"])))
    said = said.apply(Cast(x.value.type.dtype))
    common = (said * target).apply(Sum(axes))
    sizes = (said + target).apply(Sum(axes))
    return common, sizes, sizes == 0.0


def _share(common: Term, whole: Term, empty: Term) -> Value:
    one = whole.like(1.0)
    return _mean(empty.where(one, common / empty.where(one, whole))).value


def _iou(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    common, sizes, empty = _overlap(b, "iou", tensors, statics)
    return _share(common, sizes - common, empty)


def _dice(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    common, sizes, empty = _overlap(b, "dice_score", tensors, statics)
    return _share(common * 2.0, sizes, empty)


_THRESHOLD = StaticParam("threshold", 0.5, arg.NUMBER)

BUILTINS = (
    Builtin("rmse", TENSORS, _rmse, doc="The root of the mean of (x - target)².", whole=ROOT),
    Builtin(
        "perplexity",
        ("logits", "label"),
        _perplexity,
        doc="exp of the cross-entropy of logits and integer labels.",
        whole=EXPONENTIAL,
    ),
    Builtin(
        "top_k_accuracy",
        ("logits", "label"),
        _top_k,
        (StaticParam("k", Dim.const(5), ("int",)),),
        doc="The share of labels that fewer than k logits exceed; classes on the last axis.",
    ),
    Builtin(
        "psnr",
        TENSORS,
        _psnr,
        (StaticParam("peak", 1.0, arg.NUMBER),),
        doc="10 log10(peak² / mean (x - target)²) of each example, in decibels; their mean.",
    ),
    Builtin(
        "iou",
        TENSORS,
        _iou,
        (_THRESHOLD,),
        doc="Intersection over union of x > threshold and a target of 0 and 1; mean of examples.",
    ),
    Builtin(
        "dice_score",
        TENSORS,
        _dice,
        (_THRESHOLD,),
        doc="Twice the intersection over the sum of sizes, as `iou`; mean of examples.",
    ),
)
