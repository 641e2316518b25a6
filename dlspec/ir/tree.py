"""The instance tree walked: every weight with its path and its shape in numbers.

A path may also stand for all that is below it: "encoder" for "encoder.conv.weight"; "" for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    ChildSlot,
    Function,
    LayerSlot,
    Minimize,
    Reference,
    Segment,
    Slot,
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
    for path, weight, values in _weights(graph):
        shape = tuple(dim.evaluate(values) for dim in weight.type.shape)
        yield Leaf(path, weight, shape, {k: _number(v, values) for k, v in weight.init.args})


def weight_paths(graph: Function | Training) -> dict[str, bool]:
    """The path of each weight, and whether it is trainable; sizes may be open."""
    if isinstance(graph, Training) and graph.weights is not None:
        return graph.weights
    return {path: weight.trainable for path, weight, _ in _weights(graph)}


def _weights(graph: Function | Training) -> Iterator[tuple[str, Weight, Mapping[str, int]]]:
    if isinstance(graph, Function):
        yield from _walk(graph, graph.values(), "")
        return
    function = graph.function
    network = function.slots[0] if function.slots else None
    if isinstance(network, ChildSlot) and not network_path(graph, network):
        yield from _walk(network.function, inside(network, function.values()), "")
    else:
        yield from _walk(function, function.values(), "")


def network_path(training: Training, slot: Slot) -> str:
    """The path that the weights of a slot of the training function begin with."""
    slots = training.function.slots
    alone = len(slots) == 1 and isinstance(slot, ChildSlot) and slot.count is None
    return "" if alone else str(slot.segment)


def within(path: str, above: Iterable[str]) -> bool:
    """Whether a path is one of others, or below one."""
    return any(not other or f"{path}.".startswith(f"{other}.") for other in above)


def cover(chosen: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """The shortest paths that stand for all chosen ones and for none of the others."""
    taken = {path[:end] for path in others for end in _ends(path)}
    found: dict[str, None] = {}
    for path in chosen:
        ends = _ends(path)
        found[next((path[:end] for end in ends if path[:end] not in taken), path)] = None
    return tuple(found)


def untrained(training: Training, minimize: Iterable[Minimize]) -> tuple[str, ...]:
    """The paths of what none of these `minimize` trains, buffers too."""
    trained = [path for m in minimize for path in m.over or ("",)]
    every = weight_paths(training)
    fixed = [path for path in every if not within(path, trained)]
    return cover(fixed, (path for path in every if within(path, trained)))


def _ends(path: str) -> list[int]:
    """Where a path may be cut: at its start, before each dot, and at its end."""
    return [0, *(i for i, letter in enumerate(path) if letter == "."), len(path)]


def _walk(
    function: Function, values: Mapping[str, int], prefix: str
) -> Iterator[tuple[str, Weight, Mapping[str, int]]]:
    for slot in all_slots(function):
        path = joined(prefix, slot.segment)
        match slot:
            case WeightSlot():
                yield path, slot.weight, values
            case LayerSlot():
                for name, weight in slot.weights.items():
                    yield f"{path}.{name}", weight, values
            case ChildSlot():
                below = inside(slot, values)
                for segment in numbered(slot, values):
                    yield from _walk(slot.function, below, joined(prefix, segment))
            case Reference():
                pass


def numbered(slot: ChildSlot, values: Mapping[str, int]) -> Iterator[Segment]:
    """The segment of each instance of a slot."""
    if slot.count is None:
        yield slot.segment
        return
    first = slot.segment.index or 0
    for i in range(slot.count.evaluate(values)):
        yield Segment(slot.segment.name, first + i)


def inside(slot: ChildSlot, values: Mapping[str, int]) -> dict[str, int]:
    """The callee's symbols that are numbers here; batch and image sizes stay open."""
    found = slot.function.values()
    given = [(name, value) for name, value in slot.statics.items() if isinstance(value, Dim)]
    for name, dim in [*given, *slot.dims.items()]:
        if dim.symbols <= values.keys():
            found[name] = dim.evaluate(values)
    return found


def _number(value: float | Dim, values: Mapping[str, int]) -> float:
    if isinstance(value, Dim):
        return float(value.evaluate(values))
    number = plain(value)
    if not isinstance(number, int | float):
        raise TypeError(f"an initialiser's argument is {number!r}")
    return float(number)


def joined(prefix: str, segment: Segment) -> str:
    """The path of a slot of what is at prefix."""
    return f"{prefix}.{segment}" if prefix else str(segment)
