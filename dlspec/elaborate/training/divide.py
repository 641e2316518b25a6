"""Each step of a training section as a function of its own.

A section is elaborated as one body; a step is what of it the step's losses and reports need. So
an outer binding that two steps use is evaluated anew in each, with the weights of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    Segment,
    Side,
    Slot,
    Step,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dlspec.source import Span


@dataclass
class Draft:
    """A step while the section is elaborated. losses, reports: by the names of its metrics."""

    name: str
    span: Span
    times: int = 1
    every: int = 1
    losses: dict[str, Value] = field(default_factory=dict[str, Value])
    reports: dict[str, Value] = field(default_factory=dict[str, Value])


def divide(root: Function, drafts: Sequence[Draft]) -> tuple[list[Step], dict[int, Value]]:
    """Make root call one function a step. Gives the steps and root's new outputs by the old."""
    body, root.body[:] = list(root.body), []
    steps: list[Step] = []
    outputs: dict[int, Value] = {}
    for draft in drafts:
        old = (*draft.losses.values(), *draft.reports.values())
        part = Part(root, draft)
        slot, call = part.build(body, old)
        root.slots.append(slot)
        root.body.append(call)
        outputs |= {id(a): b for a, b in zip(old, call.results, strict=True)}
        names = (*draft.losses, *draft.reports)
        steps.append(Step(draft.name, slot, names, draft.times, draft.every))
    root.outputs = tuple(v for node in root.body for v in node.results)
    root.output_names = tuple(name for step in steps for name in step.metrics)
    return steps, outputs


def needed(body: Sequence[Node], outputs: Iterable[Value]) -> list[Node]:
    """The nodes of a body that the outputs depend on."""
    wanted = {id(v) for v in outputs}
    found: list[Node] = []
    for node in reversed(body):
        if any(id(v) in wanted for v in node.results):
            found.append(node)
            wanted.update(id(v) for v in reads(node))
    return found[::-1]


def reads(node: Node) -> Iterator[Value]:
    match node:
        case OpNode() | CallNode():
            yield from node.operands
        case RepeatNode():
            yield from (*node.carried, *node.held)
        case BranchNode():
            for side in (node.then, node.orelse):
                if side is not None:
                    yield from side.yields
                    for inner in side.body:
                        yield from reads(inner)


class Part:
    """Copies what one step needs into a function that is handed the networks."""

    def __init__(self, root: Function, draft: Draft) -> None:
        self.root = root
        self.draft = draft
        words = draft.name.split("_")
        self.function = Function(
            "".join(word[:1].upper() + word[1:] for word in words),
            "block",
            statics=dict(root.statics),
            defaults=dict(root.defaults),
            symbols=dict(root.symbols),
            requirements=list(root.requirements),
            span=draft.span,
        )
        self.values: dict[int, Value] = {}
        self.references: dict[int, Reference] = {}

    def build(self, body: Sequence[Node], outputs: Sequence[Value]) -> tuple[ChildSlot, CallNode]:
        kept = needed(body, outputs)
        used = {id(v) for node in kept for v in reads(node)} | {id(v) for v in outputs}
        operands = self.inputs(kept, used)
        self.function.inputs = tuple(self.value(v) for v in operands)
        self.function.body.extend(self.node(node) for node in kept)
        self.function.outputs = tuple(self.value(v) for v in outputs)
        self.function.output_names = (*self.draft.losses, *self.draft.reports)
        self.function.references = list(self.references.values())
        dims = {name: Dim.symbol(name) for name in self.root.symbols}
        segment = Segment(self.draft.name)
        slot = ChildSlot(
            segment, self.function, dims, dict(self.root.statics), None, self.draft.span
        )
        results = tuple(Value(v.type, v.name, v.span) for v in outputs)
        refs = tuple(r.target for r in self.references.values())
        return slot, CallNode(slot, self.function, dims, operands, results, refs, self.draft.span)

    def inputs(self, kept: Sequence[Node], used: set[int]) -> tuple[Value, ...]:
        """The fields that are read, and those whose shape alone tells an extent (`[N, 64]`)."""
        shapes = [v.type.shape for node in kept for v in node.results]
        open_ = {s for shape in shapes for dim in shape for s in dim.symbols}
        for value in self.root.inputs:
            if id(value) in used:
                open_ -= {s for dim in value.type.shape for s in dim.symbols}
        for value in sorted(self.root.inputs, key=lambda v: not v.name):  # `_` is in no batch
            found = open_ & {s for dim in value.type.shape for s in dim.symbols}
            if found:
                used.add(id(value))
                open_ -= found
        return tuple(v for v in self.root.inputs if id(v) in used)

    def value(self, old: Value) -> Value:
        if id(old) not in self.values:
            new = replace(old)
            if old.weight is not None:
                new.weight = (self.slot(old.weight[0]), old.weight[1])
            self.values[id(old)] = new
        return self.values[id(old)]

    def slot(self, old: Slot) -> Slot:
        assert not isinstance(old, Reference)  # nobody hands anything to a training section
        if id(old) not in self.references:
            self.references[id(old)] = Reference(str(old.segment).replace(".", "_"), old)
        return self.references[id(old)]

    def some(self, values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(self.value(v) for v in values)

    def node(self, node: Node) -> Node:
        results = self.some(node.results)
        match node:
            case OpNode():
                return replace(
                    node,
                    operands=self.some(node.operands),
                    results=results,
                    layer=None if node.layer is None else self.slot(node.layer),
                    updates=tuple((self.value(a), self.value(b)) for a, b in node.updates),
                )
            case CallNode():
                return replace(
                    node,
                    slot=self.slot(node.slot),
                    operands=self.some(node.operands),
                    results=results,
                    refs=tuple(map(self.slot, node.refs)),
                )
            case RepeatNode():
                return replace(
                    node,
                    slot=self.slot(node.slot),
                    carried=self.some(node.carried),
                    held=self.some(node.held),
                    results=results,
                    refs=tuple(map(self.slot, node.refs)),
                )
            case BranchNode():
                return replace(
                    node, then=self.side(node.then), orelse=self.side(node.orelse), results=results
                )

    def side(self, side: Side | None) -> Side | None:
        if side is None:
            return None
        return Side([self.node(n) for n in side.body], self.some(side.yields), ())
