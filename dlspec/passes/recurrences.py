"""Recurrent layers on a gradient's way as scans of their cells, which can be differentiated again.

The built-in has a gradient of its own, which is one op: fast, but the end. A scan's gradient is a
scan, with a gradient like any other. The product with the inputs is one for all steps, before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Function,
    OpNode,
    RepeatNode,
    ScanNode,
    Segment,
    Value,
    all_slots,
    functions_below,
    walk,
)
from dlspec.ir.static import Symbol
from dlspec.ir.types import DType, TensorType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Term
from dlspec.ops.linalg import Linear
from dlspec.ops.recurrent import Recurrent
from dlspec.ops.rules import ONE, ZERO
from dlspec.ops.shape import BroadcastTo, Concat, Slice, Squeeze, Stack, Unsqueeze
from dlspec.passes.names import fresh
from dlspec.passes.paths import gradients, path
from dlspec.passes.paths import replace as put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dlspec.ir.graph import Node


def unfold(root: Function) -> None:
    """Rewrites, in place, what a gradient of root or of a function below passes through."""
    cells: dict[tuple[Recurrent, DType], Function] = {}
    for function, node in [*_passed(root)]:
        new = _Unfolding(function, node, cells).nodes()
        for made in new:
            made.span = node.span
        put(function.body, node, new)


def _passed(root: Function) -> Iterator[tuple[Function, OpNode]]:
    """Recurrent ops between y and x of some gradient, each once."""
    found: dict[int, tuple[Function, OpNode]] = {}
    for function in functions_below(root):
        for node, before in gradients(function.body):
            y, *xs = node.operands
            nodes = path(before, xs, y)
            found.update(_recurrent(function, nodes))
            for call in walk(nodes):
                if isinstance(call, CallNode | RepeatNode):
                    for below in functions_below(call.function):
                        found.update(_recurrent(below, below.body))
    yield from found.values()


def _recurrent(function: Function, body: list[Node]) -> dict[int, tuple[Function, OpNode]]:
    nodes = (n for n in walk(body) if isinstance(n, OpNode) and isinstance(n.op, Recurrent))
    return {id(n): (function, n) for n in nodes}


class _Unfolding:
    def __init__(
        self, function: Function, node: OpNode, cells: dict[tuple[Recurrent, DType], Function]
    ) -> None:
        assert isinstance(node.op, Recurrent)
        self.function, self.node, self.op, self.cells = function, node, node.op, cells
        self.body: list[Node] = []
        self.build = FunctionBuilder(function, body=self.body)
        self.hidden, self.output = self.op.widths([v.type for v in node.operands])

    def nodes(self) -> list[Node]:
        """Nodes with the results of the op, but for what only its own gradient reads."""
        op, operands = self.op, self.node.operands
        x, weights = operands[0], list(operands[op.inputs :])
        each = len(weights) // (op.layers * op.directions)
        finals: list[Sequence[Value]] = []
        for _ in range(op.layers):
            sides: list[Value] = []
            for direction in range(op.directions):
                mine, weights = weights[:each], weights[each:]
                y, *last = self.scan(x, mine, len(finals), reverse=direction == 1)
                sides.append(y)
                finals.append(last)
            x = sides[0] if len(sides) == 1 else self.build.emit(Concat(-1), *sides)
        found = [x, *(self.build.emit(Stack(0), *states) for states in zip(*finals, strict=True))]
        same = dict(zip(found, self.node.results, strict=False))
        for node in self.body:
            node.results = tuple(same.get(v, v) for v in node.results)
            if isinstance(node, OpNode | CallNode):
                node.operands = tuple(same.get(v, v) for v in node.operands)
        return self.body

    def scan(
        self, x: Value, weights: Sequence[Value], place: int, *, reverse: bool
    ) -> tuple[Value, ...]:
        """One layer in one direction: the outputs of all steps, the last states."""
        op, dtype = self.op, x.type.dtype
        biased = op.biases > 0
        gates = self.build.emit(Linear(), x, weights[0], *weights[2 : 2 + biased])
        rest = [weights[1], *weights[2 + biased :]]
        states = [self.state(i, place) for i in range(len(op.states))]
        masks = self.node.operands[1 : 1 + op.masked]
        first = 1 + op.masked
        cell = self.cell(dtype)
        dims = {"N": x.type.shape[0], "H": self.hidden, "P": self.output}
        dims = {name: dims[name] for name in cell.symbols}
        taken = {slot.segment.name for slot in all_slots(self.function)}
        slot = ChildSlot(Segment(fresh("step", taken)), cell, dims, {}, span=self.node.span)
        self.function.slots.append(slot)
        y = TensorType(dtype, (*x.type.shape[:2], self.output))
        results = (Value(y), *(Value(s.type) for s in states))
        operands = (gates, *masks, *states, *rest)
        sequences = tuple(range(first))
        places = tuple(range(first, first + len(states)))
        self.body.append(
            ScanNode(
                slot, cell, dims, operands, results, (), self.node.span,
                sequences, places, reverse,
            )
        )  # fmt: skip
        return results

    def state(self, which: int, place: int) -> Value:
        """An initial state of one layer in one direction."""
        op, x = self.op, self.node.operands[0]
        size = op.sizes(self.hidden, self.output)[which]
        shape = (x.type.shape[0], size)
        if not op.held:
            zero = self.build.constant(0.0, x)
            return self.build.emit(BroadcastTo(shape), zero)
        given = self.node.operands[1 + op.masked + which]
        start, stop = Dim.const(place), Dim.const(place + 1)
        part = Slice((start, ZERO, ZERO), (stop, *shape), (ONE, ONE, ONE))
        return self.build.emit(Squeeze((0,)), self.build.emit(part, given))

    def cell(self, dtype: DType) -> Function:
        """One step; the same for all layers of one kind."""
        op = replace(self.op, layers=1, bidirectional=False, held=True, first=0, single=False)
        key = (op, dtype)
        if key not in self.cells:
            self.cells[key] = _cell(op, dtype)
        return self.cells[key]


def _cell(op: Recurrent, dtype: DType) -> Function:
    batch, hidden = Dim.symbol("N"), Dim.symbol("H")
    output = Dim.symbol("P") if getattr(op, "projected", False) else hidden
    function = Function(f"{type(op).__name__}Step", "cell")
    for name in ("N", "H", "P")[: 2 + (output is not hidden)]:
        function.symbols[name] = Symbol("dim")

    def made(name: str, shape: tuple[Dim, ...], kind: DType = dtype) -> Value:
        return Value(TensorType(kind, shape), name)

    gates = made("gates", (batch, op.gates * hidden))
    masks = [made("there", (batch,), DType.BOOL)] * op.masked
    states = [
        made(name, (batch, size))
        for name, size in zip(op.states, op.sizes(hidden, output), strict=True)
    ]
    weights = [
        made(name, shape)
        for name, shape in op.weight_shapes(hidden, output, hidden)
        if name not in ("weight_ih", "bias_ih")
    ]
    function.inputs = (gates, *masks, *states, *weights)
    build = FunctionBuilder(function)
    old = [Term(build, v) for v in states]
    new = op.step(Term(build, gates), old, weights)
    y = new[0]
    if op.masked:
        there = Term(build, build.emit(Unsqueeze((1,)), masks[0]))
        y = there.where(y, y.like(0.0))
        new = tuple(there.where(a, b) for a, b in zip(new, old, strict=True))
    function.outputs = (y.value, *(state.value for state in new))
    return function
