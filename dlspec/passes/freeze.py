"""Networks in inference mode within a training: what `freeze` means for the functions.

A frozen part runs as in inference (batch norm uses its running statistics, dropout does nothing)
and updates no buffer; gradients flow through it to its inputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    OpNode,
    RepeatNode,
    Side,
)
from dlspec.ir.static import ParamRef
from dlspec.ops.build import FunctionBuilder
from dlspec.passes.randomness import replace_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dlspec.ir.graph import Node, Slot, Value

WHOLE = frozenset({""})
Paths = frozenset[str]  # below a function; "" is all of it


def freeze(root: Function, frozen: Mapping[int, Paths]) -> None:
    """Change a training function, which is nobody else's. frozen: by the id of its slots."""
    copies: dict[tuple[int, Paths], Function] = {}
    for slot in root.slots:
        paths = frozen.get(id(slot))
        if paths and isinstance(slot, ChildSlot):
            slot.function = _copy(slot.function, paths, copies)
    layers = {id(s) for s in root.slots if id(s) in frozen and "" in frozen[id(s)]}
    root.body[:] = _renewed(root, root.body, layers)


def _renewed(root: Function, body: list[Node], layers: set[int]) -> list[Node]:
    new: list[Node] = []
    for node in body:
        if isinstance(node, OpNode) and id(node.layer) in layers:
            new += _inference(root, node, node.operands)[0]
            continue
        if isinstance(node, CallNode | RepeatNode) and isinstance(node.slot, ChildSlot):
            node.function = node.slot.function
        if isinstance(node, BranchNode):
            for side in (node.then, node.orelse):
                if side is not None:
                    side.body[:] = _renewed(root, side.body, layers)
        new.append(node)
    return new


def _below(slot: Slot, paths: Paths) -> Paths:
    """What of a slot is frozen."""
    if "" in paths:
        return WHOLE
    found: set[str] = set()
    for path in paths:
        for start in (str(slot.segment), slot.segment.name):
            if path == start:
                return WHOLE
            if path.startswith(f"{start}."):
                found.add(path.removeprefix(f"{start}."))
    return frozenset(found)


def split_stack(function: Function, paths: Iterable[str]) -> str:
    """The first of the paths that names single instances of a stack, or ""."""
    for slot in function.slots:
        for path in _below(slot, frozenset(paths)) - WHOLE:
            if not isinstance(slot, ChildSlot):
                continue
            if slot.count is not None and path.split(".")[0].isdigit():
                return f"{slot.segment.name}.{path}"
            if found := split_stack(slot.function, [path]):
                return f"{slot.segment}.{found}"
    return ""


def _copy(function: Function, paths: Paths, copies: dict[tuple[int, Paths], Function]) -> Function:
    key = id(function), paths
    if key not in copies:
        copies[key] = new = replace_function(function)
        _Copy(new, paths, copies).run()
    return copies[key]


class _Copy:
    """Changes a copy of a function. same: which value stands for one that is no longer made."""

    def __init__(
        self, function: Function, paths: Paths, copies: dict[tuple[int, Paths], Function]
    ) -> None:
        self.function = function
        self.paths = paths
        self.copies = copies
        self.slots: dict[int, Slot] = {}
        self.same: dict[int, Value] = {}

    def run(self) -> None:
        f = self.function
        f.slots = [self.slot(slot) for slot in f.slots]
        f.body = self.nodes(f.body)
        f.outputs = self.all(f.outputs)

    def all(self, values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(self.same.get(id(v), v) for v in values)

    def slot(self, slot: Slot) -> Slot:
        if not isinstance(slot, ChildSlot):
            return slot
        if id(slot) not in self.slots:
            below = _below(slot, self.paths)
            if not below:
                return slot
            function = _copy(slot.function, below, self.copies)
            self.slots[id(slot)] = replace(slot, function=function)
        return self.slots[id(slot)]

    def nodes(self, body: list[Node]) -> list[Node]:
        new: list[Node] = []
        for node in body:
            match node:
                case OpNode():
                    new += self.op(node)
                case CallNode():
                    slot = self.slot(node.slot)
                    function = slot.function if isinstance(slot, ChildSlot) else node.function
                    operands, refs = self.all(node.operands), tuple(map(self.slot, node.refs))
                    new.append(
                        replace(node, slot=slot, function=function, operands=operands, refs=refs)
                    )
                case RepeatNode():
                    slot = self.slot(node.slot)
                    function = slot.function if isinstance(slot, ChildSlot) else node.function
                    carried, held = self.all(node.carried), self.all(node.held)
                    refs = tuple(map(self.slot, node.refs))
                    new.append(
                        replace(
                            node, slot=slot, function=function, carried=carried, held=held,
                            refs=refs,
                        )
                    )  # fmt: skip
                case BranchNode():
                    new += self.branch(node)
        return new

    def op(self, node: OpNode) -> list[Node]:
        operands = self.all(node.operands)
        covered = isinstance(node.layer, LayerSlot) and "" in _below(node.layer, self.paths)
        if "" not in self.paths and not covered:
            updates = tuple((self.all((a,))[0], self.all((b,))[0]) for a, b in node.updates)
            return [replace(node, operands=operands, updates=updates)]
        found, same = _inference(self.function, node, operands)
        self.same |= same
        return found

    def branch(self, node: BranchNode) -> list[Node]:
        if "" in self.paths and node.condition == ParamRef("training") and node.orelse is not None:
            found = self.nodes(node.orelse.body)
            yields = self.all(node.orelse.yields)
            self.same |= {id(r): v for r, v in zip(node.results, yields, strict=True)}
            return found
        sides: list[Side | None] = []
        for side in (node.then, node.orelse):
            if side is None:
                sides.append(None)
                continue
            slots = tuple(map(self.slot, side.slots))
            sides.append(Side(self.nodes(side.body), self.all(side.yields), slots))
        return [replace(node, then=sides[0], orelse=sides[1])]


def _inference(
    function: Function, node: OpNode, operands: tuple[Value, ...]
) -> tuple[list[Node], dict[int, Value]]:
    """A node as it is in inference, with what stands for results that are no longer made."""
    if not node.op.modal:
        return [replace(node, operands=operands, updates=())], {}
    found: list[Node] = []
    scratch = Function(function.name, function.kind, symbols=function.symbols)
    values = node.op.inference(FunctionBuilder(scratch, body=found), operands)
    last = found[-1] if found else None
    if isinstance(last, OpNode) and last.results == (values[0],):
        found[-1] = replace(last, results=node.results[:1], span=node.span)
        values = (None, *values[1:])
    pairs = zip(node.results, values, strict=True)
    return found, {id(r): v for r, v in pairs if v is not None}
