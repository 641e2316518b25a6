"""Static arguments of built-ins, made into attributes of ops."""

from __future__ import annotations

import operator
from math import sqrt
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.static import Apply, Known, Sequence, plain
from dlspec.ops.rules import ZERO, Padding, check_axes, check_axis, le, proved, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder

NUMBER = ("int", "float")
INTS = ("ints",)
AXES = ("ints", "none")
FLAG = ("bool",)


def number(b: LayerBuilder, value: Any) -> float | Known:
    """A number as a float, with its origin where it has one."""
    if isinstance(value, Dim):
        return float(value.value) if value.is_const else Known(float(b.known(value)), value)
    if isinstance(value, Known):
        return value
    return float(value)


def bare(b: LayerBuilder, value: Any) -> float:
    """A number without its origin."""
    found = number(b, value)
    return float(found.value or 0) if isinstance(found, Known) else found


def _quotient(a: float, b: float) -> float:
    return a / b


_COMPUTED: dict[str, Callable[..., float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "sqrt": sqrt,
}


def computed(op: str, *args: float | Known) -> float | Known:
    """A number computed from numbers, with its origin where one of them has one."""
    value = _COMPUTED[op](*(a.value if isinstance(a, Known) else a for a in args))
    if not any(isinstance(a, Known) for a in args):
        return value
    return Known(value, Apply(op, tuple(a.origin if isinstance(a, Known) else a for a in args)))


def probability(b: LayerBuilder, name: str, value: Any, below: bool = False) -> float | Known:
    """A number from 0 to 1, or below 1."""
    p = number(b, value)
    found = bare(b, p)
    if not 0 <= found <= 1 or (below and found == 1):
        span = "from 0 to below 1" if below else "between 0 and 1"
        b.fail(BAD_ARGUMENT, f"{name}: p is {found}, not {span}")
    return p


def flag(value: Any) -> bool:
    return bool(plain(value))


def word(b: LayerBuilder, name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of the allowed words."""
    found = plain(value)
    if found not in allowed:
        choices = ", ".join(f'"{choice}"' for choice in allowed)
        b.fail(BAD_ARGUMENT, f"{name}: {found!r} is not known", help=f"choose {choices}")
    return str(found)


def integer(b: LayerBuilder, value: Any) -> int:
    """An int whose value is indispensable: an axis, a number of parts."""
    return b.known(value) if isinstance(value, Dim) else int(plain(value))  # type: ignore[arg-type]


def items(value: Any) -> tuple[Any, ...]:
    """The items of a static list or tuple; of one value, that value."""
    if isinstance(value, Sequence):
        return value.items
    if isinstance(value, tuple | list):
        return tuple(value)  # type: ignore[arg-type]
    return (value,)


def is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence | tuple | list)


def dim(b: LayerBuilder, name: str, value: Any) -> Dim:
    if isinstance(value, Dim):
        return value
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, int):
        b.fail(BAD_ARGUMENT, f"{name}: {found!r} is not an int")
    return Dim.const(int(found))  # type: ignore[arg-type]


def dims(b: LayerBuilder, name: str, value: Any) -> tuple[Dim, ...]:
    return tuple(dim(b, name, item) for item in items(value))


def at_least(b: LayerBuilder, name: str, what: str, sizes: tuple[Dim, ...], least: int) -> None:
    """An error where a size is known to be below `least`."""
    for size in sizes:
        if proved(b, le(size, Dim.const(least - 1))):
            b.fail(BAD_ARGUMENT, f"{name}: {what} is {size}, but must be {least} or more")


def per_axis(
    b: LayerBuilder, name: str, what: str, value: Any, rank: int, least: int = 1
) -> tuple[Dim, ...]:
    """An int for all spatial axes, or one for each."""
    found = dims(b, f"{name}: {what}", value)
    if not is_sequence(value):
        found = found * rank
    if len(found) != rank:
        axes = "1 spatial axis" if rank == 1 else f"{rank} spatial axes"
        b.fail(BAD_ARGUMENT, f"{name}: {what} has {len(found)} entries, the input {axes}")
    at_least(b, name, what, found, least)
    return found


def padding(b: LayerBuilder, name: str, value: Any, rank: int) -> Padding:
    """An int for all sides, one int or one pair (before, after) for each axis, "same", "valid"."""
    found = plain(value) if not is_sequence(value) else None
    if isinstance(found, str):
        mode = word(b, f"{name}: padding", found, ("same", "valid"))
        return "same" if mode == "same" else ((ZERO, ZERO),) * rank
    entries = items(value) if is_sequence(value) else (value,) * rank
    if len(entries) != rank:
        axes = "1 spatial axis" if rank == 1 else f"{rank} spatial axes"
        b.fail(
            BAD_ARGUMENT,
            f"{name}: padding has {len(entries)} entries, the input {axes}",
            help='give an int, one int or one pair (before, after) for each axis, or "same"',
        )
    pairs: list[tuple[Dim, Dim]] = []
    for entry in entries:
        sides = dims(b, f"{name}: padding", entry)
        if not 1 <= len(sides) <= 2:
            b.fail(BAD_ARGUMENT, f"{name}: padding of one axis is an int or a pair (before, after)")
        pairs.append((sides[0], sides[-1]))
    at_least(b, name, "padding", tuple(side for pair in pairs for side in pair), 0)
    return tuple(pairs)


def axis(b: LayerBuilder, name: str, value: Any, rank: int) -> int:
    """An axis as the spec gives it, checked against the rank."""
    found = integer(b, value)
    check_axis(b, name, found, rank)
    return found


def place(b: LayerBuilder, name: str, value: Any, rank: int) -> int:
    """An axis counted from 0."""
    return check_axis(b, name, integer(b, value), rank)


def axes(b: LayerBuilder, name: str, value: Any, rank: int) -> tuple[int, ...]:
    """Axes as the spec gives them; none means all."""
    if plain(value) is None:
        return tuple(range(rank))
    found = tuple(integer(b, item) for item in items(value))
    check_axes(b, name, found, rank)
    return found


def spatial_rank(b: LayerBuilder, name: str, x: Value) -> int:
    if not 3 <= x.type.rank <= 5:
        b.fail(
            RANK,
            f"{name}: the input {text(x.type.shape)} has no batch, channel and 1 to 3 spatial axes",
            help=f"{name} takes [N, C, L], [N, C, H, W] or [N, C, D, H, W]",
        )
    return x.type.rank - 2
