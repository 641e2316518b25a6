"""One function per definition: specialisations of one definition are unified (anti-unification).

Two specialisations agree when their bodies are the same expressions over constructor parameters
and dims; values may differ, for they come from the arguments. A static branch of which they take
different sides gets both sides. An attribute that differs as a plain number becomes a parameter.
What does not agree (axes, flags and words too) stays apart and gets a number. Definitions are taken
callees first, so a recursive one meets its own base case before the levels above it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    Side,
    Slot,
    Value,
    Weight,
    WeightSlot,
    functions_below,
    walk,
)
from dlspec.ir.static import Apply, Known, LayerArgument, ParamRef, Symbol
from dlspec.ir.static import Sequence as StaticSequence
from dlspec.ir.types import TensorType
from dlspec.passes.names import fresh
from dlspec.passes.widen import per_axis, repeat_values, repeated, widen, wider

if TYPE_CHECKING:
    from dlspec.ir.static import Origin, StaticValue

ANY = Dim.symbol("_")  # an extent that differs between specialisations

_Key = tuple[str, str, int]


def merge(root: Function) -> Function:
    """root with everything below it, one function per definition. The argument stays as it is."""
    return _Merger(functions_below(root)).run(root)


def alike(a: Function, b: Function) -> bool:
    """Whether two specialisations for equal parameters are one function as they stand."""
    if a.values() != b.values() or a.statics.keys() != b.statics.keys():
        return False
    if any(_key_of(a.statics[k]) != _key_of(b.statics[k]) for k in a.statics):
        return False
    functions = list(dict.fromkeys((*functions_below(a), *functions_below(b))))
    merger = _Merger(functions)
    merger.run(a)
    home = merger.home[id(a)]
    below = functions_below(home.function)
    decided = all(_two_sided(f) <= max(map(_two_sided, functions), default=0) for f in below)
    return (
        home is merger.home[id(b)]
        and decided
        and not any(found.extras for group in merger.classes.values() for found in group)
    )


def _key_of(value: StaticValue) -> object:
    return value.key if isinstance(value, LayerArgument) else value


def _two_sided(function: Function) -> int:
    nodes = (n for n in walk(function.body) if isinstance(n, BranchNode))
    return sum(n.then is not None and n.orelse is not None for n in nodes)


@dataclass
class _Class:
    """Specialisations that are one. extras: parameters that merging added, values by member."""

    function: Function
    members: list[Function]
    values: list[dict[str, int]]
    slots: dict[tuple[str, int | None], Slot]
    extras: dict[str, dict[int, StaticValue]] = field(
        default_factory=dict[str, dict[int, "StaticValue"]]
    )
    widened: dict[str, int] = field(default_factory=dict[str, int])  # tuples of so many numbers
    recursive: bool = False


class _Differ(Exception):
    """Two specialisations do not agree."""


def _key(function: Function) -> _Key:
    """Variants have names of their own."""
    span = function.span
    return (function.name, function.kind, -1 if span is None else span.start)


class _Merger:
    def __init__(self, functions: Sequence[Function]) -> None:
        self.functions = functions  # callees first
        self.home: dict[int, _Class] = {}
        self.classes: dict[_Key, list[_Class]] = {}

    def run(self, root: Function) -> Function:
        for component, recursive in _components(self.functions):
            for function in component:
                self._place(function, recursive)
        for group in self.classes.values():
            for number, known in enumerate(group):
                known.function.specialisation = number
        return self.home[id(root)].function

    def _place(self, function: Function, recursive: bool) -> None:
        owner = None if function.of is None else self.home[id(function.of)].function
        for known in self.classes.get(_key(function), []):
            if known.function.of is not owner:
                continue
            try:
                join = _Join(self, known, function)
                join.check()
            except _Differ:
                continue
            join.apply()
            self.home[id(function)] = known
            return
        copy = _Copy(self)
        new = _Class(Function(function.name, function.kind), [function], [function.values()], {})
        new.recursive = recursive
        self.home[id(function)] = new
        copy.function(function, new.function)
        new.slots = {_place_of(slot): slot for slot in all_slots(new.function)}
        self.classes.setdefault(_key(function), []).append(new)

    def statics(self, slot: ChildSlot) -> dict[str, StaticValue]:
        """A slot's statics, with the parameters that merging its function added."""
        home = self.home[id(slot.function)]
        extra = {name: given[id(slot.function)] for name, given in home.extras.items()}
        wide = {
            name: repeated(slot.statics[name], count)
            for name, count in home.widened.items()
            if name in slot.statics
        }
        return {**slot.statics, **extra, **wide}


def _place_of(slot: Slot) -> tuple[str, int | None]:
    return (slot.segment.name, slot.segment.index)


def all_slots(function: Function) -> list[Slot]:
    """A function's slots, those that a branch creates too."""
    sides = (
        slot
        for node in walk(function.body)
        if isinstance(node, BranchNode)
        for side in (node.then, node.orelse)
        if side is not None
        for slot in side.slots
    )
    return list({id(slot): slot for slot in (*function.slots, *sides)}.values())


def _components(functions: Sequence[Function]) -> list[tuple[list[Function], bool]]:
    """Definitions that call each other together, callees first (Tarjan 1972); and whether they are
    recursive. Inside a component the functions keep their order."""
    groups: dict[_Key, list[Function]] = {}
    for function in functions:
        groups.setdefault(_key(function), []).append(function)
    callees: dict[_Key, list[_Key]] = {
        key: list(dict.fromkeys(_key(g) for f in members for g in _callees(f)))
        for key, members in groups.items()
    }
    index: dict[_Key, int] = {}
    low: dict[_Key, int] = {}
    stack: list[_Key] = []
    found: list[list[_Key]] = []

    def visit(key: _Key) -> None:
        index[key] = low[key] = len(index)
        stack.append(key)
        for callee in callees[key]:
            if callee not in index:
                visit(callee)
                low[key] = min(low[key], low[callee])
            elif callee in stack:
                low[key] = min(low[key], index[callee])
        if low[key] == index[key]:
            at = stack.index(key)
            found.append(stack[at:])
            del stack[at:]

    for key in groups:
        if key not in index:
            visit(key)
    result: list[tuple[list[Function], bool]] = []
    for keys in found:
        members = [f for key in keys for f in groups[key]]
        if len(keys) > 1:
            inside = {id(f) for f in members}
            members = [f for f in functions if id(f) in inside]
        result.append((members, len(keys) > 1 or keys[0] in callees[keys[0]]))
    return result


def _callees(function: Function) -> list[Function]:
    return [n.function for n in walk(function.body) if isinstance(n, CallNode | RepeatNode)]


# --- copying ------------------------------------------------------------------------------------


class _Copy:
    """Copies functions and parts of them; what they call is what it was merged into."""

    def __init__(self, merger: _Merger) -> None:
        self.merger = merger
        self.values: dict[Value, Value] = {}
        self.slots: dict[int, Slot] = {}

    def function(self, old: Function, new: Function) -> None:
        new.statics, new.defaults = dict(old.statics), dict(old.defaults)
        new.symbols = dict(old.symbols)
        new.doc, new.span, new.output_names = old.doc, old.span, old.output_names
        new.of = None if old.of is None else self.merger.home[id(old.of)].function
        new.requirements = list(old.requirements)
        new.references = [self.reference(r) for r in old.references]
        new.slots = [self.slot(s) for s in old.slots]
        new.inputs = tuple(self.value(v) for v in old.inputs)
        new.body = [self.node(n) for n in old.body]
        new.outputs = tuple(self.value(v) for v in old.outputs)

    def value(self, old: Value) -> Value:
        if old not in self.values:
            new = self.values[old] = Value(old.type, old.name, old.span)
            if old.weight is not None:
                slot, weight = old.weight
                new.weight = (self.slot(slot), self.weight(slot, weight))
        return self.values[old]

    def weight(self, slot: Slot, weight: Weight) -> Weight:
        """The weight of the copied slot. Weights themselves are shared, they do not change."""
        copy = self.slot(slot)
        if isinstance(copy, Reference):
            copy = copy.target
        if isinstance(copy, LayerSlot):
            return copy.weights.get(weight.name, weight)
        return copy.weight if isinstance(copy, WeightSlot) else weight

    def reference(self, old: Reference) -> Reference:
        new = self.slots.get(id(old))
        if not isinstance(new, Reference):
            new = Reference(old.name, self.target(old.target))
            self.slots[id(old)] = new
        return new

    def target(self, old: LayerSlot | ChildSlot | WeightSlot) -> LayerSlot | ChildSlot | WeightSlot:
        new = self.slot(old)
        assert not isinstance(new, Reference)
        return new

    def slot(self, old: Slot) -> Slot:
        if id(old) in self.slots:
            return self.slots[id(old)]
        match old:
            case Reference():
                return self.reference(old)
            case WeightSlot():
                new: Slot = replace(old)
            case LayerSlot():
                new = replace(old, attributes=dict(old.attributes), weights=dict(old.weights))
            case ChildSlot():
                function = self.merger.home[id(old.function)].function
                statics = self.merger.statics(old)
                new = replace(old, function=function, statics=statics, dims=dict(old.dims))
        self.slots[id(old)] = new
        return new

    def node(self, old: Node) -> Node:
        results = tuple(self.value(v) for v in old.results)
        match old:
            case OpNode():
                operands = tuple(self.value(v) for v in old.operands)
                layer = None if old.layer is None else self.slot(old.layer)
                updates = tuple((self.value(a), self.value(b)) for a, b in old.updates)
                return replace(
                    old, operands=operands, results=results, layer=layer, updates=updates
                )
            case CallNode():
                return replace(
                    old,
                    slot=self.slot(old.slot),
                    function=self.merger.home[id(old.function)].function,
                    operands=tuple(self.value(v) for v in old.operands),
                    results=results,
                    refs=tuple(self.slot(s) for s in old.refs),
                )
            case RepeatNode():
                return replace(
                    old,
                    slot=self.slot(old.slot),
                    function=self.merger.home[id(old.function)].function,
                    carried=tuple(self.value(v) for v in old.carried),
                    held=tuple(self.value(v) for v in old.held),
                    results=results,
                    refs=tuple(self.slot(s) for s in old.refs),
                )
            case BranchNode():
                then = None if old.then is None else self.side(old.then)
                orelse = None if old.orelse is None else self.side(old.orelse)
                return replace(old, then=then, orelse=orelse, results=results)

    def side(self, old: Side) -> Side:
        slots = tuple(self.slot(s) for s in old.slots)
        body = [self.node(n) for n in old.body]
        return Side(body, tuple(self.value(v) for v in old.yields), slots)


# --- joining ------------------------------------------------------------------------------------


class _Join:
    """Whether a specialisation agrees with a class, and then its entry into the class.

    `check` changes nothing but collects what `apply` will do. Raises _Differ.
    """

    def __init__(self, merger: _Merger, known: _Class, function: Function) -> None:
        self.merger = merger
        self.known = known
        self.function = function
        self.own = function.values()
        self.theirs_values = known.values
        self.copy = _Copy(merger)
        self.actions: list[Callable[[], None]] = []
        self.ours: set[tuple[str, int | None]] = set()  # slots that only the newcomer has
        self.theirs: set[tuple[str, int | None]] = set()  # slots that the newcomer lacks
        self._asked: set[str] = set()

    def check(self) -> None:
        a, b = self.known.function, self.function
        self._same(list(a.statics), list(b.statics) + list(self.known.extras))
        self._same(len(a.inputs), len(b.inputs))
        self._same(a.output_names, b.output_names)
        self._same([r.name for r in a.references], [r.name for r in b.references])
        self._widen(a, b)
        for x, y in zip(a.references, b.references, strict=True):
            self.copy.slots[id(y)] = x
            self._slot(x.target, y.target)
        for x, y in zip(a.inputs, b.inputs, strict=True):
            self._value(x, y)
        self._pair_slots(b)
        self._bodies(a.body, b.body)
        self._same(len(a.outputs), len(b.outputs))
        for x, y in zip(a.outputs, b.outputs, strict=True):
            self._use(x, y)
        have, want = set(self.known.slots), {_place_of(s) for s in all_slots(b)}
        self._same(have - want, self.theirs & (have - want))
        self._same(want - have, self.ours & (want - have))

    def _widen(self, a: Function, b: Function) -> None:
        """An integer parameter here, a tuple there: the class has the tuple."""
        here, there = list(wider(a, b)), list(wider(b, a))
        if not (here or there):
            return
        if self.known.recursive:
            raise _Differ
        self.own = repeat_values(self.own, there, per_axis(a))
        wide = per_axis(b)
        self.theirs_values = [repeat_values(v, here, wide) for v in self.known.values]

        def action() -> None:
            self.known.values = self.theirs_values
            for name in here:
                widen(a, name, wide[name])
                self.known.widened[name] = len(wide[name].items)
            for name in there:
                self.known.widened[name] = len(per_axis(a)[name].items)

        self._later(action)

    def apply(self) -> None:
        known, f = self.known, self.known.function
        for action in self.actions:
            action()
        for index, slot in enumerate(self.function.slots):
            if _place_of(slot) not in known.slots:
                known.slots[_place_of(slot)] = self.copy.slot(slot)
                after = (known.slots.get(_place_of(s)) for s in self.function.slots[index + 1 :])
                following = next((s for s in after if s is not None), None)
                at = f.slots.index(following) if following in f.slots else len(f.slots)
                f.slots.insert(at, self.copy.slot(slot))
        known.slots = {_place_of(slot): slot for slot in all_slots(f)}
        f.defaults = {**self.function.defaults, **f.defaults}
        for name, count in known.widened.items():
            if name in f.defaults:
                f.defaults[name] = repeated(f.defaults[name], count)
        for name, symbol in self.function.symbols.items():
            if name in known.widened:
                continue
            old = f.symbols.get(name)
            if old is None:
                f.symbols[name] = symbol
            elif old.value != symbol.value:
                f.symbols[name] = replace(old, value=None)
        seen = {r.relation for r in f.requirements}
        f.requirements += [
            r
            for r in self.function.requirements
            if r.relation not in seen and not r.relation.symbols & known.widened.keys()
        ]
        known.members.append(self.function)
        known.values.append(self.own)

    def _same(self, a: object, b: object) -> None:
        if a != b:
            raise _Differ

    # slots

    def _pair_slots(self, b: Function) -> None:
        for slot in all_slots(b):
            known = self.known.slots.get(_place_of(slot))
            if known is not None:
                self._slot(known, slot)

    def _slot(self, a: Slot, b: Slot) -> None:
        self._same(type(a), type(b))
        self.copy.slots[id(b)] = a
        match a, b:
            case WeightSlot(), WeightSlot():
                weight = self._weight(a.weight, b.weight)
                self._later(lambda: setattr(a, "weight", weight))
            case LayerSlot(), LayerSlot() if self.function.of is not None:
                self._same(list(a.weights), list(b.weights))  # made and compared by the owner
            case ChildSlot(), ChildSlot() if self.function.of is not None:
                self._callee(a.function, b.function)
            case LayerSlot(), LayerSlot():
                self._same(a.layer, b.layer)
                self._same(list(a.attributes), list(b.attributes))
                self._same(list(a.weights), list(b.weights))
                for key, value in b.attributes.items():
                    joined = self._attribute(key, a.attributes[key], value)
                    self._later(lambda k=key, v=joined: a.attributes.__setitem__(k, v))
                for key, weight in b.weights.items():
                    new = self._weight(a.weights[key], weight)
                    self._later(lambda k=key, w=new: a.weights.__setitem__(k, w))
            case ChildSlot(), ChildSlot():
                self._child(a, b)
            case _:
                return

    def _child(self, a: ChildSlot, b: ChildSlot) -> None:
        self._callee(a.function, b.function)
        self._same(a.count is None, b.count is None)
        if a.count is not None and b.count is not None:
            count = self._attribute("count", a.count, b.count)
            self._later(lambda: setattr(a, "count", count))
        given = self.merger.statics(b)
        self._same(set(a.statics), set(given))
        statics = {k: self._attribute(k, a.statics[k], given[k]) for k in a.statics}
        dims = {k: self._dim(d, b.dims.get(k, ANY)) for k, d in a.dims.items()}
        self._later(lambda: setattr(a, "statics", statics))
        self._later(lambda: setattr(a, "dims", dims))

    def _weight(self, a: Weight, b: Weight) -> Weight:
        self._same((a.name, a.trainable, a.init.kind), (b.name, b.trainable, b.init.kind))
        args = self._attribute("init", a.init.args, b.init.args)
        return replace(a, type=self._type(a.type, b.type), init=replace(a.init, args=args))

    def _callee(self, a: Function, b: Function) -> None:
        home = self.merger.home.get(id(b))
        if home is None or home.function is not a:
            raise _Differ

    def _later(self, action: Callable[[], Any]) -> None:
        self.actions.append(action)

    # bodies

    def _bodies(self, a: Sequence[Node], b: Sequence[Node]) -> None:
        self._same(len(a), len(b))
        for x, y in zip(a, b, strict=True):
            self._node(x, y)

    def _node(self, a: Node, b: Node) -> None:
        self._same(type(a), type(b))
        self._same(len(a.results), len(b.results))
        match a, b:
            case OpNode(), OpNode():
                op = self._op(a.op, b.op)
                self._later(lambda: setattr(a, "op", op))
                self._uses(a.operands, b.operands)
                self._slots([a.layer], [b.layer])
            case CallNode(), CallNode():
                self._callee(a.function, b.function)
                if isinstance(a, ScanNode) and isinstance(b, ScanNode):
                    self._same(
                        (a.sequences, a.states, a.reverse), (b.sequences, b.states, b.reverse)
                    )
                self._uses(a.operands, b.operands)
                self._slots([a.slot, *a.refs], [b.slot, *b.refs])
                self._call_dims(a, b)
            case RepeatNode(), RepeatNode():
                self._callee(a.function, b.function)
                count = self._attribute("count", a.count, b.count)
                self._later(lambda: setattr(a, "count", count))
                self._uses((*a.carried, *a.held), (*b.carried, *b.held))
                self._same(len(a.carried), len(b.carried))
                self._slots([a.slot, *a.refs], [b.slot, *b.refs])
                self._call_dims(a, b)
            case BranchNode(), BranchNode():
                self._branch(a, b)
            case _:
                raise _Differ
        if isinstance(a, BranchNode) and isinstance(b, BranchNode):
            for position in range(len(a.results)):
                self._branch_result(a, b, position)
        else:
            for x, y in zip(a.results, b.results, strict=True):
                self._value(x, y)
        if isinstance(a, OpNode) and isinstance(b, OpNode):
            self._same(len(a.updates), len(b.updates))
            for x, y in zip(a.updates, b.updates, strict=True):
                self._uses(x, y)

    def _call_dims(self, a: CallNode | RepeatNode, b: CallNode | RepeatNode) -> None:
        dims = {k: self._dim(d, b.dims.get(k, ANY)) for k, d in a.dims.items()}
        self._later(lambda: setattr(a, "dims", dims))

    def _branch(self, a: BranchNode, b: BranchNode) -> None:
        condition = _longer(a.condition, b.condition)
        self._later(lambda: setattr(a, "condition", condition))
        for name in ("then", "orelse"):
            ours: Side | None = getattr(b, name)
            theirs: Side | None = getattr(a, name)
            if ours is not None and theirs is not None:
                self._bodies(theirs.body, ours.body)
                self._uses(theirs.yields, ours.yields)
                self._slots(theirs.slots, ours.slots)
            elif ours is not None:
                self._import(a, name, ours)
            elif theirs is not None:
                self.theirs |= {_place_of(s) for s in theirs.slots}

    def _branch_result(self, a: BranchNode, b: BranchNode, position: int) -> None:
        """What an equality admits says less than what its other side gives: sizes that are equal
        under the condition alone. So does a side that only hands on a value from outside."""
        x, y = a.results[position], b.results[position]
        general = _general(a.condition)
        ours, theirs = (general and getattr(n, general) is not None for n in (b, a))
        if ours == theirs:
            ours, theirs = _hands_on(a, position), _hands_on(b, position)
        if ours == theirs:
            self._value(x, y)
            return
        self._same((x.type.dtype, x.type.rank), (y.type.dtype, y.type.rank))
        self.copy.values[y] = x
        if ours:
            self._later(lambda: (setattr(x, "name", y.name), setattr(x, "type", y.type)))

    def _import(self, a: BranchNode, name: str, side: Side) -> None:
        """The class gets a side that it lacked."""
        self.ours |= {_place_of(s) for s in side.slots}

        def action() -> None:
            setattr(a, name, self.copy.side(side))
            if a.then is not None and a.orelse is not None:
                a.taken = None

        self._later(action)

    def _slots(self, a: Sequence[Slot | None], b: Sequence[Slot | None]) -> None:
        self._same(len(a), len(b))
        for x, y in zip(a, b, strict=True):
            if (x is None) != (y is None) or (
                y is not None and self.copy.slots.get(id(y)) is not x
            ):
                raise _Differ

    def _uses(self, a: Sequence[Value], b: Sequence[Value]) -> None:
        self._same(len(a), len(b))
        for x, y in zip(a, b, strict=True):
            self._use(x, y)

    def _use(self, a: Value, b: Value) -> None:
        if b in self.copy.values:
            if self.copy.values[b] is not a:
                raise _Differ
        elif a.weight is not None and b.weight is not None:
            self._slots([a.weight[0]], [b.weight[0]])
            self._same(a.weight[1].name, b.weight[1].name)
            self._value(a, b)
        else:
            raise _Differ

    def _value(self, a: Value, b: Value) -> None:
        """a and b are one value; its type is what holds for both."""
        self._same(a.name, b.name)
        self.copy.values[b] = a
        joined = self._type(a.type, b.type)
        if joined != a.type:
            self._later(lambda: setattr(a, "type", joined))

    # attributes

    def _op(self, a: Any, b: Any) -> Any:
        if type(a) is not type(b):
            raise _Differ
        if a == b:
            return a
        changed = {
            f.name: self._attribute(f.name, getattr(a, f.name), getattr(b, f.name))
            for f in fields(a)
        }
        return replace(a, **changed)

    def _type(self, a: TensorType, b: TensorType) -> TensorType:
        if a == b:
            return a
        self._same((a.dtype, a.rank), (b.dtype, b.rank))
        return TensorType(
            a.dtype, tuple(self._dim(x, y) for x, y in zip(a.shape, b.shape, strict=True))
        )

    def _dim(self, a: Dim, b: Dim) -> Dim:
        """The one of two extents that holds for all members; ANY when neither does."""
        return self._common(a, b) or ANY

    def _common(self, a: Dim, b: Dim) -> Dim | None:
        if a == b or a.substitute(self.own) == b.substitute(self.own):
            return a
        if all(a.substitute(v) == b.substitute(v) for v in self.theirs_values):
            return b
        return None

    def _attribute(self, name: str, a: Any, b: Any) -> Any:
        """The expression that stands for both; a new parameter where plain numbers differ."""
        if isinstance(a, tuple) and isinstance(b, tuple):
            ours, theirs = cast("tuple[Any, ...]", a), cast("tuple[Any, ...]", b)
            self._same(len(ours), len(theirs))
            pairs = zip(ours, theirs, strict=True)
            return tuple(self._attribute(name, x, y) for x, y in pairs)
        if isinstance(a, Dim) and isinstance(b, Dim):
            common = self._common(a, b)
            return self._parameter(name, a, b) if common is None else common
        if isinstance(a, Known) and isinstance(b, Known) and a.origin == b.origin:
            return a
        if isinstance(a, StaticSequence) and isinstance(b, StaticSequence):
            if a.origin is not None and a.origin == b.origin:
                return a
            self._same((len(a.items), a.is_list), (len(b.items), b.is_list))
            items = [self._attribute(name, x, y) for x, y in zip(a.items, b.items, strict=True)]
            return replace(a, items=tuple(items), origin=None)
        if isinstance(a, LayerArgument) and isinstance(b, LayerArgument):
            return a  # not printed; what it does to the body is compared there
        return cast("Any", a) if a == b else self._parameter(name, a, b)

    def _parameter(self, name: str, a: Any, b: Any) -> Any:
        """A constructor parameter for an attribute that is a different plain value in each."""
        known = self.known
        reused = isinstance(a, Dim) and str(a) in known.extras
        if self.function.of is not None:  # its instances are made by another
            raise _Differ
        if known.recursive or not _is_plain(b) or not (reused or _is_plain(a)):
            raise _Differ
        if type(a) is not type(b):
            raise _Differ
        if reused:
            self._later(lambda: known.extras[str(a)].__setitem__(id(self.function), b))
            return a
        if (
            isinstance(a, Known)
            and isinstance(a.origin, ParamRef)
            and a.origin.name in known.extras
        ):
            extra = a.origin.name
            self._later(lambda: known.extras[extra].__setitem__(id(self.function), b))
            return a
        title = self._fresh(name)

        def action() -> None:
            given: dict[int, StaticValue] = {id(m): a for m in known.members}
            known.extras[title] = {**given, id(self.function): b}
            known.function.statics[title] = a
            if isinstance(a, Dim):
                known.function.symbols[title] = Symbol("param")

        self._later(action)
        return Dim.symbol(title) if isinstance(a, Dim) else Known(cast("float", a), ParamRef(title))

    def _fresh(self, name: str) -> str:
        f = self.known.function
        taken: set[str] = {*f.statics, *f.symbols, *(v.name for v in f.inputs)}
        taken |= self._asked
        title = fresh(name, taken)
        self._asked.add(title)
        return title


def _longer(a: Origin, b: Origin) -> Origin:
    """The whole of a condition of which a specialisation may know only the start: `and` and `or`
    stop where the answer is known."""
    if a == b:
        return a
    for whole, start in ((a, b), (b, a)):
        if isinstance(whole, Apply) and whole.op in ("and", "or"):
            same = isinstance(start, Apply) and start.op == whole.op
            parts: tuple[Origin, ...] = (start,)
            if same and isinstance(start, Apply):
                parts = start.args
            if whole.args[: len(parts)] == parts:
                return whole
    raise _Differ


def _general(condition: Origin) -> str | None:
    """The side of a branch on whose sizes the condition has no say: the other one of an equality,
    alone or among others that must hold."""
    if not isinstance(condition, Apply):
        return None
    if condition.op == "==":
        return "orelse"
    if condition.op == "!=":
        return "then"
    found = {_general(part) for part in condition.args}
    if condition.op == "and" and "orelse" in found:
        return "orelse"
    return "then" if condition.op == "or" and "then" in found else None


def _hands_on(node: BranchNode, position: int) -> bool:
    """Whether all known sides give a value from outside."""
    sides = [side for side in (node.then, node.orelse) if side is not None]
    return all(
        all(side.yields[position] not in n.results for n in walk(side.body)) for side in sides
    )


def _is_plain(value: object) -> bool:
    """A number that may differ between instances of one class. Not what an op's rules look at: an
    axis (an int), a flag, a word choose other code."""
    return value.is_const if isinstance(value, Dim) else isinstance(value, float)
