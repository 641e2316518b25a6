"""Torch's functions with weights, and of tokens, as our layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .calls import Call, Mapped, static, written
from .images import arguments, batched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

NO_AXES = "a scalar has no axes"
NEGATIVE_EPS = "eps is not negative"
RANDOM = "random draws are no one's but the library's"


NAMES = ("weight", "bias", "running_mean", "running_var")


def layer(name: str, x: Tensor, weights: Sequence[Tensor | None], named: dict[str, Any]) -> Call:
    made = written(name, x, named=named)
    made.weights = {n: w for n, w in zip(NAMES, weights, strict=False) if w is not None}
    return made


def linear(sample: Any) -> Mapped:
    weight, bias = (*sample.args, None)[:2]
    if weight.ndim == 1:
        return "a layer has a weight matrix"
    named = {"units": weight.shape[0], "bias": bias is not None}
    return layer("dense", sample.input, [weight, bias], named)


def bilinear(sample: Any) -> Mapped:
    other, weight, bias = (*sample.args, None)[:3]
    made = written("bilinear", sample.input, other, named={"units": weight.shape[0]})
    none = torch.zeros(weight.shape[0], dtype=weight.dtype)
    made.weights = {"weight": weight, "bias": none if bias is None else bias}
    return made


def trailing(name: str) -> Callable[[Any], Mapped]:
    """layer_norm, rms_norm: over the last axes."""

    def call(sample: Any) -> Mapped:
        names = ("shape", "weight", "bias", "eps") if name == "layer_norm" else None
        given = arguments(sample, *(names or ("shape", "weight", "eps")))
        eps = given.get("eps", 1e-5 if name == "layer_norm" else torch.finfo(torch.float64).eps)
        if eps < 0:
            return NEGATIVE_EPS
        weight, bias = given.get("weight"), given.get("bias")
        axes = [-i for i in range(len(given["shape"]), 0, -1)]
        named: dict[str, Any] = {"axis": axes, "eps": eps, "scale": weight is not None}
        if name == "layer_norm":
            named["shift"] = bias is not None
        return layer(name, sample.input, [weight, bias], named)

    return call


def group_norm(sample: Any) -> Mapped:
    given = arguments(sample, "groups", "weight", "bias", "eps")
    weight, bias, eps = given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
    if eps < 0:
        return NEGATIVE_EPS
    flags = {"scale": weight is not None, "shift": bias is not None}
    named = {"groups": given["groups"], "eps": eps, **flags}
    return layer("group_norm", sample.input, [weight, bias], named)


def instance_norm(sample: Any) -> Mapped:
    given = sample.kwargs
    weight, bias, eps = given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
    if not given.get("use_input_stats", True):
        return "instance_norm keeps no running statistics"
    flags = {"scale": weight is not None, "shift": bias is not None}
    return layer("instance_norm", sample.input, [weight, bias], {"eps": eps, **flags})


def batch_norm(sample: Any) -> Mapped:
    mean, var, weight, bias = sample.args
    if sample.kwargs.get("training"):
        return "predict is inference: tests of training compare the batch's statistics"
    if sample.input.ndim < 2:
        return "the channels are on axis 1"
    flags = {"scale": weight is not None, "shift": bias is not None}
    named = {"eps": sample.kwargs.get("eps", 1e-5), **flags}
    return layer("batch_norm", sample.input, [weight, bias, mean, var], named)


def embedding(sample: Any) -> Mapped:
    table, index = sample.input, sample.args[0]
    given = sample.kwargs
    if given.get("max_norm") is not None:
        return "looking up changes no table: max_norm"
    if given.get("scale_grad_by_freq"):
        return "a gradient is not divided by how often a row is used"
    if table.ndim != 2:
        return "a table is [count, size] by its two arguments"
    named: dict[str, Any] = {"count": table.shape[0], "size": table.shape[1]}
    if given.get("padding_idx") is not None:
        named["padding_index"] = given["padding_idx"] % table.shape[0]
    return layer("embedding", index, [table], named)


def one_hot(sample: Any) -> Mapped:
    if sample.kwargs["num_classes"] < 0:
        return "the number of classes is stated"
    return written("one_hot", sample.input, named={"classes": sample.kwargs["num_classes"]})


def attention(sample: Any) -> Mapped:
    given = arguments(sample, "key", "value", "attn_mask")
    q, k, v = sample.input, given["key"], given["value"]
    if given.get("dropout_p"):
        return RANDOM
    named: dict[str, Any] = {"causal": given.get("is_causal", False)}
    mask = given.get("attn_mask")
    if mask is not None:
        named["mask" if mask.dtype is torch.bool else "bias"] = mask
    call = written("attention", q, k, v, named=named)
    if q.shape[:-2] != k.shape[:-2] and not given.get("enable_gqa"):
        lead = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        for i, part in enumerate((q, k, v)):
            shape = static((*lead, *part.shape[-2:]))
            call.text = call.text.replace(f"{{{i}}}", f"broadcast_to({{{i}}}, {shape})", 1)
        call.notes = ("a broadcast of batches is written out",)
    return call


def dropout(name: str, rank: int | None) -> Callable[[Any], Mapped]:
    def call(sample: Any) -> Mapped:
        if sample.kwargs.get("training", True) and sample.kwargs.get("p", 0.5):
            return RANDOM
        named = {"p": sample.kwargs.get("p", 0.5)}
        if named["p"] == 1 and "alpha" in name:
            return "with nothing kept there is no variance to restore: p is below 1"
        if rank is None:
            return written(name, sample.input, named=named)
        return batched(lambda x: written(name, x, named=named), sample.input, rank)

    return call


def prelu(sample: Any) -> Mapped:
    x, (weight,) = sample.input, (*sample.args, *sample.kwargs.values())
    if not x.ndim and weight.numel() == 1:
        return NO_AXES
    named = {"per_channel": weight.numel() > 1}
    return layer("prelu", x, [weight.reshape(-1)], named)


def rrelu(sample: Any) -> Mapped:
    if sample.kwargs.get("training"):
        return RANDOM
    named = {
        {"lower": "low", "upper": "high"}[k]: v for k, v in sample.kwargs.items() if k != "training"
    }
    return written("rrelu", sample.input, named=named)


def feature_alpha_dropout(sample: Any) -> Mapped:
    if sample.input.ndim < 2:
        return "the channels are on axis 1"
    return dropout("feature_alpha_dropout", None)(sample)


def normalize(sample: Any) -> Mapped:
    if not sample.input.ndim:
        return NO_AXES
    named = {{"dim": "axis"}.get(k, k): v for k, v in sample.kwargs.items()}
    return written("normalize", sample.input, named={"axis": 1, **named})


def pair(name: str, **renamed: str) -> Callable[[Any], Mapped]:
    """cosine_similarity, pairwise_distance."""

    def call(sample: Any) -> Mapped:
        x, y = sample.input, sample.args[0]
        if not x.ndim:
            return NO_AXES
        named = {renamed.get(k, k): v for k, v in sample.kwargs.items()}
        if name == "cosine_similarity":
            named = {"axis": 1, **named}
        return written(name, x, y, named=named)

    return call


def written_in_the_language(_: Any) -> Mapped:
    return "MultiHead and CTC of `std` are written in the language, and have their own tests"


F = "nn.functional."
FUNCTIONS: dict[str, Callable[[Any], Mapped]] = {
    F + "linear": linear,
    F + "bilinear": bilinear,
    F + "layer_norm": trailing("layer_norm"),
    F + "rms_norm": trailing("rms_norm"),
    F + "group_norm": group_norm,
    F + "instance_norm": instance_norm,
    F + "batch_norm": batch_norm,
    F + "embedding": embedding,
    F + "one_hot": one_hot,
    F + "scaled_dot_product_attention": attention,
    F + "dropout": dropout("dropout", None),
    F + "dropout2d": dropout("dropout2d", 4),
    F + "dropout3d": dropout("dropout3d", 5),
    F + "alpha_dropout": dropout("alpha_dropout", None),
    F + "feature_alpha_dropout": feature_alpha_dropout,
    F + "ctc_loss": written_in_the_language,
    F + "multi_head_attention_forward": written_in_the_language,
    F + "prelu": prelu,
    F + "rrelu": rrelu,
    F + "normalize": normalize,
    F + "cosine_similarity": pair("cosine_similarity", dim="axis"),
    F + "pairwise_distance": pair("pairwise_distance", keepdim="keepdims"),
}
