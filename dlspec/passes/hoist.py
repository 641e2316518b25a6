"""Out of a scanned cell's loop: what depends on no state.

A cell that computes `dense(x) + dense(h)` each step becomes a function of the whole sequence: the
product with x for all steps at once, then a scan of a smaller cell, its step, which takes the
result. `dense(concat(x, h))` is taken apart first, its weight in two. The step has no weights of
its own: it is handed the cell's, so that instances, paths and gradients stay what they were.

Only what surely gives the same is moved: ops that treat every step alike (elementwise ones,
products with a weight, movements along axes), and what no step changes at all. Draws, updates,
calls, branches and repeats stay. A cell is left as it is where no product would move.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeGuard

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Function,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    Segment,
    Value,
    functions_below,
    walk,
)
from dlspec.ir.static import Known, LayerArgument, ParamRef, Sequence, Symbol
from dlspec.ir.types import TensorType
from dlspec.ops.elementwise import Add, Constant
from dlspec.ops.gradient import Grad, Watch
from dlspec.ops.indexing import Embedding
from dlspec.ops.linalg import Linear, MatMul
from dlspec.ops.rules import ONE, ZERO
from dlspec.ops.shape import Concat, Slice, Split, Unsqueeze
from dlspec.passes.names import fresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from dlspec.ir.graph import Node, Slot
    from dlspec.ir.static import StaticValue
    from dlspec.ops.base import Op

PRODUCTS = (Linear, MatMul)

Plain = OpNode | CallNode  # no scan
Key = tuple[int, tuple[int, ...], tuple[int, ...], bool]  # function, sequences, states, reverse


def hoist(root: Function) -> None:
    """Rewrites root and all below it, in place."""
    functions = functions_below(root)
    sites = [(f, node) for f in functions for node in walk(f.body) if _calls(node)]
    scans: dict[Key, list[ScanNode]] = {}
    for _, node in sites:
        if isinstance(node, ScanNode):
            scans.setdefault(_key(node), []).append(node)
    taken = Counter(f.name for f in functions)
    for key, nodes in scans.items():
        function = nodes[0].function
        alike = [k for k in scans if k[0] == key[0]]
        if not _may_change(function, functions, sites, len(alike)):
            continue
        whole = _Cell(function, nodes[0], taken).split()
        if whole is not None:
            whole.specialisation = function.specialisation + alike.index(key)
            for node in nodes:
                _replace(functions, node, whole)


def _is_plain(node: Node) -> TypeGuard[Plain]:
    if not isinstance(node, OpNode):
        return type(node) is CallNode
    return not node.updates and not isinstance(node.op, Grad | Watch)


def _calls(node: Node) -> bool:
    return isinstance(node, CallNode | RepeatNode)


def _key(node: ScanNode) -> Key:
    return id(node.function), node.sequences, node.states, node.reverse


def _may_change(
    function: Function, functions: list[Function], sites: list[tuple[Function, Node]], ways: int
) -> bool:
    """Whether every instance of a cell runs in scans alone, and in scans of one kind."""
    for _, node in sites:
        same = isinstance(node, CallNode | RepeatNode) and node.function is function
        if same and not isinstance(node, ScanNode):
            return False
    if ways == 1:
        return True
    used = Counter(
        id(n.slot) for _, n in sites if isinstance(n, ScanNode) and n.function is function
    )
    handed = any(
        isinstance(r.target, ChildSlot) and r.target.function is function
        for f in functions
        for r in f.references
    )
    return not handed and all(count == 1 for count in used.values())


def _replace(functions: list[Function], node: ScanNode, whole: Function) -> None:
    """A call of the whole in the scan's place."""
    steps = next(name for name in whole.symbols if name not in node.function.symbols)
    call = CallNode(
        node.slot,
        whole,
        {**node.dims, steps: node.length},
        node.operands,
        node.results,
        node.refs,
        node.span,
    )
    for function in functions:
        for body in _bodies(function):
            for place, other in enumerate(body):
                if other is node:
                    body[place] = call
        for reference in function.references:
            if isinstance(reference.target, ChildSlot):
                _retarget(reference.target, node, whole, steps)
    slot = node.slot.target if isinstance(node.slot, Reference) else node.slot
    assert isinstance(slot, ChildSlot)
    slot.function = whole
    slot.dims = {**slot.dims, steps: node.length}


def _retarget(slot: ChildSlot, node: ScanNode, whole: Function, steps: str) -> None:
    if slot.function is node.function:
        slot.function = whole
        slot.dims = {**slot.dims, steps: Dim.symbol(steps)}


def _bodies(function: Function) -> list[list[Node]]:
    from dlspec.ir.graph import BranchNode

    found = [function.body]
    for node in walk(function.body):
        if isinstance(node, BranchNode):
            found += [side.body for side in (node.then, node.orelse) if side is not None]
    return found


@dataclass
class _Cell:
    """One cell and one way of scanning it."""

    function: Function
    node: ScanNode
    taken: Counter[str]
    body: list[Plain] = field(default_factory=list["Plain"], init=False)
    moving: set[Value] = field(default_factory=set["Value"], init=False)  # differ from step to step
    states: set[Value] = field(default_factory=set["Value"], init=False)  # depend on a state
    whole: dict[Value, Value] = field(default_factory=dict["Value", "Value"], init=False)
    moved: list[Node] = field(default_factory=list["Node"], init=False)

    def split(self) -> Function | None:
        """The function of the whole sequence; None where it is not worth while."""
        self.body = [n for n in self.function.body if _is_plain(n)]
        if len(self.body) < len(self.function.body):
            return None
        self.steps = Dim.symbol(fresh("T", self.function.symbols))
        self.classify()
        self.body = self.take_apart()
        self.classify()
        rest = self.move()
        if not any(isinstance(n, OpNode) and isinstance(n.op, PRODUCTS) for n in self.moved):
            return None
        return self.function_of_all(rest)

    # --- what depends on what ---

    def classify(self) -> None:
        inputs = self.function.inputs
        self.states = {inputs[i] for i in self.node.states}
        self.moving = {inputs[i] for i in self.node.sequences}
        for node in self.body:
            fixed = isinstance(node, CallNode) or node.op.random
            if fixed or any(v in self.states for v in node.operands):
                self.states.update(node.results)
            elif any(v in self.moving for v in node.operands):
                self.moving.update(node.results)

    def kind(self, value: Value) -> int:
        return 2 if value in self.states else 1 if value in self.moving else 0

    # --- dense(concat(x, h)) ---

    def take_apart(self) -> list[Plain]:
        made = {v: n for n in self.body for v in n.results}
        body: list[Plain] = []
        for node in self.body:
            parts = self.runs(node, made)
            body += [node] if len(parts) < 2 else self.apart(node, parts)
        used = Counter(v for n in body for v in n.operands)
        used.update(self.function.outputs)
        gone = (Concat, Constant)
        return [
            n
            for n in body
            if not (isinstance(n, OpNode) and isinstance(n.op, gone) and not used[n.results[0]])
        ]

    def runs(self, node: Plain, made: dict[Value, Plain]) -> list[list[Value]]:
        """The parts of a product's operand, neighbours of one kind together."""
        if not (isinstance(node, OpNode) and isinstance(node.op, Linear)):
            return []
        joined = made.get(node.operands[0])
        if not (isinstance(joined, OpNode) and isinstance(joined.op, Concat)):
            return []
        rank = joined.results[0].type.rank
        if joined.op.axis % rank != rank - 1 or any(self.kind(v) for v in node.operands[1:]):
            return []
        found: list[list[Value]] = []
        for value in joined.operands:
            if found and self.kind(found[-1][0]) == self.kind(value):
                found[-1].append(value)
            else:
                found.append([value])
        return found

    def apart(self, node: Plain, runs: list[list[Value]]) -> list[Plain]:
        """A product for each run of parts, with its columns of the weight; the bias goes with the
        first that can move."""
        assert isinstance(node, OpNode)
        _, weight, *bias = node.operands
        rows, columns = weight.type.shape
        body: list[Plain] = []

        def emit(op: Op, type_: TensorType, *operands: Value) -> Value:
            result = Value(type_, span=node.span)
            body.append(OpNode(op, operands, (result,), span=node.span))
            return result

        biased = min(range(len(runs)), key=lambda i: (self.kind(runs[i][0]) == 2, i))
        start, terms = ZERO, list[Value]()
        for place, run in enumerate(runs):
            width = sum((v.type.shape[-1] for v in run), start=ZERO)
            part = run[0]
            if len(run) > 1:
                type_ = TensorType(part.type.dtype, (*part.type.shape[:-1], width))
                part = emit(Concat(-1), type_, *run)
            end = columns if place == len(runs) - 1 else start + width
            cut = Slice((ZERO, start), (rows, end), (ONE, ONE))
            own = emit(cut, TensorType(weight.type.dtype, (rows, width)), weight)
            given = bias if place == biased else []
            terms.append(emit(Linear(), node.results[0].type, part, own, *given))
            start = start + width
        terms.sort(key=self.order(body))
        total = terms[0]
        for term in terms[1:-1]:
            total = emit(Add(), node.results[0].type, total, term)
        body.append(OpNode(Add(), (total, terms[-1]), node.results, span=node.span))
        return body

    def order(self, body: list[Plain]) -> Callable[[Value], bool]:
        """Those that can move first, so that their sum moves too."""
        made = {v: n for n in body for v in n.results}

        def kind(term: Value) -> bool:
            node = made[term]
            assert isinstance(node, OpNode)
            first = made.get(node.operands[0])
            parts = first.operands if isinstance(first, OpNode) else node.operands[:1]
            return max(self.kind(v) for v in parts) == 2

        return kind

    # --- moving ---

    def move(self) -> list[Plain]:
        """Fills `moved` and `whole`; what stays in the step."""
        for i, value in enumerate(self.function.inputs):
            if i in self.node.sequences:
                self.whole[value] = Value(self.lifted_type(value.type), value.name, value.span)
        rest: list[Plain] = []
        fixed: set[Value] = set()  # depend on nothing that changes, but stay
        for node in self.body:
            kind = max(map(self.kind, node.results), default=2)
            if isinstance(node, OpNode) and kind == 1 and self.lift(node):
                continue
            moves = isinstance(node, OpNode) and kind == 0 and not isinstance(node.op, Constant)
            if moves and not any(v in fixed for v in node.operands):
                self.moved.append(node)
                self.whole.update((v, v) for v in node.results)
                continue
            if kind == 0 and not (isinstance(node, OpNode) and isinstance(node.op, Constant)):
                fixed.update(node.results)
            rest.append(node)
        return rest

    def lifted_type(self, type_: TensorType) -> TensorType:
        return TensorType(type_.dtype, (type_.shape[0], self.steps, *type_.shape[1:]))

    def lift(self, node: OpNode) -> bool:
        """Appends the node for all steps, if there is such a form."""
        ranks = [v.type.rank for v in node.operands if v in self.moving]
        ready = all(v in self.whole for v in node.operands if v in self.moving)
        if not ready or min(ranks) < 1 or any(v.type.rank < 1 for v in node.results):
            return False
        op = self.lifted(node)
        if op is None:
            return False
        operands = [self.operand(node, v) for v in node.operands]
        results = tuple(Value(self.lifted_type(v.type), v.name, v.span) for v in node.results)
        self.moved.append(replace(node, op=op, operands=tuple(operands), results=results))
        self.whole.update(zip(node.results, results, strict=True))
        return True

    def operand(self, node: OpNode, value: Value) -> Value:
        """An operand of the form for all steps."""
        if value in self.moving:
            return self.whole[value]
        if not node.op.elementwise or value.type.rank < node.results[0].type.rank:
            return value
        shape = value.type.shape
        spread = Value(TensorType(value.type.dtype, (shape[0], ONE, *shape[1:])))
        self.moved.append(OpNode(Unsqueeze((1,)), (value,), (spread,), span=node.span))
        return spread

    def lifted(self, node: OpNode) -> Op | None:
        """The op with an axis of steps behind the first."""
        op, first = node.op, node.operands[0]
        rank = node.results[0].type.rank
        alone = all(v not in self.moving for v in node.operands[1:])
        if op.elementwise:
            return (
                op if all(v.type.rank == rank for v in node.operands if v in self.moving) else None
            )
        if isinstance(op, Linear):
            return op if alone and first.type.rank > 1 else None
        if isinstance(op, MatMul):
            plain = alone and first.type.rank == 2 and node.operands[1].type.rank == 2
            return op if plain else None
        if isinstance(op, Embedding):
            return op if alone and first in self.moving else None
        if isinstance(op, Concat | Split) and all(v in self.moving for v in node.operands):
            axis = op.axis % first.type.rank
            return replace(op, axis=axis + 1 if axis else 0)
        return None

    # --- the two functions ---

    def function_of_all(self, rest: list[Plain]) -> Function:
        old = self.function
        inputs = tuple(self.whole.get(v, v) for v in old.inputs)
        whole = replace_function(old, inputs)
        whole.symbols = {**old.symbols, next(iter(self.steps.symbols)): Symbol("dim")}
        step = _Step(self, rest, whole)
        whole.body = [*self.constants(), *self.moved, step.node()]
        whole.outputs = whole.body[-1].results
        return whole

    def constants(self) -> list[Node]:
        """Those that what moved reads."""
        used = {v for n in self.moved if isinstance(n, OpNode) for v in n.operands}
        found = (n for n in self.body if isinstance(n, OpNode) and isinstance(n.op, Constant))
        return [n for n in found if n.results[0] in used]


def replace_function(old: Function, inputs: tuple[Value, ...]) -> Function:
    """The cell's function over whole sequences, its body yet to be filled."""
    return Function(
        old.name,
        "block",
        statics=dict(old.statics),
        defaults=dict(old.defaults),
        inputs=inputs,
        references=old.references,
        slots=list(old.slots),
        output_names=old.output_names,
        requirements=list(old.requirements),
        doc=old.doc,
        span=old.span,
    )


class _Step:
    """The cell's smaller self, which the scan runs."""

    def __init__(self, cell: _Cell, rest: list[Plain], whole: Function) -> None:
        self.cell, self.rest, self.whole = cell, rest, whole
        old = cell.function
        name = fresh(f"{old.name}Step", cell.taken)
        cell.taken[name] += 1
        self.function = Function(name, "cell", statics=dict(old.statics), symbols=dict(old.symbols))
        self.function.span = old.span
        self.values: dict[Value, Value] = {}
        self.references: dict[int, Reference] = {}
        self.refs: list[Slot] = []

    def node(self) -> ScanNode:
        cell, old = self.cell, self.cell.function
        known = {v for n in self.rest for v in n.results}
        wanted = list(
            dict.fromkeys(
                v
                for v in (*(v for n in self.rest for v in n.operands), *old.outputs)
                if v not in known and v.weight is None
            )
        )
        states = [old.inputs[i] for i in cell.node.states]
        sequences = [v for v in wanted if v in cell.moving]
        sequences = sequences or [old.inputs[cell.node.sequences[0]]]
        held = [v for v in wanted if v not in cell.moving and v not in states]
        inputs = [*sequences, *states, *held]
        for value in inputs:
            self.values[value] = Value(value.type, value.name, value.span)
        function = self.function
        function.inputs = tuple(self.values[v] for v in inputs)
        function.body = [self.copy(n) for n in self.rest]
        function.outputs = tuple(self.value(v) for v in old.outputs)
        function.references = list(self.references.values())
        slot = ChildSlot(
            Segment(fresh("step", {s.segment.name for s in self.whole.slots})),
            function,
            self.dims(),
            {name: _handed(name, value) for name, value in old.statics.items()},
            span=cell.node.span,
        )
        self.whole.slots.append(slot)
        count = len(sequences)
        return ScanNode(
            slot,
            function,
            self.dims(),
            tuple(cell.whole.get(v, v) for v in inputs),
            self.results(),
            tuple(self.refs),
            cell.node.span,
            tuple(range(count)),
            tuple(range(count, count + len(states))),
            cell.node.reverse,
        )

    def dims(self) -> dict[str, Dim]:
        old = self.cell.function
        return {name: Dim.symbol(name) for name in old.symbols if name not in old.statics}

    def results(self) -> tuple[Value, ...]:
        cell = self.cell
        stacked = len(cell.function.outputs) - len(cell.node.states)
        return tuple(
            Value(cell.lifted_type(v.type) if i < stacked else v.type, v.name, v.span)
            for i, v in enumerate(cell.function.outputs)
        )

    def value(self, old: Value) -> Value:
        if old not in self.values:
            new = self.values[old] = Value(old.type, old.name, old.span)
            if old.weight is not None:
                slot, weight = old.weight
                new.weight = (self.slot(slot), weight)
        return self.values[old]

    def slot(self, old: Slot) -> Reference:
        """The cell's slot, handed over."""
        found = self.references.get(id(old))
        if found is None:
            target = old.target if isinstance(old, Reference) else old
            taken = {r.name for r in self.references.values()}
            taken |= {v.name for v in self.cell.function.inputs}
            segment = old.segment
            wanted = segment.name if segment.index is None else f"{segment.name}_{segment.index}"
            found = self.references[id(old)] = Reference(fresh(wanted, taken), target)
            self.refs.append(old)
        return found

    def copy(self, old: Plain) -> Plain:
        operands = tuple(self.value(v) for v in old.operands)
        results = tuple(self.value(v) for v in old.results)
        if isinstance(old, OpNode):
            layer = None if old.layer is None else self.slot(old.layer)
            return replace(old, operands=operands, results=results, layer=layer)
        slot, refs = self.slot(old.slot), tuple(self.slot(s) for s in old.refs)
        return replace(old, operands=operands, results=results, slot=slot, refs=refs)


def _handed(name: str, value: StaticValue) -> StaticValue:
    """The cell's parameter as an argument of its step."""
    match value:
        case Dim() | LayerArgument():
            return value
        case Sequence():
            return replace(value, origin=ParamRef(name))
        case Known():
            return Known(value.value, ParamRef(name))
        case _:
            return Known(value, ParamRef(name))
