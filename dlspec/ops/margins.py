"""Losses of scores and of embeddings that keep a margin, and contrastive losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.activations import LogSigmoid, Relu, Softplus
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Abs, Cast, Sqrt, StopGradient, Term
from dlspec.ops.indexing import OneHot, TakeAlong
from dlspec.ops.linalg import MatMul
from dlspec.ops.loss import (
    REDUCTION,
    CrossEntropy,
    check_pair,
    check_same_shape,
    reduce_loss,
    reduction_of,
)
from dlspec.ops.reduce import Sum
from dlspec.ops.regression import pair_loss
from dlspec.ops.rules import (
    check_float,
    check_int,
    check_rank,
    require_equal,
    require_positive,
    text,
)
from dlspec.ops.shape import Arange, Transpose, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder

Given = "Mapping[str, Any]"
LAST = (-1,)


def _hinge(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    return (x.static(arg.number(b, statics["margin"])) - x * t).apply(Relu())


def _squared_hinge(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    return _hinge(b, x, t, statics).square()


def _hinge_embedding(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    margin = x.static(arg.number(b, statics["margin"]))
    zero = x.like(0.0)
    return (
        (t == 1.0).where(x, zero)
        + (t == -1.0).where((margin - x).apply(Relu()), zero)
        + ((t * t == 1.0).where(zero, x + (margin - x).apply(Relu())))
    )


def _soft_margin(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    return (-x * t).apply(Softplus())


def _contrastive(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    apart = (x.static(arg.number(b, statics["margin"])) - x).apply(Relu()).square()
    return t * x.square() + (1.0 - t) * apart


def _margin_ranking(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    first, second, target = (tensors[key] for key in ("first", "second", "target"))
    reduction = reduction_of(b, "margin_ranking", statics)
    check_pair(b, "margin_ranking", first.type, target.type)
    check_float(b, "margin_ranking", first.type, second.type)
    check_same_shape(b, "margin_ranking", first.type, second.type)
    gap = Term(b, first) - Term(b, second)
    margin = gap.static(arg.number(b, statics["margin"]))
    return reduce_loss(b, (margin - Term(b, target) * gap).apply(Relu()), reduction)


def _rows(b: LayerBuilder, name: str, x: Value, label: Value) -> Dim:
    """Scores [N, C] and integer labels [N]; gives C."""
    check_float(b, name, x.type)
    check_int(b, name, "the labels", label.type)
    if x.type.rank != 2 or label.type.rank != 1:
        b.fail(
            RANK,
            f"{name}: scores {text(x.type.shape)} and labels {text(label.type.shape)}",
            help="scores are [N, classes], labels [N]",
        )
    message = f"{name}: {x.type.shape[0]} rows and {label.type.shape[0]} labels"
    require_equal(b, x.type.shape[0], label.type.shape[0], message)
    return x.type.shape[1]


def _multi_margin(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, label, weight = tensors["x"], tensors["label"], tensors["weight"]
    reduction = reduction_of(b, "multi_margin", statics)
    classes = _rows(b, "multi_margin", x, label)
    require_positive(b, classes, f"multi_margin: {text(x.type.shape)} has no classes")
    power = arg.bare(b, statics["p"])
    if power not in (1, 2):
        b.fail(BAD_ARGUMENT, f"multi_margin: p is {power}, but must be 1 or 2")
    scores, index = Term(b, x), b.emit(Unsqueeze(LAST), label)
    own = Term(b, b.emit(TakeAlong(-1), x, index))
    margin = scores.static(arg.number(b, statics["margin"]))
    each = (margin - own + scores).apply(Relu())
    each = each.square() if power == 2 else each
    if weight is not None:
        each = each * _weights_of(b, "multi_margin", weight, label, classes)
    others = 1.0 - Term(b, b.emit(OneHot(classes, x.type.dtype), label))
    return reduce_loss(b, (each * others).apply(Sum(LAST)) / classes, reduction)


def _weights_of(b: LayerBuilder, name: str, weight: Value, label: Value, classes: Dim) -> Term:
    """The weight of each label's class, as [N, 1]."""
    from dlspec.ops.indexing import Take

    check_float(b, name, weight.type)
    check_rank(b, name, weight.type, 1, "weight")
    message = f"{name}: weight {text(weight.type.shape)} for {classes} classes"
    require_equal(b, weight.type.shape[0], classes, message)
    chosen = b.emit(Take(0), b.emit(StopGradient(), weight), label)
    return Term(b, b.emit(Unsqueeze(LAST), chosen))


def _multilabel_soft_margin(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    name = "multilabel_soft_margin"
    x, target, weight = tensors["x"], tensors["target"], tensors["weight"]
    reduction = reduction_of(b, name, statics)
    check_pair(b, name, x.type, target.type)
    check_rank(b, name, x.type, 1)
    scores, t = Term(b, x), Term(b, target)
    each = -(t * scores.apply(LogSigmoid()) + (1.0 - t) * (-scores).apply(LogSigmoid()))
    if weight is not None:
        each = each * Term(b, weight)
    return reduce_loss(b, each.apply(Sum(LAST)) / x.type.shape[-1], reduction)


def _distance(b: LayerBuilder, x: Value, y: Value, statics: Mapping[str, Any]) -> Term:
    """(Σ |x - y + eps|^p)^(1/p) over the last axis (torch's pairwise distance)."""
    power, eps = arg.bare(b, statics["p"]), arg.number(b, statics["eps"])
    away = Term(b, x) - Term(b, y)
    away = away + away.static(eps)
    if power == 1:
        return away.apply(Abs()).apply(Sum(LAST))
    if power == 2:
        total = away.square().apply(Sum(LAST))
        zero = total == 0.0
        return zero.where(total.like(0.0), zero.where(total.like(1.0), total).apply(Sqrt()))
    total = (away.apply(Abs()) ** power).apply(Sum(LAST))
    return total ** (1.0 / power)


def _triplet(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    anchor, positive, negative = (tensors[key] for key in ("anchor", "positive", "negative"))
    reduction = reduction_of(b, "triplet_margin", statics)
    for other in (positive, negative):
        check_float(b, "triplet_margin", anchor.type, other.type)
        check_same_shape(b, "triplet_margin", anchor.type, other.type)
    check_rank(b, "triplet_margin", anchor.type, 1)
    margin = arg.number(b, statics["margin"])
    for key in ("margin", "p"):
        if arg.bare(b, statics[key]) <= 0:
            shown = arg.bare(b, statics[key])
            b.fail(BAD_ARGUMENT, f"triplet_margin: {key} is {shown}, but must be positive")
    near, far = _distance(b, anchor, positive, statics), _distance(b, anchor, negative, statics)
    if arg.flag(statics["swap"]):
        from dlspec.ops.elementwise import Minimum

        far = far.apply(Minimum(), _distance(b, positive, negative, statics))
    return reduce_loss(b, (near - far + near.static(margin)).apply(Relu()), reduction)


def _cosine(b: LayerBuilder, x: Value, y: Value) -> Term:
    """x·y / √((|x|² + ε) (|y|² + ε)), ε = 1e-12 (torch's, in cosine_embedding_loss)."""
    left, right = Term(b, x), Term(b, y)
    dot = (left * right).apply(Sum(LAST))
    size = (left.square().apply(Sum(LAST)) + 1e-12) * (right.square().apply(Sum(LAST)) + 1e-12)
    return dot / size.apply(Sqrt())


def _cosine_embedding(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    name = "cosine_embedding"
    first, second, target = (tensors[key] for key in ("first", "second", "target"))
    reduction = reduction_of(b, name, statics)
    check_float(b, name, first.type, second.type, target.type)
    check_same_shape(b, name, first.type, second.type)
    check_rank(b, name, first.type, 1)
    similarity = _cosine(b, first, second)
    check_pair(b, name, similarity.value.type, target.type)
    t, zero = Term(b, target), similarity.like(0.0)
    apart = (similarity - similarity.static(arg.number(b, statics["margin"]))).apply(Relu())
    loss = (t == 1.0).where(1.0 - similarity, zero) + (t == -1.0).where(apart, zero)
    return reduce_loss(b, loss, reduction)


def _info_nce(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    first, second, scale = (tensors[key] for key in ("first", "second", "scale"))
    check_float(b, "info_nce", first.type, second.type)
    if first.type.rank != 2:
        b.fail(RANK, f"info_nce: {text(first.type.shape)} is not [N, D], rows of embeddings")
    check_same_shape(b, "info_nce", first.type, second.type)
    rows = [_unit(b, first), _unit(b, second)]
    turned = b.emit(Transpose((1, 0)), rows[1])
    logits = Term(b, b.emit(MatMul(), rows[0], turned))
    if scale is not None:
        check_float(b, "info_nce: scale", scale.type)
        logits = logits * Term(b, scale)
    else:
        temperature = arg.number(b, statics["temperature"])
        if arg.bare(b, temperature) <= 0:
            shown = arg.bare(b, temperature)
            b.fail(BAD_ARGUMENT, f"info_nce: temperature is {shown}, but must be positive")
        logits = logits / logits.static(temperature)
    count = first.type.shape[0]
    own = b.emit(Arange(Dim.const(0), count, Dim.const(1), DType.I64))
    loss = Term(b, b.emit(CrossEntropy(), logits.value, own))
    if not arg.flag(statics["symmetric"]):
        return loss.value
    other = b.emit(CrossEntropy(), b.emit(Transpose((1, 0)), logits.value), own)
    return ((loss + Term(b, other)) * 0.5).value


def _unit(b: LayerBuilder, x: Value) -> Value:
    """Rows divided by their length, which is not below 1e-12."""
    from dlspec.ops.elementwise import Maximum
    from dlspec.ops.reduce import Norm

    row = Term(b, x)
    size = row.apply(Norm(LAST, True))
    return (row / size.apply(Maximum(), size.like(1e-12))).value


def _multilabel_margin(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    name = "multilabel_margin"
    x, target = tensors["x"], tensors["target"]
    reduction = reduction_of(b, name, statics)
    check_float(b, name, x.type)
    if target.type.dtype is not DType.BOOL:
        from dlspec.codes import DTYPE

        have = target.type.dtype.value
        b.fail(
            DTYPE,
            f"{name}: the target is {have}, not bool",
            help="true where a row has the label: one_hot labels, added and compared with 0",
        )
    check_same_shape(b, name, x.type, target.type)
    check_rank(b, name, x.type, 1)
    require_positive(b, x.type.shape[-1], f"{name}: {text(x.type.shape)} has no classes")
    scores = Term(b, x)
    own = Term(b, b.emit(Unsqueeze(LAST), b.emit(Cast(x.type.dtype), target)))
    other = 1.0 - Term(b, b.emit(Unsqueeze((-2,)), b.emit(Cast(x.type.dtype), target)))
    rows = Term(b, b.emit(Unsqueeze(LAST), x))
    columns = Term(b, b.emit(Unsqueeze((-2,)), x))
    each = (1.0 - (rows - columns)).apply(Relu()) * own * other
    return reduce_loss(b, each.apply(Sum((-2, -1))) / scores.value.type.shape[-1], reduction)


_MARGIN_1 = (StaticParam("margin", 1.0, arg.NUMBER),)
_MARGIN_0 = (StaticParam("margin", 0.0, arg.NUMBER),)

BUILTINS = (
    pair_loss("hinge", _hinge, "max(0, margin - target x), targets -1 and 1.", _MARGIN_1),
    pair_loss("squared_hinge", _squared_hinge, "max(0, margin - target x)².", _MARGIN_1),
    pair_loss(
        "hinge_embedding",
        _hinge_embedding,
        "A distance x where the target is 1, max(0, margin - x) where it is -1.",
        _MARGIN_1,
    ),
    pair_loss("soft_margin", _soft_margin, "ln(1 + e^(-target x)), targets -1 and 1."),
    pair_loss(
        "contrastive",
        _contrastive,
        "target x² + (1 - target) max(0, margin - x)² of distances x (Hadsell et al. 2006).",
        _MARGIN_1,
    ),
    Builtin(
        "margin_ranking",
        ("first", "second", "target"),
        _margin_ranking,
        (*_MARGIN_0, REDUCTION),
        scalars=("target",),
        doc="max(0, margin - target (first - second)).",
    ),
    Builtin(
        "multi_margin",
        ("x", "label"),
        _multi_margin,
        (StaticParam("p", Dim.const(1), arg.NUMBER), *_MARGIN_1, REDUCTION),
        optional=("weight",),
        doc="Σ max(0, margin - x[label] + x[j])^p / classes over the other classes j.",
    ),
    Builtin(
        "multilabel_margin",
        ("x", "target"),
        _multilabel_margin,
        (REDUCTION,),
        doc="Σ max(0, 1 - (x[i] - x[j])) / classes, i in the bool target's labels, j not.",
    ),
    Builtin(
        "multilabel_soft_margin",
        ("x", "target"),
        _multilabel_soft_margin,
        (REDUCTION,),
        optional=("weight",),
        doc="Binary cross-entropy of logits, the mean over the last axis.",
    ),
    Builtin(
        "triplet_margin",
        ("anchor", "positive", "negative"),
        _triplet,
        (
            *_MARGIN_1,
            StaticParam("p", 2.0, arg.NUMBER),
            StaticParam("eps", 1e-6, arg.NUMBER),
            StaticParam("swap", False, arg.FLAG),
            REDUCTION,
        ),
        doc="max(0, d(anchor, positive) - d(anchor, negative) + margin).",
    ),
    Builtin(
        "cosine_embedding",
        ("first", "second", "target"),
        _cosine_embedding,
        (*_MARGIN_0, REDUCTION),
        scalars=("target",),
        doc="1 - cos where the target is 1, max(0, cos - margin) where it is -1.",
    ),
    Builtin(
        "info_nce",
        ("first", "second"),
        _info_nce,
        (
            StaticParam("temperature", 0.07, arg.NUMBER),
            StaticParam("symmetric", True, arg.FLAG),
        ),
        optional=("scale",),
        doc="Cross-entropy of the cosines of all pairs, each row's own partner the right one "
        "(CLIP, Radford et al. 2021); scale: a tensor in the place of 1 / temperature.",
    ),
)
