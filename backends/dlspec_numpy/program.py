"""What all definitions of one file share: their backwards, arguments, modes and slots."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.codegen import Plan, Policy, identifier, op_statics, plans, python, weight_statics
from dlspec.codegen.derivatives import Methods, differentiate
from dlspec.codegen.plan import owned_slots
from dlspec.ir.backward import BranchBackward, bundle_of
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Element,
    Function,
    OpNode,
    Reference,
    RepeatNode,
    functions_below,
    walk,
)
from dlspec.ops.elementwise import Constant
from dlspec_numpy.gradients import SingleWrites
from dlspec_numpy.joins import join
from dlspec_numpy.modes import body_in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dlspec.ir.backward import Backward, BackwardNode
    from dlspec.ir.graph import Node, Slot, Value


@dataclass
class Group:
    """Slots with one segment name: an attribute, or a list (or dict) of numbered instances.

    places: the position of each slot in the list. conditional: some exist only in a branch.
    """

    name: str
    slots: list[Slot] = field(default_factory=list["Slot"])
    places: dict[int, Dim] = field(default_factory=dict[int, Dim])
    conditional: bool = False
    numbered: bool = False


@dataclass
class Program:
    """root: the training function, or a model. outputs: whose gradient training starts from.

    methods: the functions that run on instances of others.
    """

    root: Function
    outputs: tuple[int, ...]
    draws: bool
    reserved: frozenset[str]
    methods: Methods = field(default_factory=Methods)
    backwards: dict[Function, Backward] = field(init=False)
    writes: SingleWrites = field(init=False)
    plans: dict[int, Plan] = field(init=False)
    functions: list[Function] = field(init=False)
    random: dict[bool, set[Function]] = field(init=False)
    groups: dict[Function, dict[str, Group]] = field(init=False)

    def __post_init__(self) -> None:
        self.functions = functions_below(self.root)
        below = (self.methods.owner(f) for f in self.functions)
        self.classes = list(dict.fromkeys(below))
        self.functions += [f for f in self.classes if f not in self.functions]
        self.backwards = dict(differentiate(self.root, self.outputs)) if self.outputs else {}
        self.joined: dict[int, OpNode] = {}
        for function, backward in self.backwards.items():
            joined = join(function, backward)
            self.backwards[function] = joined.backward
            self.joined |= joined.nodes
        self.writes = SingleWrites(self.root, self.backwards)
        extra = {id(first_node(f)): b for f, b in self.backwards.items() if first_node(f)}
        runs = self._runs()

        def statics(node: OpNode | RepeatNode) -> Iterator[object]:
            yield from op_statics(node)
            if isinstance(node, OpNode) and id(node) in extra:
                yield from backward_statics(extra[id(node)].body)
            for function in runs.get(id(node), ()):
                yield from self._statics(function)

        policy, also = Policy(weight_statics, statics), (*self.classes,)
        self.plans = plans(self.root, policy, also=also, reserved=self.reserved)
        self.random = {mode: self._random(mode) for mode in (True, False)}
        self.groups = {f: _groups(self.methods.owner(f)) for f in self.functions}

        self.typed = False  # whether a class makes arrays from nothing
        self._bundled = {f: _bundled(b.body) for f, b in self.backwards.items()}
        self._constants: dict[Function, dict[Value, OpNode]] = {}

    def bundled(self, function: Function) -> dict[int, BackwardNode]:
        """By the id of a forward node whose bundle is read: the backward node that reads it."""
        return self._bundled.get(function, {})

    def bundles(self, body: Sequence[BackwardNode]) -> list[Node]:
        """The forward nodes whose bundles a backward body reads, in the forward's order."""
        read = (bundle_of(n) for n in reversed(body) if not _is_empty(n))
        return [n for n in read if n is not None]

    def constant(self, function: Function, value: Value) -> OpNode | None:
        """The forward's constant that a backward reads."""
        if function not in self._constants:
            self._constants[function] = {
                n.results[0]: n
                for n in walk(function.body)
                if isinstance(n, OpNode) and isinstance(n.op, Constant)
            }
        return self._constants[function].get(value)

    def plan(self, function: Function) -> Plan:
        return self.plans[id(self.methods.owner(function))]

    def others(self, owner: Function) -> list[Function]:
        """The other functions that run on the instances of owner."""
        return [f for f in self.functions if f is not owner and self.methods.owner(f) is owner]

    def _runs(self) -> dict[int, list[Function]]:
        """By the id of an owner's first node: the functions that run on its instances too."""
        found: dict[int, list[Function]] = {}
        for owner in self.classes:
            found[id(first_node(owner))] = self.others(owner)
        return found

    def _statics(self, function: Function) -> Iterator[object]:
        """What printing a function that runs on another's instances needs."""
        for node in walk(function.body):
            if isinstance(node, OpNode):
                yield from op_statics(node)
        if function in self.backwards:
            yield from backward_statics(self.backwards[function].body)

    @property
    def generator(self) -> str:
        """What random ops draw from."""
        return "draws" if self.draws else "rng"

    def _random(self, training: bool) -> set[Function]:
        """Functions that draw, themselves or below, in one mode."""
        found: set[Function] = set()
        bodies = {f: list(walk(body_in_mode(f, training).nodes)) for f in self.functions}
        before = -1
        while len(found) > before:  # twice around only where definitions are recursive
            before = len(found)
            found.update(f for f, nodes in bodies.items() if any(_draws(n, found) for n in nodes))
        return found

    def instance(
        self, function: Function, slot: Slot, static: Callable[[Dim], ast.expr]
    ) -> ast.expr:
        """A slot inside a method: `self.conv`, `self.block[0]`, or a reference's name."""
        if isinstance(slot, Reference):
            return python.name(identifier(slot.name))
        if isinstance(slot, Element):
            stack = self.instance(function, slot.stack, static)
            return ast.Subscript(stack, python.constant(slot.place), ast.Load())
        group = self.groups[function][slot.segment.name]
        attribute = python.expr(f"self.{self.attribute(function, group.name)}")
        if not group.numbered:
            return attribute
        slot = self.owned(function, slot)
        place = group.places[id(slot)]
        count = slot.count if isinstance(slot, ChildSlot) else None
        if count is None:
            return ast.Subscript(attribute, static(place), ast.Load())
        if group.conditional:
            stop = static(place + count)
            inner = f"[{python.flat(attribute)}[i] for i in range(a, b)]"
            return python.substitute(python.expr(inner), {"a": static(place), "b": stop})
        last = group.slots[-1] is slot
        if last and place == Dim.const(0):
            return attribute
        lower = None if place == Dim.const(0) else static(place)
        upper = None if last else static(place + count)
        return ast.Subscript(attribute, ast.Slice(lower, upper), ast.Load())

    def owned(self, function: Function, slot: Slot) -> Slot:
        """The slot of the owner that one of a variant is."""
        group = self.groups[function][slot.segment.name]
        if id(slot) in group.places:
            return slot
        return next(s for s in group.slots if s.segment == slot.segment)

    def attribute(self, function: Function, segment: str) -> str:
        """The attribute that holds a segment: its name, unless an argument has it."""
        name = identifier(segment)
        taken = {a.name for a in self.plan(function).arguments}
        taken |= METHODS
        for method in self.methods.names(function):
            taken |= {method, f"{method}_forward", f"{method}_backward"}
        return f"{name}_" if name in taken else name

    def method(self, function: Function, name: str) -> str:
        """The method of an instance that runs function: `forward`, `pullback_forward` …"""
        found = self.methods.of.get(function)
        if found is None:
            return name
        return found.name if name == "__call__" else f"{found.name}_{name}"


DTYPE = "dtype"  # the attribute of a class whose methods make arrays from nothing
METHODS = frozenset({"forward", "backward", "segments", DTYPE})


def first_node(function: Function) -> OpNode | None:
    return next((n for n in walk(function.body) if isinstance(n, OpNode)), None)


def backward_statics(body: Sequence[BackwardNode]) -> Iterator[object]:
    """What printing a backward needs, but for shapes that variables tell."""
    for node in body:
        if isinstance(node, OpNode):
            yield from op_statics(node)
        elif isinstance(node, BranchBackward):
            for side, _ in node.sides():
                yield from backward_statics(side.body)


def _is_empty(node: BackwardNode) -> bool:
    """Whether a branch saves nothing, on either side."""
    return isinstance(node, BranchBackward) and not any(
        side.saved or any(bundle_of(n) is not None and not _is_empty(n) for n in side.body)
        for side, _ in node.sides()
    )


def _bundled(body: Sequence[BackwardNode]) -> dict[int, BackwardNode]:
    found: dict[int, BackwardNode] = {}
    for node in body:
        read = bundle_of(node)
        if read is not None and not _is_empty(node):
            found[id(read)] = node
        if isinstance(node, BranchBackward):
            for side, _ in node.sides():
                found |= _bundled(side.body)
    return found


def _draws(node: Node, found: set[Function]) -> bool:
    if isinstance(node, OpNode):
        return node.op.random
    return isinstance(node, CallNode | RepeatNode) and node.function in found


def _groups(function: Function) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    ends: dict[str, Dim] = {}
    for slot, branch in owned_slots(function):
        segment = slot.segment
        group = groups.setdefault(segment.name, Group(segment.name))
        group.slots.append(slot)
        count = slot.count if isinstance(slot, ChildSlot) else None
        if segment.index is None and count is None:
            continue
        group.numbered = True
        place = ends.get(segment.name, Dim.const(0))
        if branch is not None or (place.is_const and place.value != (segment.index or 0)):
            group.conditional = True
        group.places[id(slot)] = place
        ends[segment.name] = place + (Dim.const(1) if count is None else count)
    for group in groups.values():
        if group.conditional:  # a dict, by the spec's own numbers
            for slot in group.slots:
                group.places[id(slot)] = Dim.const(slot.segment.index or 0)
    return groups
