"""What the functions of one file need: arguments, keys, buffers, modes, names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from dlspec.codegen import NO_DEFAULT, Names, Plan, Policy, names_of, plans, snake, weight_statics
from dlspec.codegen.names import identifier
from dlspec.codegen.plan import Argument, annotation, class_name, input_dims
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    LayerSlot,
    OpNode,
    Reference,
    RepeatNode,
    WeightSlot,
    all_slots,
    functions_below,
    walk,
)
from dlspec.ir.static import plain
from dlspec_jax.layout import Layouts, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Function, Node, Slot, Value, Weight

CONSTANT_INITS = frozenset({"zeros", "ones", "constant", "identity"})
TRAINING = "training"
SCANNED = 12  # so many equal blocks pay a scan over their weights


def no_statics(node: OpNode | RepeatNode) -> Iterator[object]:
    """The ops of a body say nothing about how its weights are made."""
    return iter(())


@dataclass
class Traits:
    """Of a function with all that it calls. made: an instance has weights; drawn: some of them
    at random; stateful: it owns buffers; random: it draws; modal: training differs."""

    made: bool = False
    drawn: bool = False
    stateful: bool = False
    random: bool = False
    modal: bool = False


@dataclass
class Program:
    """All functions below root, callees first. reserved: names that no definition may take.

    inputs_drawn: random draws come from outside. stacks: the ids of the slots whose equal blocks
    `repeated` runs. apart: names of slots that are no stack, for their blocks are trained apart.
    half: ids of the slots of networks that compute in bfloat16, and of references to them.
    """

    root: Function
    reserved: frozenset[str]
    inputs_drawn: bool = False
    apart: frozenset[str] = frozenset()
    half: frozenset[int] = frozenset()
    functions: list[Function] = field(init=False)
    layouts: Layouts = field(init=False)
    names: dict[int, str] = field(init=False)
    makers: dict[int, Plan] = field(init=False)  # of `init_…` functions
    forwards: dict[int, Plan] = field(init=False)
    traits: dict[int, Traits] = field(init=False)
    stacks: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.functions = functions_below(self.root)
        self.layouts = Layouts(self.root)
        # a parameter would hide a definition of its name
        parameters = {snake(s) for f in self.functions for s in (*f.statics, *f.symbols)}
        parameters |= {snake(r.name) for f in self.functions for r in f.references}
        taken = Names(self.reserved | parameters)
        self.names = {id(f): taken.fresh(snake(class_name(f))) for f in self.functions}
        self.makers = plans(self.root, Policy(weight_statics, no_statics))
        self.traits = _traits(self.functions)
        self.stacks = {s for f in self.functions for s in self._stacks(f)}
        needs = _forward_needs(self.functions)
        self.forwards = {id(f): self._forward(f, needs[id(f)]) for f in self.functions}

    def _stacks(self, function: Function) -> set[int]:
        """The slots of equal blocks, numbered from 0, that all uses run in the same way."""
        segments = Counter(s.segment.name for s in all_slots(function))
        found = {
            id(s)
            for s in function.slots
            if isinstance(s, ChildSlot)
            and s.count is not None
            and not _few(s.count, function)
            and segments[s.segment.name] == 1
            and not s.segment.index
            and s.segment.name not in self.apart
            and self.traits[id(s.function)].made
            and not self.traits[id(s.function)].stateful
            and not (self.traits[id(s.function)].random and self.inputs_drawn)
        }
        for node in walk(function.body):
            if isinstance(node, CallNode | RepeatNode):
                found -= set(map(id, node.refs))
            if isinstance(node, RepeatNode) and (node.runs or self._carries_buffers(node)):
                found.discard(id(node.slot))
        return found

    def _carries_buffers(self, node: RepeatNode) -> bool:
        return any(self.stateful_slot(slot) for slot in node.refs)

    def _forward(self, function: Function, needed: set[str]) -> Plan:
        """Keyword arguments: parameters and dims that the body needs and no input's shape tells."""
        order = [s for s in function.statics if s in needed]
        order += sorted(needed - set(order))
        taken = Names((*self.reserved, *(identifier(v.name) for v in function.inputs)))
        arguments: list[Argument] = []
        for symbol in order:
            default = function.defaults.get(symbol, NO_DEFAULT)
            known = NO_DEFAULT if default is NO_DEFAULT else plain(default)  # type: ignore[arg-type]
            note = annotation(function.statics[symbol]) if symbol in function.statics else "int"
            arguments.append(Argument(symbol, taken.fresh(snake(symbol)), note, known))
        dims = {
            symbol: (position, self._axis(function, position, axis))
            for symbol, (position, axis) in input_dims(function).items()
        }
        return Plan(function, self.names[id(function)], arguments, set(), needed, dims)

    def _axis(self, function: Function, position: int, axis: int) -> int:
        value = function.inputs[position]
        return moved(axis, value.type.rank) if self.layouts.is_last(value) else axis

    def reference_stateful(self, reference: Reference) -> bool:
        """Whether a reference's instance holds buffers."""
        match owner(reference):
            case ChildSlot(function=function):
                return self.traits[id(function)].stateful
            case LayerSlot(weights=weights):
                return any(not w.trainable for w in weights.values())
            case WeightSlot(weight=weight):
                return not weight.trainable
            case _:
                return False

    def stateful_slot(self, slot: Slot) -> bool:
        """Whether the slot's instance holds buffers."""
        if isinstance(slot, Reference):
            return self.reference_stateful(slot)
        if isinstance(slot, ChildSlot):
            return self.traits[id(slot.function)].stateful
        return any(not w.trainable for w in weights_of(slot))


def _few(count: Dim, function: Function) -> bool:
    """Whether a count is known to be too small for a scan."""
    known = function.values()
    return count.symbols <= known.keys() and count.evaluate(known) < SCANNED


def owner(slot: Slot) -> Slot:
    """What a reference refers to, through any number of them."""
    while isinstance(slot, Reference):
        slot = slot.target
    return slot


def child(slot: Slot) -> ChildSlot:
    """The instance that a call runs."""
    found = owner(slot)
    assert isinstance(found, ChildSlot)
    return found


def weights_of(slot: Slot) -> list[Weight]:
    """The weights of a slot itself."""
    match slot:
        case LayerSlot():
            return list(slot.weights.values())
        case WeightSlot():
            return [slot.weight]
        case _:
            return []


def is_mode(node: Node) -> bool:
    """Whether a branch asks for the mode."""
    return isinstance(node, BranchNode) and TRAINING in set(names_of(node.condition, {}))


def _traits(functions: list[Function]) -> dict[int, Traits]:
    found = {id(f): Traits() for f in functions}
    changed = True
    while changed:  # more than once only for recursion
        changed = False
        for function in functions:
            new = _trait(function, found)
            changed |= new != found[id(function)]
            found[id(function)] = new
    return found


def _trait(function: Function, known: Mapping[int, Traits]) -> Traits:
    trait = Traits()
    variant = function.of is not None
    trait.made = function.of is not None and known[id(function.of)].made
    for slot in () if variant else all_slots(function):
        weights = weights_of(slot)
        trait.made |= bool(weights)
        trait.drawn |= any(w.init.kind not in CONSTANT_INITS for w in weights)
        trait.stateful |= any(not w.trainable for w in weights)
        if isinstance(slot, ChildSlot):
            below = known[id(slot.function)]
            trait.made |= below.made
            trait.drawn |= below.drawn
            trait.stateful |= below.stateful
    for node in walk(function.body):
        if isinstance(node, OpNode):
            trait.stateful |= variant and any(map(_is_own_buffer, node.operands))
            trait.random |= node.op.random
            trait.modal |= node.op.modal
        elif isinstance(node, CallNode | RepeatNode):
            if variant and not isinstance(node.slot, Reference):
                trait.stateful |= known[id(node.function)].stateful
            trait.random |= known[id(node.function)].random
            trait.modal |= known[id(node.function)].modal
        else:
            trait.modal |= is_mode(node)
    return trait


def _is_own_buffer(value: Value) -> bool:
    if value.weight is None:
        return False
    slot, weight = value.weight
    return not weight.trainable and not isinstance(slot, Reference)


def _forward_needs(functions: list[Function]) -> dict[int, set[str]]:
    """Symbols that callers must give, until nothing changes."""
    direct = {id(f): set(_direct_needs(f)) for f in functions}
    bound = {id(f): set(input_dims(f)) | {TRAINING} for f in functions}
    needs = {key: found - bound[key] for key, found in direct.items()}
    changed = True
    while changed:
        changed = False
        for function in functions:
            for node in walk(function.body):
                if not isinstance(node, CallNode | RepeatNode):
                    continue
                wanted = {
                    name
                    for symbol in needs[id(node.function)]
                    for name in names_of(given(node, symbol), function.symbols)
                }
                new = wanted - bound[id(function)] - needs[id(function)]
                needs[id(function)] |= new
                changed |= bool(new)
    return needs


def given(node: CallNode | RepeatNode, symbol: str) -> object:
    """What a call gives for a parameter or dim symbol of its function."""
    statics = child(node.slot).statics
    if symbol in statics:
        return statics[symbol]
    return node.dims[symbol] if symbol in node.dims else node.function.defaults.get(symbol)


def counted(function: Function, node: RepeatNode) -> bool:
    """Whether a repeat must be told its count: it does not run over the rest of a list."""
    slot = node.slot
    if isinstance(slot, Reference) or not isinstance(slot, ChildSlot) or slot.count is None:
        return True
    named = (s for s in all_slots(function) if s.segment.name == slot.segment.name)
    same = [s for s in named if holds_weights(s)]
    # a list has all numbers and is there in any case; other instances lie in a dict by number
    sometimes = any(s not in function.slots for s in same)
    gaps = [s.segment.index or 0 for s in same] != list(range(len(same)))
    stacked = any(isinstance(s, ChildSlot) and s.count is not None for s in same[:-1])
    return sometimes or gaps or stacked or not same or same[-1] is not slot


def holds_weights(slot: Slot) -> bool:
    """Whether an instance has weights, its own or below."""
    if not isinstance(slot, ChildSlot):
        return not isinstance(slot, Reference)
    below = (s for f in functions_below(slot.function) for s in all_slots(f))
    return any(isinstance(s, LayerSlot | WeightSlot) for s in below)


def _direct_needs(function: Function) -> Iterator[str]:
    for node in walk(function.body):
        match node:
            case OpNode():
                for f in fields(node.op):
                    yield from names_of(getattr(node.op, f.name), function.symbols)
            case BranchNode() if node.then is not None and node.orelse is not None:
                yield from names_of(node.condition, function.symbols)
            case RepeatNode() if counted(function, node):
                yield from names_of(node.count, function.symbols)
            case _:
                pass
