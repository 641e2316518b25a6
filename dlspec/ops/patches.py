"""Images as columns of patches and back, and channels in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import NOT_DIVISIBLE, RANK, SHAPE
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.rules import (
    ZERO,
    Pairs,
    check_float,
    check_rank,
    divisors,
    eq,
    product,
    refuted,
    require_equal,
    same_pairs,
    text,
    window_sizes,
)
from dlspec.ops.shape import Pad, Reshape, Transpose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Patches(Op):
    """A window that slides over the two spatial axes. padding: the same before and after."""

    kernel: tuple[Dim, ...]
    stride: tuple[Dim, ...]
    padding: tuple[Dim, ...]
    dilation: tuple[Dim, ...]

    def places(self, shapes: Shapes, name: str, size: Sequence[Dim]) -> Dim:
        """How many places the window has."""
        pairs = tuple((side, side) for side in self.padding)
        return product(
            window_sizes(shapes, name, size, self.kernel, self.stride, pairs, self.dilation)
        )

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


@dataclass(frozen=True)
class Unfold(Patches):
    """x [N, C, H, W] as columns [N, C K, L], one for each of the window's L places, of K elements
    of each channel in row-major order (torch's im2col)."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_float(shapes, "unfold", x)
        if x.rank != 4:
            shapes.fail(RANK, f"unfold: {text(x.shape)} is not [N, C, H, W]")
        places = self.places(shapes, "unfold", x.shape[2:])
        return (TensorType(x.dtype, (x.shape[0], x.shape[1] * product(self.kernel), places)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return (None,)
        fields = (self.kernel, self.stride, self.padding, self.dilation)
        return (b.emit(Fold(*fields, operands[0].type.shape[2:]), g),)


@dataclass(frozen=True)
class Fold(Patches):
    """The transpose of Unfold: columns [N, C K, L] added up at their places in [N, C, *size]."""

    size: tuple[Dim, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (columns,) = operands
        check_float(shapes, "fold", columns)
        shape, taps = columns.shape, product(self.kernel)
        if len(shape) != 3:
            shapes.fail(RANK, f"fold: {text(shape)} is not [N, C K, L], columns of patches")
        places = self.places(shapes, "fold", self.size)
        message = f"fold: {text(shape)} has {shape[2]} columns, {text(self.size)} {places} patches"
        require_equal(shapes, shape[2], places, message)
        whole = eq(shape[1] % taps, ZERO)
        message = f"fold: {shape[1]} rows do not divide into patches of {taps} elements"
        if refuted(shapes, whole):
            shapes.fail(SHAPE, message)
        shapes.require(whole, message, SHAPE)
        return (TensorType(columns.dtype, (shape[0], shape[1] // taps, *self.size)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return (None,)
        columns = b.emit(Unfold(self.kernel, self.stride, self.padding, self.dilation), g)
        return (b.emit(Reshape(operands[0].type.shape), columns),)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[0].shape)


# --- the language ---


def _window(
    b: LayerBuilder, name: str, statics: Mapping[str, Any]
) -> tuple[tuple[Dim, ...], tuple[Dim, ...], tuple[Dim, ...]]:
    kernel, stride, dilation = (
        arg.per_axis(b, name, key, statics[key], 2) for key in ("kernel", "stride", "dilation")
    )
    return kernel, stride, dilation


def _unfold(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    if x.type.rank != 4:
        b.fail(RANK, f"unfold: {text(x.type.shape)} is not [N, C, H, W]")
    kernel, stride, dilation = _window(b, "unfold", statics)
    padding = arg.padding(b, "unfold", statics["padding"], 2)
    pairs: Pairs
    if isinstance(padding, str):
        pairs = same_pairs(x.type.shape[2:], kernel, stride, dilation)
    else:
        pairs = padding
    sides = tuple(low for low, _ in pairs)
    if any(low != high for low, high in pairs):  # nobody's function pads unevenly
        low, high = ((ZERO, ZERO, *side) for side in zip(*pairs, strict=True))
        x, sides = b.emit(Pad(low, high), x), (ZERO, ZERO)
    return b.emit(Unfold(kernel, stride, sides, dilation), x)


def _fold(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    kernel, stride, dilation = _window(b, "fold", statics)
    size = arg.per_axis(b, "fold", "size", statics["size"], 2)
    padding = arg.per_axis(b, "fold", "padding", statics["padding"], 2, least=0)
    return b.emit(Fold(kernel, stride, padding, dilation, size), tensors["x"])


def _channel_shuffle(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_rank(b, "channel_shuffle", x.type, 2)
    (groups,) = arg.dims(b, "channel_shuffle: groups", statics["groups"])
    arg.at_least(b, "channel_shuffle", "groups", (groups,), 1)
    batch, channels, *rest = x.type.shape
    whole = eq(channels % groups, ZERO)
    message = f"channel_shuffle: {channels} channels do not divide into {groups} groups"
    if refuted(b, whole):
        b.fail(NOT_DIVISIBLE, message, help=divisors(channels))
    b.require(whole, message, NOT_DIVISIBLE)
    parts = b.emit(Reshape((batch, groups, channels // groups, *rest)), x)
    turned = b.emit(Transpose((0, 2, 1, *range(3, parts.type.rank))), parts)
    return b.emit(Reshape(x.type.shape), turned)


_WINDOW = (
    StaticParam("kernel", kinds=arg.INTS),
    StaticParam("stride", 1, arg.INTS),
    StaticParam("padding", 0, ("ints", "string")),
    StaticParam("dilation", 1, arg.INTS),
)

BUILTINS = (
    Builtin(
        "unfold",
        ("x",),
        _unfold,
        _WINDOW,
        doc="The patches of [N, C, H, W] as columns [N, C kernel², L] (im2col).",
    ),
    Builtin(
        "fold",
        ("x",),
        _fold,
        (StaticParam("size", kinds=arg.INTS), *_WINDOW),
        doc="Columns of patches added up to an image of the given size (col2im).",
    ),
    Builtin(
        "channel_shuffle",
        ("x",),
        _channel_shuffle,
        (StaticParam("groups", kinds=("int",)),),
        doc="The channels of the groups by turns (Zhang et al. 2018).",
    ),
)
