"""Two functions a definition: `init_block(key, …)` makes its weights, `block(params, x, …)` runs.

`params` and `buffers` are trees whose keys are the segments of weight names. A function whose
instance holds buffers takes them after its parameters and returns the new ones after its outputs;
an instance that the caller hands over (a reference) is passed likewise.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from dlspec.codegen import (
    NO_DEFAULT,
    Block,
    DimScope,
    Line,
    Lowered,
    Names,
    NextDraw,
    assign,
    block,
    docstring,
    line,
    lower,
    python,
    snake,
)
from dlspec.codegen.code import blank, returns
from dlspec.codegen.guards import guards
from dlspec.codegen.names import identifier
from dlspec.codegen.paths import watched_weights
from dlspec.ir.graph import CallNode, ChildSlot, LayerSlot, OpNode, Reference, WeightSlot
from dlspec.ir.static import plain
from dlspec.ops.conv import Conv
from dlspec.ops.conv_transpose import ConvTranspose
from dlspec.ops.gradient import Grad
from dlspec.ops.indexing import Embedding
from dlspec.ops.linalg import Linear
from dlspec.ops.norm import BatchNorm, BatchNormInference
from dlspec.ops.random import Dropout
from dlspec.ops.recurrent import Recurrent
from dlspec.ops.state import Update
from dlspec_jax.gradients import WithGradients
from dlspec_jax.layout import NORMS, SPATIAL, follows, in_last, whole_planes
from dlspec_jax.library import LIBRARY
from dlspec_jax.makers import default_text
from dlspec_jax.program import counted, given, owner
from dlspec_jax.rows.norm import NAMES, batch_norm_call, norm_call
from dlspec_jax.rows.recurrent import recurrent_call
from dlspec_jax.rows.windows import conv_call, conv_transpose_call
from dlspec_jax.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.codegen import Statement, StaticPrinter
    from dlspec.ir.graph import Function, Node, RepeatNode, ScanNode, Slot, Value
    from dlspec.ops.base import Op
    from dlspec_jax.program import Program

# Layers as functions of their own tree.
LAYERS: dict[type[Op], Callable[[OpNode, ast.expr, ast.expr, StaticPrinter], ast.expr]] = {
    Conv: conv_call,
    ConvTranspose: conv_transpose_call,
    BatchNormInference: batch_norm_call,
    **dict.fromkeys(NAMES, norm_call),
}
RESERVED = ("params", "buffers", "key", "draws", "training", "i")

SHORT_LAMBDA = 60  # characters


def variable(slot: Slot) -> str:
    """The name of a reference's parameters; it hides no function of the library."""
    name = snake(slot.segment.name)
    return f"{name}_params" if name in LIBRARY.definitions else name


def place(tree: str, slot: Slot) -> ast.expr:
    """`params["conv"]`, `params["conv"][0]`"""
    found = ast.Subscript(python.name(tree), python.constant(slot.segment.name), ast.Load())
    if slot.segment.index is None:
        return found
    return ast.Subscript(found, python.constant(slot.segment.index), ast.Load())


@dataclass
class Forward(WithGradients):
    """The body of a definition. inputs_drawn: random draws come from `draws`."""

    whole: Slot | None = field(kw_only=True, default=None)  # the slot whose tree is `params` itself
    carried: dict[int, ast.expr] = field(  # by the id of a slot: its buffers inside a scan's step
        default_factory=dict[int, ast.expr], init=False
    )

    backend: ClassVar[str] = "jax"

    # --- places ---

    def params_of(self, slot: Slot) -> ast.expr:
        if slot is self.whole:
            return python.name("params")
        if isinstance(slot, Reference):
            return python.name(variable(slot))
        return place("params", slot)

    def buffers_of(self, slot: Slot) -> ast.expr:
        if id(slot) in self.current:
            return python.name(self.current[id(slot)])
        if id(slot) in self.carried:
            return self.carried[id(slot)]
        if slot is self.whole:
            return python.name("buffers")
        if isinstance(slot, Reference):
            return python.name(f"{variable(slot)}_buffers")
        return place("buffers", slot)

    def weight(self, value: Value) -> ast.expr:
        assert value.weight is not None
        slot, weight = value.weight
        tree = self.params_of(slot) if weight.trainable else self.buffers_of(slot)
        if isinstance(owner(slot), WeightSlot):
            return tree
        return ast.Subscript(tree, python.constant(weight.name), ast.Load())

    def comment(self, values: Sequence[Value]) -> str:
        """Shapes as the arrays have them."""
        return ", ".join(self._shape(v) for v in values if v.type.rank)

    def _shape(self, value: Value) -> str:
        dims = list(value.type.shape)
        if self.program.layouts.is_last(value):
            dims.append(dims.pop(1))
        return f"[{', '.join(map(str, dims))}]"

    # --- ops ---

    def op(self, node: OpNode, operands: Sequence[ast.expr]) -> Lowered:
        layouts = self.program.layouts
        if isinstance(node.op, Grad):
            return self.gradient(node, operands)
        if isinstance(node.op, SPATIAL + NORMS):
            return self._layer(node, [self._last(node.operands[0], operands[0]), *operands[1:]])
        rank = node.results[0].type.rank
        if follows(node) and layouts.is_last(node.results[0]):
            exprs = [self._last(v, e) for v, e in zip(node.operands, operands, strict=True)]
            return self._layer(replace(node, op=in_last(node.op, rank)), exprs)
        if whole_planes(node) and layouts.is_last(node.operands[0]):
            rank = node.operands[0].type.rank
            return self._layer(replace(node, op=in_last(node.op, rank)), operands)
        exprs = [self._first(v, e) for v, e in zip(node.operands, operands, strict=True)]
        lowered = self._layer(node, exprs)
        if len(node.results) == 1 and layouts.is_last(node.results[0]):
            lowered.expr = python.call("channels_last", lowered.expr)
        return lowered

    def _last(self, value: Value, expr: ast.expr) -> ast.expr:
        if value.type.rank < 3 or self.program.layouts.is_last(value):
            return expr
        return python.call("channels_last", expr)

    def _first(self, value: Value, expr: ast.expr) -> ast.expr:
        return python.call("channels_first", expr) if self.program.layouts.is_last(value) else expr

    def _layer(self, node: OpNode, operands: Sequence[ast.expr]) -> Lowered:
        """The node in the layouts that it wants: a layer with its parameters, or the table."""
        match node.op:
            case BatchNorm():
                return self._batch_norm(node, operands)
            case Dropout():
                return self._dropout(node, operands[0])
            case op if op.random:
                return self._random(node)
            case Update() if node.updates:
                ((buffer, _),) = node.updates
                expr = lower(self.table, self.backend, node, operands, self.static)
                return Lowered(expr, extra=(self.weight(buffer),), effect=True, all_but=1)
            case _:
                pass
        slot = node.layer
        if isinstance(node.op, Recurrent):
            return self._recurrent(node, operands)
        if slot is not None and self._own_weights(node, slot):
            params = self.parameters(node, slot, operands)
            call = LAYERS.get(type(node.op))
            if call is not None:
                return Lowered(call(node, params, operands[0], self.static))
            if isinstance(node.op, Linear):
                function = "dense" if node.operands[0].type.rank < 3 else "dense_nd"
                return Lowered(python.call(function, params, operands[0]))
            if isinstance(node.op, Embedding) and node.op.padding is None:
                return Lowered(python.call("embedding", params, operands[0]))
        expr = lower(self.table, self.backend, node, operands, self.static, self.called)
        return Lowered(expr, effect=node.op.ordered)

    def _own_weights(self, node: OpNode, slot: Slot) -> bool:
        """Whether the weights among a node's operands are exactly the layer's."""
        operands = (self.watched.get(v, v) for v in node.operands)
        mine = [v.weight[1] for v in operands if v.weight is not None and v.weight[0] is slot]
        found = owner(slot)
        return isinstance(found, LayerSlot) and len(mine) == len(found.weights)

    @cached_property
    def watched(self) -> dict[Value, Value]:
        return watched_weights(self.function)

    def parameters(self, node: OpNode, slot: Slot, operands: Sequence[ast.expr]) -> ast.expr:
        """The layer's parameters; `{**params, "weight": …}` where gradients are taken for some."""
        params = self.params_of(slot)
        pairs = zip(node.operands, operands, strict=True)
        items = [(self.watched[v].weight, x) for v, x in pairs if v in self.watched]
        if not items:
            return params
        keys = [python.constant(w[1].name) for w, _ in items if w is not None]
        return ast.Dict([None, *keys], [params, *(x for _, x in items)])

    def _recurrent(self, node: OpNode, operands: Sequence[ast.expr]) -> Lowered:
        """`y, h, c = lstm(params["lstm"], x)`, `lstm(params["lstm"], x)[0]`"""
        op, slot = node.op, node.layer
        assert isinstance(op, Recurrent)
        expr = lower(self.table, self.backend, node, operands, self.static)
        if slot is not None and (op.single or self._own_weights(node, slot)):
            expr = recurrent_call(op, self.parameters(node, slot, operands), operands)
        if any(self._left[v] for v in node.results[1:]):
            return Lowered(expr, all_but=1)
        return Lowered(ast.Subscript(expr, python.constant(0), ast.Load()), first_only=True)

    def _batch_norm(self, node: OpNode, operands: Sequence[ast.expr]) -> Lowered:
        op, slot = node.op, node.layer
        assert isinstance(op, BatchNorm) and slot is not None
        params, buffers = self.parameters(node, slot, operands), self.buffers_of(slot)
        keywords: dict[str, ast.expr] = {"training": python.name("training")}
        if plain(op.momentum) != 0.1:
            keywords["momentum"] = self.static.value(op.momentum)
        if plain(op.eps) != 1e-5:
            keywords["eps"] = self.static.value(op.eps)
        expr = python.call("batch_norm", params, buffers, operands[0], **keywords)
        extra = (self._kept(buffers),)
        return Lowered(expr, extra=extra, effect=True, first_only=True)

    def _dropout(self, node: OpNode, x: ast.expr) -> Lowered:
        op = node.op
        assert isinstance(op, Dropout)
        p = self.static.value(op.p)
        expr = python.call("dropout", x, p, self.key(node), training=python.name("training"))
        return Lowered(expr, effect=True, first_only=True)

    def _random(self, node: OpNode) -> Lowered:
        expr = lower(self.table, self.backend, node, (), self.static, self.called)
        if not isinstance(node.op, NextDraw):
            expr = python.substitute(expr, {"key": self.key(node)})
        return Lowered(expr, effect=True)

    def is_expression(self, node: Node) -> bool:
        if isinstance(node, OpNode):
            return not isinstance(node.op, BatchNorm | Dropout | Grad | Update)
        return isinstance(node, CallNode) and not self._states(node)

    # --- calls ---

    def call(self, node: CallNode, operands: Sequence[ast.expr]) -> Lowered:
        exprs = [
            self._as_input(v, e, target)
            for v, e, target in zip(node.operands, operands, node.function.inputs, strict=True)
        ]
        random = self.program.traits[id(node.function)].random
        states = self._states(node)
        key = self.key(node) if random and not self.inputs_drawn else None
        expr = self._call(node, self.params_of(node.slot), self.buffers_of(node.slot), exprs, key)
        return Lowered(expr, extra=states, effect=bool(states) or random)

    def _as_input(self, value: Value, expr: ast.expr, target: Value) -> ast.expr:
        """A weight as an argument where channels come last."""
        return self._last(value, expr) if self.program.layouts.is_last(target) else expr

    def _states(self, node: CallNode | RepeatNode) -> tuple[ast.expr, ...]:
        """The buffers that a call replaces."""
        own = [node.slot] if self.program.traits[id(node.function)].stateful else []
        slots = [*own, *(s for s in node.refs if self.program.stateful_slot(s))]
        return tuple(self._kept(self.buffers_of(s)) for s in slots)

    def _kept(self, buffers: ast.expr) -> ast.expr:
        """Where new buffers go: the function of a gradient leaves the old ones alone."""
        return python.name("_") if self.local else buffers

    def _call(
        self,
        node: CallNode | RepeatNode,
        params: ast.expr,
        buffers: ast.expr,
        operands: Sequence[ast.expr],
        key: ast.expr | None,
    ) -> ast.expr:
        program, function = self.program, node.function
        traits = program.traits[id(function)]
        arguments: list[ast.expr] = []
        statistics: list[int] = []
        if traits.made:
            arguments.append(params)
        if traits.stateful:
            statistics.append(len(arguments))
            arguments.append(buffers)
        for slot in node.refs:
            arguments.append(self.params_of(slot))
            if program.stateful_slot(slot):
                statistics.append(len(arguments))
                arguments.append(self.buffers_of(slot))
        keywords: dict[str, ast.expr] = {}
        for argument in program.forwards[id(function)].arguments:
            printed = self.static.value(given(node, argument.symbol))
            default = argument.default
            if default is NO_DEFAULT or ast.dump(printed) != ast.dump(python.constant(default)):
                keywords[argument.name] = printed
        if traits.random and self.inputs_drawn:
            keywords["draws"] = python.name("draws")
        elif key is not None:
            keywords["key"] = key
        if traits.modal:
            keywords["training"] = python.name("training")
        callee = program.names[id(function)]
        if id(node.slot) in program.half:
            kept = f", kept={tuple(statistics)!r}" if statistics else ""
            callee = f"in_bfloat16({callee}{kept})"
        return python.call(callee, *arguments, *operands, **keywords)

    def repeat(
        self, node: RepeatNode, carried: Sequence[ast.expr], held: Sequence[ast.expr]
    ) -> list[Statement]:
        traits = self.program.traits[id(node.function)]
        states = self._states(node)
        if id(node.slot) in self.program.stacks:
            return self._scanned(node, carried, held)
        key = None
        if traits.random and not self.inputs_drawn:
            key = python.call("jax.random.fold_in", self.key(node), python.name("i"))
        header, params, buffers = self._loop(node, indexed=bool(states) or key is not None)
        own = self._kept(buffers)
        states = tuple(own if i == 0 and traits.stateful else s for i, s in enumerate(states))
        call = self._call(node, params, buffers, [*carried, *held], key)
        targets = [*carried, *states]
        return [Block(Line(header), [assign(targets, call, node)])]

    def _scanned(
        self, node: RepeatNode, carried: Sequence[ast.expr], held: Sequence[ast.expr]
    ) -> list[Statement]:
        """`x = repeated(lambda _, weights, x: layer(weights, x), params["layer"], x)`"""
        names = self.names.child()
        weights, index = names.fresh("weights"), "_"
        key = None
        if self.program.traits[id(node.function)].random:
            index = names.fresh("i")
            key = python.call("jax.random.fold_in", self.key(node), python.name(index))
        state = carried[0]
        passed = list(carried)
        if len(carried) > 1:
            state = python.name(names.fresh("carried"))
            passed: list[ast.expr] = [ast.Starred(state, ast.Load())]
        run = self._call(node, python.name(weights), python.name(""), [*passed, *held], key)
        blocks = ast.Subscript(
            python.name("params"), python.constant(node.slot.segment.name), ast.Load()
        )
        parameters = [index, weights, python.flat(state)]
        given = state if len(carried) == 1 else python.tuple_of(*carried)
        out: list[Statement] = []
        arguments = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
        block_of: ast.expr = ast.Lambda(arguments, run)
        if len(python.flat(block_of)) > SHORT_LAMBDA:
            name = names.fresh("run")
            out.append(block(f"def {name}({', '.join(parameters)}):", [returns(run)]))
            out = [*blank(), *out, *blank()]
            block_of = python.name(name)
        value = python.call("repeated", block_of, blocks, given)
        return [*out, assign(carried, value, node)]

    def scan(
        self, node: ScanNode, operands: Sequence[ast.expr], targets: Sequence[str]
    ) -> list[Statement]:
        """`y, h = scan_steps(lambda x, h: cell(params, x, h), (x,), (h,))`"""
        names = self.names.child()
        first = [self._first(v, e) for v, e in zip(node.operands, operands, strict=True)]
        inputs = [
            self._as_input(v, e, target)
            for v, e, target in zip(node.operands, first, node.function.inputs, strict=True)
        ]
        sequences, states = (
            [names.fresh(identifier(node.function.inputs[p].name or "x")) for p in places]
            for places in (node.sequences, node.states)
        )
        moving = (*node.sequences, *node.states)
        for position, name in zip(moving, (*sequences, *states), strict=True):
            inputs[position] = python.name(name)
        over = python.tuple_of(*(first[p] for p in node.sequences))
        start = [first[p] for p in node.states]
        keywords: dict[str, ast.expr] = {}
        random = self.program.traits[id(node.function)].random
        key = None
        if random and not self.inputs_drawn:
            number = names.fresh("t")
            sequences.append(number)
            key = python.call("jax.random.fold_in", self.key(node), python.name(number))
            steps = python.substitute(python.expr("jnp.arange(x.shape[1])"), {"x": over.elts[0]})
            keywords["each"] = python.tuple_of(steps)
        if node.reverse:
            keywords["reverse"] = python.constant(True)
        buffers = self._states(node)  # each step's are the next one's
        for slot in (s for s in (node.slot, *node.refs) if self.program.stateful_slot(s)):
            states.append(names.fresh("buffers"))
            self.carried[id(slot)] = python.name(states[-1])
        step = self._call(node, self.params_of(node.slot), self.buffers_of(node.slot), inputs, key)
        self.carried.clear()
        variables = ", ".join((*sequences, *states))
        out: list[Statement] = []
        function = python.expr(f"lambda {variables}: {python.flat(step)}")
        if len(python.flat(function)) > SHORT_LAMBDA:
            name = names.fresh("step")
            out = [block(f"def {name}({variables}):", [returns(step)])]
            out = [*blank(), *out, *blank()]
            function = python.name(name)
        run = "unrolled_steps" if random and self.inputs_drawn else "scan_steps"
        call = python.call(run, function, over, python.tuple_of(*start, *buffers), **keywords)
        return [*out, assign([*targets, *buffers], call, node)]

    def _loop(self, node: RepeatNode, *, indexed: bool) -> tuple[str, ast.expr, ast.expr]:
        """The loop's header, and the parameters and buffers of one run."""
        slot, function = node.slot, self.function
        made = self.program.traits[id(node.function)].made
        if counted(function, node) or not made:
            return self._counted_loop(node, indexed=indexed)
        first = slot.segment.index or 0
        name = self.names.child().fresh("weights")
        tree = python.flat(
            ast.Subscript(python.name("params"), python.constant(slot.segment.name), ast.Load())
        )
        runs = f"{tree}[{first}:]" if first else tree
        group = ast.Subscript(
            python.name("buffers"), python.constant(slot.segment.name), ast.Load()
        )
        index = python.name("i")
        buffers: ast.expr = ast.Subscript(group, index, ast.Load())
        if not indexed:
            return f"for {name} in {runs}:", python.name(name), buffers
        start = f", {first}" if first else ""
        return f"for i, {name} in enumerate({runs}{start}):", python.name(name), buffers

    def _counted_loop(self, node: RepeatNode, *, indexed: bool) -> tuple[str, ast.expr, ast.expr]:
        slot = node.slot
        params, buffers = self.params_of(slot), self.buffers_of(slot)
        bounds = self.static.dim(node.count)
        variable_name = "i" if indexed else "_"
        first: int | None = None
        if isinstance(slot, ChildSlot) and slot.count is not None:
            first = slot.segment.index or 0
            group = [
                ast.Subscript(python.name(t), python.constant(slot.segment.name), ast.Load())
                for t in ("params", "buffers")
            ]
            params, buffers = (ast.Subscript(g, python.name("i"), ast.Load()) for g in group)
            variable_name = "i"
        if first:
            stop = self.static.dim(node.count + first)
            return (
                f"for i in {python.flat(python.call('range', python.constant(first), stop))}:",
                params,
                buffers,
            )
        return (
            f"for {variable_name} in {python.flat(python.call('range', bounds))}:",
            params,
            buffers,
        )

    # --- the end ---

    def result(self, value: ast.expr) -> ast.expr:
        states = [python.name("buffers")] if self.program.traits[id(self.function)].stateful else []
        for reference in self.function.references:
            if self.program.reference_stateful(reference):
                states.append(python.name(f"{variable(reference)}_buffers"))
        if not states:
            return value
        outputs = (
            value.elts
            if isinstance(value, ast.Tuple) and len(self.function.outputs) > 1
            else [value]
        )
        return python.tuple_of(*outputs, *states)


def forward_function(
    program: Program, function: Function, *, inputs_drawn: bool
) -> tuple[Block, Forward]:
    """`def block(params, buffers, x, *, stride=1, training): …`"""
    plan, traits = program.forwards[id(function)], program.traits[id(function)]
    positional: list[str] = []
    if traits.made:
        positional.append("params")
    if traits.stateful:
        positional.append("buffers")
    for reference in function.references:
        positional.append(variable(reference))
        if program.reference_stateful(reference):
            positional.append(f"{variable(reference)}_buffers")
    keywords = [_parameter(a) for a in plan.arguments]
    if traits.random:
        keywords.append("draws" if inputs_drawn else "key")
    if traits.modal:
        keywords.append("training")
    names = Names({*RESERVED, *program.names.values(), *program.reserved, *positional})
    names.taken |= {a.name for a in plan.arguments}
    inputs = [names.fresh(identifier(v.name or "x")) for v in function.inputs]
    arguments = {a.symbol: python.name(a.name) for a in plan.arguments}
    if "training" not in arguments:
        arguments["training"] = python.name("training")
    scope = DimScope(plan, names, inputs, arguments.get)
    body = Forward(function, TABLE, names, scope.static, program=program, inputs_drawn=inputs_drawn)
    for value, name in zip(function.inputs, inputs, strict=True):
        body.bind(value, name)
    statements = body.run()
    checks = guards(function, scope.static)
    doc = [docstring(function.doc)] if function.doc else []
    head: list[Statement] = [*doc, *scope.prelude(), *checks]
    if traits.stateful:
        head.append(line("buffers = copied(buffers)"))
    parameters = ", ".join([*positional, *inputs, *(["*"] if keywords else []), *keywords])
    header = f"def {program.names[id(function)]}({parameters}):"
    return block(header, [*head, *statements]), body


def _parameter(argument: object) -> str:
    name, default = argument.name, argument.default  # type: ignore[attr-defined]
    return name if default is NO_DEFAULT else f"{name}={default_text(default)}"
