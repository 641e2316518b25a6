"""Copies of what a gradient passes through, in a form that can be differentiated as plain IR.

A call calls a copy of its own. Of a branch with one side only that side is left; an op that
differs in training becomes a branch on the mode; a repeat becomes its runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dlspec.codes import UNSUPPORTED_OP
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Element,
    Function,
    OpNode,
    Reference,
    RepeatNode,
    Side,
    Value,
    all_slots,
    functions_below,
    walk,
)
from dlspec.ir.static import ParamRef
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.gradient import Watch
from dlspec.passes.variants import method_name
from dlspec.source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from dlspec.ir.graph import Node, Slot


Interface = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Method:
    """A function that runs on the instances of another. name: unique among those of owner."""

    owner: Function
    name: str


@dataclass(frozen=True)
class Traced:
    """A function that gives its tape already. interface: the positions of the outputs whose
    gradients its pullback takes, and of the inputs whose gradients that gives."""

    interface: Interface
    pullback: Function
    tape: int  # so many of its outputs, the last


@dataclass
class Methods:
    """The functions that run on instances of others."""

    of: dict[Function, Method] = field(default_factory=dict["Function", "Method"])
    traced: dict[Function, Traced] = field(default_factory=dict["Function", "Traced"])

    @staticmethod
    def below(root: Function) -> Methods:
        """With the variants among root and all below it."""
        variants = [f for f in functions_below(root) if f.of is not None]
        found = Methods()
        for function in variants:
            assert function.of is not None
            found.of[function] = Method(function.of, method_name(function))
        return found

    def owner(self, function: Function) -> Function:
        """The function whose instances a function runs on: itself, mostly."""
        return self.of[function].owner if function in self.of else function

    def names(self, function: Function) -> set[str]:
        """The names of the functions that run on the same instances."""
        owner = self.owner(function)
        return {method.name for method in self.of.values() if method.owner is owner}

    def add(self, function: Function, original: Function, kind: str) -> Function:
        """Make function one that runs on the instances of original."""
        self.of[function] = Method(self.owner(original), kind)
        return function

    def settle(self, used: Sequence[Function]) -> None:
        """Name those that are used; forget the others."""
        counts: Counter[Method] = Counter()
        found: dict[Function, Method] = {}
        for function in used:
            if function in self.of:
                method = self.of[function]
                counts[method] += 1
                number = counts[method]
                name = method.name if number == 1 else f"{method.name}{number}"
                found[function] = Method(method.owner, name)
                function.name = f"{method.owner.name}_{name}"
        self.of = found


def terms(slot: Slot, dims: Mapping[str, Dim]) -> dict[str, Dim]:
    """The symbols of the function that a call runs, in the caller's terms."""
    target = slot.target if isinstance(slot, Reference) else slot
    found: dict[str, Dim] = {}
    if isinstance(target, ChildSlot):
        found = {k: v for k, v in target.statics.items() if isinstance(v, Dim)}
    return found | {**dims}


def like(original: Function) -> Function:
    """A function without body that runs on the same instances."""
    return Function(
        original.name,
        original.kind,
        original.specialisation,
        statics=original.statics,
        defaults=original.defaults,
        symbols=original.symbols,
        references=original.references,
        slots=[*all_slots(original)],
        span=original.span,
        of=original.of,
    )


class Copies:
    """Of all functions that one gradient passes through.

    kept: functions that stay as they are, since their tapes and pullbacks are there.
    """

    def __init__(self, methods: Methods, why: Span | None, kept: Container[Function]) -> None:
        self.methods, self.why, self.kept = methods, why, kept
        self.made: dict[object, Function] = {}

    def function(self, original: Function, known: Mapping[str, int]) -> Function:
        """known: values of its symbols at this call."""
        below = (n for f in functions_below(original) for n in walk(f.body))
        if original in self.kept:
            return original
        repeats = any(isinstance(n, RepeatNode) for n in below)
        key = (original, frozenset(known.items()) if repeats else None)
        if key not in self.made:
            new = self.methods.add(like(original), original, "traced")
            self.made[key] = new
            copier = Copier(self, new, known, {})
            new.inputs = copier.some(original.inputs)
            new.body = copier.nodes(original.body)
            new.outputs = copier.some(original.outputs)
        return self.made[key]

    def unsupported(self, what: str) -> Failure:
        where = self.why or Span(Source("<ir>", ""), 0, 0)
        message = f"this backend cannot take a gradient through {what}"
        return Failure(Diagnostic(UNSUPPORTED_OP, message, where, label="used here"))


@dataclass
class Copier:
    """Copies nodes into a function. values: new ones by old; None keeps them all."""

    copies: Copies
    function: Function
    known: Mapping[str, int]
    values: dict[Value, Value] | None

    def value(self, old: Value) -> Value:
        if self.values is None:
            return old
        if old not in self.values:
            self.values[old] = replace(old)
        return self.values[old]

    def some(self, values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(map(self.value, values))

    def nodes(self, nodes: Sequence[Node]) -> list[Node]:
        return [new for node in nodes for new in self.node(node)]

    def node(self, node: Node) -> list[Node]:
        match node:
            case OpNode():
                new = replace(
                    node,
                    operands=self.some(node.operands),
                    results=self.some(node.results),
                    updates=tuple((self.value(a), self.value(b)) for a, b in node.updates),
                )
                return self.modal(new) if node.op.modal else [new]
            case CallNode():
                return [
                    replace(
                        node,
                        function=self.callee(node.slot, node.function, node.dims),
                        operands=self.some(node.operands),
                        results=self.some(node.results),
                    )
                ]
            case RepeatNode():
                return self.repeat(node)
            case BranchNode():
                return self.branch(node)

    def callee(self, slot: Slot, function: Function, dims: Mapping[str, Dim]) -> Function:
        values = {k: d.substitute(self.known) for k, d in terms(slot, dims).items()}
        constant = {k: d.value for k, d in values.items() if d.is_const}
        return self.copies.function(function, {**constant, **function.values()})

    def modal(self, node: OpNode) -> list[Node]:
        """A branch on the mode. Results that inference has not are the training side's own."""
        other: list[Node] = []
        build = FunctionBuilder(self.function, body=other)
        values = node.op.inference(build, node.operands)
        places = [i for i, v in enumerate(values) if v is not None]
        inner = {node.results[i]: replace(node.results[i]) for i in places}
        training = replace(node, results=tuple(inner.get(v, v) for v in node.results))
        training.updates = tuple((a, inner.get(b, b)) for a, b in node.updates)
        for new in other:
            new.span = node.span
        sides = (
            Side([training], tuple(inner.values())),
            Side(other, tuple(v for v in values if v is not None)),
        )
        return [BranchNode(ParamRef("training"), None, *sides, tuple(inner), node.span)]

    def branch(self, node: BranchNode) -> list[Node]:
        results = self.some(node.results)
        if node.then is not None and node.orelse is not None:
            return [
                replace(
                    node,
                    then=self.side(node.then),
                    orelse=self.side(node.orelse),
                    results=results,
                )
            ]
        side = node.then or node.orelse
        assert side is not None
        here = {id(slot) for slot in self.function.slots}
        self.function.slots += [slot for slot in side.slots if id(slot) not in here]
        found = self.nodes(side.body)
        pairs = zip(results, self.some(side.yields), strict=True)
        return [*found, *(OpNode(Watch(), (v,), (r,), span=node.span) for r, v in pairs)]

    def side(self, side: Side) -> Side:
        return Side(self.nodes(side.body), self.some(side.yields), side.slots)

    def repeat(self, node: RepeatNode) -> list[Node]:
        count = node.count.substitute({**self.known, **self.function.values()})
        if not count.is_const:
            raise self.copies.unsupported(f"a repeat whose number of runs, `{node.count}`, is open")
        carried, held = self.some(node.carried), self.some(node.held)
        found: list[Node] = []
        for run in range(count.value):
            last = run == count.value - 1
            dims = node.runs[run] if node.runs else node.dims
            function = self.callee(node.slot, node.function, dims)
            results = tuple(
                self.value(r) if last else Value(v.type, v.name, v.span)
                for r, v in zip(node.results, carried, strict=True)
            )
            slot = element(node.slot, run)
            operands = (*carried, *held)
            found.append(CallNode(slot, function, dims, operands, results, node.refs, node.span))
            carried = results
        return found


def element(slot: Slot, run: int) -> Slot:
    """The instance of one run: of a stack its own, or the one that all share."""
    target = slot.target if isinstance(slot, Reference) else slot
    if not isinstance(target, ChildSlot) or target.count is None:
        return slot
    return Element(
        target.segment, target.function, target.dims, target.statics, span=target.span,
        stack=slot, place=run,
    )  # fmt: skip
