"""Class losses of probabilities and of log-probabilities, and weighted binary cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.dims import Dim
from dlspec.ir.static import Known, plain
from dlspec.ops import arguments as arg
from dlspec.ops.activations import LogSoftmax, Softplus
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import (
    Cast,
    Clip,
    Constant,
    Log,
    NotEqual,
    StopGradient,
    Term,
    Where,
)
from dlspec.ops.indexing import Take, TakeAlong
from dlspec.ops.loss import (
    REDUCTION,
    check_class_labels,
    check_class_weight,
    check_mask,
    check_pair,
    check_same_shape,
    reduce_loss,
    reduction_of,
)
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import axis_of, broadcast, check_float, check_int
from dlspec.ops.shape import Squeeze, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


def soft_cross_entropy(
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
    smoothing: float | Known,
    reduction: str,
) -> Value:
    """-Σ w[k] t[k] ln softmax(x)[k] of probabilities t, of which smoothing ε makes
    (1 - ε) t + ε / K; "mean" divides by the number of examples that count."""
    name = "cross_entropy"
    logits, target = tensors["logits"], tensors["label"]
    weight, mask = tensors["weight"], tensors["mask"]
    if plain(statics["ignore"]) is not None:
        help = "`mask` says which examples count"
        b.fail(BAD_ARGUMENT, f"{name}: probabilities have no label to ignore", help=help)
    check_float(b, name, logits.type, target.type)
    check_same_shape(b, name, logits.type, target.type)
    axis = axis_of(arg.axis(b, name, statics["axis"], logits.type.rank), logits.type.rank)
    classes = logits.type.shape[axis]
    t, logs = Term(b, target), Term(b, b.emit(LogSoftmax(axis), logits))
    if isinstance(smoothing, Known) or smoothing != 0.0:
        share = t.static(smoothing)
        t = t * (1.0 - share) + share / classes
    if weight is not None:
        check_class_weight(b, name, weight.type, classes)
        new = tuple(i for i in range(logits.type.rank) if i != axis)
        flat = b.emit(StopGradient(), weight)
        t = t * Term(b, b.emit(Unsqueeze(new), flat) if new else flat)
    loss = -(t * logs).apply(Sum((axis,)))
    return _masked(b, name, loss, mask, reduction)


def _masked(b: LayerBuilder, name: str, loss: Term, mask: Value | None, reduction: str) -> Value:
    """Reduced over the elements whose mask is true; 0 where none is."""
    if mask is None:
        return reduce_loss(b, loss, reduction)
    check_mask(b, name, mask.type, loss.value.type)
    kept = Term(b, mask).where(loss, loss.like(0.0))
    if reduction != "mean":
        return reduce_loss(b, kept, reduction)
    every = Sum(tuple(range(loss.value.type.rank)))
    count = Term(b, b.emit(Cast(loss.value.type.dtype), mask)).apply(every)
    return (kept.apply(every) / (count == 0.0).where(count.like(1.0), count)).value


def _nll(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    logs, label, weight = tensors["x"], tensors["label"], tensors["weight"]
    reduction = reduction_of(b, "nll", statics)
    check_float(b, "nll", logs.type)
    check_int(b, "nll", "the labels", label.type)
    axis = axis_of(arg.axis(b, "nll", statics["axis"], logs.type.rank), logs.type.rank)
    check_class_labels(b, "nll", logs.type, label.type, axis)
    valid: Value | None = None
    if plain(statics["ignore"]) is not None:
        ignored = arg.dim(b, "nll: ignore", statics["ignore"])
        valid = b.emit(NotEqual(), label, b.emit(Constant(ignored, label.type.dtype)))
        label = b.emit(Where(), valid, label, b.constant(0, like=label))
    index = b.emit(Unsqueeze((axis,)), label)
    loss = -Term(b, b.emit(Squeeze((axis,)), b.emit(TakeAlong(axis), logs, index)))
    if weight is None:
        return _masked(b, "nll", loss, valid, reduction)
    check_class_weight(b, "nll", weight.type, logs.type.shape[axis])
    each = Term(b, b.emit(Take(0), b.emit(StopGradient(), weight), label))
    if valid is not None:
        each = Term(b, valid).where(each, each.like(0.0))
    loss = loss * each
    if reduction != "mean":
        return reduce_loss(b, loss, reduction)
    every = Sum(tuple(range(label.type.rank)))
    total = each.apply(every)
    return (loss.apply(every) / (total == 0.0).where(total.like(1.0), total)).value


def weighted_bce(
    b: LayerBuilder, tensors: Mapping[str, Any], reduction: str, logits: bool
) -> Value:
    """Binary cross-entropy with a weight of each element, and of the elements whose target is 1;
    the mean is over the elements, whatever they weigh (torch)."""
    name = "bce_with_logits" if logits else "bce"
    x, target = tensors["x"], tensors["target"]
    check_pair(b, name, x.type, target.type)
    p, t = Term(b, x), Term(b, target)
    if logits:
        yes, no = (-p).apply(Softplus()), p.apply(Softplus())
    else:
        yes, no = (-q.apply(Log()).apply(Clip(-100.0)) for q in (p, 1.0 - p))
    positive = tensors.get("pos_weight")
    if positive is not None:
        yes = yes * factor(b, name, "pos_weight", x, positive)
    loss = t * yes + (1.0 - t) * no
    if tensors["weight"] is not None:
        loss = loss * factor(b, name, "weight", x, tensors["weight"])
    return reduce_loss(b, loss, reduction)


def factor(b: LayerBuilder, name: str, what: str, x: Value, weight: Value) -> Term:
    """A weight that broadcasts to x, and does not widen it."""
    check_float(b, f"{name}: {what}", x.type, weight.type)
    shape = broadcast(b, f"{name}: {what}", x.type.shape, weight.type.shape)
    if shape != x.type.shape:
        b.fail(BAD_ARGUMENT, f"{name}: {what} {weight.type} is wider than the input {x.type}")
    return Term(b, weight)


BUILTINS = (
    Builtin(
        "nll",
        ("x", "label"),
        _nll,
        (
            StaticParam("ignore", None, ("int", "none")),
            StaticParam("axis", Dim.const(-1), ("int",)),
            REDUCTION,
        ),
        optional=("weight",),
        doc="-x[label] of log-probabilities x; the mean divides by the labels' weights.",
    ),
)
