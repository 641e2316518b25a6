"""The function under construction: its symbols, facts, slots and nodes.

A scope answers the three-valued questions of the shape rules. What it cannot decide becomes a
requirement of the function; a static condition may instead consult the value that a dim has at
this call, and then the function is specialised on that value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING, Any, NoReturn

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Failure, Label
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Facts, Relation, Truth
from dlspec.ir.graph import (
    BranchNode,
    Init,
    LayerSlot,
    Node,
    OpNode,
    Reference,
    Requirement,
    Segment,
    Side,
    Slot,
    Value,
    Weight,
    WeightSlot,
)
from dlspec.ir.static import TRAINS, Apply, Known, Origin, ParamRef, StaticValue, Symbol
from dlspec.ir.types import DType, TensorType
from dlspec.ops.rules import divisors

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dlspec.codes import Code
    from dlspec.elaborate.values import Shared
    from dlspec.ir.graph import Function
    from dlspec.ops.base import Op
    from dlspec.source import Span

MAX_NODES = 200_000
MAX_APPLIED = 3  # `max(8, int(32 * width))` is read, with a rounding in it no more
WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass
class Names:
    """Path segments of one scope. repeated: names that occur at several places of its text."""

    repeated: frozenset[str]
    next_index: dict[str, int] = field(default_factory=dict[str, int])
    used: dict[tuple[str, int | None], Span] = field(
        default_factory=dict[tuple[str, "int | None"], "Span"]
    )

    def take(self, name: str, numbered: bool, index: int | None, span: Span) -> Segment:
        """The next segment of a name; an explicit index is taken as it is."""
        if index is None and (numbered or name in self.repeated):
            index = self.next_index.get(name, 0)
        if index is not None:
            self.next_index[name] = max(self.next_index.get(name, 0), index + 1)
        first = self.used.setdefault((name, index), span)
        if first is not span:
            segment = Segment(name, index)
            raise Failure(
                Diagnostic(
                    codes.PATH_CLASH,
                    f"two weights would have the path {segment}",
                    span,
                    labels=(Label(first, "the first is here"),),
                    help="name one of them with `as`",
                )
            )
        return Segment(name, index)


@dataclass(eq=False)
class Scope:
    """Builds one function. Implements `dlspec.ops.base.LayerBuilder`.

    candidates: dim symbols whose value is known at this call; consulted: those a static
    condition has asked for.
    """

    function: Function
    names: Names
    candidates: dict[str, int] = field(default_factory=dict[str, int])
    consulted: set[str] = field(default_factory=set[str])
    facts: Facts = field(default_factory=Facts)
    chain: tuple[Span, ...] = ()
    root: bool = False  # the outside of entry points: no place of a spec
    loop: int = 0  # inside `for`, `repeat` or a comprehension: names are numbered
    inference: bool = False  # built for inference alone

    def __post_init__(self) -> None:
        self.body: list[Node] = self.function.body
        self.slots: list[Slot] = self.function.slots
        self.values: dict[str, int] = self.function.values()
        self.here: list[Span] = []
        self.reads: dict[Value, Value] = {}
        self.trains = False  # inside a side that runs in training only
        self.declared: set[str] = set()  # dims that a written type names
        self.layers: list[LayerFrame] = []
        self.weight_values: dict[tuple[int, str], Value] = {}
        self.seen_requirements: set[Relation] = set()
        self.constants: dict[Any, Value] = {}
        self.references: dict[int, Reference] = {}
        self.shared_uses: list[Shared] = []
        self.instances: list[Shared] = []  # definitions that are shared here
        self.lenders: dict[int, Shared] = {}  # by reference
        self.borrowed: dict[str, tuple[Shared, Dim]] = {}

    # --- places ---

    @property
    def span(self) -> Span:
        return self.here[-1]

    @property
    def calls(self) -> tuple[Span, ...]:
        """The uses on the way here, from this place outwards."""
        return () if self.root else (self.span, *self.chain)

    def at(self, span: Span) -> At:
        return At(self.here, span)

    def diagnostic(
        self,
        code: Code,
        message: str,
        *,
        span: Span | None = None,
        labels: tuple[Label, ...] = (),
        notes: Sequence[str] = (),
        help: str = "",
        chain: tuple[Span, ...] = (),
    ) -> Diagnostic:
        notes = (*notes, *self.bindings(message))
        span = span or self.span
        calls = [c for c in dict.fromkeys((*chain, *self.chain)) if c != span]
        shown = (*labels, *(Label(call, "used here") for call in calls[:4]))
        if len(calls) > 4:
            notes = (*notes, f"and {len(calls) - 4} more calls around it")
        return Diagnostic(code, message, span, "", shown, tuple(notes), help)

    def bindings(self, message: str) -> tuple[str, ...]:
        """The values of the symbols that a message mentions."""
        words = dict.fromkeys(WORD.findall(message))
        known = {**self.candidates, **self.values}
        found = [f"{w} = {known[w]}" for w in words if w in known]
        return (f"here {', '.join(found)}",) if found else ()

    def fail(
        self,
        code: Code,
        message: str,
        *,
        span: Span | None = None,
        labels: tuple[Label, ...] = (),
        notes: Sequence[str] = (),
        help: str = "",
    ) -> NoReturn:
        raise Failure(
            self.diagnostic(code, message, span=span, labels=labels, notes=notes, help=help)
        )

    # --- symbols and relations ---

    def define_param(self, name: str, value: int) -> Dim:
        """The symbol of an int constructor parameter."""
        self.function.symbols[name] = Symbol("param", value, ParamRef(name))
        self.values[name] = value
        return Dim.symbol(name)

    def define_dim(self, name: str, value: int | None) -> Dim:
        """The symbol of an input's extent; value: what it is at this call, where known."""
        self.function.symbols[name] = Symbol("dim")
        if value is not None:
            self.candidates[name] = value
        return Dim.symbol(name)

    def derive(self, origin: Origin, value: int) -> Dim:
        """The symbol of an int computed from parameters by more than + - * // %; the int itself
        where the code would have to say too much."""
        from dlspec.elaborate.static import render

        if self.applied(origin) > MAX_APPLIED:
            return Dim.const(value)
        name = render(origin)
        self.function.symbols[name] = Symbol("derived", value, origin)
        self.values[name] = value
        return Dim.symbol(name)

    def applied(self, origin: Origin) -> int:
        """How many operations an expression has, those of derived sizes in it too."""
        if isinstance(origin, Apply):
            return 1 + sum(map(self.applied, origin.args))
        if not isinstance(origin, Dim):
            return 0
        symbols = [self.function.symbols.get(name) for name in origin.symbols]
        return sum(self.applied(s.origin) for s in symbols if s and s.kind == "derived")

    def resolve(self, dim: Dim) -> Dim:
        """With the known values of constructor parameters."""
        return dim.substitute(self.values) if not dim.is_const else dim

    def consult(self, dim: Dim) -> Dim:
        """With the values that dims have at this call; the function is specialised on them."""
        dim = self.resolve(dim)
        asked = [s for s in dim.symbols if s in self.candidates]
        if not asked:
            return dim
        self.consulted.update(asked)
        return dim.substitute({s: self.candidates[s] for s in asked})

    def known(self, dim: Dim) -> int:
        """The value of a dim that must be known now."""
        found = self.consult(dim)
        if not found.is_const:
            self.fail(
                codes.UNDECIDED,
                f"the value of {found} is needed here, and it is open",
                help="give the dimension a size in the model's input type",
            )
        return found.value

    def peek(self, dim: Dim) -> int | None:
        """The value where known, without specialising on it."""
        dim = self.resolve(dim)
        known = {s: self.candidates[s] for s in dim.symbols if s in self.candidates}
        dim = dim.substitute(known) if known else dim
        return dim.value if dim.is_const else None

    def decide(self, relation: Relation) -> Truth:
        relation = Relation(relation.op, self.resolve(relation.left), self.resolve(relation.right))
        answer = self.facts.decide(relation)
        if answer is not Truth.UNKNOWN:
            return answer
        left, right = self.consult(relation.left), self.consult(relation.right)
        if left == relation.left and right == relation.right:
            return answer
        return self.facts.decide(Relation(relation.op, left, right))

    def require(
        self,
        relation: Relation,
        reason: str,
        code: Code | None = None,
        *,
        span: Span | None = None,
        labels: tuple[Label, ...] = (),
        notes: tuple[str, ...] = (),
        chain: tuple[Span, ...] = (),
        division: tuple[Dim, Dim] | None = None,
    ) -> None:
        code = code or codes.SHAPE
        division = division or divisibility(relation)
        relation = Relation(relation.op, self.resolve(relation.left), self.resolve(relation.right))
        if relation in self.seen_requirements:
            return
        answer = self.facts.decide(relation)
        if answer is Truth.PROVED:
            return
        stated = code is codes.PRECONDITION
        if answer is Truth.REFUTED or (self.two_names(relation) and not stated):
            more, help = self.why_not(relation, division)
            raise Failure(
                self.diagnostic(
                    code,
                    reason,
                    span=span,
                    labels=labels,
                    notes=(*notes, *more),
                    help=help,
                    chain=chain,
                )
            )
        self.seen_requirements.add(relation)
        self.function.requirements.append(
            Requirement(relation, span or self.span, reason, code, chain)
        )

    def two_names(self, relation: Relation) -> bool:
        """`[B, S] + [B, T]`: sizes that are declared with two names are two sizes."""
        sides = [named(relation.left), named(relation.right)]
        return relation.op == "==" and all(name in self.declared for name in sides)

    def why_not(
        self, relation: Relation, division: tuple[Dim, Dim] | None
    ) -> tuple[tuple[str, ...], str]:
        """What a refuted relation comes to, and what would help."""
        left, right = relation.left, relation.right
        if self.two_names(relation):
            help = f"write one name for both, or state it: where {left} == {right}"
            return (f"{left} and {right} are two names, so the sizes may differ",), help
        sides = [self.resolve(d) for d in division or ()]
        if len(sides) == 2 and all(d.is_const for d in sides):
            n, k = (d.value for d in sides)
            return (f"{n} % {k} is {n % k}",), divisors(sides[0])
        if left.is_const and right.is_const:
            return (), ""  # the message has both
        return (f"{left} {relation.op} {right} does not hold",), ""

    def assume(self, relation: Relation) -> None:
        self.facts = self.facts.assume(
            Relation(relation.op, self.resolve(relation.left), self.resolve(relation.right))
        )

    # --- nodes ---

    def append(self, node: Node) -> None:
        self.body.append(node)
        if len(self.function.body) > MAX_NODES:
            self.fail(codes.LIMIT, f"more than {MAX_NODES:,} operations in one definition")

    def emit_all(self, op: Op, *operands: Value) -> tuple[Value, ...]:
        span = self.span
        types = op.infer([v.type for v in operands], self)
        if self.inference and op.modal:
            made = op.inference(self, operands)
            return tuple(v or Value(t) for v, t in zip(made, types, strict=True))
        results = tuple(Value(t, span=span) for t in types)
        slot = self.layers[-1].slot if self.layers else None
        if slot is not None and not any(v.weight and v.weight[0] is slot for v in operands):
            slot = None
        self.append(OpNode(op, operands, results, slot, (), span))
        return results

    def emit(self, op: Op, *operands: Value) -> Value:
        return self.emit_all(op, *operands)[0]

    def constant(self, value: StaticValue, like: Value | None = None) -> Value:
        from dlspec.ops.elementwise import Constant

        dtype = like.type.dtype if like is not None else DType.FLOAT
        raw = value.value if isinstance(value, Known) else value
        if isinstance(value, Dim) and value.is_const:
            value = raw = value.value
        if isinstance(raw, float) and not dtype.is_float:
            dtype = DType.FLOAT
        if isinstance(raw, bool):
            dtype = DType.BOOL
        return self.emit(Constant(value, dtype))  # type: ignore[arg-type]

    # --- weights ---

    def weight(
        self, name: str, shape: Sequence[Dim | int], init: Init, *, dtype: DType | None = None
    ) -> Value:
        return self._weight(name, shape, init, True, dtype)

    def buffer(
        self, name: str, shape: Sequence[Dim | int], init: Init, *, dtype: DType | None = None
    ) -> Value:
        return self._weight(name, shape, init, False, dtype)

    def _weight(
        self,
        name: str,
        shape: Sequence[Dim | int],
        init: Init,
        trainable: bool,
        dtype: DType | None,
    ) -> Value:
        frame = self.layers[-1]
        slot = frame.ensure(self)
        target = slot.target if not isinstance(slot, LayerSlot) else slot  # type: ignore[union-attr]
        assert isinstance(target, LayerSlot)
        type_ = TensorType(dtype or DType.FLOAT, tuple(Dim.of(d) for d in shape))
        weight = target.weights.get(name)
        if weight is None:
            if slot is not target:  # it belongs to a caller, which does not know this scope's sizes
                sizes = tuple(Dim.const(self.known(d)) for d in type_.shape)
                type_ = TensorType(type_.dtype, sizes)
                args = ((k, self.known(v) if isinstance(v, Dim) else v) for k, v in init.args)
                init = Init(init.kind, tuple(args))
            weight = Weight(name, type_, init, trainable, self.span)
            target.weights[name] = weight
        else:
            shape = self.type_here(slot, weight).shape
            for axis, (have, want) in enumerate(zip(shape, type_.shape, strict=True)):
                self.require(
                    Relation("==", want, have),
                    f"the shared weight {name} has {self.resolve(have)} on axis {axis}, "
                    f"and {self.resolve(want)} is needed here",
                )
        return self.weight_value(slot, weight)

    def weight_value(self, slot: Slot, weight: Weight) -> Value:
        """The one value that stands for a weight in this function."""
        key = (id(slot), weight.name)
        found = self.weight_values.get(key)
        if found is None:
            type_ = self.type_here(slot, weight)
            found = Value(type_, weight.name, weight.span, (slot, weight))
            self.weight_values[key] = found
        return found

    def type_here(self, slot: Slot, weight: Weight) -> TensorType:
        """A weight's type in this function's symbols; the weight has it in its owner's."""
        if not isinstance(slot, Reference):
            return weight.type
        lender = self.lenders[id(slot)]
        shape = tuple(self.borrow(lender, slot.name, d) for d in weight.type.shape)
        return TensorType(weight.type.dtype, shape)

    def borrow(self, shared: Shared, name: str, dim: Dim) -> Dim:
        """A size of a shared instance, of its owner's symbols, as a dim symbol of this function."""
        if dim.is_const or shared.scope is self:
            return dim
        for symbol, lent in self.borrowed.items():
            if lent == (shared, dim):
                return Dim.symbol(symbol)
        taken = set(self.function.symbols) | set(self.function.statics)
        names = chain((str(dim), name), (f"{name}_{k}" for k in count(2)))
        symbol = next(n for n in names if n.isidentifier() and n not in taken)
        self.borrowed[symbol] = (shared, dim)
        return self.define_dim(symbol, shared.scope.peek(dim))

    def own_weight(
        self, segment: Segment, type_: TensorType, init: Init, trainable: bool, span: Span
    ) -> Value:
        """A weight of the definition itself: `param`, `buffer`."""
        weight = Weight(segment.name, type_, init, trainable, span)
        slot = WeightSlot(segment, weight)
        self.slots.append(slot)
        return self.weight_value(slot, weight)

    def update(self, buffer: Value, result: Value) -> None:
        if self.inference:
            return
        node = self.body[-1]
        assert isinstance(node, OpNode)
        node.updates = (*node.updates, (buffer, result))

    def attributes(self, **values: object) -> None:
        slot = self.layers[-1].ensure(self)
        target = slot.target if isinstance(slot, Reference) else slot
        if not isinstance(target, LayerSlot):
            return
        if target is slot:
            target.attributes.update(values)  # type: ignore[arg-type]
        elif not target.attributes:
            target.attributes.update({k: self.outside(v) for k, v in values.items()})

    def outside(self, value: Any) -> Any:
        """An attribute without this scope's symbols."""
        if isinstance(value, Dim):
            return self.consult(value)
        if isinstance(value, Known):
            return value.value
        if isinstance(value, tuple):
            return tuple(self.outside(v) for v in value)  # type: ignore[misc]
        return value

    def read(self, buffer: Value) -> Value:
        """The buffer as it is here, before any later `update`."""
        from dlspec.ops.state import Read

        found = self.emit(Read(), buffer)
        self.reads[found] = buffer
        return found

    def owner_of(self, read: Value) -> Value | None:
        return self.reads.get(read)

    def in_training(self, then: Callable[[], Value], orelse: Callable[[], Value]) -> Value:
        if self.trains:
            return then()
        if self.inference:
            return orelse()
        sides = self._side_of(then, True), self._side_of(orelse, False)
        (value,) = sides[0].yields
        result = Value(value.type, value.name, self.span)
        self.append(BranchNode(TRAINS, None, *sides, (result,), self.span))
        return result

    def _side_of(self, make: Callable[[], Value], trains: bool) -> Side:
        body: list[Node] = []
        slots: list[Slot] = []
        with self.side(body, slots, trains):
            value = make()
        return Side(body, (value,), tuple(slots))

    @contextmanager
    def side(self, body: list[Node], slots: list[Slot], trains: bool = False) -> Generator[None]:
        """Collect nodes and slots of one side of a branch. trains: it runs in training only."""
        before = self.body, self.slots, self.trains
        self.body, self.slots, self.trains = body, slots, self.trains or trains
        try:
            yield
        finally:
            self.body, self.slots, self.trains = before


class At:
    """A place that the elaborator is at."""

    __slots__ = ("here", "span")

    def __init__(self, here: list[Span], span: Span) -> None:
        self.here = here
        self.span = span

    def __enter__(self) -> None:
        self.here.append(self.span)

    def __exit__(self, *_: object) -> None:
        self.here.pop()


@dataclass(eq=False)
class LayerFrame:
    """A built-in while it is applied. Its slot is made when it first asks for a weight."""

    layer: str
    segment: tuple[str, bool, int | None]
    span: Span
    slot: Slot | None = None

    def ensure(self, scope: Scope) -> Slot:
        if self.slot is None:
            name, numbered, index = self.segment
            segment = scope.names.take(name, numbered, index, self.span)
            self.slot = LayerSlot(segment, self.layer, {}, {}, self.span)
            scope.slots.append(self.slot)
        return self.slot


def named(dim: Dim) -> str | None:
    """The symbol that a dim is, if it is nothing else."""
    if len(dim.symbols) != 1:
        return None
    (name,) = dim.symbols
    return name if dim == Dim.symbol(name) else None


def divisibility(relation: Relation) -> tuple[Dim, Dim] | None:
    """(n, k) where the relation says n % k == 0."""
    if relation.op != "==" or not relation.right.is_const or relation.right.value:
        return None
    for atom in relation.left.atoms:
        if len(atom.args) == 2:
            n, k = atom.args
            if (not k.is_const or k.value) and relation.left == n % k:
                return n, k
    return None


def origin_of(value: Any) -> Origin:
    """Where a static value came from; the value itself when that is all that is known."""
    from dlspec.ir.static import Sequence as StaticSequence

    if isinstance(value, Known):
        return value.origin
    if isinstance(value, StaticSequence):
        if value.origin is not None:
            return value.origin
        return Apply("list" if value.is_list else "tuple", tuple(map(origin_of, value.items)))
    return value
