"""The built-ins of the language by name. A family's module is imported when a name of it is
asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.ops.base import Builtin

FAMILIES: dict[str, tuple[str, ...]] = {
    "elementwise": (
        "exp",
        "log",
        "log1p",
        "expm1",
        "sqrt",
        "rsqrt",
        "square",
        "reciprocal",
        "abs",
        "sign",
        "floor",
        "ceil",
        "round",
        "sin",
        "cos",
        "erf",
        "logical_not",
        "stop_gradient",
        "maximum",
        "minimum",
        "pow",
        "logical_xor",
        "where",
        "clip",
        "cast",
    ),
    "activations": (
        "identity",
        "relu",
        "relu6",
        "sigmoid",
        "log_sigmoid",
        "tanh",
        "softplus",
        "softsign",
        "selu",
        "silu",
        "swish",
        "mish",
        "hard_tanh",
        "hard_sigmoid",
        "hard_swish",
        "step",
        "heaviside",
        "leaky_relu",
        "elu",
        "gelu",
        "softmax",
        "log_softmax",
    ),
    "reduce": (
        "sum",
        "mean",
        "max",
        "min",
        "prod",
        "amax",
        "amin",
        "logsumexp",
        "all",
        "any",
        "var",
        "std",
        "argmax",
        "argmin",
        "cumsum",
        "cumprod",
        "logcumsumexp",
    ),
    "shape": (
        "reshape",
        "flatten",
        "transpose",
        "unsqueeze",
        "squeeze",
        "concat",
        "stack",
        "split",
        "broadcast_to",
        "flip",
        "center_crop",
        "arange",
        "zeros",
        "ones",
    ),
    "linalg": (
        "bilinear",
        "dense",
        "matmul",
        "einsum",
    ),
    "attention": ("attention",),
    "position": (
        "sinusoidal_positions",
        "rotary",
        "alibi",
    ),
    "creation": (
        "full",
        "zeros_like",
        "ones_like",
        "eye",
        "linspace",
        "causal_mask",
        "tril",
        "triu",
    ),
    "rearrange": (
        "roll",
        "tile",
        "repeat_interleave",
        "unbind",
        "chunk",
        "expand",
        "swapaxes",
        "moveaxis",
        "diagonal",
        "trace",
        "outer",
    ),
    "ordering": (
        "argsort",
        "sort",
        "topk",
    ),
    "similarity": (
        "norm",
        "normalize",
        "cosine_similarity",
        "pairwise_distance",
        "quantize",
        "straight_through",
    ),
    "conv": ("conv", "convolve"),
    "response": ("local_response_norm", "pixel_norm", "minibatch_std"),
    "conv_transpose": ("conv_transpose",),
    "padding": ("pad",),
    "resize": (
        "resize",
        "upsample",
        "adaptive_avg_pool",
        "pixel_shuffle",
        "pixel_unshuffle",
    ),
    "pool": (
        "max_pool",
        "avg_pool",
        "global_avg_pool",
        "global_max_pool",
        "adaptive_max_pool",
        "lp_pool",
    ),
    "norm": ("batch_norm",),
    "layernorm": ("layer_norm", "rms_norm", "group_norm", "instance_norm"),
    "random": (
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "drop_path",
        "bernoulli",
        "gumbel",
        "gumbel_softmax",
        "dropout",
        "normal",
        "uniform",
    ),
    "indexing": (
        "embedding",
        "one_hot",
        "take",
        "take_along",
        "gather",
        "index_select",
        "scatter_add",
        "index_add",
        "masked_fill",
    ),
    "loss": (
        "mse",
        "mae",
        "bce_with_logits",
        "bce",
        "huber",
        "cross_entropy",
        "accuracy",
        "binary_accuracy",
    ),
}
_FAMILY = {name: family for family, names in FAMILIES.items() for name in names}


def find(name: str) -> Builtin | None:
    """The built-in of this name, or None."""
    family = _FAMILY.get(name)
    return _load(family)[name] if family is not None else None


def names() -> Sequence[str]:
    """The names of all built-ins, sorted."""
    return sorted(_FAMILY)


@cache
def _load(family: str) -> dict[str, Builtin]:
    module = import_module(f"dlspec.ops.{family}")
    return {builtin.name: builtin for builtin in module.BUILTINS}
