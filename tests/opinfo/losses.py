"""Torch's losses as ours. Where torch broadcasts prediction and target (and warns), a spec has to
say so: the sample is run with the broadcast written out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .calls import Call, Mapped, static, written
from .images import BATCHED

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BROADCAST = "a broadcast between prediction and target is written out"


def spread(call: Call, *places: int) -> Call:
    """These tensors of a call made one shape, where torch would do so."""
    tensors = [call.tensors[i] for i in places]
    shapes = [t.shape for t in tensors]
    try:
        whole = torch.broadcast_shapes(*shapes)
    except RuntimeError:
        return call
    for i, tensor in zip(places, tensors, strict=True):
        if tensor.shape != whole:
            wide = f"broadcast_to({{{i}}}, {static(tuple(whole))})"
            call.text = call.text.replace(f"{{{i}}}", wide, 1)
            call.notes = (*call.notes, BROADCAST)
    return call


def pair_loss(name: str, **renamed: str) -> Callable[[Any], Mapped]:
    """A loss of input and target; renamed: torch's keywords by ours."""

    def call(sample: Any) -> Mapped:
        target, kwargs = sample.args[0], dict(sample.kwargs)
        named = {renamed.get(k, k): v for k, v in kwargs.items() if v is not None}
        if named.get("beta") == 0:
            return "smooth_l1 has a smooth part: mae is the loss without"
        return spread(written(name, sample.input, target, named=named), 0, 1)

    return call


def several(name: str, *dropped: str) -> Callable[[Any], Mapped]:
    """A loss of several tensors of one shape."""

    def call(sample: Any) -> Mapped:
        others = [a for a in sample.args if isinstance(a, torch.Tensor)]
        named = {k: v for k, v in sample.kwargs.items() if k not in dropped}
        made = written(name, sample.input, *others, named=named)
        return spread(made, *range(len(others) + 1))

    return call


def cosine_embedding(sample: Any) -> Mapped:
    first, second, target = sample.input, *sample.args
    if first.ndim == 1:
        return single(
            written(
                "cosine_embedding", first[None], second[None], target[None], named=sample.kwargs
            )
        )
    return written("cosine_embedding", first, second, target, named=sample.kwargs)


def single(call: Call) -> Call:
    """Of tensors that were given a batch axis."""
    reduced = 'reduction = "none"' not in call.text
    call.result = (lambda y: y) if reduced else (lambda y: y[None])
    call.notes = (*call.notes, BATCHED)
    return call


def gaussian_nll(sample: Any) -> Mapped:
    x, target, var = sample.input, *sample.args
    if isinstance(var, torch.Tensor) and var.ndim == x.ndim - 1 and var.shape == x.shape[:-1]:
        var = var.unsqueeze(-1)  # of the last axis: written out with an axis of one
    return spread(written("gaussian_nll", x, target, var, named=sample.kwargs), 0, 1)


def nll(sample: Any) -> Mapped:
    named = {{"ignore_index": "ignore"}.get(k, k): v for k, v in sample.kwargs.items()}
    return classes("nll", sample.input, sample.args[0], named)


def cross_entropy(sample: Any) -> Mapped:
    x, label = sample.input, sample.args[0]
    names = {"ignore_index": "ignore", "label_smoothing": "smoothing"}
    named = {names.get(k, k): v for k, v in sample.kwargs.items()}
    if label.is_floating_point():
        if named.pop("ignore", -100) >= 0:
            return "probabilities have no index to ignore"
    elif named.get("ignore", -100) >= 0 and (label == named["ignore"]).all():
        return "the mean of no label is 0, not NaN"
    return classes("cross_entropy", x, label, named)


def classes(name: str, x: Tensor, label: Tensor, named: dict[str, Any]) -> Mapped:
    """The classes are on axis 1."""
    if x.ndim == 1:
        return single(written(name, x[None], label[None], named={**named, "axis": 1}))
    return written(name, x, label, named={**named, "axis": 1})


def multi_margin(sample: Any) -> Mapped:
    x, label = sample.input, sample.args[0]
    named = {k: v for k, v in sample.kwargs.items() if v is not None}
    if x.ndim == 0:
        x = x[None]
    if x.ndim == 1 and label.numel() == 1:
        return single(written("multi_margin", x[None], label.reshape(1), named=named))
    return written("multi_margin", x, label, named=named)


def multilabel_margin(sample: Any) -> Mapped:
    """Torch lists the labels before a -1; ours are flags."""
    x, listed = sample.input, sample.args[0]
    if listed.dtype is torch.int64:
        known = torch.cumprod(listed.reshape(-1, max(1, x.shape[-1] if x.ndim else 1)) >= 0, 1)
        rows = listed.reshape(known.shape)
        if any(len(set(row[:n].tolist())) < n for row, n in zip(rows, known.sum(1), strict=True)):
            return "a label is there or not, never twice"
        flags = torch.zeros_like(known, dtype=torch.bool)
        for row, flag, count in zip(rows, flags, known.sum(1), strict=True):
            flag[row[:count]] = True
        listed = flags.reshape(sample.args[0].shape)
    if x.ndim == 0:
        x, listed = x[None], listed[None]
    if x.ndim == 1 and listed.ndim == 1:
        return single(
            written("multilabel_margin", x[None], listed[None], named=dict(sample.kwargs))
        )
    return written("multilabel_margin", x, listed, named=dict(sample.kwargs))


def multilabel_soft_margin(sample: Any) -> Mapped:
    x, target = sample.input, sample.args[0]
    named = {k: v for k, v in sample.kwargs.items() if v is not None}
    if "weight" in named and named["weight"].ndim > 1:
        return "a class has a weight, whatever the example"
    if x.ndim == 1:
        return single(written("multilabel_soft_margin", x[None], target[None], named=named))
    return written("multilabel_soft_margin", x, target, named=named)


def kl_div(sample: Any) -> Mapped:
    named = dict(sample.kwargs)
    reduction = named.get("reduction", "mean")
    named["reduction"] = "batch_mean" if reduction == "batchmean" else reduction
    if reduction == "batchmean" and not sample.input.ndim:
        return "a scalar has no batch"
    return spread(written("kl_divergence", sample.input, sample.args[0], named=named), 0, 1)


F = "nn.functional."
FUNCTIONS: dict[str, Callable[[Any], Mapped]] = {
    F + "mse_loss": pair_loss("mse"),
    F + "l1_loss": pair_loss("mae"),
    F + "smooth_l1_loss": pair_loss("smooth_l1"),
    F + "huber_loss": pair_loss("huber"),
    F + "soft_margin_loss": pair_loss("soft_margin"),
    F + "hinge_embedding_loss": pair_loss("hinge_embedding"),
    F + "poisson_nll_loss": pair_loss("poisson_nll"),
    F + "multilabel_margin_loss": multilabel_margin,
    F + "multilabel_soft_margin_loss": multilabel_soft_margin,
    F + "binary_cross_entropy": pair_loss("bce"),
    F + "binary_cross_entropy_with_logits": pair_loss("bce_with_logits"),
    F + "kl_div": kl_div,
    F + "margin_ranking_loss": several("margin_ranking"),
    F + "triplet_margin_loss": several("triplet_margin"),
    F + "triplet_margin_with_distance_loss": several("triplet_margin", "distance_function"),
    F + "cosine_embedding_loss": cosine_embedding,
    F + "gaussian_nll_loss": gaussian_nll,
    F + "nll_loss": nll,
    F + "cross_entropy": cross_entropy,
    F + "multi_margin_loss": multi_margin,
}
