"""The instance tree walked: every weight with its path and its shape in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    ChildSlot,
    Function,
    LayerSlot,
    Reference,
    Segment,
    Training,
    Weight,
    WeightSlot,
    all_slots,
)
from dlspec.ir.static import plain


@dataclass(frozen=True)
class Leaf:
    """A weight of one instance. args: its initialiser's numbers; order: as the tree is walked."""

    path: str
    weight: Weight
    shape: tuple[int, ...]
    args: dict[str, float]

    @property
    def trainable(self) -> bool:
        return self.weight.trainable


def leaves(graph: Function | Training) -> Iterator[Leaf]:
    """All weights in source order, each once: a shared instance is its owner's.

    A training's only network leaves its own segment out of the paths.
    """
    if isinstance(graph, Function):
        yield from _walk(graph, graph.values(), "")
        return
    function = graph.function
    networks = [s for s in function.slots if isinstance(s, ChildSlot)]
    if len(networks) == len(function.slots) == 1 and networks[0].count is None:
        (network,) = networks
        yield from _walk(network.function, _inside(network, function.values()), "")
    else:
        yield from _walk(function, function.values(), "")


def _walk(function: Function, values: Mapping[str, int], prefix: str) -> Iterator[Leaf]:
    for slot in all_slots(function):
        path = _join(prefix, slot.segment)
        match slot:
            case WeightSlot():
                yield _leaf(path, slot.weight, values)
            case LayerSlot():
                for name, weight in slot.weights.items():
                    yield _leaf(f"{path}.{name}", weight, values)
            case ChildSlot():
                inside = _inside(slot, values)
                for segment in _instances(slot, values):
                    yield from _walk(slot.function, inside, _join(prefix, segment))
            case Reference():
                pass


def _instances(slot: ChildSlot, values: Mapping[str, int]) -> Iterator[Segment]:
    if slot.count is None:
        yield slot.segment
        return
    first = slot.segment.index or 0
    for i in range(slot.count.evaluate(values)):
        yield Segment(slot.segment.name, first + i)


def _inside(slot: ChildSlot, values: Mapping[str, int]) -> dict[str, int]:
    """The callee's symbols that are numbers here; batch and image sizes stay open."""
    inside = slot.function.values()
    given = [(name, value) for name, value in slot.statics.items() if isinstance(value, Dim)]
    for name, dim in [*given, *slot.dims.items()]:
        if dim.symbols <= values.keys():
            inside[name] = dim.evaluate(values)
    return inside


def _leaf(path: str, weight: Weight, values: Mapping[str, int]) -> Leaf:
    shape = tuple(dim.evaluate(values) for dim in weight.type.shape)
    return Leaf(path, weight, shape, {k: _number(v, values) for k, v in weight.init.args})


def _number(value: float | Dim, values: Mapping[str, int]) -> float:
    if isinstance(value, Dim):
        return float(value.evaluate(values))
    number = plain(value)
    if not isinstance(number, int | float):
        raise TypeError(f"an initialiser's argument is {number!r}")
    return float(number)


def _join(prefix: str, segment: Segment) -> str:
    return f"{prefix}.{segment}" if prefix else str(segment)
