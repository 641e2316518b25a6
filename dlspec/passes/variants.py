"""Instances that several specialisations run on: a shared layer with other static arguments.

One function makes an instance: the one of its first use, with the slots that only others need
added. Every other is a *variant* of it (`Function.of`), in which parameters are plain numbers and
static branches are decided. The slots of the two are the same by their segments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    OpNode,
    Reference,
    RepeatNode,
    Segment,
    Side,
    Slot,
    Value,
    Weight,
    WeightSlot,
    all_slots,
    constructor_symbols,
)
from dlspec.ir.static import Known
from dlspec.ir.static import Sequence as StaticSequence
from dlspec.ir.types import TensorType
from dlspec.passes.merge import alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dlspec.ir.graph import Node

Terms = Callable[[Dim], "Dim | None"]  # a size of one function in those of another; None: unknown
Place = tuple[str, "int | None"]
PLAIN = re.compile(r"[a-z0-9_]{1,24}")


@dataclass(frozen=True)
class Use:
    """A call of a shared instance. dims: the function's sizes in the terms of the slot's owner."""

    node: CallNode
    dims: Mapping[str, Dim]


class Differs(Exception):
    """A weight that would have another shape. member: which of the functions wants it; node: a
    call of that function, once it is known."""

    def __init__(self, member: int, path: str, have: str, want: str) -> None:
        super().__init__(path)
        self.member, self.path, self.have, self.want = member, path, have, want
        self.node: CallNode | None = None


def unite(slot: ChildSlot, uses: Sequence[Use], values: Mapping[str, int]) -> None:
    """Make all uses of an instance run functions of one owner, in place. values: what is known of
    the sizes where the slot is. Raises Differs."""
    others: dict[Function, list[Use]] = {}
    for use in uses:
        function = use.node.function
        if function is not slot.function and not alike(slot.function, function):
            others.setdefault(function, []).append(use)
    if not others:
        return
    first = slot.function
    members: list[tuple[Function, Terms]] = [(first, _same)]
    for function, found in others.items():
        members.append((function, _terms(slot, first, function, found[0].dims, values)))
    try:
        owner, *variants = _united(members)
    except Differs as differs:
        differs.node = others[members[differs.member][0]][0].node
        raise
    slot.function = owner
    made = dict(zip(others, variants, strict=True))
    for use in uses:
        if use.node.function is first or use.node.function in made:
            use.node.function = made.get(use.node.function, owner)


def method_name(variant: Function) -> str:
    """What a variant is called among those that run on the same instances."""
    assert variant.of is not None
    name = variant.name.removeprefix(f"{variant.of.name}_")
    number = variant.specialisation
    return f"{name}_{number + 1}" if number else name


def _same(dim: Dim) -> Dim:
    return dim


def _terms(
    slot: ChildSlot,
    first: Function,
    other: Function,
    dims: Mapping[str, Dim],
    values: Mapping[str, int],
) -> Terms:
    """A size of `other`, which runs on the instance of a slot, in the terms of `first`. dims: its
    own in the terms of the slot's owner, of whose sizes `values` are known."""
    found: dict[str, Dim | None] = {}
    ours, theirs = first.values(), other.values()
    for symbol in other.symbols:
        if symbol in theirs:
            same = ours.get(symbol) == theirs[symbol]
            found[symbol] = Dim.symbol(symbol) if same else Dim.const(theirs[symbol])
        elif symbol in dims:
            there = dims[symbol].substitute(values)
            here = slot.dims.get(symbol)
            same = here is not None and here.substitute(values) == there
            found[symbol] = Dim.symbol(symbol) if same else there if there.is_const else None

    def terms(dim: Dim) -> Dim | None:
        given = {s: found.get(s) for s in dim.symbols}
        if any(d is None for d in given.values()):
            return None
        return dim.substitute(cast("dict[str, Dim]", given))

    return terms


def split(
    function: Function, apart: frozenset[str], inside: Mapping[Slot, Function] | None = None
) -> Function:
    """A copy with the stacks of some names written out, and other functions in child slots."""
    new = _Copy(function, apart, decided=False).function()
    given = {_place(slot): inner for slot, inner in (inside or {}).items()}
    for slot in all_slots(new):
        inner = given.get(_place(slot))
        if inner is None or not isinstance(slot, ChildSlot):
            continue
        for node in _calls(new.body):
            if node.slot is slot and node.function is slot.function:
                node.function = inner
        slot.function = inner
    return new


def _united(members: list[tuple[Function, Terms]]) -> list[Function]:
    """Copies of functions that run on one instance, its owner first."""
    apart = _stacks_apart([f for f, _ in members])
    owner = _Copy(members[0][0], apart, decided=False).function()
    copies = [owner]
    for function, _ in members[1:]:
        copy = _Copy(function, apart, decided=True).function()
        copy.of = owner
        copies.append(copy)
    places = {_place(s): s for s in all_slots(owner)}
    for number, (copy, (_, terms)) in enumerate(zip(copies, members, strict=True)):
        for slot in all_slots(copy):
            have = places.get(_place(slot))
            if have is None:
                places[_place(slot)] = have = _added(owner, slot, terms)
            elif have is not slot:
                _compare(number, have, slot, owner, terms)
    for place, have in places.items():
        if isinstance(have, ChildSlot):
            _children(place, have, copies, [terms for _, terms in members])
    _name(members[0][0], copies[1:])
    return copies


def _place(slot: Slot) -> Place:
    return (slot.segment.name, slot.segment.index)


def _stacks_apart(functions: list[Function]) -> frozenset[str]:
    """Names of stacks that are not the same in all functions that have them."""
    found: dict[str, list[list[tuple[int | None, int | None]]]] = {}
    for function in functions:
        own: dict[str, list[tuple[int | None, int | None]]] = {}
        for slot in all_slots(function):
            count = slot.count if isinstance(slot, ChildSlot) else None
            size = None if count is None else count.substitute(function.values()).value
            own.setdefault(slot.segment.name, []).append((slot.segment.index, size))
        for name, layout in own.items():
            found.setdefault(name, []).append(layout)
    return frozenset(
        name for name, layouts in found.items() if any(a != layouts[0] for a in layouts)
    )


def _added(owner: Function, slot: Slot, terms: Terms) -> Slot:
    """A slot that only a variant has, in the owner, behind those of its name."""
    new = _translated(slot, terms)
    owner.slots.append(new)
    same = [i for i, s in enumerate(owner.slots) if s.segment.name == slot.segment.name]
    ordered = sorted((owner.slots[i] for i in same), key=lambda s: s.segment.index or 0)
    for i, s in zip(same, ordered, strict=True):
        owner.slots[i] = s
    return new


def _translated(slot: Slot, terms: Terms) -> Slot:
    def known(dim: Dim) -> Dim:
        return terms(dim) or dim

    change = _Change(known)
    match slot:
        case LayerSlot():
            weights = {k: _weight(w, change) for k, w in slot.weights.items()}
            return replace(slot, attributes=change.static(slot.attributes), weights=weights)
        case WeightSlot():
            return replace(slot, weight=_weight(slot.weight, change))
        case ChildSlot():
            return replace(slot, dims=change.static(slot.dims), statics=change.static(slot.statics))
        case Reference():
            return slot


def _weight(weight: Weight, change: _Change) -> Weight:
    args = tuple((k, change.static(v)) for k, v in weight.init.args)
    init = replace(weight.init, args=args)
    return replace(weight, type=change.static(weight.type), init=init)


def _compare(number: int, have: Slot, slot: Slot, owner: Function, terms: Terms) -> None:
    """The weights of a slot of the owner are those that a variant needs."""
    ours, theirs = _weights(have), _weights(slot)
    for name in dict.fromkeys((*ours, *theirs)):
        a, b = ours.get(name), theirs.get(name)
        path = str(have.segment) if isinstance(have, WeightSlot) else f"{have.segment}.{name}"
        if a is None or b is None:
            words = ("there", "not there")
            raise Differs(number, path, words[a is None], words[b is None])
        shape = [terms(d) for d in b.type.shape]
        known = owner.values()
        want = [d and d.substitute(known) for d in shape]
        if want != [d.substitute(known) for d in a.type.shape]:
            text = f"[{', '.join('?' if d is None else str(d) for d in want)}]"
            raise Differs(number, path, str(a.type.substitute(known)), text)


def _weights(slot: Slot) -> dict[str, Weight]:
    match slot:
        case LayerSlot():
            return slot.weights
        case WeightSlot():
            return {"": slot.weight}
        case _:
            return {}


def _children(place: Place, have: ChildSlot, copies: list[Function], terms: list[Terms]) -> None:
    """One owner for the instances of a child slot, and variants where functions differ."""
    slots = [
        (number, slot)
        for number, copy in enumerate(copies)
        for slot in all_slots(copy)
        if _place(slot) == place and isinstance(slot, ChildSlot)
    ]
    members: dict[Function, tuple[int, Terms]] = {have.function: (0, _same)}
    for number, slot in slots:
        dims = {k: terms[number](d) for k, d in slot.dims.items()}
        known = {k: d for k, d in dims.items() if d is not None}
        values = copies[0].values()
        inner = _terms(have, have.function, slot.function, known, values)
        if slot.function is have.function:
            _same_sizes(number, have, slot, known, values)
        members.setdefault(slot.function, (number, inner))
    if len(members) == 1:
        return
    try:
        united = _united([(f, inner) for f, (_, inner) in members.items()])
    except Differs as differs:
        differs.path = f"{have.segment}.{differs.path}"
        differs.member = [n for n, _ in members.values()][differs.member]
        raise
    made = dict(zip(members, united, strict=True))
    for number, slot in slots:
        for node in _calls(copies[number].body):
            if node.slot is slot:
                node.function = made[node.function]
        slot.function = united[0]
    have.function = united[0]


def _same_sizes(
    number: int,
    have: ChildSlot,
    slot: ChildSlot,
    dims: Mapping[str, Dim],
    values: Mapping[str, int],
) -> None:
    """The sizes that an instance is made for are those that a variant runs it for."""
    for symbol in sorted(constructor_symbols(slot.function) & slot.dims.keys()):
        here, there = (d.get(symbol) for d in (have.dims, dims))
        known = [d and d.substitute(values) for d in (here, there)]
        if known[0] != known[1]:
            raise Differs(number, str(have.segment), *(f"for {symbol} = {d}" for d in known))


def _calls(nodes: list[Node]) -> Iterable[CallNode | RepeatNode]:
    for node in nodes:
        if isinstance(node, CallNode | RepeatNode):
            yield node
        elif isinstance(node, BranchNode):
            for side in (node.then, node.orelse):
                yield from _calls(side.body if side is not None else [])


def _name(first: Function, variants: list[Function]) -> None:
    """Variants are called after the arguments that tell them from the first use."""
    taken: set[str] = set()
    for variant in variants:
        parts = [
            f"{name}_{_word(value)}"
            for name, value in variant.statics.items()
            if PLAIN.fullmatch(_word(value))
            if _word(value) != _word(first.values().get(name, first.statics.get(name)))
        ]
        title = "_".join(parts) or "other"
        name, number = title, 2
        while name in taken:
            name, number = f"{title}_{number}", number + 1
        taken.add(name)
        variant.name = f"{first.name}_{name}"
        variant.statics, variant.defaults, variant.specialisation = {}, {}, 0


def _word(value: Any) -> str:
    value = value.value if isinstance(value, Known) else value
    return str(value).lower().replace(".", "_").replace("-", "minus_")


@dataclass
class _Change:
    """Static values with other sizes in them; origins are given up where plain is set."""

    dim: Callable[[Dim], Dim]
    plain: bool = False

    def static(self, value: Any) -> Any:
        match value:
            case Dim():
                return self.dim(value)
            case Known():
                return value.value if self.plain else value
            case StaticSequence():
                items = tuple(map(self.static, value.items))
                return StaticSequence(items, None if self.plain else value.origin, value.is_list)
            case TensorType():
                return TensorType(value.dtype, tuple(map(self.dim, value.shape)))
            case tuple():
                return tuple(map(self.static, cast("tuple[Any, ...]", value)))
            case dict():
                known = cast("dict[str, Any]", value)
                return {k: self.static(v) for k, v in known.items()}
            case _:
                return value


class _Copy:
    """A copy of a function with nodes and child slots of its own. decided: with the values of its
    parameters, and of each static branch the side that was taken."""

    def __init__(self, old: Function, apart: frozenset[str], *, decided: bool) -> None:
        self.old, self.apart, self.decided = old, apart, decided
        self.known = old.values()
        values = self.known if decided else {}
        self.change = _Change(lambda d: d.substitute(values), plain=decided)
        self.values: dict[Value, Value] = {}
        self.slots: dict[int, list[Slot]] = {}

    def function(self) -> Function:
        old = self.old
        new = replace(
            old,
            inputs=self.some(old.inputs),
            slots=[new for slot in old.slots for new in self.slot(slot)],
            references=list(old.references),
        )
        self.own = new.slots
        new.body = self.nodes(old.body)
        new.outputs = self.some(old.outputs)
        new.requirements = [] if self.decided else list(old.requirements)
        if self.decided:
            new.symbols = {k: s for k, s in old.symbols.items() if s.kind == "dim"}
            new.statics = {
                k: self.known.get(k, v.value if isinstance(v, Known) else v)
                for k, v in old.statics.items()
            }
        return new

    def value(self, old: Value) -> Value:
        if old not in self.values and not self.decided:
            return old
        if old not in self.values:
            weight = old.weight
            if weight is not None:
                (slot,) = self.slot(weight[0])
                weight = (slot, _weights(slot).get(weight[1].name, weight[1]))
            self.values[old] = Value(self.change.static(old.type), old.name, old.span, weight)
        return self.values[old]

    def some(self, values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(map(self.value, values))

    def slot(self, old: Slot) -> list[Slot]:
        """A slot of the copy; one for each of a stack that is written out."""
        if id(old) not in self.slots:
            self.slots[id(old)] = self.made(old)
        return self.slots[id(old)]

    def made(self, old: Slot) -> list[Slot]:
        if not isinstance(old, ChildSlot):
            return [old]
        dims, statics = self.change.static(old.dims), self.change.static(old.statics)
        new = replace(old, dims=dims, statics=statics, count=self.change.static(old.count))
        if old.count is None or old.segment.name not in self.apart:
            return [new]
        start = old.segment.index or 0
        count = old.count.substitute(self.known).value
        places = (Segment(old.segment.name, start + k) for k in range(count))
        return [replace(new, segment=place, count=None) for place in places]

    def one(self, old: Slot) -> Slot:
        (slot,) = self.slot(old)
        return slot

    def nodes(self, body: list[Node]) -> list[Node]:
        return [new for node in body for new in self.node(node)]

    def node(self, node: Node) -> list[Node]:
        match node:
            case OpNode():
                return [self.op(node)]
            case CallNode():
                changed = replace(
                    node, slot=self.one(node.slot), operands=self.some(node.operands),
                    results=self.some(node.results), refs=tuple(map(self.one, node.refs)),
                    dims=self.change.static(node.dims),
                )  # fmt: skip
                return [changed]
            case RepeatNode():
                return self.repeat(node)
            case BranchNode():
                return self.branch(node)

    def op(self, node: OpNode) -> OpNode:
        op: Any = node.op
        if self.decided and is_dataclass(op):
            changed = {f.name: self.change.static(getattr(op, f.name)) for f in fields(op)}
            op = replace(cast("Any", op), **changed)
        return replace(
            node, op=op, operands=self.some(node.operands), results=self.some(node.results),
            layer=None if node.layer is None else self.one(node.layer),
            updates=tuple((self.value(a), self.value(b)) for a, b in node.updates),
        )  # fmt: skip

    def repeat(self, node: RepeatNode) -> list[Node]:
        carried, held = self.some(node.carried), self.some(node.held)
        results, refs = self.some(node.results), tuple(map(self.one, node.refs))
        dims = self.change.static(node.dims)
        slots = self.slot(node.slot)
        stack = isinstance(node.slot, ChildSlot) and node.slot.count is not None
        if not (stack and node.slot.segment.name in self.apart):
            runs = tuple(self.change.static(dict(run)) for run in node.runs)
            return [
                replace(
                    node, slot=slots[0], carried=carried, held=held, results=results, refs=refs,
                    dims=dims, runs=runs, count=self.change.static(node.count),
                )
            ]  # fmt: skip
        found: list[Node] = []
        for run, slot in enumerate(slots):
            sizes = self.change.static(dict(node.runs[run])) if node.runs else dims
            last = run == len(slots) - 1
            made = results if last else tuple(Value(v.type, v.name, v.span) for v in carried)
            operands = (*carried, *held)
            found.append(CallNode(slot, node.function, sizes, operands, made, refs, node.span))
            carried = made
        if not slots:
            self.values |= dict(zip(node.results, carried, strict=True))
        return found

    def branch(self, node: BranchNode) -> list[Node]:
        if self.decided and node.taken is not None:
            side = node.then if node.taken else node.orelse
            assert side is not None
            self.own += [new for slot in side.slots for new in self.slot(slot)]
            found = self.nodes(side.body)
            self.values |= dict(zip(node.results, self.some(side.yields), strict=True))
            return found
        sides = [side and self.side(side) for side in (node.then, node.orelse)]
        return [replace(node, then=sides[0], orelse=sides[1], results=self.some(node.results))]

    def side(self, side: Side) -> Side:
        slots = tuple(new for slot in side.slots for new in self.slot(slot))
        return Side(self.nodes(side.body), self.some(side.yields), slots)
