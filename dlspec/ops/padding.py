"""Elements before and after: constants, or the tensor itself mirrored, held on or round again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.rules import ONE, ZERO, eq, le, proved, text
from dlspec.ops.shape import BroadcastTo, Concat, Flip, Pad, slice_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes
    from dlspec.ops.rules import Pairs

MODES = ("reflect", "replicate", "circular")


@dataclass(frozen=True)
class PadFrom(Composite):
    """`low` elements before and `high` after each axis, taken from x. reflect: mirrored about the
    border's element, replicate: the border's element, circular: from the other end."""

    low: tuple[Dim, ...]
    high: tuple[Dim, ...]
    mode: str = "reflect"

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        for n, *sides in zip(x.shape, self.low, self.high, strict=True):
            most = {"reflect": n - 1, "circular": n}.get(self.mode)
            for side in sides:
                if most is not None and side != ZERO:
                    reason = (
                        f"pad: {side} elements to {self.mode} are more than {text(x.shape)} has"
                    )
                    shapes.require(le(side, most), reason, BAD_ARGUMENT)
        extents = zip(x.shape, self.low, self.high, strict=True)
        return (TensorType(x.dtype, tuple(n + low + high for n, low, high in extents)),)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        (x,) = operands
        for axis, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            parts = [
                *self.side(b, x, axis, low, first=True),
                x,
                *self.side(b, x, axis, high, first=False),
            ]
            if len(parts) > 1:
                x = b.emit(Concat(axis), *parts)
        return (x,)

    def side(self, b: Builder, x: Value, axis: int, count: Dim, *, first: bool) -> list[Value]:
        """What comes before or after an axis."""
        if proved(b, eq(count, ZERO)):
            return []
        n = x.type.shape[axis]
        if self.mode == "reflect":
            bounds = (ONE, count + 1) if first else (n - 1 - count, n - 1)
        elif self.mode == "circular":
            bounds = (n - count, n) if first else (ZERO, count)
        else:
            bounds = (ZERO, ONE) if first else (n - 1, n)
        part = b.emit(slice_axis(x.type, axis, *bounds), x)
        if self.mode == "reflect":
            return [b.emit(Flip((axis,)), part)]
        if self.mode == "circular":
            return [part]
        shape = (*x.type.shape[:axis], count, *x.type.shape[axis + 1 :])
        return [b.emit(BroadcastTo(shape), part)]


def padded_image(b: Builder, x: Value, pairs: Pairs, mode: str) -> Value:
    """The spatial axes of [N, C, *S] padded."""
    low = (ZERO, ZERO, *(before for before, _ in pairs))
    high = (ZERO, ZERO, *(after for _, after in pairs))
    return b.emit(PadFrom(low, high, mode), x)


def _pad(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    entries = arg.items(statics["widths"])
    if len(entries) != x.type.rank:
        b.fail(
            BAD_ARGUMENT,
            f"pad: widths has {len(entries)} entries, the input {x.type.rank} axes",
            help="give an int or a pair (before, after) for each axis",
        )
    sides = [arg.dims(b, "pad: widths", entry) for entry in entries]
    if not all(1 <= len(side) <= 2 for side in sides):
        b.fail(BAD_ARGUMENT, "pad: an entry of widths is an int or a pair (before, after)")
    low, high = tuple(side[0] for side in sides), tuple(side[-1] for side in sides)
    arg.at_least(b, "pad", "a width", (*low, *high), 0)
    mode = arg.word(b, "pad: mode", statics["mode"], ("constant", *MODES))
    value = arg.bare(b, statics["value"])
    if mode == "constant":
        return b.emit(Pad(low, high, value), x)
    if value:
        b.fail(BAD_ARGUMENT, f'pad: mode "{mode}" takes no value')
    return b.emit(PadFrom(low, high, mode), x)


BUILTINS = (
    Builtin(
        "pad",
        ("x",),
        _pad,
        (
            StaticParam("widths", kinds=arg.INTS),
            StaticParam("value", 0.0, arg.NUMBER),
            StaticParam("mode", "constant", ("string",)),
        ),
        doc="More elements before and after, for each axis an int or a pair.",
    ),
)
