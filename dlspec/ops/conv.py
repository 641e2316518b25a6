"""Convolution in one to three dimensions: x [N, C, *S], weight [O, C / groups, *K]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.initialisers import bias_default, chosen, weight_default
from dlspec.ops.padding import MODES, padded_image
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import (
    ONE,
    ZERO,
    Padding,
    check_float,
    divisors,
    eq,
    product,
    refuted,
    require_equal,
    same_pairs,
    text,
    window_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes
    from dlspec.ops.rules import Pairs


@dataclass(frozen=True)
class Window(Op):
    """What convolution and its two gradients have in common.

    padding: pairs (before, after) of each spatial axis, or "same" (TensorFlow's rule).
    """

    stride: tuple[Dim, ...]
    padding: Padding
    dilation: tuple[Dim, ...]
    groups: Dim = ONE

    def pairs(self, sizes: Sequence[Dim], kernel: Sequence[Dim]) -> Pairs:
        """The padding as pairs, for an input of these spatial sizes."""
        if isinstance(self.padding, str):
            return same_pairs(sizes, kernel, self.stride, self.dilation)
        return self.padding

    def conv(self) -> Conv:
        return Conv(self.stride, self.padding, self.dilation, self.groups)

    def input_grad(self, x: TensorType) -> ConvInputGrad:
        _, channels, *size = x.shape
        return ConvInputGrad(
            self.stride, self.padding, self.dilation, self.groups, channels, tuple(size)
        )

    def weight_grad(self, weight: TensorType) -> ConvWeightGrad:
        kernel = weight.shape[2:]
        return ConvWeightGrad(self.stride, self.padding, self.dilation, self.groups, kernel)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.macs(operands, results)


@dataclass(frozen=True)
class Conv(Window):
    """y[n, o, p] = b[o] + Σ_c Σ_k W[o, c, k] x[n, c, p stride + k dilation - before]
    (cross-correlation, as in every framework). Operands: x, weight, and bias [O] or none."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, weight = operands[:2]
        dtype = check_float(shapes, "conv", *operands)
        if x.rank != weight.rank or not 3 <= x.rank <= 5:
            shapes.fail(
                RANK,
                f"conv: the input {text(x.shape)} and the weight {text(weight.shape)} do not fit",
                help="convolution takes [N, C, L], [N, C, H, W] or [N, C, D, H, W]",
            )
        channels, outputs = x.shape[1], weight.shape[0]
        if self.groups != ONE:
            for count, what in ((channels, "input"), (outputs, "output")):
                reason = f"conv: {count} {what} channels do not divide into {self.groups} groups"
                shapes.require(eq(count % self.groups, ZERO), reason, NOT_DIVISIBLE)
        message = f"conv: the weight {text(weight.shape)} does not fit the input {text(x.shape)}"
        require_equal(shapes, weight.shape[1], channels // self.groups, message)
        sizes = window_sizes(
            shapes, "conv", x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation
        )
        return (TensorType(dtype, (x.shape[0], outputs, *sizes)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, weight) = grads, operands[:2]
        if g is None:
            return (None,) * len(operands)
        dx = b.emit(self.input_grad(x.type), g, weight)
        dweight = b.emit(self.weight_grad(weight.type), x, g)
        if len(operands) == 2:
            return dx, dweight
        return dx, dweight, b.emit(Sum((0, *range(2, g.type.rank))), g)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        bias = product(results[0].shape) if len(operands) == 3 else ZERO
        return 2 * self.macs(operands, results) + bias

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(results[0].shape) * product(operands[1].shape[1:])


@dataclass(frozen=True)
class ConvInputGrad(Window):
    """The transpose of Conv in its input: from dy [N, O, *P] and weight to
    [N, channels, *size]."""

    channels: Dim = ONE
    size: tuple[Dim, ...] = ()

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        dy, weight = operands
        dtype = check_float(shapes, "conv_input_grad", dy, weight)
        return (TensorType(dtype, (dy.shape[0], self.channels, *self.size)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (dy, weight) = grads, operands
        if g is None:
            return (None, None)
        return b.emit(self.conv(), g, weight), b.emit(self.weight_grad(weight.type), g, dy)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[0].shape) * product(operands[1].shape[1:])


@dataclass(frozen=True)
class ConvWeightGrad(Window):
    """The transpose of Conv in its weight: from x and dy [N, O, *P] to [O, C / groups, *kernel]."""

    kernel: tuple[Dim, ...] = ()

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, dy = operands
        dtype = check_float(shapes, "conv_weight_grad", x, dy)
        return (TensorType(dtype, (dy.shape[1], x.shape[1] // self.groups, *self.kernel)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, dy) = grads, operands
        if g is None:
            return (None, None)
        return b.emit(self.input_grad(x.type), dy, g), b.emit(self.conv(), x, g)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[1].shape) * product(results[0].shape[1:])


# --- the language ---


def _conv(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    rank = arg.spatial_rank(b, "conv", x)
    channels, groups = statics["channels"], statics["groups"]
    arg.at_least(b, "conv", "channels", (channels,), 1)
    arg.at_least(b, "conv", "groups", (groups,), 1)
    kernel = arg.per_axis(b, "conv", "kernel", statics["kernel"], rank)
    stride = arg.per_axis(b, "conv", "stride", statics["stride"], rank)
    dilation = arg.per_axis(b, "conv", "dilation", statics["dilation"], rank)
    padding = arg.padding(b, "conv", statics["padding"], rank)
    mode = arg.word(b, "conv: padding_mode", statics["padding_mode"], ("zeros", *MODES))
    bias = arg.flag(statics["bias"])
    inputs = x.type.shape[1]
    for count, what in ((inputs, "input"), (channels, "output")):
        check_groups(b, "conv", count, what, groups)
    if mode != "zeros":
        if isinstance(padding, str):
            padding = same_pairs(x.type.shape[2:], kernel, stride, dilation)
        x = padded_image(b, x, padding, mode)
        padding = ((ZERO, ZERO),) * rank
    b.attributes(
        in_channels=inputs,
        channels=channels,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=statics["bias"],
    )
    shape = (channels, inputs // groups, *kernel)
    area = product(kernel)
    fan_in, fan_out = inputs // groups * area, channels // groups * area
    init = chosen(statics["init"], weight_default(fan_in), fan_in, fan_out)
    operands = [x, b.weight("weight", shape, init)]
    if bias:
        operands.append(b.weight("bias", (channels,), bias_default(fan_in)))
    return b.emit(Conv(stride, padding, dilation, groups), *operands)


def _convolve(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, weight, bias = tensors["x"], tensors["weight"], tensors["bias"]
    rank = arg.spatial_rank(b, "convolve", x)
    stride = arg.per_axis(b, "convolve", "stride", statics["stride"], rank)
    dilation = arg.per_axis(b, "convolve", "dilation", statics["dilation"], rank)
    padding = arg.padding(b, "convolve", statics["padding"], rank)
    groups = statics["groups"]
    arg.at_least(b, "convolve", "groups", (groups,), 1)
    operands = [x, weight]
    if bias is not None:
        if bias.type.rank != 1:
            b.fail(RANK, f"convolve: the bias {text(bias.type.shape)} is no vector")
        message = (
            f"convolve: the bias {text(bias.type.shape)} does not fit {text(weight.type.shape)}"
        )
        require_equal(b, bias.type.shape[0], weight.type.shape[0], message)
        operands.append(bias)
    return b.emit(Conv(stride, padding, dilation, groups), *operands)


def check_groups(b: LayerBuilder, name: str, count: Dim, what: str, groups: Dim) -> None:
    """groups divides the channels; an error names the divisors."""
    relation = eq(count % groups, ZERO)
    message = f"{name}: {count} {what} channels do not divide into {groups} groups"
    if refuted(b, relation):
        b.fail(NOT_DIVISIBLE, message, help=divisors(count))
    b.require(relation, message, NOT_DIVISIBLE)


_HOW = (
    StaticParam("stride", Dim.const(1), arg.INTS),
    StaticParam("padding", Dim.const(0), ("ints", "string")),
    StaticParam("dilation", Dim.const(1), arg.INTS),
    StaticParam("groups", Dim.const(1), ("int",)),
)

BUILTINS = (
    Builtin(
        "conv",
        ("x",),
        _conv,
        (
            StaticParam("channels", kinds=("int",)),
            StaticParam("kernel", kinds=arg.INTS),
            *_HOW,
            StaticParam("bias", True, arg.FLAG),
            StaticParam("init", None, ("init", "none")),
            StaticParam("padding_mode", "zeros", ("string",)),
        ),
        owns_weights=True,
        doc="Convolution over the spatial axes of [N, C, …], one to three of them.",
    ),
    Builtin(
        "convolve",
        ("x", "weight"),
        _convolve,
        _HOW,
        optional=("bias",),
        doc="Convolution with a weight [O, C / groups, …] that is given.",
    ),
)
