"""Normalisation, transposed convolution, resizing and padding with torch, for `evaluate`."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec.ir.dims import Dim
from dlspec.ir.static import plain
from dlspec.ops import layernorm, padding, resize, response
from dlspec.ops.conv_transpose import ConvTranspose


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


def conv_transpose(c: Any, op: Any, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    function = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}[x.ndim]
    sides = [low for low, _ in c.number(op.padding)]
    stride, more, dilation = map(c.number, (op.stride, op.output_padding, op.dilation))
    return function(x, w, bias, stride, sides, more, c.number(op.groups), dilation)


def resized(c: Any, op: Any, x: Tensor) -> Tensor:
    size, rank = c.number(op.size), x.ndim - 2
    if op.mode == "area":
        return F.interpolate(x, size, mode="area")
    if op.mode == "nearest":
        return F.interpolate(x, size, mode="nearest-exact")
    mode = ("linear", "bilinear", "trilinear")[rank - 1] if op.mode == "linear" else "bicubic"
    corners, smooth = op.align_corners, op.antialias
    return F.interpolate(x, size, mode=mode, align_corners=corners, antialias=smooth)


def resize_grad(c: Any, op: Any, dy: Tensor) -> Tensor:
    """The transpose, by the matrix of the linear function."""
    there = [*dy.shape[:2], *c.number(op.size)]
    back = SimpleNamespace(**{**vars(op), "size": tuple(Dim.of(n) for n in dy.shape[2:])})
    ones = torch.eye(math.prod(there[2:]), dtype=dy.dtype).reshape(-1, 1, *there[2:])
    matrix = resized(c, back, ones).flatten(1)
    return (dy.flatten(2) @ matrix.T).reshape(there)


def pad_from(c: Any, op: Any, x: Tensor) -> Tensor:
    """By the index of what stands at each place."""
    for axis, (low, high) in enumerate(zip(c.number(op.low), c.number(op.high), strict=True)):
        n = x.shape[axis]
        at = torch.arange(-low, n + high)
        match op.mode:
            case "reflect":
                at = (n - 1) - ((n - 1) - at.abs()).abs()
            case "replicate":
                at = at.clamp(0, n - 1)
            case _:
                at = at % n
        x = x.index_select(axis, at)
    return x


ROWS: dict[type[Any], Any] = {
    layernorm.LayerNorm: layer_norm,
    layernorm.LayerNormGrad: norm_grad(layer_norm),
    layernorm.RmsNorm: rms_norm,
    layernorm.RmsNormGrad: norm_grad(rms_norm),
    layernorm.GroupNorm: group_norm,
    layernorm.InstanceNorm: instance_norm,
    response.LocalResponseNorm: lambda c, op, x: F.local_response_norm(
        x, c.number(op.size), op.alpha, op.beta, op.k
    ),
    ConvTranspose: conv_transpose,
    resize.Resize: resized,
    resize.ResizeGrad: resize_grad,
    resize.PixelShuffle: lambda c, op, x: F.pixel_shuffle(x, c.number(op.factor)),
    resize.PixelUnshuffle: lambda c, op, x: F.pixel_unshuffle(x, c.number(op.factor)),
    padding.PadFrom: pad_from,
}
