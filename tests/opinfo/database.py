"""Torch's own operator database (`torch.testing`), and what of it has a counterpart."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from . import elementwise, images, layers, losses

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .calls import Mapped

F = "nn.functional."
FUNCTIONS: dict[str, Callable[[Any], Mapped]] = {
    **elementwise.FUNCTIONS,
    **images.FUNCTIONS,
    **layers.FUNCTIONS,
    **losses.FUNCTIONS,
}
# operators of torch.nn.functional without a counterpart, and why
ABSENT = {
    "linear_cross_entropy": "a product and a loss: two ops",
    **{f"max_unpool{n}d": "the places of maxima are no output" for n in (1, 2, 3)},
    **{f"fractional_max_pool{n}d": "windows of random places" for n in (2, 3)},
    "embedding_bag": "bags of different lengths",
    "pdist": "all pairs as one vector",
}
TYPES = (torch.float64, torch.int64)


def type_of(op: Any) -> Any:
    """The element type in which an operator's samples are taken, or None."""
    return next((dtype for dtype in TYPES if dtype in op.dtypes), None)


VARIANTS = {op.formatted_name: op for op in op_db if op.name in FUNCTIONS and type_of(op)}


def mapped(name: str) -> Iterator[tuple[Any, Mapped]]:
    """The samples of a variant, and each as a call or the reason why not."""
    op = VARIANTS[name]
    for sample in op.sample_inputs("cpu", type_of(op)):
        yield sample, FUNCTIONS[op.name](sample)
