"""Images of another size: interpolation, adaptive means, pixels to channels and back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.static import plain
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.rules import ZERO, check_float, eq, product, require_positive, text
from dlspec.ops.shape import Reshape, Transpose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

MODES = {"nearest": 0, "linear": 0, "bilinear": 2, "trilinear": 3, "bicubic": 2}  # and their rank


@dataclass(frozen=True)
class Resize(Op):
    """x [N, C, *S] to [N, C, *size], one axis after the other, each a product with a matrix.

    Centres of pixels are at i + 1/2 (Keys 1981 for "cubic", with a = -0.75; outside, the border
    goes on). align_corners: the first and last centres stay. antialias: the kernel is as wide as
    the pixels of the smaller image, what is outside does not count, and a = -0.5 (Pillow). "area":
    the mean from floor(i n / size) to ceil((i + 1) n / size).
    """

    size: tuple[Dim, ...]
    mode: str = "nearest"
    align_corners: bool = False
    antialias: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_float(shapes, "resize", x)
        if x.rank != len(self.size) + 2:
            shapes.fail(RANK, f"resize: {text(x.shape)} has not {len(self.size)} spatial axes")
        for extent in self.size:
            require_positive(shapes, extent, f"resize: nothing is left of {text(x.shape)}")
        return (TensorType(x.dtype, (*x.shape[:2], *self.size)),)

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
        size = operands[0].type.shape[2:]
        return (b.emit(ResizeGrad(size, self.mode, self.align_corners, self.antialias), g),)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        taps = {"nearest": 0, "area": 1, "linear": 2, "cubic": 4}[self.mode]
        return 2 * taps * len(self.size) * product(results[0].shape)


@dataclass(frozen=True)
class ResizeGrad(Resize):
    """The transpose of Resize: from dy to [N, C, *size]."""

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
        size = operands[0].type.shape[2:]
        return (b.emit(Resize(size, self.mode, self.align_corners, self.antialias), g),)


@dataclass(frozen=True)
class PixelShuffle(Composite):
    """[N, C r², H, W] to [N, C, H r, W r]: y[n, c, h r + i, w r + j] = x[n, c r² + i r + j, h, w]
    (Shi et al. 2016)."""

    factor: Dim

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        _image(shapes, "pixel_shuffle", x)
        n, c, h, w = x.shape
        r = self.factor
        message = f"pixel_shuffle: {c} channels do not divide by {r * r}"
        shapes.require(eq(c % (r * r), ZERO), message, NOT_DIVISIBLE)
        return (TensorType(x.dtype, (n, c // (r * r), h * r, w * r)),)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        n, c, h, w = operands[0].type.shape
        r = self.factor
        out = c // (r * r)
        parts = b.emit(Reshape((n, out, r, r, h, w)), operands[0])
        moved = b.emit(Transpose((0, 1, 4, 2, 5, 3)), parts)
        return (b.emit(Reshape((n, out, h * r, w * r)), moved),)


@dataclass(frozen=True)
class PixelUnshuffle(Composite):
    """The inverse of PixelShuffle: [N, C, H r, W r] to [N, C r², H, W]."""

    factor: Dim

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        _image(shapes, "pixel_unshuffle", x)
        n, c, h, w = x.shape
        r = self.factor
        for extent in (h, w):
            message = f"pixel_unshuffle: {extent} pixels do not divide by {r}"
            shapes.require(eq(extent % r, ZERO), message, NOT_DIVISIBLE)
        return (TensorType(x.dtype, (n, c * r * r, h // r, w // r)),)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        n, c, h, w = operands[0].type.shape
        r = self.factor
        parts = b.emit(Reshape((n, c, h // r, r, w // r, r)), operands[0])
        moved = b.emit(Transpose((0, 1, 3, 5, 2, 4)), parts)
        return (b.emit(Reshape((n, c * r * r, h // r, w // r)), moved),)


def _image(shapes: Shapes, name: str, x: TensorType) -> None:
    check_float(shapes, name, x)
    if x.rank != 4:
        shapes.fail(RANK, f"{name}: {text(x.shape)} is no [N, C, H, W]")


# --- the language ---


def _resize(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    rank = arg.spatial_rank(b, name, x)
    word = arg.word(b, f"{name}: mode", statics["mode"], tuple(MODES))
    if MODES[word] not in (0, rank):
        b.fail(BAD_ARGUMENT, f'{name}: mode "{word}" is for {MODES[word]} spatial axes, not {rank}')
    mode = {"nearest": "nearest", "bicubic": "cubic"}.get(word, "linear")
    corners, smooth = arg.flag(statics["align_corners"]), arg.flag(statics["antialias"])
    if mode == "nearest" and (corners or smooth):
        b.fail(BAD_ARGUMENT, f'{name}: mode "nearest" has no align_corners and no antialias')
    if corners and smooth:
        b.fail(BAD_ARGUMENT, f"{name}: align_corners and antialias exclude each other")
    if smooth and rank != 2:
        b.fail(BAD_ARGUMENT, f"{name}: antialias is for [N, C, H, W]")
    size = _size(b, name, x, statics, rank)
    return b.emit(Resize(size, mode, corners, smooth), x)


def _size(
    b: LayerBuilder, name: str, x: Value, statics: Mapping[str, Any], rank: int
) -> tuple[Dim, ...]:
    size, scale = statics.get("size"), statics["scale"]
    given = [plain(v) is not None or arg.is_sequence(v) for v in (size, scale)]
    if sum(given) != 1:
        b.fail(BAD_ARGUMENT, f"{name}: give either size or scale")
    if given[0]:
        return arg.per_axis(b, name, "size", size, rank)
    factors = arg.items(scale) if arg.is_sequence(scale) else (scale,) * rank
    if len(factors) != rank:
        b.fail(BAD_ARGUMENT, f"{name}: scale has {len(factors)} entries, the input {rank} axes")
    return tuple(_scaled(b, name, n, f) for n, f in zip(x.type.shape[2:], factors, strict=True))


def _scaled(b: LayerBuilder, name: str, extent: Dim, factor: Any) -> Dim:
    """floor(extent · factor)"""
    if isinstance(factor, Dim):
        arg.at_least(b, name, "scale", (factor,), 1)
        return extent * factor
    ratio = Fraction(arg.bare(b, factor)).limit_denominator(1 << 16)
    if ratio <= 0:
        b.fail(BAD_ARGUMENT, f"{name}: scale is {float(ratio)}, but must be positive")
    return extent * ratio.numerator // ratio.denominator


def _adaptive_avg_pool(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    rank = arg.spatial_rank(b, "adaptive_avg_pool", x)
    size = arg.per_axis(b, "adaptive_avg_pool", "size", statics["size"], rank)
    return b.emit(Resize(size, "area"), x)


def _pixels(
    op: type[PixelShuffle | PixelUnshuffle],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    arg.at_least(b, name, "factor", (statics["factor"],), 1)
    return b.emit(op(statics["factor"]), tensors["x"])


_FACTOR = (StaticParam("factor", kinds=("int",)),)


def _how(mode: str) -> tuple[StaticParam, ...]:
    return (
        StaticParam("mode", mode, ("string",)),
        StaticParam("align_corners", False, arg.FLAG),
        StaticParam("antialias", False, arg.FLAG),
    )


_SCALES = ("ints", "int", "float", "none")

BUILTINS = (
    Builtin(
        "resize",
        ("x",),
        partial(_resize, "resize"),
        (
            StaticParam("size", None, ("ints", "none")),
            StaticParam("scale", None, _SCALES),
            *_how("linear"),
        ),
        doc="An image of another size, by interpolation.",
    ),
    Builtin(
        "upsample",
        ("x",),
        partial(_resize, "upsample"),
        (StaticParam("scale", kinds=_SCALES), *_how("nearest")),
        doc="An image so many times as large.",
    ),
    Builtin(
        "adaptive_avg_pool",
        ("x",),
        _adaptive_avg_pool,
        (StaticParam("size", kinds=arg.INTS),),
        doc="Means over windows such that the result has the given size.",
    ),
    Builtin(
        "pixel_shuffle",
        ("x",),
        partial(_pixels, PixelShuffle, "pixel_shuffle"),
        _FACTOR,
        doc="Channels become pixels: [N, C r², H, W] to [N, C, H r, W r].",
    ),
    Builtin(
        "pixel_unshuffle",
        ("x",),
        partial(_pixels, PixelUnshuffle, "pixel_unshuffle"),
        _FACTOR,
        doc="Pixels become channels: [N, C, H r, W r] to [N, C r², H, W].",
    ),
)
