"""The rules of the IR, checked: definitions before uses, types as the ops infer them."""

from __future__ import annotations

from dlspec.diagnostics import Failure
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    Side,
    Slot,
    Training,
    Value,
    all_slots,
    functions_below,
)
from dlspec.ir.static import Apply
from dlspec.ir.types import TensorType
from dlspec.ops.build import FunctionBuilder


def verify_graph(graph: Function | Training) -> list[str]:
    """What is wrong with a graph, in words; empty when nothing is."""
    root = graph if isinstance(graph, Function) else graph.function
    problems: list[str] = []
    for function in functions_below(root):
        problems += Verifier(function).run()
    if isinstance(graph, Training):
        inputs = {id(v) for v in root.inputs}
        for source in graph.data:
            if any(id(v) not in inputs for v in source.fields):
                problems.append(f"{root.name}: a data field is no input")
    return problems


class Verifier:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.problems: list[str] = []
        self.equal: dict[str, Dim] = {}
        self.known: set[int] = {id(v) for v in function.inputs}
        self.slots: set[int] = {id(x) for x in (*all_slots(function), *function.references)}
        self.builder = FunctionBuilder(Function(function.name, function.kind))
        self.builder.function.symbols = function.symbols

    def run(self) -> list[str]:
        self.paths(self.function.slots)
        self.body(self.function.body)
        self.uses(self.function.outputs, "the outputs")
        return self.problems

    def say(self, text: str) -> None:
        self.problems.append(f"{self.function.name}: {text}")

    def paths(self, slots: list[Slot]) -> None:
        seen: set[str] = set()
        for slot in slots:
            if str(slot.segment) in seen:
                self.say(f"two slots are called {slot.segment}")
            seen.add(str(slot.segment))

    def body(self, nodes: list[Node]) -> None:
        for node in nodes:
            self.node(node)
            for result in node.results:
                if id(result) in self.known:
                    self.say("a value has two definitions")
                self.known.add(id(result))

    def node(self, node: Node) -> None:
        match node:
            case OpNode():
                self.op(node)
            case CallNode():
                self.uses(node.operands, f"a call of {node.function.name}")
                self.call(node, (*node.operands,))
            case RepeatNode():
                self.uses((*node.carried, *node.held), f"a repeat of {node.function.name}")
                self.call(node, (*node.carried, *node.held))
                if len(node.carried) != len(node.results):
                    self.say(f"a repeat of {node.function.name} carries too much or too little")
            case BranchNode():
                self.learn(node)
                for side in (node.then, node.orelse):
                    if side is not None:
                        self.side(node, side)

    def side(self, node: BranchNode, side: Side) -> None:
        outer = set(self.known)
        self.body(side.body)
        self.uses(side.yields, "a branch")
        if len(side.yields) != len(node.results):
            self.say("a side of a branch yields too much or too little")
        self.known = outer

    def op(self, node: OpNode) -> None:
        name = type(node.op).__name__
        self.uses(node.operands, name)
        try:
            types = node.op.infer([v.type for v in node.operands], self.builder)
        except Failure as failure:
            self.say(f"{name}: {failure.diagnostic.message}")
            return
        if len(types) < len(node.results):
            self.say(f"{name} has {len(types)} results, not {len(node.results)}")
        for wanted, result in zip(types, node.results, strict=False):
            if self.known_type(wanted) != self.known_type(result.type):
                self.say(f"{name} gives {wanted}, not {result.type}")

    def known_type(self, type_: TensorType) -> TensorType:
        """With what is known of dims: values, and equalities that a branch was decided by."""
        values = self.function.values()
        shape = (d.substitute(self.equal).substitute(values) for d in type_.shape)
        return TensorType(type_.dtype, tuple(shape))

    def learn(self, branch: BranchNode) -> None:
        """`if C == channels`, decided: the function is specialised on that."""
        match branch.condition:
            case Apply("==", (Dim() as left, Dim() as right)) if branch.taken:
                for name in left.symbols:
                    if left == Dim.symbol(name):
                        self.equal[name] = right
            case _:
                pass

    def call(self, node: CallNode | RepeatNode, operands: tuple[Value, ...]) -> None:
        function = node.function
        if len(operands) != len(function.inputs) or len(node.results) != len(function.outputs):
            self.say(f"a call of {function.name} has the wrong number of operands or results")
            return
        if len(node.refs) != len(function.references):
            self.say(f"a call of {function.name} hands over the wrong number of instances")
        if id(node.slot) not in self.slots:
            self.say(f"a call of {function.name} uses a slot of somebody else")
        target = node.slot.target if isinstance(node.slot, Reference) else node.slot
        if not isinstance(target, ChildSlot):
            self.say(f"a call of {function.name} uses a slot that is no instance")
        steps = node.sequences if isinstance(node, ScanNode) else ()
        for position, (have, got) in enumerate(zip(function.inputs, operands, strict=True)):
            rank = got.type.rank - (position in steps)
            if have.type.dtype is not got.type.dtype or have.type.rank != rank:
                self.say(f"a call of {function.name} gets {got.type} for {have.type}")

    def uses(self, values: tuple[Value, ...], what: str) -> None:
        for value in values:
            if value.weight is not None:
                if id(value.weight[0]) not in self.slots:
                    self.say(f"{what}: a weight of somebody else is used")
            elif id(value) not in self.known:
                self.say(f"{what}: a value is used before it is defined")
