"""Members of a list whose sizes grow evenly: `Grow(growth * (i + 2), growth) for i in range(6)`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlspec.codegen import given_value
from dlspec.ir.dims import Dim
from dlspec.ir.graph import ChildSlot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dlspec.codegen import Plan
    from dlspec.ir.graph import Slot

SHORTEST = 4
INDEX = Dim.symbol("_i")


@dataclass(frozen=True)
class Progression:
    """slot: a member with `_i`, its number plus `start`, in its sizes."""

    slot: ChildSlot
    count: int
    start: int


def grouped(
    slots: Sequence[Slot], plans: Mapping[int, Plan]
) -> Iterator[Sequence[Slot] | Progression]:
    """The slots in order, rows that grow evenly as one."""
    done = 0
    while done < len(slots):
        row = row_from(slots, done, plans)
        if len(row) >= SHORTEST and (found := progression(row, plans)):
            yield found
            done += len(row)
        else:
            yield slots[done : done + 1]
            done += 1


def row_from(slots: Sequence[Slot], start: int, plans: Mapping[int, Plan]) -> list[ChildSlot]:
    """The longest row of members of one class that differ by the same steps."""
    found: list[ChildSlot] = []
    steps: dict[str, Dim] | None = None
    for slot in slots[start:]:
        if not isinstance(slot, ChildSlot) or slot.count is not None:
            break
        if found:
            new = steps_between(found[-1], slot, plans)
            if not new or (steps is not None and new != steps):
                break
            steps = new
        found.append(slot)
    return found


def steps_between(a: ChildSlot, b: ChildSlot, plans: Mapping[int, Plan]) -> dict[str, Dim] | None:
    """By how much the sizes that b is made with are larger; None where they do not compare."""
    if a.function is not b.function:
        return None
    found: dict[str, Dim] = {}
    for argument in plans[id(a.function)].arguments:
        one, other = (given_value(slot, argument.symbol) for slot in (a, b))
        if one == other:
            continue
        if not isinstance(one, Dim) or not isinstance(other, Dim):
            return None
        found[argument.symbol] = other - one
    return found


def progression(row: Sequence[ChildSlot], plans: Mapping[int, Plan]) -> Progression | None:
    first = row[0]
    steps = steps_between(first, row[1], plans) or {}
    starts = {multiple(given_value(first, symbol), step) for symbol, step in steps.items()}
    start = starts.pop() if len(starts) == 1 else None
    sizes = {
        symbol: step * INDEX + (0 if start is not None else given(first, symbol))
        for symbol, step in steps.items()
    }
    dims = {name: sizes.get(name, value) for name, value in first.dims.items()}
    statics = {name: sizes.get(name, value) for name, value in first.statics.items()}
    return Progression(replace(first, dims=dims, statics=statics), len(row), start or 0)


def given(slot: ChildSlot, symbol: str) -> Dim:
    value = given_value(slot, symbol)
    assert isinstance(value, Dim)
    return value


def multiple(value: object, step: Dim) -> int | None:
    """How many steps a size is."""
    if not isinstance(value, Dim) or step == Dim.const(0):
        return None
    times = value // step
    return times.value if times.is_const and step * times == value else None
