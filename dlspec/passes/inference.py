"""A model for inference alone: no training mode, nothing that only training needs.

Batch norm uses its running statistics and dropout is gone; what no output depends on is gone too,
with the weights that only it had.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    LayerSlot,
    OpNode,
    Reference,
    RepeatNode,
    Side,
    WeightSlot,
    all_slots,
    functions_below,
    walk,
)
from dlspec.ir.static import TRAINS
from dlspec.ops.norm import BatchNormInference
from dlspec.passes.freeze import in_inference
from dlspec.passes.paths import reads
from dlspec.passes.randomness import drawing

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from dlspec.ir.graph import Function, Node, Slot, Value, Weight


def infer(root: Function) -> list[tuple[Node, str]]:
    """Rewrites root and all below it, in place. The nodes that are gone, each with why."""
    gone: list[tuple[Node, str]] = []
    functions = functions_below(root)
    for function in functions:
        _Modes(function, gone).run()
    random = drawing(root)
    for function in functions:
        keep_live(function, random, gone)
    return gone


class _Modes:
    """Takes the side of inference. same: which value stands for one that is no longer made."""

    def __init__(self, function: Function, gone: list[tuple[Node, str]]) -> None:
        self.function, self.gone = function, gone
        self.same: dict[int, Value] = {}

    def run(self) -> None:
        f = self.function
        f.body = self.nodes(f.body)
        f.outputs = self.all(f.outputs)

    def all(self, values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(self.same.get(id(v), v) for v in values)

    def nodes(self, body: Iterable[Node]) -> list[Node]:
        return [new for node in body for new in self.node(node)]

    def node(self, node: Node) -> list[Node]:
        match node:
            case OpNode():
                return self.op(node)
            case CallNode():
                node.operands = self.all(node.operands)
            case RepeatNode():
                node.carried, node.held = self.all(node.carried), self.all(node.held)
            case BranchNode():
                if node.condition == TRAINS and node.orelse is not None:
                    return self.branch(node, node.orelse)
                for side in (node.then, node.orelse):
                    if side is not None:
                        side.body = self.nodes(side.body)
                        side.yields = self.all(side.yields)
        return [node]

    def op(self, node: OpNode) -> list[Node]:
        found, same = in_inference(self.function, node, self.all(node.operands))
        self.same |= same
        if not found:
            self.gone.append((node, "inference"))
        last = found[-1] if found else None
        if isinstance(last, OpNode) and isinstance(last.op, BatchNormInference):
            last.layer = node.layer  # a network that never trains may be torch's own layer
        return found

    def branch(self, node: BranchNode, side: Side) -> list[Node]:
        self.gone.append((node, "inference"))
        here = {id(slot) for slot in self.function.slots}
        self.function.slots += [slot for slot in side.slots if id(slot) not in here]
        found = self.nodes(side.body)
        yields = self.all(side.yields)
        self.same |= {id(r): v for r, v in zip(node.results, yields, strict=True)}
        return found


def keep_live(function: Function, random: dict[int, bool], gone: list[tuple[Node, str]]) -> None:
    """Drops the nodes whose results nobody reads, but those that draw: others draw after them."""

    def dead(node: Node, read: set[int]) -> bool:
        return not any(id(v) in read for v in node.results) and not _draws(node, random)

    def live(body: list[Node], read: set[int]) -> list[Node]:
        kept: list[Node] = []
        for node in reversed(body):
            if dead(node, read):
                gone.append((node, "unused"))
                continue
            kept.append(node)
            if isinstance(node, BranchNode):
                for side in (node.then, node.orelse):
                    if side is not None:
                        inside = read | {id(v) for v in side.yields}
                        side.body = live(side.body, inside)
            read |= {id(v) for v in reads(node)}
        return kept[::-1]

    function.body = live(function.body, {id(v) for v in function.outputs})


def _draws(node: Node, random: dict[int, bool]) -> bool:
    match node:
        case OpNode():
            return node.op.random
        case CallNode() | RepeatNode():
            return random[id(node.function)]
        case BranchNode():
            sides = [side for side in (node.then, node.orelse) if side is not None]
            return any(_draws(inner, random) for side in sides for inner in side.body)


def keep_used_slots(root: Function, known: Container[int] = ()) -> bool:
    """Drops the slots that no node uses, of root and all below it. Whether there were others than
    those whose ids are known."""
    dropped: list[Slot] = []
    below = functions_below(root)
    for function in below:
        variants = [f for f in below if f.of is function]
        used = {i for f in (function, *variants) for i in _used_slots(f)}
        places = {s.segment for f in variants for s in all_slots(f) if id(s) in used}
        used |= {id(s) for s in all_slots(function) if s.segment in places}
        sides = [side for node in walk(function.body) for side in _sides(node)]
        dropped += [s for s in all_slots(function) if id(s) not in used]
        function.slots = [slot for slot in function.slots if id(slot) in used]
        for side in sides:
            side.slots = tuple(slot for slot in side.slots if id(slot) in used)
    return any(id(slot) not in known for slot in dropped)


def _sides(node: Node) -> list[Side]:
    if not isinstance(node, BranchNode):
        return []
    return [side for side in (node.then, node.orelse) if side is not None]


def _used_slots(function: Function) -> Iterator[int]:
    for node in walk(function.body):
        found: list[Slot] = [v.weight[0] for v in reads(node) if v.weight is not None]
        match node:
            case OpNode():
                found += [] if node.layer is None else [node.layer]
            case CallNode() | RepeatNode():
                found += [node.slot, *node.refs]
            case BranchNode():
                pass
        for slot in found:
            yield from _ids(slot)
    for value in function.outputs:
        if value.weight is not None:
            yield from _ids(value.weight[0])


def _ids(slot: Slot) -> Iterator[int]:
    yield id(slot)
    if isinstance(slot, Reference):
        yield id(slot.target)


def as_constants(root: Function) -> None:
    """Makes buffers plain weights, in place: none of them moves. Integers stay buffers, for torch
    has no parameters of them."""
    made: dict[int, Weight] = {}

    def plain(weight: Weight) -> Weight:
        if weight.trainable or not weight.type.dtype.is_float:
            return weight
        return made.setdefault(id(weight), replace(weight, trainable=True))

    for function in functions_below(root):
        for slot in all_slots(function):
            if isinstance(slot, WeightSlot):
                slot.weight = plain(slot.weight)
            elif isinstance(slot, LayerSlot):
                slot.weights = {name: plain(weight) for name, weight in slot.weights.items()}
        read = [v for node in walk(function.body) for v in reads(node)]
        for value in (*read, *function.outputs):
            if value.weight is not None:
                value.weight = value.weight[0], plain(value.weight[1])


def batch_norm_of(node: Node) -> LayerSlot | None:
    """The layer whose running statistics a node uses, where it is the function's own."""
    if isinstance(node, OpNode) and isinstance(node.op, BatchNormInference):
        return node.layer if isinstance(node.layer, LayerSlot) else None
    return None
