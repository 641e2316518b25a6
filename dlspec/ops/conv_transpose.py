"""Transposed convolution, torch's: x [N, C, *S], weight [C, O / groups, *K]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.conv import Window, check_groups
from dlspec.ops.initialisers import bias_default, chosen, weight_default
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import (
    ONE,
    ZERO,
    check_float,
    eq,
    le,
    product,
    require_equal,
    require_positive,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class ConvTranspose(Window):
    """The transpose of Conv in its input (Dumoulin and Visin 2016): each x[n, c, p] adds
    W[c, o, k] x[n, c, p] at p stride + k dilation - padding.

    Sizes: (n - 1) stride - before - after + dilation (k - 1) + 1 + output_padding. Operands: x,
    weight, and bias [O] or none. The padding of an axis is the same on both sides.
    """

    output_padding: tuple[Dim, ...] = ()

    def sizes(self, x: TensorType, weight: TensorType) -> tuple[Dim, ...]:
        assert not isinstance(self.padding, str)
        extents = zip(
            x.shape[2:],
            weight.shape[2:],
            self.stride,
            self.padding,
            self.dilation,
            self.output_padding,
            strict=True,
        )
        return tuple(
            (n - 1) * s - low - high + d * (k - 1) + 1 + extra
            for n, k, s, (low, high), d, extra in extents
        )

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, weight = operands[:2]
        name = "conv_transpose"
        dtype = check_float(shapes, name, *operands)
        fit = f"{name}: the weight {text(weight.shape)} does not fit the input {text(x.shape)}"
        if x.rank != weight.rank or not 3 <= x.rank <= 5:
            help = "it takes [N, C, L], [N, C, H, W] or [N, C, D, H, W]"
            shapes.fail(RANK, fit, help=help)
        require_equal(shapes, weight.shape[0], x.shape[1], fit)
        if self.groups != ONE:
            reason = f"{name}: {x.shape[1]} channels do not divide into {self.groups} groups"
            shapes.require(eq(x.shape[1] % self.groups, ZERO), reason, NOT_DIVISIBLE)
        size = self.sizes(x, weight)
        for extent in size:
            require_positive(shapes, extent, f"{name}: the padding leaves nothing of {text(size)}")
        return (TensorType(dtype, (x.shape[0], weight.shape[1] * self.groups, *size)),)

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
        dx = b.emit(self.conv(), g, weight)
        dweight = b.emit(self.weight_grad(weight.type), g, x)
        if len(operands) == 2:
            return dx, dweight
        return dx, dweight, b.emit(Sum((0, *range(2, g.type.rank))), g)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        bias = product(results[0].shape) if len(operands) == 3 else ZERO
        return 2 * self.macs(operands, results) + bias

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[0].shape) * product(operands[1].shape[1:])


def _conv_transpose(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    name = "conv_transpose"
    rank = arg.spatial_rank(b, name, x)
    channels, groups = statics["channels"], statics["groups"]
    arg.at_least(b, name, "channels", (channels,), 1)
    arg.at_least(b, name, "groups", (groups,), 1)
    kernel, stride, dilation = (
        arg.per_axis(b, name, what, statics[what], rank)
        for what in ("kernel", "stride", "dilation")
    )
    padding = arg.per_axis(b, name, "padding", statics["padding"], rank, 0)
    extra = arg.per_axis(b, name, "output_padding", statics["output_padding"], rank, 0)
    for more, s, d in zip(extra, stride, dilation, strict=True):
        if more != ZERO and d == ONE:
            reason = f"{name}: output_padding {more} is not below the stride {s}"
            b.require(le(more + 1, s), reason, BAD_ARGUMENT)
    inputs = x.type.shape[1]
    for count, what in ((inputs, "input"), (channels, "output")):
        check_groups(b, name, count, what, groups)
    b.attributes(
        in_channels=inputs,
        channels=channels,
        kernel=kernel,
        stride=stride,
        padding=padding,
        output_padding=extra,
        dilation=dilation,
        groups=groups,
        bias=statics["bias"],
    )
    shape = (inputs, channels // groups, *kernel)
    area = product(kernel)
    fan_in = channels // groups * area  # torch's, from the second axis of the weight
    init = chosen(statics["init"], weight_default(fan_in), fan_in, inputs * area)
    operands = [x, b.weight("weight", shape, init)]
    if arg.flag(statics["bias"]):
        operands.append(b.weight("bias", (channels,), bias_default(fan_in)))
    pairs = tuple((side, side) for side in padding)
    return b.emit(ConvTranspose(stride, pairs, dilation, groups, extra), *operands)


BUILTINS = (
    Builtin(
        "conv_transpose",
        ("x",),
        _conv_transpose,
        (
            StaticParam("channels", kinds=("int",)),
            StaticParam("kernel", kinds=arg.INTS),
            StaticParam("stride", Dim.const(1), arg.INTS),
            StaticParam("padding", Dim.const(0), arg.INTS),
            StaticParam("output_padding", Dim.const(0), arg.INTS),
            StaticParam("dilation", Dim.const(1), arg.INTS),
            StaticParam("groups", Dim.const(1), ("int",)),
            StaticParam("bias", True, arg.FLAG),
            StaticParam("init", None, ("init", "none")),
        ),
        owns_weights=True,
        doc="The transpose of a convolution: stride 2 doubles the image.",
    ),
)
