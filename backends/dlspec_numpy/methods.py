"""The methods of a definition: `__call__` for inference, `forward` and `backward` for training."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.codegen import (
    Block,
    Line,
    Names,
    Statement,
    assign,
    block,
    identifier,
    negated,
    python,
    snake,
    uses,
)
from dlspec.codegen.guards import guards
from dlspec.ir.backward import (
    Accumulate,
    BackwardSide,
    BranchBackward,
    CallBackward,
    RepeatBackward,
)
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    WeightSlot,
    walk,
)
from dlspec.ops.state import Update
from dlspec_numpy.lowering import Lowering, Piece
from dlspec_numpy.modes import ModeBody, body_in_mode, expanded
from dlspec_numpy.program import DTYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.ir.backward import BackwardNode
    from dlspec.ir.graph import Function, Node, Side, Slot, Value
    from dlspec_numpy.program import Program


MAX_TARGETS = 72  # characters of variables that one line unpacks


@dataclass
class Scope:
    """Names of one method: its arguments, `self.…` for parameters, dims from shapes.

    stored: parameters that methods read from self, shared by the methods of a class.
    """

    program: Program
    function: Function
    stored: set[str]
    names: Names
    shapes: dict[str, str] = field(default_factory=dict[str, str])  # symbol: `x.shape[0]`
    bound: dict[str, str] = field(default_factory=dict[str, str])
    missing: list[str] = field(default_factory=list[str])

    def lookup(self, symbol: str) -> ast.expr:
        plan = self.program.plan(self.function)
        argument = plan.argument(symbol)
        if argument is not None and (symbol in self.function.statics or symbol not in self.shapes):
            self.stored.add(symbol)
            return python.expr(f"self.{argument.name}")
        if symbol not in self.bound:
            if symbol not in self.shapes:
                self.missing.append(symbol)
            self.bound[symbol] = self.names.fresh(snake(symbol))
        return python.name(self.bound[symbol])

    def prelude(self) -> list[Statement]:
        """`n = x.shape[0]` for every dim that was asked for."""
        return [
            assign([name], python.expr(self.shapes[symbol]))
            for symbol, name in self.bound.items()
            if symbol in self.shapes
        ]

    def add_shapes(self, value: Value, name: str) -> None:
        for axis, dim in enumerate(value.type.shape):
            if len(dim.symbols) == 1 and not dim.is_const:
                (symbol,) = dim.symbols
                if dim == Dim.symbol(symbol):
                    self.shapes.setdefault(symbol, f"{name}.shape[{axis}]")


class _Method(Lowering):
    """What the bodies of all three methods share: weights, instances, what is saved."""

    def __init__(
        self, program: Program, function: Function, stored: set[str], names: Names, mode: ModeBody
    ) -> None:
        self.program, self.function, self.mode, self.stored = program, function, mode, stored
        self.told: set[int] = set()
        self.scope = Scope(program, function, stored, names)
        super().__init__(names, function.symbols, self.scope.lookup, Counter(), program.draws)

    def own(self, value: Value, name: str) -> None:
        """An argument of the method."""
        self.bind(value, name)
        if len(name) <= 2:  # `image` should not become an activation
            self.scratch.add(name)
        self.scope.add_shapes(value, name)

    def weight(self, value: Value) -> ast.expr:
        return self.array(value)

    def working_dtype(self) -> ast.expr:
        self.stored.add(DTYPE)
        return python.expr(f"self.{DTYPE}")

    def array(self, value: Value, prefix: str = "") -> ast.expr:
        """`self.conv.weight`; with the prefix d_ its gradient, `self.conv.d_weight`."""
        assert value.weight is not None
        slot, weight = value.weight
        owner = slot.target if isinstance(slot, Reference) else slot
        name = "value" if isinstance(owner, WeightSlot) else weight.name
        return ast.Attribute(self.instance(slot), prefix + identifier(name), ast.Load())

    def instance(self, slot: Slot) -> ast.expr:
        return self.program.instance(self.function, slot, self.static.dim)

    def references(self, node: CallNode | RepeatNode) -> list[ast.expr]:
        return [self.instance(slot) for slot in node.refs]

    def once(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The function's own nodes, each where it is first carried out."""
        found: list[Node] = []
        for node in map(self.original, nodes):
            if id(node) not in self.told:
                self.told.add(id(node))
                found.append(node)
        return tuple(found)

    def original(self, node: Node) -> Node:
        return self.mode.origin.get(node, node)

    def forget(self, known: set[Value]) -> None:
        """What a side of a branch bound is gone after it."""
        for value in [v for v in self.place if v not in known]:
            del self.place[value]

    def say_block(self, header: str | ast.stmt, body: list[Statement], *nodes: Node) -> None:
        found = self.once((*self.waiting, *nodes)) if self.records else ()
        self.waiting = ()
        self.out.append(block(header, body, *found))


def at_step(expr: ast.expr, step: str) -> ast.expr:
    """`x[:, t]`"""
    return python.substitute(python.expr(f"x[:, {step}]"), {"x": expr})


def name_of(expr: ast.expr) -> str:
    return expr.id if isinstance(expr, ast.Name) else ""


def one_or_tuple(exprs: Sequence[ast.expr]) -> ast.expr:
    return exprs[0] if len(exprs) == 1 else python.tuple_of(*exprs)


class ForwardMethod(_Method):
    """The body of `__call__` (inference) or of `forward` (training, with what it saves)."""

    def __init__(
        self, program: Program, function: Function, stored: set[str], *, training: bool
    ) -> None:
        names = Names(program.reserved)
        body = body_in_mode(function, training, program.joined)
        super().__init__(program, function, stored, names, body)
        self.training = training
        self.backward = program.backwards.get(function) if training else None
        self.inputs = [names.fresh(identifier(v.name) if v.name else "x") for v in function.inputs]
        self.arguments = [
            *self.inputs,
            *(names.fresh(identifier(r.name)) for r in function.references),
        ]
        if function in program.random[training]:
            self.arguments.append(names.fresh(program.generator))
        self.bundles: dict[int, str] = {}
        self.names_of: dict[Value, str] = {}
        for value, name in zip(function.inputs, self.inputs, strict=True):
            self.own(value, name)

    def bind(self, value: Value, name: str) -> None:
        super().bind(value, name)
        self.names_of[value] = name

    def run(self, dims: Sequence[str] = (), shapes: Sequence[Value] = ()) -> list[Statement]:
        """dims, shapes: what the backward wants besides: symbols, and shapes of values."""
        saved = self.backward.saved if self.backward is not None else ()
        wanted = list(dict.fromkeys(self.mode.all(saved)))
        shaped = self.mode.all(shapes)
        inner = [] if self.backward is None else side_saved(self.backward.body)
        read = [*self.mode.outputs, *wanted, *shaped, *self.mode.all(inner)]
        self.uses = uses(self.mode.nodes, read)
        for node in walk(self.mode.nodes):
            if isinstance(node, OpNode):
                self.uses.update(result for _, result in node.updates)
        if not self.training and len(self.mode.outputs) == 1:
            self.last = self.mode.outputs[0]
        self.walk(self.mode.nodes)
        pieces = self.pieces(self.mode.outputs)
        result = one_or_tuple([p.expr for p in pieces])
        nodes = [n for p in pieces for n in p.nodes]
        if self.training:
            items = [self.piece(v).expr for v in wanted]
            if self.backward is not None:
                bundles = self.program.bundles(self.backward.body)
                items += [python.name(self.bundles[id(n)]) for n in bundles]
            items += [self.scope.lookup(symbol) for symbol in dims]
            items += [ast.Attribute(self.piece(v).expr, "shape", ast.Load()) for v in shaped]
            result = python.tuple_of(result, python.tuple_of(*items))
        line = returning(self.out, result, ())
        self.say(line, nodes)
        checks = guards(self.function, self.static)
        return [*self.scope.prelude(), *checks, *self.out]

    def walk(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            match node:
                case OpNode():
                    self.op(node)
                    self.update(node)
                case ScanNode():
                    self.scan(node)
                case CallNode():
                    self.call(node)
                case RepeatNode():
                    self.repeat(node)
                case BranchNode():
                    self.branch(node)

    def update(self, node: OpNode) -> None:
        """Buffers change where the node stands."""
        for buffer, result in node.updates:
            piece = self.piece(result)
            target = self.weight(buffer)
            if not isinstance(node.op, Update):  # there the backward may need the old array
                target = ast.Subscript(target, python.expr("..."), ast.Load())
            self.spend(piece.reads)
            self.say(assign([target], piece.expr))

    def saves(self, node: Node) -> bool:
        """Whether the backward reads the node's bundle."""
        if self.backward is None:
            return False
        return id(self.original(node)) in self.program.bundled(self.function)

    def bundle(self, node: CallNode | RepeatNode) -> str:
        name = self.names.fresh(f"{identifier(node.slot.segment.name)}_saved")
        self.bundles[id(self.original(node))] = name
        return name

    def called(
        self, node: CallNode | RepeatNode, instance: ast.expr, operands: Sequence[ast.expr]
    ) -> ast.expr:
        arguments = [*operands, *self.references(node)]
        if node.function in self.program.random[self.training]:
            arguments.append(python.name(self.program.generator))
        name = self.program.method(node.function, "forward" if self.training else "__call__")
        if name == "__call__":
            return python.call(instance, *arguments)
        return python.call(ast.Attribute(instance, name, ast.Load()), *arguments)

    def call(self, node: CallNode) -> None:
        operands = self.pieces(node.operands)
        expr = self.called(node, self.instance(node.slot), [p.expr for p in operands])
        read = tuple(v for p in operands for v in p.reads)
        piece = Piece(expr, read, (*(n for p in operands for n in p.nodes), node))
        if self.training:
            self.assign(node.results, piece, self.bundle(node) if self.saves(node) else "_")
        elif len(node.results) == 1:
            effect = node.function in self.program.random[False]
            self.give(node.results[0], piece, effect=effect)
        else:
            self.assign(node.results, piece)

    def scan(self, node: ScanNode) -> None:
        """A loop over the steps; in training, what each one saves is kept in a list."""
        for value in node.operands:
            self.settle(value)  # once, not once a step
        pieces = self.pieces(node.operands)
        inputs = [p.expr for p in pieces]
        known = ["y"] * node.stacked + [node.function.inputs[p].name for p in node.states]
        results = [
            self.names.fresh(identifier(v.name or name or "h"))
            for v, name in zip(node.results, known, strict=True)
        ]
        outputs, states = results[: node.stacked], results[node.stacked :]
        step = self.names.fresh("t")
        for position in node.sequences:
            inputs[position] = at_step(inputs[position], step)
        for position, state in zip(node.states, states, strict=True):
            self.say(assign([state], inputs[position]))
            inputs[position] = python.name(state)
        rows = [self.names.fresh(f"{name}_rows") for name in outputs]
        for row in rows:
            self.say(assign([row], python.list_of()))
        expr = self.called(node, self.instance(node.slot), inputs)
        targets: list[ast.expr] = [python.name(name) for name in results]
        body: list[Statement] = [assign([*targets], expr)]
        if self.training:
            keeps = self.saves(node)
            kept = "saved" if keeps else "_"
            body = [assign([one_or_tuple(targets), kept], expr)]
            if keeps:
                bundle = self.bundle(node)
                self.say(assign([bundle], python.list_of()))
                body.append(Line(f"{bundle}.append(saved)"))
        body += [Line(f"{row}.append({name})") for row, name in zip(rows, outputs, strict=True)]
        steps = f"range({python.flat(pieces[node.sequences[0]].expr)}.shape[1])"
        if node.reverse:
            steps = f"reversed({steps})"
        nodes = [n for p in pieces for n in p.nodes]
        self.say_block(f"for {step} in {steps}:", body, *nodes, node)
        for row, name in zip(rows, outputs, strict=True):
            order = f"{row}[::-1]" if node.reverse else row
            self.say(Line(f"{name} = np.stack({order}, axis=1)"))
        self.spend(v for p in pieces for v in p.reads)
        for result, name in zip(node.results, results, strict=True):
            self.bind(result, name)

    def repeat(self, node: RepeatNode) -> None:
        held = self.pieces(node.held)
        names: list[str] = []
        pieces = self.pieces(node.carried)
        for result, piece in zip(node.results, pieces, strict=True):
            self.spend(piece.reads)
            name = self.choose(result, piece.reads)
            if name_of(piece.expr) != name:
                self.say(assign([name], piece.expr), piece.nodes)
            names.append(name)
        item = self.names.fresh(identifier(node.slot.segment.name))
        runner = self.instance(node.slot) if is_shared(node) else python.name(item)
        variables = [python.name(n) for n in names]
        expr = self.called(node, runner, [*variables, *(p.expr for p in held)])
        body: list[Statement] = [assign([*names], expr)]
        if self.training:
            body = [assign([one_or_tuple(variables), "_"], expr)]
            if self.saves(node):
                saved = self.bundle(node)
                self.say(assign([saved], python.list_of()))
                body = [assign([one_or_tuple(variables), "saved"], expr)]
                body.append(Line(f"{saved}.append(saved)"))
        self.say_block(self.header(node, item), body, *(n for p in held for n in p.nodes), node)
        self.spend(v for p in held for v in p.reads)
        for result, name in zip(node.results, names, strict=True):
            self.bind(result, name)

    def header(self, node: RepeatNode, item: str) -> str:
        if is_shared(node):
            return f"for _ in range({python.flat(self.static.dim(node.count))}):"
        return f"for {item} in {python.flat(self.instance(node.slot))}:"

    def branch(self, node: BranchNode) -> None:
        self.settle_all()
        condition = self.static.origin(node.condition)
        names = [self.names.fresh(identifier(r.name) if r.name else "h") for r in node.results]
        saved, backward = "", None
        if self.saves(node):
            saved = self.names.fresh("branch_saved")
            self.bundles[id(self.original(node))] = saved
            backward = self.program.bundled(self.function)[id(self.original(node))]
            assert isinstance(backward, BranchBackward)
        outer, waiting, self.waiting = self.out, self.waiting, ()
        sides: list[list[Statement]] = []
        for side, theirs in (
            (node.then, backward.then if backward is not None else None),
            (node.orelse, backward.orelse if backward is not None else None),
        ):
            assert side is not None
            self.out = []
            self.side(side, names, saved, theirs)
            sides.append(self.out)
        self.out = outer
        for result, name in zip(node.results, names, strict=True):
            self.bind(result, name)
            self.scratch.add(name)
        nodes = self.once((*waiting, node)) if self.records else ()
        self.out += conditional(condition, sides[0], sides[1], nodes)

    def side(self, side: Side, names: list[str], saved: str, backward: BackwardSide | None) -> None:
        known = set(self.place)
        self.walk(side.body)
        for name, value in zip(names, side.yields, strict=True):
            piece = self.piece(value)
            self.spend(piece.reads)
            self.say(assign([name], piece.expr), piece.nodes)
        self.settle_all()
        if saved:
            items: list[ast.expr] = []
            if backward is not None:
                items = [self.piece(v).expr for v in dict.fromkeys(self.mode.all(backward.saved))]
                items += [
                    python.name(self.bundles[id(n)]) for n in self.program.bundles(backward.body)
                ]
            whole = python.list_of(*items) if len(items) == 1 else python.tuple_of(*items)
            self.say(assign([saved], whole))
        self.forget(known)


class BackwardMethod(_Method):
    """The body of `backward`. forward: the printed forward, for its names."""

    def __init__(
        self, program: Program, function: Function, stored: set[str], forward: ForwardMethod
    ) -> None:
        names = Names(program.reserved)
        super().__init__(program, function, stored, names, forward.mode)
        self.records = False
        self.gradients = True
        self.forward = forward
        self.backward = program.backwards[function]
        self.taken = {name: name for name in forward.names_of.values()}
        seeds = [names.fresh(self.default_name(seed)) for _, seed in self.backward.seeds]
        self.arguments = [*seeds, names.fresh("saved")]
        self.arguments += [names.fresh(identifier(r.name)) for r in function.references]
        for (_, seed), name in zip(self.backward.seeds, seeds, strict=True):
            self.own(seed, name)
        self.prepared: dict[int, list[BackwardNode]] = {}
        self.bundles: dict[int, str] = {}
        self.dims: list[str] = []
        self.shape_names: dict[Value, str] = {}

    def default_name(self, value: Value) -> str:
        """The gradient of h is dh, that of logits d_logits."""
        of = self.backward.of.get(value)
        if of is None:
            return "g"
        name = self.forward.names_of.get(self.mode.resolve(of), "")
        return gradient_name(name or identifier(of.name or self.output_name(of)))

    def output_name(self, value: Value) -> str:
        """The spec's name of an output, y where it has none."""
        names = dict(zip(self.function.outputs, self.function.output_names, strict=False))
        return names.get(value) or "y"

    def run(self) -> list[Statement]:
        nodes = self.prepare(self.backward.body)
        grads = self.mode.all([v for _, v in self.backward.grads])
        self.uses = Counter(grads)
        self.count(nodes)
        self.last = grads[0] if len(grads) == 1 else None
        values = list(dict.fromkeys(self.mode.all(self.backward.saved)))
        names = self.unpacked(values, self.program.bundles(self.backward.body))
        self.walk(nodes)
        pieces = self.pieces(grads)
        if pieces:
            self.say(returning(self.out, one_or_tuple([p.expr for p in pieces]), ()))
        self.dims = self.scope.missing
        names += [self.scope.bound[symbol] for symbol in self.dims]
        names += self.shape_names.values()
        return [*self.unpack("saved", names), *self.scope.prelude(), *self.out]

    def prepare(self, body: list[BackwardNode]) -> list[BackwardNode]:
        """The nodes with composite ops written out, in sides of branches too."""
        before = dict(self.mode.same)
        nodes = expanded(self.function, body, self.mode)
        for value, same in self.mode.same.items():
            if value not in before and value in self.backward.of:
                self.backward.of.setdefault(same, self.backward.of[value])
        for node in nodes:
            if isinstance(node, BranchBackward):
                for side, _ in node.sides():
                    self.prepared[id(side)] = self.prepare(side.body)
        return nodes

    def count(self, nodes: list[BackwardNode]) -> None:
        for node in nodes:
            match node:
                case OpNode():
                    self.uses.update(node.operands)
                case Accumulate():
                    self.uses[self.mode.resolve(node.grad)] += 1
                case CallBackward() | RepeatBackward():
                    self.uses.update(self.mode.all(node.seeds))
                case BranchBackward():
                    for side, _ in node.sides():
                        self.count(self.prepared[id(side)])
                        self.uses.update(self.mode.all(side.yields))

    def unpacked(
        self, values: Sequence[Value], bundles: Sequence[Node], everywhere: bool = True
    ) -> list[str]:
        """Variables for saved values and bundles, with the forward's names. everywhere: not in a
        side of a branch alone, so that the whole method may read their shapes."""
        names: list[str] = []
        for value in values:
            name = self.names.fresh(self.forward.names_of.get(value, "h"))
            self.bind(value, name)
            if everywhere:
                self.scope.add_shapes(value, name)
            names.append(name)
        for node in bundles:
            self.bundles[id(node)] = self.names.fresh(self.forward.bundles[id(node)])
            names.append(self.bundles[id(node)])
        return names

    def unpack(self, source: str, names: Sequence[str]) -> list[Statement]:
        """`x, h = saved`, on several lines where there are many."""
        if len(names) == 1:
            return [Line(f"{names[0]} = {source}[0]")]
        if len(", ".join(names)) <= MAX_TARGETS:
            return [assign([*names], python.expr(source))] if names else []
        lines: list[Statement] = []
        start = 0
        while start < len(names):
            stop = start + 1
            while stop < len(names) and len(", ".join(names[start : stop + 1])) <= MAX_TARGETS:
                stop += 1
            part = f"{source}[{start}:{stop}]" if stop < len(names) else f"{source}[{start}:]"
            lines += self.unpack(part, names[start:stop])
            start = stop
        return lines

    def shape_like(self, result: Value) -> ast.expr | None:
        of = self.backward.of.get(result)
        if of is None:
            return None
        of = self.mode.resolve(of)
        if self.holds(of):
            return ast.Attribute(self.place[of], "shape", ast.Load())
        if of in self.forward.names_of:
            if of not in self.shape_names:
                wanted = f"{self.forward.names_of[of]}_shape"
                self.shape_names[of] = self.names.fresh(wanted)
            return python.name(self.shape_names[of])
        return None

    def piece(self, value: Value) -> Piece:
        if value not in self.place and value not in self.pending:
            constant = self.program.constant(self.function, value)
            if constant is not None:
                self.op(constant)
        return super().piece(value)

    def walk(self, nodes: Sequence[BackwardNode]) -> None:
        for node in nodes:
            match node:
                case OpNode():
                    self.op(node)
                case Accumulate():
                    piece = self.pieces(self.mode.all([node.grad]))[0]
                    self.spend(piece.reads)
                    self.say(self.accumulate(node, piece.expr))
                case CallBackward():
                    self.call(node)
                case RepeatBackward():
                    self.repeat(node)
                case BranchBackward():
                    self.branch(node)

    def accumulate(self, node: Accumulate, grad: ast.expr) -> Line:
        """`d_w += g`; a weight's only gradient is written where it belongs."""
        target = self.array(node.weight, "d_")
        if id(node) not in self.program.writes.only:
            return Line(ast.AugAssign(target, ast.Add(), grad))  # type: ignore[arg-type]
        if isinstance(grad, ast.BinOp) and isinstance(grad.op, ast.MatMult):
            return Line(ast.Expr(python.call("np.matmul", grad.left, grad.right, out=target)))
        if isinstance(grad, ast.Call) and name_of(grad.func) == "sum_rows":
            return Line(ast.Expr(python.call("sum_rows", *grad.args, out=target)))
        return assign([ast.Subscript(target, python.expr("..."), ast.Load())], grad)

    def called(
        self, node: CallNode | RepeatNode, instance: ast.expr, seeds: list[ast.expr], saved: str
    ) -> ast.expr:
        arguments = [*seeds, python.name(saved), *self.references(node)]
        name = self.program.method(node.function, "backward")
        return python.call(ast.Attribute(instance, name, ast.Load()), *arguments)

    def scan(self, node: CallBackward, scan: ScanNode) -> None:
        """The other way along the steps; gradients of what all steps share add up."""
        backward = node.backward
        step, saved = self.names.fresh("t"), self.names.fresh("step_saved")
        pieces = self.pieces(self.mode.all(node.seeds))
        seeds: list[ast.expr] = []
        flowing: dict[int, str] = {}  # a state's position among the inputs: its gradient
        for (position, _), piece in zip(backward.seeds, pieces, strict=True):
            self.spend(piece.reads)
            name = self.names.fresh("g")
            self.say(assign([name], piece.expr))
            if position < scan.stacked:
                seeds.append(at_step(python.name(name), step))
            else:
                flowing[scan.states[position - scan.stacked]] = name
                seeds.append(python.name(name))
        targets: list[ast.expr | str] = []
        after: list[Statement] = []
        stacks: list[Statement] = []
        bound: list[tuple[Value, str]] = []
        places = [p for p, _ in backward.grads]
        for place, value in zip(places, node.results, strict=True):
            if place in scan.states:
                name = flowing.setdefault(place, "") or self.names.fresh("g")
                flowing[place] = name
                targets.append(name)
            elif value is None:
                targets.append("_")
                continue
            elif place in scan.sequences:
                name, part = self.names.fresh(self.default_name(value)), self.names.fresh("part")
                self.say(Line(f"{name} = []"))
                targets.append(part)
                after.append(Line(f"{name}.append({part})"))
                order = name if scan.reverse else f"{name}[::-1]"
                stacks.append(Line(f"{name} = np.stack({order}, axis=1)"))
            else:
                name, part = self.names.fresh(self.default_name(value)), self.names.fresh("part")
                self.say(Line(f"{name} = 0"))
                targets.append(part)
                after.append(Line(f"{name} = {name} + {part}"))
            if value is not None:
                bound.append((value, name))
        for place in flowing.keys() - set(places):
            after.append(Line(f"{flowing[place]} = np.zeros_like({flowing[place]})"))
        expr = self.called(scan, self.instance(scan.slot), seeds, saved)
        body = [assign(targets, expr) if targets else Line(ast.Expr(expr)), *after]
        bundle = self.bundles[id(scan)]
        runs = f"enumerate({bundle})" if scan.reverse else f"reversed([*enumerate({bundle})])"
        if scan.reverse:  # saved from the last step to the first
            runs = f"zip(range(len({bundle})), reversed({bundle}), strict=True)"
        self.say_block(f"for {step}, {saved} in {runs}:", body)
        for statement in stacks:
            assert isinstance(statement, Line)
            self.say(statement)
        for value, name in bound:
            self.bind(value, name)

    def call(self, node: CallBackward) -> None:
        if isinstance(node.call, ScanNode):
            self.scan(node, node.call)
            return
        pieces = self.pieces(self.mode.all(node.seeds))
        saved = self.bundles[id(node.call)]
        instance = self.instance(node.call.slot)
        expr = self.called(node.call, instance, [p.expr for p in pieces], saved)
        piece = Piece(expr, tuple(v for p in pieces for v in p.reads))
        if not any(v is not None for v in node.results):
            self.spend(piece.reads)
            self.say(Line(ast.Expr(expr)))
            return
        self.spend(piece.reads)
        targets = [self.gradient_target(v) for v in node.results]
        self.say(assign(targets, expr))

    def gradient_target(self, value: Value | None) -> ast.expr:
        return python.name("_") if value is None else self.target(value, ())

    def repeat(self, node: RepeatBackward) -> None:
        """The last run first; gradients of held inputs add up."""
        repeat, backward = node.repeat, node.backward
        carried = len(repeat.carried)
        variables: dict[int, str] = {}
        pieces = self.pieces(self.mode.all(node.seeds))
        for (position, _), piece in zip(backward.seeds, pieces, strict=True):
            self.spend(piece.reads)
            name = name_of(piece.expr)
            if not (name in self.scratch and self.is_free(name)):
                result = self.mode.resolve(repeat.results[position])
                name = self.names.fresh(gradient_name(self.forward.names_of.get(result, "y")))
                self.say(assign([name], piece.expr))
            variables[position] = name
        targets: list[ast.expr | str] = []
        body: list[Statement] = []
        after: list[Statement] = []
        places = [p for p, _ in backward.grads]
        for place, value in zip(places, node.results, strict=True):
            if place < carried:
                name = variables.setdefault(place, "") or self.names.fresh("g")
                variables[place] = name
                targets.append(name)
                if value is not None:
                    self.bind(value, name)
            elif value is None:
                targets.append("_")
            else:
                total, part = self.names.fresh(self.default_name(value)), self.names.fresh("part")
                self.say(Line(f"{total} = 0"))
                targets.append(part)
                after.append(Line(f"{total} = {total} + {part}"))
                self.bind(value, total)
        for place in variables.keys() - set(places):
            after.append(Line(f"{variables[place]} = np.zeros_like({variables[place]})"))
        item = self.names.fresh(identifier(repeat.slot.segment.name))
        runner = self.instance(repeat.slot) if is_shared(repeat) else python.name(item)
        seeds: list[ast.expr] = [python.name(variables[p]) for p, _ in backward.seeds]
        saved = self.names.fresh("run_saved")
        expr = self.called(repeat, runner, seeds, saved)
        body.append(assign(targets, expr) if targets else Line(ast.Expr(expr)))
        runs = f"reversed({self.bundles[id(repeat)]})"
        header = f"for {saved} in {runs}:"
        if not is_shared(repeat):
            instances = python.flat(self.instance(repeat.slot))
            header = f"for {item}, {saved} in zip(reversed({instances}), {runs}, strict=True):"
        self.say_block(header, [*body, *after])

    def branch(self, node: BranchBackward) -> None:
        self.settle_all()
        condition = self.static.origin(node.branch.condition)
        names = [self.names.fresh(self.default_name(v)) for v in node.results]
        bundle = self.bundles.get(id(node.branch), "")
        outer = self.out
        sides: list[list[Statement]] = [[], []]
        for index, side in enumerate((node.then, node.orelse)):
            if side is not None:
                self.out = sides[index]
                known = set(self.place)
                values = list(dict.fromkeys(self.mode.all(side.saved)))
                self.out += self.unpack(
                    bundle, self.unpacked(values, self.program.bundles(side.body), False)
                )
                self.walk(self.prepared[id(side)])
                for name, value in zip(names, self.mode.all(side.yields), strict=True):
                    piece = self.piece(value)
                    self.spend(piece.reads)
                    self.say(assign([name], piece.expr))
                self.settle_all()
                self.forget(known)
        self.out = outer
        for value, name in zip(node.results, names, strict=True):
            self.bind(value, name)
        self.out += conditional(condition, sides[0], sides[1], ())


def gradient_name(name: str) -> str:
    """dh for h, dh2 for h2, d_logits for logits."""
    return f"d{name}" if len(name.rstrip("0123456789_")) <= 1 else f"d_{name}"


def returning(body: list[Statement], result: ast.expr, nodes: Sequence[Node]) -> Line:
    """`return y`; what was only just assigned to y is returned at once."""
    last = body[-1] if body else None
    if isinstance(last, Line) and isinstance(last.code, ast.Assign):
        (target,) = last.code.targets
        if isinstance(target, ast.Name) and name_of(result) == target.id:
            body.pop()
            return Line(ast.Return(last.code.value), "", (*last.nodes, *nodes))
    return Line(ast.Return(result), "", tuple(nodes))


def is_shared(node: RepeatNode) -> bool:
    """Whether all runs use one instance."""
    slot = node.slot
    owner = slot.target if isinstance(slot, Reference) else slot
    return getattr(owner, "count", None) is None


def conditional(
    condition: ast.expr, then: list[Statement], orelse: list[Statement], nodes: Sequence[Node]
) -> list[Statement]:
    """`if condition: … else: …`, without empty sides."""
    if not then and not orelse:
        return []
    if not then:
        condition, then, orelse = negated(condition), orelse, []
    both = as_expression(condition, then, orelse, nodes)
    if both is not None:
        return [both]
    found: list[Statement] = [Block(Line(ast.If(condition, [], []), "", tuple(nodes)), then)]
    if orelse:
        found.append(block("else:", orelse))
    return found


def as_expression(
    condition: ast.expr, then: list[Statement], orelse: list[Statement], nodes: Sequence[Node]
) -> Statement | None:
    """`x = a if c else b`, where each side is one short assignment to x."""
    if len(then) != 1 or len(orelse) != 1:
        return None
    one, other = then[0], orelse[0]
    if not (isinstance(one, Line) and isinstance(other, Line)):
        return None
    left, right = one.code, other.code
    if not (isinstance(left, ast.Assign) and isinstance(right, ast.Assign)):
        return None
    (target,), (again,) = left.targets, right.targets
    value = ast.IfExp(condition, left.value, right.value)
    if python.flat(target) != python.flat(again) or len(python.flat(value)) > 80:
        return None
    return Line(ast.Assign([target], value), one.comment, (*one.nodes, *other.nodes, *nodes))


def side_saved(body: Sequence[BackwardNode]) -> list[Value]:
    """The values that sides of branches save, however deep."""
    found: list[Value] = []
    for node in body:
        if isinstance(node, BranchBackward):
            for side, _ in node.sides():
                found += side.saved
                found += side_saved(side.body)
    return found
