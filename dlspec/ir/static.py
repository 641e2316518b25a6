"""Static values that remember where they came from.

An integer is a `Dim`: its symbols are constructor parameters or input dimensions of the
definition that it occurs in. Any other static value is a plain Python value, or `Known`: the
value with the expression over constructor parameters that gave it. Code generation prints the
expression, so that one class serves all instances of a definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlspec.ir.dims import Dim


@dataclass(frozen=True)
class ParamRef:
    """A constructor parameter of the enclosing definition."""

    name: str


TRAINS = ParamRef("training")
"""The mode: true in training."""


@dataclass(frozen=True)
class Apply:
    """A static operation. op: a Python operator ("+", "==", "and", "not", "index", "slice",
    "list", "tuple", "if"), or a function name ("max", "sqrt", "len", "range", …).

    args of "if": then, condition, orelse; of "index": value, index; of "slice": value, start,
    stop, step.
    """

    op: str
    args: tuple[Origin, ...]


Origin = ParamRef | Apply | Dim | bool | float | str | None


@dataclass(frozen=True)
class Known:
    """A float, bool, string or none with its origin. Equality includes the origin."""

    value: float | bool | str | None
    origin: Origin


@dataclass(frozen=True)
class Sequence:
    """A static list or tuple. origin: an expression for the whole (`widths[1:]`), if known."""

    items: tuple[StaticValue, ...]
    origin: Origin | None = None
    is_list: bool = True


@dataclass(frozen=True, eq=False)
class LayerArgument:
    """A layer given as a static argument. text: how the spec wrote it; key: equal layers agree."""

    text: str
    key: object


StaticValue = Dim | Known | Sequence | LayerArgument | float | bool | str | None


def plain(value: StaticValue) -> object:
    """The bare Python value: int for a constant Dim, list or tuple for a Sequence."""
    if isinstance(value, Dim):
        return value.value if value.is_const else value
    if isinstance(value, Known):
        return value.value
    if isinstance(value, Sequence):
        items = [plain(item) for item in value.items]
        return items if value.is_list else tuple(items)
    return value


@dataclass(frozen=True)
class Symbol:
    """What a symbol of a function's dims stands for.

    kind "param": an int constructor parameter, value known. "derived": an int computed from
    parameters by something other than + - * // %, origin says how, value known. "dim": bound by
    an input's shape; value only where the definition was specialised on it (`C == channels`).
    """

    kind: Literal["param", "derived", "dim"]
    value: int | None = None
    origin: Origin | None = None
