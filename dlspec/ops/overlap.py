"""Losses of segmentation and of rare classes: overlap of masks, focal loss."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.dims import Dim
from dlspec.ops import arguments as arg
from dlspec.ops.activations import LogSoftmax, Sigmoid, Softplus
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Term
from dlspec.ops.indexing import TakeAlong
from dlspec.ops.loss import (
    REDUCTION,
    check_class_labels,
    check_pair,
    reduce_loss,
    reduction_of,
)
from dlspec.ops.reduce import Sum
from dlspec.ops.regression import pair_loss
from dlspec.ops.rules import axis_of, check_float, check_int, check_rank
from dlspec.ops.shape import Squeeze, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


def _overlap(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    """1 - (both + smooth) / (both + α false positives + β false negatives + smooth), of each
    example: dice has α = β = 1/2, jaccard 1."""
    x, target = tensors["x"], tensors["target"]
    reduction = reduction_of(b, name, statics)
    check_pair(b, name, x.type, target.type)
    check_rank(b, name, x.type, 1)
    p, t = Term(b, x), Term(b, target)
    inside = Sum(tuple(range(1, x.type.rank)))
    both = (p * t).apply(inside)
    alpha, beta = (
        both.static(arg.number(b, statics[key])) if key in statics else both.like(share)
        for key, share in (("alpha", _SHARE[name]), ("beta", _SHARE[name]))
    )
    wrong = alpha * (p * (1.0 - t)).apply(inside) + beta * ((1.0 - p) * t).apply(inside)
    smooth = both.static(arg.number(b, statics["smooth"]))
    return reduce_loss(b, 1.0 - (both + smooth) / (both + wrong + smooth), reduction)


_SHARE = {"dice": 0.5, "jaccard": 1.0, "tversky": 0.5}


def _binary_focal(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    gamma, alpha = _focus(b, "binary_focal", statics)
    p = x.apply(Sigmoid())
    loss = x.apply(Softplus()) - x * t
    wrong = p * (1.0 - t) + (1.0 - p) * t
    loss = loss * wrong ** x.static(gamma)
    if alpha is None:
        return loss
    share = x.static(alpha)
    return loss * (share * t + (1.0 - share) * (1.0 - t))


def _focus(b: LayerBuilder, name: str, statics: Mapping[str, Any]) -> tuple[Any, Any]:
    from dlspec.ir.static import plain

    gamma = arg.number(b, statics["gamma"])
    if arg.bare(b, gamma) < 0:
        b.fail(BAD_ARGUMENT, f"{name}: gamma is {arg.bare(b, gamma)}, but must not be negative")
    if "alpha" not in statics or plain(statics["alpha"]) is None:
        return gamma, None
    alpha = arg.number(b, statics["alpha"])
    if not 0 <= arg.bare(b, alpha) <= 1:
        b.fail(BAD_ARGUMENT, f"{name}: alpha is {arg.bare(b, alpha)}, not between 0 and 1")
    return gamma, alpha


def _focal(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    logits, label = tensors["logits"], tensors["label"]
    reduction = reduction_of(b, "focal", statics)
    gamma, _ = _focus(b, "focal", statics)
    check_float(b, "focal", logits.type)
    check_int(b, "focal", "the labels", label.type)
    axis = axis_of(arg.axis(b, "focal", statics["axis"], logits.type.rank), logits.type.rank)
    check_class_labels(b, "focal", logits.type, label.type, axis)
    logs = b.emit(LogSoftmax(axis), logits)
    index = b.emit(Unsqueeze((axis,)), label)
    own = Term(b, b.emit(Squeeze((axis,)), b.emit(TakeAlong(axis), logs, index)))
    loss = -own * (1.0 - own.exp()) ** own.static(gamma)
    return reduce_loss(b, loss, reduction)


_SMOOTH = StaticParam("smooth", 1.0, arg.NUMBER)
_GAMMA = StaticParam("gamma", 2.0, arg.NUMBER)


def _mask_loss(name: str, doc: str, *extra: StaticParam) -> Builtin:
    apply = partial(_overlap, name)
    return Builtin(name, ("x", "target"), apply, (*extra, _SMOOTH, REDUCTION), doc=doc)


BUILTINS = (
    _mask_loss(
        "dice",
        "1 - (2 Σ x t + s) / (Σ x + Σ t + s) of probabilities x, for each example (s = 2 smooth).",
    ),
    _mask_loss("jaccard", "1 - (Σ x t + smooth) / (Σ x + Σ t - Σ x t + smooth), for each example."),
    _mask_loss(
        "tversky",
        "1 - (both + smooth) / (both + alpha false positives + beta false negatives + smooth).",
        StaticParam("alpha", 0.5, arg.NUMBER),
        StaticParam("beta", 0.5, arg.NUMBER),
    ),
    pair_loss(
        "binary_focal",
        _binary_focal,
        "Binary cross-entropy of logits x, times (1 - p of the truth)^gamma (Lin et al. 2017).",
        (_GAMMA, StaticParam("alpha", 0.25, (*arg.NUMBER, "none"))),
    ),
    Builtin(
        "focal",
        ("logits", "label"),
        _focal,
        (_GAMMA, StaticParam("axis", Dim.const(-1), ("int",)), REDUCTION),
        doc="Cross-entropy, times (1 - p of the label)^gamma.",
    ),
)
