"""What a forward function hands to its pullback, and the pullback itself, as ordinary functions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, assert_never

from dlspec.ir.backward import Accumulate, BranchBackward, CallBackward, RepeatBackward, reads
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    Function,
    OpNode,
    ScanNode,
    Side,
    Value,
    walk,
)
from dlspec.ir.types import TensorType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Constant
from dlspec.ops.reduce import Sum
from dlspec.ops.shape import BroadcastTo
from dlspec.passes.prepare import Traced, like, terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dlspec.ir.backward import Backward, BackwardNode
    from dlspec.ir.graph import Node
    from dlspec.passes.prepare import Copies, Interface, Methods


def interface(backward: Backward) -> Interface:
    """The positions of the outputs whose gradients go in, and of the inputs' that come out."""
    return tuple(i for i, _ in backward.seeds), tuple(i for i, _ in backward.grads)


def filled(build: FunctionBuilder, number: float, type_: TensorType) -> Value:
    """A tensor with one number everywhere."""
    return build.emit(BroadcastTo(type_.shape), build.constant(number, Value(type_)))


def some(values: Iterable[Value], same: Mapping[Value, Value]) -> tuple[Value, ...]:
    return tuple(same.get(v, v) for v in values)


def _inserted(values: Sequence[Value], new: Sequence[Value], states: int) -> tuple[Value, ...]:
    """values with new ones before the last, which are the states of a cell."""
    place = len(values) - states
    return (*values[:place], *new, *values[place:])


@dataclass
class Tapes:
    """root: the function that is differentiated; what it calls is its own, but for `kept`.

    tape: the values of a function that its pullback reads, which are outputs now; extra: the
    results of a call or a branch (by id) that carry what the backward reads of its inside.
    """

    root: Function
    backwards: dict[Function, Backward]
    methods: Methods
    copies: Copies
    kept: Mapping[Function, Traced]
    tape: dict[Function, tuple[Value, ...]] = field(
        default_factory=dict["Function", "tuple[Value, ...]"], init=False
    )
    extra: dict[int, tuple[Value, ...]] = field(
        default_factory=dict[int, "tuple[Value, ...]"], init=False
    )
    pullbacks: dict[Function, Function] = field(
        default_factory=dict["Function", "Function"], init=False
    )

    def __post_init__(self) -> None:
        below = self.below(self.root)
        scans = (n for f in below for n in walk(f.body) if isinstance(n, ScanNode))
        self.states = {n.function: len(n.states) for n in scans}
        for function in below:
            self.extend(function)
            backward = self.backwards.get(function)
            if backward is not None and function is not self.root:
                tape = [*backward.saved, *self.carried(backward.body)]
                tape += _measures(backward, tape)
                self.tape[function] = tuple(tape)
                states = self.states.get(function, 0)
                function.outputs = _inserted(function.outputs, tape, states)

    def below(self, root: Function) -> list[Function]:
        """root and what it calls, callees first, without what is kept and what that calls."""
        found: dict[Function, None] = {}
        open_: set[Function] = set()

        def visit(function: Function) -> None:
            if function in open_:
                raise self.copies.unsupported("a block that is made of itself")
            open_.add(function)
            for node in walk(function.body):
                if isinstance(node, CallNode) and node.function not in {**self.kept, **found}:
                    visit(node.function)
            open_.discard(function)
            found[function] = None

        visit(root)
        return list(found)

    # --- forward ---

    def extend(self, function: Function) -> None:
        """Make the calls and branches of a body give what the backward reads of them."""
        for node in walk(function.body):
            if isinstance(node, CallNode) and node.function in self.kept:
                count = self.kept[node.function].tape
                self.extra[id(node)] = node.results[len(node.results) - count :]
            elif isinstance(node, CallNode) and node.function in self.tape:
                self.extend_call(node)
        if function in self.backwards:
            self.extend_branches(self.backwards[function].body)

    def extend_call(self, node: CallNode) -> None:
        given = terms(node.slot, node.dims)
        found: list[Value] = []
        for value in self.tape[node.function]:
            shape = tuple(d.substitute(given) for d in value.type.shape)
            if isinstance(node, ScanNode):
                shape = self.stacked(shape, node)
            found.append(Value(TensorType(value.type.dtype, shape), value.name))
        self.extra[id(node)] = tuple(found)
        node.results = _inserted(node.results, found, self.states.get(node.function, 0))

    def stacked(self, shape: tuple[Dim, ...], node: ScanNode) -> tuple[Dim, ...]:
        """The shape of what all steps of a scan give."""
        if not shape:
            raise self.copies.unsupported("a scan whose steps compute single numbers")
        return (shape[0], node.length, *shape[1:])

    def extend_branches(self, body: Sequence[BackwardNode]) -> None:
        for node in body:
            if isinstance(node, BranchBackward):
                self.extend_branch(node)

    def extend_branch(self, node: BranchBackward) -> None:
        """Each side gives its own values, and zeros for those of the other."""
        sides = list(node.sides())
        for side, _ in sides:
            self.extend_branches(side.body)
        inner = [[*side.saved, *self.carried(side.body)] for side, _ in sides]
        for which, (side, forward) in enumerate(sides):
            self.extra[id(side)] = tuple(Value(v.type, v.name) for v in inner[which])
            build = FunctionBuilder(self.root, body=forward.body)
            for other, values in enumerate(inner):
                mine = values if other == which else [filled(build, 0.0, v.type) for v in values]
                forward.yields = (*forward.yields, *mine)
        outer = tuple(v for side, _ in sides for v in self.extra[id(side)])
        self.extra[id(node.branch)] = outer
        node.branch.results = (*node.branch.results, *outer)

    def carried(self, body: Sequence[BackwardNode]) -> list[Value]:
        """What a body reads of the inside of calls and branches."""
        found: list[Value] = []
        for node in body:
            if isinstance(node, CallBackward):
                found += self.extra[id(node.call)]
            elif isinstance(node, BranchBackward):
                found += self.extra[id(node.branch)]
        return found

    # --- backward ---

    def nodes(self, body: Sequence[BackwardNode], same: Mapping[Value, Value]) -> list[Node]:
        """Backward nodes as ordinary ones. same: what stands for values of the forward."""
        return [new for node in body for new in self.node(node, same)]

    def node(self, node: BackwardNode, same: Mapping[Value, Value]) -> list[Node]:
        match node:
            case OpNode():
                return [replace(node, operands=some(node.operands, same))]
            case CallBackward():
                if isinstance(node.call, ScanNode):
                    return self.scan(node, node.call, same)
                return [self.call(node, same)]
            case BranchBackward():
                return [self.branch(node, same)]
            case Accumulate() | RepeatBackward():
                raise AssertionError("weights are constants here, and repeats are written out")
            case _:
                assert_never(node)

    def call(self, node: CallBackward, same: Mapping[Value, Value]) -> CallNode:
        backward, call = node.backward, node.call
        operands = some((*node.seeds, *self.extra[id(call)]), same)
        results = tuple(
            v or Value(call.operands[i].type)
            for v, (i, _) in zip(node.results, backward.grads, strict=True)
        )
        function = self.pullback(backward)
        return CallNode(call.slot, function, call.dims, operands, results, call.refs, call.span)

    def branch(self, node: BranchBackward, same: Mapping[Value, Value]) -> BranchNode:
        sides: list[Side] = []
        for side, forward in node.sides():
            inner = [*side.saved, *self.carried(side.body)]
            here = {**same, **dict(zip(inner, some(self.extra[id(side)], same), strict=True))}
            body = self.nodes(side.body, here)
            sides.append(Side(body, some(side.yields, here), forward.slots))
        branch = node.branch
        return BranchNode(branch.condition, None, sides[0], sides[1], node.results, branch.span)

    def pullback(self, backward: Backward) -> Function:
        """The function of the outputs' gradients and the tape that gives the inputs' gradients."""
        original = backward.function
        if original in self.kept:
            return self.kept[original].pullback
        if original not in self.pullbacks:
            found, same = self.opened(backward)
            found.outputs = some([g for _, g in backward.grads], same)
            self.pullbacks[original] = found
            if original not in self.states:
                tape = len(self.tape[original])
                self.methods.traced[original] = Traced(interface(backward), found, tape)
        return self.pullbacks[original]

    def opened(self, backward: Backward) -> tuple[Function, Mapping[Value, Value]]:
        """A pullback without outputs yet, and what stands in it for values of the forward."""
        original = backward.function
        found = self.methods.add(like(original), original, "pullback")
        same = {v: replace(v) for v in self.tape[original]}
        found.inputs = (*(s for _, s in backward.seeds), *same.values())
        found.body = self.constants(original.body, backward.body, same)
        found.body += self.nodes(backward.body, same)
        return found, same

    def constants(
        self, body: Sequence[Node], backward: Sequence[BackwardNode], same: dict[Value, Value]
    ) -> list[Node]:
        """Copies of a body's constants that a backward reads: they are on no tape."""
        wanted = {v for node in backward for v in reads(node)}
        found: list[Node] = []
        for node in walk([*body]):
            if isinstance(node, OpNode) and isinstance(node.op, Constant):
                (value,) = node.results
                if value in wanted and value not in same:
                    same[value] = replace(value)
                    found.append(replace(node, results=(same[value],)))
        return found

    def scan(self, node: CallBackward, call: ScanNode, same: Mapping[Value, Value]) -> list[Node]:
        """The steps in the other order; gradients of what all steps share add up."""
        backward, extra = node.backward, self.extra[id(call)]
        stacked = call.stacked - len(extra)
        function, inner = self.opened(backward)
        grads = {i: inner.get(g, g) for i, g in backward.grads}
        seeded = [p for p, _ in backward.seeds]
        flowing = [call.states[p - stacked] for p in seeded if p >= stacked]
        if any(s in grads and s not in flowing for s in call.states):
            raise self.copies.unsupported("a scan that depends on x in its first states only")
        build = FunctionBuilder(function)
        others = [i for i in grads if i not in call.states]
        inputs = backward.function.inputs
        following = [grads.get(i) or filled(build, 0.0, inputs[i].type) for i in flowing]
        function.outputs = (*(grads[i] for i in others), *following)
        given = {i: v for (i, _), v in zip(backward.grads, node.results, strict=True)}
        states = tuple(k for k, p in enumerate(seeded) if p >= stacked)
        operands = some((*node.seeds, *extra), same)
        sequences = tuple(k for k in range(len(operands)) if k not in states)
        results: list[Value] = []
        sums: list[Node] = []
        for i in others:
            type_, value = call.operands[i].type, given[i]
            if i in call.sequences:
                results.append(value or Value(type_))
                continue
            each = Value(TensorType(type_.dtype, self.stacked(type_.shape, call)))
            results.append(each)
            if value is not None:
                sums.append(OpNode(Sum((1,)), (each,), (value,)))
        results += [given.get(i) or Value(call.operands[i].type) for i in flowing]
        made = ScanNode(
            call.slot, function, call.dims, operands, tuple(results), call.refs, call.span,
            sequences=sequences, states=states, reverse=not call.reverse,
        )  # fmt: skip
        return [made, *sums]


def _measures(backward: Backward, tape: Sequence[Value]) -> list[Value]:
    """Inputs of the forward whose shapes alone tell extents that the pullback prints."""
    wanted = {s for v in _results(backward.body) for d in v.type.shape for s in d.symbols}
    for value in (*tape, *(seed for _, seed in backward.seeds)):
        wanted -= set(_told(value))
    found: list[Value] = []
    for value in backward.function.inputs:
        if wanted & set(_told(value)):
            found.append(value)
            wanted -= set(_told(value))
    return found


def _told(value: Value) -> list[str]:
    """The symbols that are extents of a value as they are."""
    return [s for d in value.type.shape for s in d.symbols if d == Dim.symbol(s)]


def _results(body: Sequence[BackwardNode]) -> list[Value]:
    found: list[Value] = []
    for node in body:
        if isinstance(node, OpNode):
            found += node.results
        elif isinstance(node, BranchBackward):
            for side, _ in node.sides():
                found += [*side.yields, *_results(side.body)]
    return found
