"""Normalisation, transposed convolution, resizing and padding with torch, for `evaluate`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec.ir.static import plain
from dlspec.ops import layernorm


def factors(op: Any, given: tuple[Tensor, ...]) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift. Ones for no scale: torch has no second derivative with a shift alone."""
    rest = iter(given)
    weight = next(rest) if op.scale else None
    bias = next(rest) if op.shift else None
    return torch.ones_like(bias) if weight is None and bias is not None else weight, bias


def layer_norm(c: Any, op: Any, x: Tensor, *given: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-len(op.axes) :], *factors(op, given), plain(op.eps))


def rms_norm(c: Any, op: Any, x: Tensor, *given: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-len(op.axes) :], factors(op, given)[0], plain(op.eps))


def norm_grad(function: Any) -> Any:
    """The gradients for x, scale and shift by torch's own."""

    def run(c: Any, op: Any, x: Tensor, dy: Tensor, *scale: Tensor) -> Any:
        inputs = [x, *scale]
        if op.shift:
            inputs.append(x.new_zeros(x.shape[-len(op.axes) :]))
        with torch.enable_grad():
            # a second graph, so that the results depend on the operands
            leaves = [t if t.requires_grad else t.detach().requires_grad_() for t in inputs]
            y = function(c, op, *leaves)
            return torch.autograd.grad(y, leaves, dy, create_graph=True)

    return run


def group_norm(c: Any, op: Any, x: Tensor, *given: Tensor) -> Tensor:
    return F.group_norm(x, c.number(op.groups), *factors(op, given), plain(op.eps))


def instance_norm(c: Any, op: Any, x: Tensor, *given: Tensor) -> Tensor:
    weight, bias = factors(op, given)
    return F.instance_norm(x, weight=weight, bias=bias, eps=plain(op.eps))


ROWS: dict[type[Any], Any] = {
    layernorm.LayerNorm: layer_norm,
    layernorm.LayerNormGrad: norm_grad(layer_norm),
    layernorm.RmsNorm: rms_norm,
    layernorm.RmsNormGrad: norm_grad(rms_norm),
    layernorm.GroupNorm: group_norm,
    layernorm.InstanceNorm: instance_norm,
}
