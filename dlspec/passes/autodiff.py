"""Reverse-mode differentiation, function by function.

Two sweeps say what is needed: *active* values depend on a trainable weight or an input whose
gradient is asked for; *useful* values reach the loss. Both are joined over all call sites, so
that each function has one backward. Then each body is walked once, last node first: an op adds
what its gradient rule gives to its operands, a call becomes a backward call of its callee. What
nothing reads is dropped at the end (the gradient of the first layer's input, for one).

Values used several times get the sum of their gradients. A zero gradient is no node at all;
zeros are written out only where a call or a branch must hand something over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from dlspec.codes import UNSUPPORTED_OP
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.ir.backward import (
    Accumulate,
    Backward,
    BackwardSide,
    BranchBackward,
    CallBackward,
    RepeatBackward,
    reads,
    training_side,
    writes,
)
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    Value,
    WeightSlot,
    functions_below,
    walk,
)
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Add, Constant, StopGradient
from dlspec.ops.shape import BroadcastTo
from dlspec.passes.merge import all_slots
from dlspec.source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dlspec.ir.backward import BackwardNode
    from dlspec.ir.graph import Node, Side, Slot
    from dlspec.ir.types import TensorType


def differentiate(
    root: Function,
    outputs: Sequence[int] = (0,),
    inputs: Sequence[int] = (),
    *,
    pure: bool = False,
) -> dict[Function, Backward]:
    """Backwards of root and all it calls, callees first.

    outputs: positions of root's outputs whose gradient is given (a training function's loss is
    0); inputs: positions whose gradient is asked for, besides all trainable weights.
    Functions that no gradient passes have no entry. pure: weights are constants, and branches on
    `training` stay branches.
    """
    order = functions_below(root)
    needs = _Needs(order, pure)
    needs.functions[root].active_inputs.update(inputs)
    needs.functions[root].useful_outputs.update(outputs)
    needs.settle()
    backwards = {f: _interface(f, needs.functions[f]) for f in order}
    for function, backward in backwards.items():
        _Differentiator(function, backward, backwards, needs).run()
    return {f: b for f, b in backwards.items() if b.seeds}


def vjp(function: Function) -> Function:
    """A function of ops as one that returns its inputs' gradients instead.

    Inputs: function's own, then a gradient for each output. Outputs: the gradients of the float
    inputs; what does not depend on an input has gradient zero.
    """
    floats = [i for i, v in enumerate(function.inputs) if v.type.dtype.is_float]
    backward = differentiate(function, range(len(function.outputs)), floats)[function]
    given = dict(backward.seeds)
    seeds = [given.get(i) or Value(v.type) for i, v in enumerate(function.outputs)]
    found = dict(backward.grads)
    result = Function(
        f"{function.name}_vjp",
        function.kind,
        statics=function.statics,
        symbols=function.symbols,
        inputs=(*function.inputs, *seeds),
        references=function.references,
        slots=function.slots,
        body=[*function.body, *(n for n in backward.body if isinstance(n, OpNode))],
    )
    build = FunctionBuilder(result)
    result.outputs = tuple(found.get(i) or _zeros(build, function.inputs[i].type) for i in floats)
    return result


@dataclass
class _Need:
    """What all call sites together need of a function, and the values inside that it concerns."""

    active_inputs: set[int] = field(default_factory=set[int])
    useful_outputs: set[int] = field(default_factory=set[int])
    active: set[Value] = field(default_factory=set[Value])
    useful: set[Value] = field(default_factory=set[Value])
    pure: bool = False


class _Needs:
    """Callers before callees, and again where a recursive call adds to what is needed."""

    def __init__(self, callees_first: list[Function], pure: bool) -> None:
        self.order = callees_first[::-1]
        self.functions = {f: _Need(pure=pure) for f in self.order}
        self.pure = pure
        self.trains: set[Function] = set()
        while not pure:
            before = len(self.trains)
            self.trains.update(f for f in callees_first if self._trains(f))
            if len(self.trains) == before:
                break

    def _trains(self, function: Function) -> bool:
        """Whether a trainable weight is below."""
        return any(self._slot_trains(s) for s in (*all_slots(function), *function.references))

    def _slot_trains(self, slot: Slot) -> bool:
        match slot:
            case WeightSlot():
                return slot.weight.trainable
            case LayerSlot():
                return any(w.trainable for w in slot.weights.values())
            case ChildSlot():
                owner = slot.function
                if owner not in self.functions:  # its instances run other functions only
                    return self._trains(owner)
                return owner in self.trains
            case Reference():
                return self._slot_trains(slot.target)
            case _:
                assert_never(slot)

    def settle(self) -> None:
        pending = set(self.order)
        while pending:
            for function in self.order:
                if function in pending:
                    pending.discard(function)
                    pending.update(self._visit(function))

    def _visit(self, function: Function) -> set[Function]:
        """Mark function's values; the callees that this asks for more."""
        need = self.functions[function]
        need.active.update(function.inputs[i] for i in need.active_inputs)
        self._mark_active(function.body, need)
        need.useful.update(function.outputs[i] for i in need.useful_outputs)
        self._mark_useful(function.body, need)
        asked: set[Function] = set()
        for node in walk(function.body):
            if isinstance(node, CallNode | RepeatNode) and self._ask(node, need):
                asked.add(node.function)
        return asked

    def _ask(self, node: CallNode | RepeatNode, need: _Need) -> bool:
        """Hand on to the callee what this node needs of it; whether that was news."""
        callee = self.functions[node.function]
        before = len(callee.active_inputs) + len(callee.useful_outputs)
        operands = node.operands if isinstance(node, CallNode) else (*node.carried, *node.held)
        useful = [i for i, v in enumerate(node.results) if v in need.useful]
        active = [i for i, v in enumerate(operands) if _is_active(v, need)]
        if isinstance(node, RepeatNode) and useful:
            # each run's results are the next run's operands
            useful = range(len(node.results))
            if active or node.function in self.trains:
                active = [*active, *range(len(node.carried))]
        if isinstance(node, ScanNode) and useful:
            # each step's last results are the next step's states
            useful = [*useful, *range(node.stacked, len(node.results))]
            if active or node.function in self.trains:
                active = [*active, *node.states]
        callee.useful_outputs.update(useful)
        inputs = node.function.inputs
        callee.active_inputs.update(i for i in active if inputs[i].type.dtype.is_float)
        return len(callee.active_inputs) + len(callee.useful_outputs) > before

    def _mark_active(self, body: list[Node], need: _Need) -> None:
        for node in body:
            match node:
                case OpNode():
                    some = not isinstance(node.op, StopGradient) and any(
                        _is_active(v, need) for v in node.operands
                    )
                case CallNode():
                    some = node.function in self.trains or any(
                        _is_active(v, need) for v in node.operands
                    )
                case RepeatNode():
                    some = node.function in self.trains or any(
                        _is_active(v, need) for v in (*node.carried, *node.held)
                    )
                case BranchNode():
                    self._mark_active_branch(node, need)
                    continue
                case _:
                    assert_never(node)
            if some:
                need.active.update(v for v in node.results if v.type.dtype.is_float)

    def _mark_active_branch(self, node: BranchNode, need: _Need) -> None:
        for side in _sides(node):
            self._mark_active(side.body, need)
            for result, value in zip(node.results, side.yields, strict=True):
                if _is_active(value, need):
                    need.active.add(result)

    def _mark_useful(self, body: list[Node], need: _Need) -> None:
        for node in reversed(body):
            if not any(v in need.useful for v in node.results):
                continue
            match node:
                case OpNode():
                    if not isinstance(node.op, StopGradient):
                        need.useful.update(node.operands)
                case CallNode():
                    need.useful.update(node.operands)
                case RepeatNode():
                    need.useful.update((*node.carried, *node.held))
                case BranchNode():
                    for side in _sides(node):
                        pairs = zip(node.results, side.yields, strict=True)
                        need.useful.update(y for r, y in pairs if r in need.useful)
                        self._mark_useful(side.body, need)
                case _:
                    assert_never(node)


def _sides(node: BranchNode) -> list[Side]:
    return [side for side in (node.then, node.orelse) if side is not None]


def _is_weight(value: Value, need: _Need) -> bool:
    return not need.pure and value.weight is not None and value.weight[1].trainable


def _is_active(value: Value, need: _Need) -> bool:
    return value in need.active or _is_weight(value, need)


def _interface(function: Function, need: _Need) -> Backward:
    """A backward without body: which gradients go in and which come out."""
    seeds = tuple(
        (i, Value(v.type))
        for i, v in enumerate(function.outputs)
        if i in need.useful_outputs and _is_active(v, need)
    )
    grads = tuple(
        (i, Value(v.type))
        for i, v in enumerate(function.inputs)
        if i in need.active_inputs and v in need.useful
    )
    return Backward(function, seeds, grads if seeds else ())


def _zeros(build: FunctionBuilder, type_: TensorType) -> Value:
    return build.emit(BroadcastTo(type_.shape), build.constant(0.0, Value(type_)))


class _Differentiator:
    """Walks one function's body backwards."""

    def __init__(
        self,
        function: Function,
        backward: Backward,
        backwards: dict[Function, Backward],
        needs: _Needs,
    ) -> None:
        self.function = function
        self.backward = backward
        self.backwards = backwards
        self.needs = needs
        self.need = needs.functions[function]
        self.scratch = Function(function.name, function.kind, symbols=function.symbols)
        self.build = FunctionBuilder(self.scratch)
        self.parts: dict[Value, list[Value]] = {}

    @property
    def body(self) -> list[BackwardNode]:
        return self.build.body  # pyright: ignore[reportReturnType]

    def run(self) -> None:
        if not self.backward.seeds:
            return
        for position, seed in self.backward.seeds:
            self.backward.of[seed] = self.function.outputs[position]
            self.add(self.function.outputs[position], seed)
        self.walk(self.function.body)
        grads: list[tuple[int, Value]] = []
        for position, _ in self.backward.grads:
            value = self.function.inputs[position]
            grads.append((position, self.take(value) or _zeros(self.build, value.type)))
        self.backward.grads = tuple(grads)
        for position, grad in grads:
            self.backward.of[grad] = self.function.inputs[position]
        self.backward.body = _prune(self.body, [v for _, v in grads], self.needs.trains)
        _save(self.function, self.backward, self.needs.pure)

    def add(self, value: Value, grad: Value) -> None:
        """One more contribution to a value's gradient."""
        if _is_weight(value, self.need):
            self.body.append(Accumulate(value, grad))
        elif value in self.need.active:
            self.backward.of.setdefault(grad, value)
            self.parts.setdefault(value, []).append(grad)

    def take(self, value: Value) -> Value | None:
        """The whole gradient of a value, when everything after it is done."""
        parts = self.parts.pop(value, None)
        if parts is None:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = self.build.emit(Add(), total, part)
        self.backward.of.setdefault(total, value)
        return total

    def walk(self, body: list[Node]) -> None:
        for node in reversed(body):
            grads = [self.take(v) for v in node.results]
            if all(g is None for g in grads):
                continue
            match node:
                case OpNode():
                    self.op(node, grads)
                case CallNode():
                    self.call(node, grads)
                case RepeatNode():
                    self.repeat(node, grads)
                case BranchNode():
                    self.branch(node, grads)
                case _:
                    assert_never(node)

    def op(self, node: OpNode, grads: Sequence[Value | None]) -> None:
        start = len(self.body)
        try:
            given = node.op.gradient(self.build, node.operands, node.results, grads)
        except NotImplementedError as error:
            where = node.span or Span(Source("<ir>", ""), 0, 0)
            message = f"dlspec cannot derive {error}"
            raise Failure(Diagnostic(UNSUPPORTED_OP, message, where, label="used here")) from error
        for emitted in self.build.body[start:]:
            emitted.span = node.span
        for operand, grad in zip(node.operands, given, strict=True):
            if grad is not None:
                self.add(operand, grad)

    def seeds(
        self, node: CallNode | RepeatNode, backward: Backward, grads: Sequence[Value | None]
    ) -> tuple[Value, ...]:
        return tuple(
            grads[i] or _zeros(self.build, node.results[i].type) for i, _ in backward.seeds
        )

    def call(self, node: CallNode, grads: Sequence[Value | None]) -> None:
        backward = self.backwards[node.function]
        if not backward.seeds:
            return
        seeds = self.seeds(node, backward, grads)
        self.append_call(node, backward, node.operands, seeds)

    def repeat(self, node: RepeatNode, grads: Sequence[Value | None]) -> None:
        backward = self.backwards[node.function]
        if not backward.seeds:
            return
        seeds = self.seeds(node, backward, grads)
        self.append_call(node, backward, (*node.carried, *node.held), seeds)

    def append_call(
        self,
        node: CallNode | RepeatNode,
        backward: Backward,
        operands: Sequence[Value],
        seeds: tuple[Value, ...],
    ) -> None:
        results = tuple(Value(operands[i].type) for i, _ in backward.grads)
        if isinstance(node, CallNode):
            self.body.append(CallBackward(node, backward, seeds, results))
        else:
            self.body.append(RepeatBackward(node, backward, seeds, results))
        for (i, _), result in zip(backward.grads, results, strict=True):
            self.add(operands[i], result)

    def branch(self, node: BranchNode, grads: Sequence[Value | None]) -> None:
        if not self.needs.pure and (side := training_side(node)) is not None:
            for value, grad in zip(side.yields, grads, strict=True):
                if grad is not None:
                    self.add(value, grad)
            self.walk(side.body)
            return
        outer, outer_parts = self.build, self.parts
        found = [self.side(side, grads) for side in (node.then, node.orelse)]
        reached = list(dict.fromkeys(v for f in found if f is not None for v in f[1]))
        sides = [None if f is None else self.finish_side(*f, reached) for f in found]
        self.build, self.parts = outer, outer_parts
        results = tuple(Value(v.type) for v in reached)
        self.body.append(BranchBackward(node, sides[0], sides[1], results))
        for value, result in zip(reached, results, strict=True):
            self.add(value, result)

    def side(
        self, side: Side | None, grads: Sequence[Value | None]
    ) -> tuple[FunctionBuilder, dict[Value, Value]] | None:
        """A side's body, and the gradients it gives to values from outside."""
        if side is None:
            return None
        self.build, self.parts = FunctionBuilder(self.scratch, body=[]), {}
        for value, grad in zip(side.yields, grads, strict=True):
            if grad is not None:
                self.add(value, grad)
        self.walk(side.body)
        found = {value: self.take(value) for value in list(self.parts)}
        return self.build, {v: g for v, g in found.items() if g is not None}

    def finish_side(
        self, build: FunctionBuilder, found: dict[Value, Value], reached: list[Value]
    ) -> BackwardSide:
        self.build = build
        yields = tuple(found.get(v) or _zeros(build, v.type) for v in reached)
        return BackwardSide(self.body, yields)


def _prune(
    body: list[BackwardNode], wanted: Iterable[Value], trains: set[Function]
) -> list[BackwardNode]:
    """The nodes that a wanted value or a weight's gradient depends on."""
    live = set(wanted)
    return _prune_into(body, live, trains)


def _prune_into(
    body: list[BackwardNode], live: set[Value], trains: set[Function]
) -> list[BackwardNode]:
    kept: list[BackwardNode] = []
    for node in reversed(body):
        if isinstance(node, BranchBackward):
            _prune_branch(node, live, trains)
        if not (_accumulates(node, trains) or any(v in live for v in writes(node))):
            continue
        if isinstance(node, CallBackward | RepeatBackward):
            node.results = tuple(v if v in live else None for v in node.results)
        live.update(reads(node))
        kept.append(node)
    return kept[::-1]


def _prune_branch(node: BranchBackward, live: set[Value], trains: set[Function]) -> None:
    keep = [i for i, v in enumerate(node.results) if v in live]
    node.results = tuple(node.results[i] for i in keep)
    for side, _ in node.sides():
        side.yields = tuple(side.yields[i] for i in keep)
        inner = live | set(side.yields)
        side.body = _prune_into(side.body, inner, trains)


def _accumulates(node: BackwardNode, trains: set[Function]) -> bool:
    match node:
        case OpNode():
            return False
        case Accumulate():
            return True
        case CallBackward() | RepeatBackward():
            return node.backward.function in trains
        case BranchBackward():
            return any(_accumulates(n, trains) for side, _ in node.sides() for n in side.body)
        case _:
            assert_never(node)


def _save(function: Function, backward: Backward, pure: bool) -> None:
    """Find the forward values that the backward reads: weights are at hand, constants are free."""
    wanted: set[Value] = {v for _, v in backward.grads}
    for node in backward.body:
        wanted.update(reads(node))
    backward.saved = _read_from((*function.inputs, *_defined(function.body, pure)), wanted)
    _save_sides(backward.body, pure)


def _save_sides(body: list[BackwardNode], pure: bool) -> None:
    for node in body:
        if isinstance(node, BranchBackward):
            for side, forward in node.sides():
                wanted = {v for inner in side.body for v in reads(inner)} | set(side.yields)
                side.saved = _read_from(_defined(forward.body, pure), wanted)
                _save_sides(side.body, pure)


def _read_from(values: Sequence[Value], wanted: set[Value]) -> tuple[Value, ...]:
    return tuple(v for v in values if v in wanted)


def _defined(body: list[Node], pure: bool) -> list[Value]:
    """What a body's own nodes define, in order, without constants."""
    found: list[Value] = []
    for node in body:
        side = training_side(node) if isinstance(node, BranchNode) and not pure else None
        found.extend(_defined(side.body, pure) if side is not None else ())
        if not (isinstance(node, OpNode) and isinstance(node.op, Constant)):
            found.extend(node.results)
    return found
