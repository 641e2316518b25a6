"""Which gradients a step writes exactly once, so that they need no zeros to be added to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dlspec.codegen.plan import owned_slots
from dlspec.ir.backward import Accumulate, BranchBackward, CallBackward, RepeatBackward
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Element,
    LayerSlot,
    Reference,
    RepeatNode,
    ScanNode,
    WeightSlot,
    functions_below,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dlspec.ir.backward import Backward, BackwardNode
    from dlspec.ir.graph import Function, Slot


class SingleWrites:
    """only: the ids of `Accumulate` nodes that are their weight's only one in a step.

    complete: whether every trained weight has one. An instance has at most one backward run when
    its slot has one call, is handed to nobody, and stands where its call stands: the same side of
    a branch creates both.
    """

    def __init__(self, root: Function, backwards: Mapping[Function, Backward]) -> None:
        functions = functions_below(root)
        self.handed = {
            id(slot)
            for f in functions
            for node in walk(f.body)
            if isinstance(node, CallNode | RepeatNode)
            for slot in node.refs
        }
        single = _run_once(functions, root, self.handed)
        self.only: set[int] = set()
        self.complete = True
        for function in functions:
            backward = backwards.get(function)
            written = self._written(backward, function) if function in single else set[object]()
            trained = set(_trained(function))
            self.complete = self.complete and trained <= written

    def _written(self, backward: Backward | None, function: Function) -> set[object]:
        """Keys of `_trained` that the function's backward surely writes, once."""
        if backward is None:
            return set()
        found = list(_placed(backward.body, _unconditional(function)))
        times: Counter[object] = Counter(key for key, _, _ in found)
        written: set[object] = set()
        for key, slot, here in found:
            if here and times[key] == 1 and id(slot) not in self.handed:
                written.add(key)
        for node in _accumulates(backward.body):
            if _key(node) in written:
                self.only.add(id(node))
        return written


def _key(node: Accumulate) -> object:
    assert node.weight.weight is not None
    slot, weight = node.weight.weight
    return (id(slot), weight.name)


def _accumulates(body: Sequence[BackwardNode]) -> Iterator[Accumulate]:
    for node in body:
        if isinstance(node, Accumulate):
            yield node
        elif isinstance(node, BranchBackward):
            for side, _ in node.sides():
                yield from _accumulates(side.body)


def _placed(body: Sequence[BackwardNode], slots: set[int]) -> Iterator[tuple[object, Slot, bool]]:
    """(key, slot, whether what creates the slot also carries this out) of weights and calls."""
    for node in body:
        match node:
            case Accumulate():
                assert node.weight.weight is not None
                slot = node.weight.weight[0]
                yield _key(node), slot, id(slot) in slots
            case CallBackward() | RepeatBackward():
                called = node.call if isinstance(node, CallBackward) else node.repeat
                yield id(called.slot), called.slot, id(called.slot) in slots
            case BranchBackward():
                for side, forward in node.sides():
                    yield from _placed(side.body, {id(s) for s in forward.slots})
            case _:
                pass


def _unconditional(function: Function) -> set[int]:
    return {id(slot) for slot, branch in owned_slots(function) if branch is None}


def _trained(function: Function) -> Iterator[object]:
    """Keys of the function's own trained weights, and of its instances that have some."""
    yield from _own_trained(function)
    for slot, _ in owned_slots(function):
        if isinstance(slot, ChildSlot) and any(
            any(_own_trained(f)) for f in functions_below(slot.function)
        ):
            yield id(slot)


def _own_trained(function: Function) -> Iterator[object]:
    for slot, _ in owned_slots(function):
        match slot:
            case WeightSlot() if slot.weight.trainable:
                yield (id(slot), slot.weight.name)
            case LayerSlot():
                yield from ((id(slot), w.name) for w in slot.weights.values() if w.trainable)
            case _:
                pass


def _run_once(functions: Sequence[Function], root: Function, handed: set[int]) -> set[Function]:
    """Functions whose every instance runs at most once in a step."""
    callers: dict[Function, list[tuple[Function, bool]]] = {f: [] for f in functions}
    for function in functions:
        nodes = [n for n in walk(function.body) if isinstance(n, CallNode | RepeatNode)]
        times = Counter(id(n.slot) for n in nodes)
        for node in nodes:
            slot = node.slot
            own = not isinstance(slot, Reference | Element) and times[id(slot)] == 1
            own = own and id(slot) not in handed
            if isinstance(node, ScanNode):
                own = False
            if isinstance(node, RepeatNode):
                own = own and isinstance(slot, ChildSlot) and slot.count is not None
            callers[node.function].append((function, own))
    single = set(functions)
    before = len(single) + 1
    while len(single) < before:
        before = len(single)
        for function in functions:
            if any(not own or caller not in single for caller, own in callers[function]):
                single.discard(function)
    return single
