"""Networks in inference mode within a training: what `freeze` means for the functions.

A frozen part runs as in inference (batch norm uses its running statistics, dropout does nothing)
and updates no buffer; gradients flow through it to its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    OpNode,
    Reference,
    RepeatNode,
    Segment,
    Side,
    Value,
)
from dlspec.ir.static import ParamRef
from dlspec.ops.build import FunctionBuilder
from dlspec.passes.randomness import replace_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dlspec.ir.graph import Node, Slot

WHOLE = frozenset({""})
Paths = frozenset[str]  # below a function; "" is all of it


def freeze(root: Function, frozen: Mapping[int, Paths]) -> None:
    """Change a training function, which is nobody else's. frozen: by the id of its slots."""
    copy = _Copy(root, frozenset(), (), _Copies({}, {}), frozen)
    root.slots[:] = [new for slot in root.slots for new in copy.slot(slot)]
    root.body[:] = copy.nodes(root.body)
    root.outputs = copy.all(root.outputs)


@dataclass
class _Copies:
    """Of the functions that frozen instances run. slots: those of `root` that changed, by the ids
    of the functions that they had."""

    made: dict[object, Function]
    owners: dict[int, Function]

    def of(self, function: Function, paths: Paths, refs: tuple[Paths, ...] = ()) -> Function:
        """paths: what is frozen of the instance; refs: of those that it is handed."""
        if not paths and not any(refs):
            return function
        key = (function, paths, refs)
        if key not in self.made:
            self.made[key] = new = replace_function(function)
            if function.of is not None:
                new.of = self.of(function.of, paths)
            copy = _Copy(new, paths, refs, self, None)
            new.slots = [made for slot in new.slots for made in copy.slot(slot)]
            new.body = copy.nodes(new.body)
            new.outputs = copy.all(new.outputs)
        return self.made[key]


def _below(slot: Slot, paths: Paths) -> Paths:
    """What of a slot is frozen; of a stack, by the numbers of its instances."""
    if "" in paths:
        return WHOLE
    found: set[str] = set()
    stack = isinstance(slot, ChildSlot) and slot.count is not None
    for path in paths:
        for start in {slot.segment.name} if stack else {str(slot.segment), slot.segment.name}:
            if path == start:
                return WHOLE
            if path.startswith(f"{start}."):
                found.add(path.removeprefix(f"{start}."))
    return frozenset(found)


def _of_number(number: int, paths: Paths) -> Paths:
    """What is frozen of one instance of a stack."""
    if str(number) in paths:
        return WHOLE
    start = f"{number}."
    return frozenset(path.removeprefix(start) for path in paths if path.startswith(start))


class _Copy:
    """Changes a function. same: which value stands for one that is no longer made; frozen: what is
    of the slots of a section's root, by id."""

    def __init__(
        self,
        function: Function,
        paths: Paths,
        refs: tuple[Paths, ...],
        copies: _Copies,
        frozen: Mapping[int, Paths] | None,
    ) -> None:
        self.function = function
        self.root = frozen is not None
        self.paths = paths
        self.copies = copies
        self.frozen = {**(frozen or {})}
        if refs:
            given = zip(function.references, refs, strict=True)
            self.frozen |= {id(r): paths for r, paths in given}
        self.slots: dict[int, list[Slot]] = {}
        self.same: dict[int, Value] = {}

    def all(self, values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(self.same.get(id(v), v) for v in values)

    def below(self, slot: Slot) -> Paths:
        if id(slot) in self.frozen:
            return self.frozen[id(slot)]
        return frozenset() if isinstance(slot, Reference) else _below(slot, self.paths)

    def slot(self, slot: Slot) -> list[Slot]:
        """A slot with what it makes frozen; one for each of a stack that is frozen in part."""
        if not isinstance(slot, ChildSlot):
            return [slot]
        if id(slot) not in self.slots:
            self.slots[id(slot)] = self.child(slot)
        return self.slots[id(slot)]

    def child(self, slot: ChildSlot) -> list[Slot]:
        below = self.below(slot)
        if self.root:  # the section knows its networks by their slots
            slot.function = self.copies.of(slot.function, below)
            return [slot]
        if slot.count is None or "" in below or not any(p[:1].isdigit() for p in below):
            return [replace(slot, function=self.copies.of(slot.function, below))]
        start, count = slot.segment.index or 0, slot.count.substitute(self.function.values()).value
        found: list[Slot] = []
        for number in range(start, start + count):
            segment = Segment(slot.segment.name, number)
            inner = _of_number(number, below)
            function = self.copies.of(slot.function, inner)
            found.append(replace(slot, segment=segment, count=None, function=function))
        return found

    def nodes(self, body: list[Node]) -> list[Node]:
        return [new for node in body for new in self.node(node)]

    def node(self, node: Node) -> list[Node]:
        match node:
            case OpNode():
                return self.op(node)
            case CallNode():
                return [self.call(node)]
            case RepeatNode():
                return self.repeat(node)
            case BranchNode():
                return self.branch(node)

    def call(self, node: CallNode) -> CallNode:
        (slot,) = self.slot(node.slot)
        function = self.called(node, slot)
        return replace(
            node, slot=slot, function=function, operands=self.all(node.operands),
            refs=self.handed(node),
        )  # fmt: skip

    def handed(self, node: CallNode | RepeatNode) -> tuple[Slot, ...]:
        return tuple(new for slot in node.refs for new in self.slot(slot))

    def called(self, node: CallNode | RepeatNode, slot: Slot) -> Function:
        """What a call runs; the slot makes instances of it."""
        refs = tuple(map(self.below, node.refs))
        function = self.copies.of(node.function, self.below(node.slot), refs)
        if any(refs) and isinstance(slot, ChildSlot):
            if id(slot) not in self.copies.owners:
                slot.function = self.copies.owners[id(slot)] = function
            elif slot.function is not function:
                function.of = slot.function
        return function

    def repeat(self, node: RepeatNode) -> list[Node]:
        slots = self.slot(node.slot)
        carried, held, refs = self.all(node.carried), self.all(node.held), self.handed(node)
        if len(slots) == 1 and slots[0].segment == node.slot.segment:
            function = self.called(node, slots[0])
            return [
                replace(
                    node, slot=slots[0], function=function, carried=carried, held=held, refs=refs
                )
            ]
        found: list[Node] = []
        for run, slot in enumerate(slots):
            assert isinstance(slot, ChildSlot)
            function = self.copies.of(slot.function, frozenset(), tuple(map(self.below, node.refs)))
            slot.function = function
            last = run == len(slots) - 1
            made = node.results if last else tuple(Value(v.type, v.name, v.span) for v in carried)
            dims = node.runs[run] if node.runs else node.dims
            found.append(CallNode(slot, function, dims, (*carried, *held), made, refs, node.span))
            carried = made
        return found

    def op(self, node: OpNode) -> list[Node]:
        operands = self.all(node.operands)
        covered = node.layer is not None and "" in self.below(node.layer)
        if "" not in self.paths and not covered:
            updates = tuple((self.all((a,))[0], self.all((b,))[0]) for a, b in node.updates)
            return [replace(node, operands=operands, updates=updates)]
        found, same = in_inference(self.function, node, operands)
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
            slots = tuple(new for slot in side.slots for new in self.slot(slot))
            sides.append(Side(self.nodes(side.body), self.all(side.yields), slots))
        return [replace(node, then=sides[0], orelse=sides[1])]


def in_inference(
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
