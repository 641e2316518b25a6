"""The losses of a training section as functions of its networks and a batch."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.codegen import (
    DimScope,
    Names,
    block,
    docstring,
    evaluated,
    line,
    operands_of,
    owned_slots,
    python,
)
from dlspec.codegen.statics import StaticPrinter
from dlspec.ir.graph import ChildSlot, OpNode, walk
from dlspec.ops.elementwise import StopGradient
from dlspec_torch.modules import (
    RESERVED,
    Effects,
    Module,
    TorchBody,
    keyed_names,
    slot_expr,
)
from dlspec_torch.rows.gradient import decorators

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Mapping, Sequence

    from dlspec.codegen import Lowered, Plan, Statement
    from dlspec.ir.graph import BranchNode, CallNode, Function, Slot, Training, Value
    from dlspec_torch.table import Dialect


def single(training: Training) -> ChildSlot | None:
    """The network, where a section has one and no weights besides."""
    slots = training.function.slots
    if len(slots) == 1 and isinstance(slots[0], ChildSlot) and not training.steps:
        return slots[0]
    return None


def known(function: Function) -> dict[str, object]:
    """What the parameters and dims of a section are: nobody gives it any."""
    values = function.values()
    return {k: evaluated(v, values) for k, v in {**function.statics, **values}.items()}


def constants(function: Function) -> Callable[[str], ast.expr | None]:
    values = known(function)
    return lambda symbol: python.constant(values[symbol]) if symbol in values else None


@dataclass
class Networks(Module):
    """The class that holds the networks of a section with several; its losses are functions."""

    steps: Collection[int] = ()  # ids of the slots that are steps: they hold nothing

    def statements(self) -> list[Statement]:
        body = [line("super().__init__()"), *self.slots()]
        header = f"class {self.plan.class_name}(nn.Module):"
        return [block(header, [block("def __init__(self) -> None:", body)])]

    def static(self) -> StaticPrinter:
        values = known(self.function)
        return StaticPrinter(self.function.symbols, lambda s: python.constant(values[s]))

    def owned(self) -> list[tuple[Slot, BranchNode | None]]:
        return [(slot, branch) for slot, branch in super().owned() if id(slot) not in self.steps]


@dataclass
class LossFunction:
    """`name(net, batch)`: a section's losses and reports, or those of one of its steps.

    root: the section. call: of the step in it. metrics: the names of the outputs.
    batch: how a data field comes out of a batch.
    """

    name: str
    root: Function
    plan: Plan
    metrics: Sequence[str]
    net_class: str
    effects: Effects
    given_draws: bool
    dialect: Dialect
    batch: Callable[[Value, str], str]
    network: ChildSlot | None = None  # what `net` is; without, `net` holds all
    call: CallNode | None = None
    taken: list[BranchNode] = field(default_factory=list["BranchNode"])

    @property
    def function(self) -> Function:
        return self.root if self.call is None else self.call.function

    @property
    def takes_draws(self) -> bool:
        """A step always does: all are called alike."""
        drawn = self.call is not None or self.effects.draws[id(self.function)]
        return self.given_draws and drawn

    def places(self) -> Mapping[int, ast.expr]:
        """Where the networks are, by the ids of the function's slots."""
        if self.network is not None:
            return {id(self.network): python.name("net")}
        keyed = keyed_names(self.root)
        if self.call is None:
            return {id(s): slot_expr(s, keyed, "net") for s, _ in owned_slots(self.root)}
        pairs = zip(self.call.function.references, self.call.refs, strict=True)
        return {id(reference): slot_expr(s, keyed, "net") for reference, s in pairs}

    def statements(self) -> list[Statement]:
        function = self.function
        names = Names((*RESERVED, "net", "batch"))
        inputs = [names.fresh(v.name or "x") for v in function.inputs]
        scope = DimScope(self.plan, names, inputs, constants(function))
        body = LossBody(function, self.dialect.table, names, scope.static)
        body.called = self.dialect.name
        body.metric_names = self.metrics
        body.owner = "net"
        body.enter(inputs, [r.name for r in function.references], self.effects, self.given_draws)
        body.places |= self.places()
        body.mode = python.expr("net.training")
        body.dtype_of = "next(net.parameters()).dtype"
        lines = body.run()
        prelude = scope.prelude()
        self.taken = body.taken_branches
        fields = self.fields(inputs, {self.plan.dims[s][0] for s in scope.bound})
        if any("dtype=dtype" in text for _, text in fields):
            body.dtype_used = True
        opening = [line(f"dtype = {body.dtype_of}")] if body.dtype_used else []
        opening += [line(f"{name} = {text}") for name, text in fields]
        draws = ["draws: Iterator[Tensor]"] if self.takes_draws else []
        hints = [f"net: {self.net_class}", "batch: Arrays", *draws]
        header = f"def {self.name}({', '.join(hints)}) -> Metrics:"
        doc = [docstring(function.doc)] if function.doc else []
        return [*decorators(function), block(header, [*doc, *opening, *prelude, *lines])]

    def fields(self, inputs: Sequence[str], measured: Collection[int]) -> list[tuple[str, str]]:
        """The data fields that are read, by name. measured: positions of those whose shape is."""
        function = self.function
        used = {v for n in walk(function.body) for v in operands_of(n)} | set(function.outputs)
        used |= {function.inputs[position] for position in measured}
        return [
            (name, self.batch(value, f'batch["{value.name}"]'))
            for name, value in zip(inputs, function.inputs, strict=True)
            if value in used
        ]


def cut_off(node: CallNode, stopped: Sequence[Value], uses: Counter[Value]) -> bool:
    """Whether all that reads a node's results stops the gradient. stopped: what those read."""
    read = any(uses[v] for v in node.results)
    return read and all(uses[v] == stopped.count(v) for v in node.results)


class LossBody(TorchBody):
    """The body of a function that returns metrics by name."""

    metric_names: Sequence[str]

    def call(self, node: CallNode, operands: Sequence[ast.expr]) -> Lowered:
        """`torch.no_grad()(net.generator)(z)` where no gradient goes through the results."""
        lowered = super().call(node, operands)
        nodes = [n for n in walk(self.function.body) if isinstance(n, OpNode)]
        stopped = [n.operands[0] for n in nodes if isinstance(n.op, StopGradient)]
        uses = self.uses(self.function.body, self.function.outputs)
        if isinstance(lowered.expr, ast.Call) and cut_off(node, stopped, uses):
            without = python.call("torch.no_grad")
            lowered.expr.func = ast.Call(without, [lowered.expr.func], [])
        return lowered

    def result(self, value: ast.expr) -> ast.expr:
        value = super().result(value)
        values = value.elts if isinstance(value, ast.Tuple) else [value]
        keys = [python.constant(name) for name in self.metric_names]
        return ast.Dict(list(keys), list(values))
