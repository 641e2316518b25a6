"""Where a token stands: sines, rotations and biases by distance."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, NOT_DIVISIBLE
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.creation import count
from dlspec.ops.elementwise import Abs, Cast, Cos, Sin, Sub, Term
from dlspec.ops.rules import (
    ONE,
    ZERO,
    check_float,
    check_rank,
    eq,
    refuted,
    require_positive,
)
from dlspec.ops.shape import Concat, Reshape, Split, Stack, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder

HALVES, PAIRS = "halves", "pairs"


def _even(b: LayerBuilder, name: str, size: Dim) -> Dim:
    """Half of a size that must be even."""
    message = f"{name}: the size {size} is odd, but sines and cosines come in pairs"
    if refuted(b, eq(size % 2, ZERO)):
        b.fail(NOT_DIVISIBLE, message)
    b.require(eq(size % 2, ZERO), message, NOT_DIVISIBLE)
    return size // 2


def _floats(b: Builder, size: Dim) -> Term:
    return Term(b, b.emit(Cast(DType.FLOAT), count(b, size)))


def _angles(b: Builder, length: Dim, half: Dim, base: float) -> Term:
    """t · base^(-i / half) for place t and pair i: [length, half]."""
    pair = _floats(b, half)
    rates = ((pair * -log(base)) / half).exp()
    place = Term(b, b.emit(Unsqueeze((1,)), _floats(b, length).value))
    return place * rates


def _base(b: LayerBuilder, name: str, value: Any) -> float:
    base = arg.bare(b, value)
    if base <= 1:
        b.fail(BAD_ARGUMENT, f"{name}: the base is {base}, but must be above 1")
    return base


# --- the language ---


def _sinusoidal(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    length, size = statics["length"], statics["size"]
    for what, extent in (("length", length), ("size", size)):
        require_positive(b, extent, f"sinusoidal_positions: {what} is {extent}")
    half = _even(b, "sinusoidal_positions", size)
    angles = _angles(b, length, half, _base(b, "sinusoidal_positions", statics["base"]))
    waves = b.emit(Stack(-1), angles.apply(Sin()).value, angles.apply(Cos()).value)
    return b.emit(Reshape((length, size)), waves)


def _rotary(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_float(b, "rotary", x.type)
    check_rank(b, "rotary", x.type, 2)
    convention = arg.word(b, "rotary: convention", statics["convention"], (HALVES, PAIRS))
    at = arg.place(b, "rotary", statics["axis"], x.type.rank)
    if at == x.type.rank - 1:
        b.fail(BAD_ARGUMENT, "rotary: the last axis holds the pairs, so it is no axis of places")
    half = _even(b, "rotary", x.type.shape[-1])
    angles = _angles(b, x.type.shape[at], half, _base(b, "rotary", statics["base"]))
    between = tuple(range(1, x.type.rank - 1 - at))  # axes after the places, before the pairs
    if between:
        angles = Term(b, b.emit(Unsqueeze(between), angles.value))
    cos, sin = angles.apply(Cos()), angles.apply(Sin())
    first, second = _parts(b, x, half, convention)
    turned = (first * cos - second * sin, second * cos + first * sin)
    if convention == HALVES:
        return b.emit(Concat(x.type.rank - 1), *(part.value for part in turned))
    return b.emit(Reshape(x.type.shape), b.emit(Stack(-1), *(part.value for part in turned)))


def _parts(b: Builder, x: Value, half: Dim, convention: str) -> tuple[Term, Term]:
    """The first and the second coordinate of each pair."""
    last = x.type.rank - 1
    if convention == HALVES:
        first, second = b.emit_all(Split((half, half), last), x)
        return Term(b, first), Term(b, second)
    paired = b.emit(Reshape((*x.type.shape[:-1], half, Dim.const(2))), x)
    shape = (*x.type.shape[:-1], half)
    first, second = (
        b.emit(Reshape(shape), part) for part in b.emit_all(Split((ONE, ONE), last + 1), paired)
    )
    return Term(b, first), Term(b, second)


def _alibi(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    heads, queries = statics["heads"], statics["T"]
    keys = queries if arg.plain(statics["S"]) is None else arg.dim(b, "alibi: S", statics["S"])
    for what, extent in (("heads", heads), ("T", queries), ("S", keys)):
        require_positive(b, extent, f"alibi: {what} is {extent}")
    head = _floats(b, heads) + 1.0
    slope = ((head * (-8.0 * log(2.0))) / heads).exp()
    down = b.emit(Unsqueeze((1,)), count(b, queries))
    gap = b.emit(Abs(), b.emit(Cast(DType.FLOAT), b.emit(Sub(), down, count(b, keys))))
    return (-(Term(b, b.emit(Unsqueeze((1, 2)), slope.value)) * Term(b, gap))).value


_T = StaticParam("T", kinds=("int",))

BUILTINS = (
    Builtin(
        "sinusoidal_positions",
        (),
        _sinusoidal,
        (
            StaticParam("length", kinds=("int",)),
            StaticParam("size", kinds=("int",)),
            StaticParam("base", 10000.0, arg.NUMBER),
        ),
        doc="[length, size]: sin and cos of t / base^(2 i / size) by turns (Vaswani et al. 2017).",
    ),
    Builtin(
        "rotary",
        ("x",),
        _rotary,
        (
            StaticParam("base", 10000.0, arg.NUMBER),
            StaticParam("convention", HALVES, ("string",)),
            StaticParam("axis", Dim.const(-2), ("int",)),
        ),
        doc="Pairs of the last axis turned by an angle that grows with the place (Su et al. 2021).",
    ),
    Builtin(
        "alibi",
        (),
        _alibi,
        (StaticParam("heads", kinds=("int",)), _T, StaticParam("S", None, ("int", "none"))),
        doc="[heads, T, S]: -2^(-8 h / heads) |i - j|, a bias for attention (Press et al. 2022).",
    ),
)
