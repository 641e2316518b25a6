"""Specs as text, and what the elaborator makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlspec.api import Spec, SpecError, load
from dlspec.ir.graph import (
    ChildSlot,
    Function,
    LayerSlot,
    Node,
    OpNode,
    Segment,
    WeightSlot,
    all_slots,
    walk,
)


def model(text: str, name: str | None = None, /, **static: Any) -> Function:
    """The function of a model; a spec with errors fails the test with its messages."""
    spec = load(text + "\n")
    try:
        return spec.model(name, **static).function
    except SpecError as error:
        raise AssertionError([d.message for d in error.diagnostics.found]) from None


def output(text: str, name: str | None = None, /, **static: Any) -> str:
    """The output's type with the known values put in."""
    function = model(text, name, **static)
    return ", ".join(str(v.type.substitute(function.values())) for v in function.outputs)


def checked(text: str) -> Spec:
    spec = load(text + "\n")
    spec.check()
    return spec


def problems(text: str) -> list[tuple[str, str]]:
    """Codes with the text they blame."""
    return sorted((d.code.name, d.span.text) for d in checked(text).diagnostics.found)


def ok(text: str) -> None:
    assert problems(text) == []


def ops(function: Function) -> list[str]:
    """The names of the ops of a body, in order."""
    return [type(n.op).__name__ for n in nodes(function) if isinstance(n, OpNode)]


def nodes(function: Function) -> list[Node]:
    return list(walk(function.body))


def paths(function: Function, prefix: str = "") -> Iterator[str]:
    """The paths of all weights of an instance."""
    for slot in all_slots(function):
        match slot:
            case WeightSlot():
                yield f"{prefix}{slot.segment}"
            case LayerSlot():
                yield from (f"{prefix}{slot.segment}.{name}" for name in slot.weights)
            case ChildSlot():
                for segment in segments(function, slot):
                    yield from paths(slot.function, f"{prefix}{segment}.")
            case _:
                pass


def segments(function: Function, slot: ChildSlot) -> list[Segment]:
    if slot.count is None:
        return [slot.segment]
    count = slot.count.substitute(function.values()).value
    first = slot.segment.index or 0
    return [Segment(slot.segment.name, first + k) for k in range(count)]


def weights(text: str, name: str | None = None, /, **static: Any) -> list[str]:
    """The paths of the first weight of each layer: biases are left out."""
    found = paths(model(text, name, **static))
    return [path.removesuffix(".weight") for path in found if not path.endswith(".bias")]
