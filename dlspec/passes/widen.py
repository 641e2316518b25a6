"""One number for each axis where another use gives a tuple: `Conv(8, 3)` and `Conv(8, (1, 7))`.

Where one specialisation has an integer and another a tuple, the class has the tuple, and the
integer is given once for each axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.static import ParamRef, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.ir.graph import Function
    from dlspec.ir.static import StaticValue


def per_axis(function: Function) -> dict[str, Sequence]:
    """Parameters that are tuples of integers, with their items as symbols of their own."""
    return {
        name: value
        for name, value in function.statics.items()
        if isinstance(value, Sequence)
        and not value.is_list
        and value.origin == ParamRef(name)
        and value.items
        and all(isinstance(item, Dim) and not item.is_const for item in value.items)
    }


def wider(narrow: Function, wide: Function) -> Iterator[str]:
    """Parameters that are an integer in one function and a tuple in the other."""
    for name in per_axis(wide):
        if narrow.statics.get(name) == Dim.symbol(name):
            yield name


def items(value: Sequence) -> tuple[str, ...]:
    """The symbols of a tuple's items."""
    return tuple(str(item) for item in value.items)


def repeated(value: StaticValue, count: int) -> StaticValue:
    """An integer, once for each axis; a tuple as it is."""
    return Sequence((value,) * count, None, False) if isinstance(value, Dim) else value


def repeat_values(
    values: dict[str, int], names: list[str], wide: dict[str, Sequence]
) -> dict[str, int]:
    """Known values, with those of integers for the items that stand for them."""
    return values | {item: values[name] for name in names for item in items(wide[name])}


def widen(function: Function, name: str, value: Sequence) -> None:
    """Makes an integer parameter of a merged function a tuple, whose items its body has."""
    function.statics[name] = value
    if name in function.defaults:
        function.defaults[name] = repeated(function.defaults[name], len(value.items))
    function.symbols.pop(name, None)
    function.requirements = [r for r in function.requirements if name not in r.relation.symbols]
