"""Bodies of functions as statements that read as if written by hand.

A value used once goes inline while the line stays readable; one that the spec names, or that is
used twice, is bound. An unnamed value takes over the name of an operand that dies with it, as in
`x = self.conv(x)`. Reads and changes of state keep the spec's order.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dlspec.codegen import python
from dlspec.codegen.code import Block, Line, Statement, assign, block, line, returns
from dlspec.codegen.names import Names, identifier
from dlspec.codegen.statics import negated
from dlspec.codegen.tables import Table, Template, lower, row_of
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
    Value,
    WeightSlot,
    walk,
)

if TYPE_CHECKING:
    from dlspec.codegen.statics import StaticPrinter

MAX_COST = 7  # three nested calls with an operator
MAX_INLINE = 64  # characters
SCRATCH = ("x", "y", "z", "u", "v", "w")


@dataclass(slots=True)
class Lowered:
    """One node as an expression. extra: targets assigned together with the node's results, such
    as a new state. effect: must keep its place in the order. first_only: expr is the first
    result, not a tuple of all; nobody uses the others. all_but: as many results at the end are
    not in expr, and nobody uses them. nested: the results after the first are a tuple."""

    expr: ast.expr
    extra: tuple[ast.expr, ...] = ()
    effect: bool = False
    first_only: bool = False
    all_but: int = 0
    nested: bool = False


@dataclass(slots=True)
class _Pending:
    """An expression not yet printed. cost: its nodes. reads: variables in it, by value."""

    value: Value
    expr: ast.expr
    cost: int
    reads: Counter[Value]
    nodes: tuple[Node, ...]
    effect: bool = False


@dataclass
class Body:
    """Lowers the body of one function. Backends subclass it and say how their nodes look.

    names: the scope of the function's variables. static: prints attributes and conditions.
    """

    function: Function
    table: Table
    names: Names
    static: StaticPrinter

    backend: ClassVar[str] = ""
    called: str = field(default="", init=False)  # the backend's name where it is built on another

    out: list[Statement] = field(default_factory=list[Statement], init=False)
    _left: Counter[Value] = field(default_factory=Counter[Value], init=False)
    _holder: dict[str, Value] = field(default_factory=dict[str, Value], init=False)
    _where: dict[Value, str] = field(default_factory=dict[Value, str], init=False)
    _pending: dict[Value, _Pending] = field(default_factory=dict[Value, _Pending], init=False)
    _fixed: dict[Value, ast.expr] = field(default_factory=dict[Value, ast.expr], init=False)
    _loose: dict[Value, Node] = field(default_factory=dict[Value, Node], init=False)
    _whole: bool = field(default=False, init=False)  # inside `a if c else b`: no statements
    taken_branches: list[BranchNode] = field(default_factory=list[BranchNode], init=False)

    # --- what a backend says ---

    def weight(self, value: Value) -> ast.expr:
        """The weight that value stands for."""
        raise NotImplementedError

    def op(self, node: OpNode, operands: Sequence[ast.expr]) -> Lowered:
        """An op; by default its row of the table."""
        expr = lower(self.table, self.backend, node, operands, self.static, self.called)
        return Lowered(expr, effect=has_effect(node))

    def call(self, node: CallNode, operands: Sequence[ast.expr]) -> Lowered:
        raise NotImplementedError

    def repeat(
        self, node: RepeatNode, carried: Sequence[ast.expr], held: Sequence[ast.expr]
    ) -> list[Statement]:
        """Statements that turn the carried variables into the results, in place."""
        raise NotImplementedError

    def scan(
        self, node: ScanNode, operands: Sequence[ast.expr], targets: Sequence[str]
    ) -> list[Statement]:
        """Statements that give targets the results; "_" stands for one that nobody reads."""
        raise NotImplementedError

    def is_expression(self, node: Node) -> bool:
        """Whether a node of a branch may stand in `a if c else b`: it assigns nothing else."""
        return True

    def condition(self, node: BranchNode) -> ast.expr:
        return self.static.origin(node.condition)

    def comment(self, values: Sequence[Value]) -> str:
        """The shapes of bound values."""
        return ", ".join(shape_text(v) for v in values if v.type.rank)

    # --- lowering ---

    def bind(self, value: Value, name: str) -> None:
        """value is in variable `name` from the start (an input)."""
        self._where[value] = name
        self._holder[name] = value

    def run(
        self, *, result: bool = True, outputs: Sequence[Value] | None = None
    ) -> list[Statement]:
        """The whole body, with `return outputs` at the end unless told otherwise."""
        wanted = self.function.outputs if outputs is None else outputs
        self._left = self.uses(self.function.body, wanted)
        self._nodes(self.function.body)
        if result:
            taken = self._take(wanted)
            exprs = [self._name_of(v) for v in wanted]
            value = exprs[0] if len(exprs) == 1 else python.tuple_of(*exprs)
            returned = self.result(value)
            named = any(v.name for v in wanted)
            if (bound := self._bound_last(returned)) and (
                not named or isinstance(bound[0], ast.IfExp)
            ):
                returned, nodes = bound
                taken = (*nodes, *taken)
                self.out.pop()
            self.out.append(Line(ast.Return(returned), "", taken))
        return self.out

    def _bound_last(self, returned: ast.expr) -> tuple[ast.expr, tuple[Node, ...]] | None:
        """What the last statement binds, where that is only what is returned next."""
        last = self.out[-1] if self.out else None
        if isinstance(last, Line) and isinstance(last.code, ast.Assign):
            targets = [python.flat(target) for target in last.code.targets]
            if isinstance(returned, ast.Name) and targets == [returned.id]:
                return last.code.value, last.nodes
        return None

    def uses(self, nodes: Sequence[Node], outputs: Sequence[Value]) -> Counter[Value]:
        """How many times each value will be read."""
        return uses(nodes, outputs)

    def result(self, value: ast.expr) -> ast.expr:
        """What `return` gives for the outputs (a backend may add a new state)."""
        return value

    def _nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            match node:
                case OpNode():
                    self._simple(node, node.operands)
                case ScanNode():
                    self._scan(node)
                case CallNode():
                    self._simple(node, node.operands)
                case RepeatNode():
                    self._repeat(node)
                case BranchNode():
                    self._branch(node)

    def _simple(self, node: OpNode | CallNode, operands: tuple[Value, ...]) -> None:
        own = self._own_cost(node)
        if not self._whole:
            self._shorten(operands, own)
        pieces = [self._pending.pop(v) for v in dict.fromkeys(operands) if v in self._pending]
        by_value = {p.value: p.expr for p in pieces}
        exprs = [by_value[v] if v in by_value else self._name_of(v) for v in operands]
        lowered = self.op(node, exprs) if isinstance(node, OpNode) else self.call(node, exprs)
        doubled = [p for p in pieces if not self._whole and _is_doubled(p.expr, lowered.expr)]
        if doubled:  # the row reads an operand twice: it must not be computed twice
            self._pending.update((p.value, p) for p in pieces)
            for piece in doubled:
                self._bind_pending(piece.value)
            self._simple(node, operands)
            return
        reads: Counter[Value] = Counter(v for v in operands if v in self._where)
        for piece in pieces:
            reads.update(piece.reads)
        effect = lowered.effect or any(p.effect for p in pieces)
        if lowered.effect:
            self._flush_effects()
        if not operands and not lowered.effect and _is_literal(lowered.expr):
            self._fixed[node.results[0]] = lowered.expr
            self._loose[node.results[0]] = node
            return
        loose = [self._loose.pop(v) for v in dict.fromkeys(operands) if v in self._loose]
        done = (*(n for p in pieces for n in p.nodes), *loose, node)
        cost = own + sum(p.cost for p in pieces)
        result = node.results[0]
        pending = _Pending(result, lowered.expr, cost, reads, done, effect)
        results = node.results[: len(node.results) - lowered.all_but]
        results = results[:1] if lowered.first_only else results
        if self._goes_inline(results, lowered):
            self._pending[result] = pending
            if not self._whole and (cost > MAX_COST or len(python.flat(lowered.expr)) > MAX_INLINE):
                self._bind_pending(result)
            return
        self._assign(results, pending, lowered.extra, nested=lowered.nested)

    def _goes_inline(self, results: tuple[Value, ...], lowered: Lowered) -> bool:
        """One result, used once, not named by the spec."""
        if lowered.extra or len(results) != 1:
            return False
        return self._left[results[0]] == 1 and not results[0].name

    def _own_cost(self, node: OpNode | CallNode) -> int:
        if isinstance(node, OpNode):
            if not node.operands:
                return 0
            row = row_of(self.table, self.backend, node.op)
            if isinstance(row, str):
                body = Template.parse(row).body
                return 1 if isinstance(body, ast.BinOp | ast.UnaryOp | ast.Compare) else 2
        return 2

    def _shorten(self, operands: Sequence[Value], own: int) -> None:
        """Binds pending operands until what remains is readable, the dearest first."""
        while True:
            pieces = [self._pending[v] for v in dict.fromkeys(operands) if v in self._pending]
            total = own + sum(p.cost for p in pieces)
            length = sum(len(python.flat(p.expr)) for p in pieces if p.cost)
            if total <= MAX_COST and length <= MAX_INLINE:
                return
            costly = [p for p in pieces if p.cost]
            if not costly:
                return
            self._bind_pending(max(costly, key=lambda p: p.cost).value)

    def _flush_effects(self) -> None:
        """Before an effect, the one that may be pending: so there is never more than one."""
        self._flush([p for p in self._pending.values() if p.effect])

    def _flush(self, pieces: Sequence[_Pending]) -> None:
        for piece in pieces:
            self._bind_pending(piece.value)

    def _bind_pending(self, value: Value) -> None:
        piece = self._pending.get(value)
        if piece is not None:
            del self._pending[value]
            self._assign((value,), piece, ())

    def _assign(
        self,
        results: tuple[Value, ...],
        piece: _Pending,
        extra: tuple[ast.expr, ...],
        *,
        nested: bool = False,
    ) -> None:
        """results, extra = expr, as a statement."""
        for value in results:
            # before the reads are spent: what is bound now must not take a variable of this expr
            if self._left[value] and value.name:
                self._release(identifier(value.name))
        self._spend(piece.reads)
        targets: list[ast.expr] = []
        for value in results:
            if self._left[value]:
                targets.append(python.name(self._choose(value, piece.reads)))
            elif len(results) > 1 or extra:
                targets.append(python.name("_"))
        if nested:
            targets = [targets[0], python.tuple_of(*targets[1:])]
        targets += extra
        if not targets:
            self.out.append(Line(ast.Expr(piece.expr), "", piece.nodes))
            return
        comment = self.comment([v for v in results if self._left[v]])
        self.out.append(assign(targets, piece.expr, *piece.nodes, comment=comment))

    def _spend(self, reads: Counter[Value]) -> None:
        self._left.subtract(reads)

    def _choose(self, value: Value, reads: Counter[Value]) -> str:
        """A variable for value: the spec's name, a dying operand's, or a free scratch name."""
        if value.name:
            wanted = identifier(value.name)
            if self._is_free(wanted):
                return self._take_name(wanted, value)
            base = wanted
            number = 2
            while not self._is_free(f"{base}{number}"):
                number += 1
            return self._take_name(f"{base}{number}", value)
        for read in reads:
            name = self._where.get(read, "")
            if name in SCRATCH and self._is_free(name):
                return self._take_name(name, value)
        for name in SCRATCH:
            if self._is_free(name):
                return self._take_name(name, value)
        number = 2
        while not self._is_free(f"x{number}"):
            number += 1
        return self._take_name(f"x{number}", value)

    def _release(self, name: str) -> None:
        """Binds pending expressions that still read variable `name`."""
        holder = self._holder.get(name)
        if holder is not None:
            self._flush([p for p in list(self._pending.values()) if p.reads[holder]])

    def _is_free(self, name: str) -> bool:
        holder = self._holder.get(name)
        if holder is not None:
            return self._left[holder] <= 0
        return name not in self.names.taken

    def _take_name(self, name: str, value: Value) -> str:
        self._holder[name] = value
        self._where[value] = name
        self.names.taken.add(name)
        return name

    def _name_of(self, value: Value) -> ast.expr:
        """value where it is used: a variable, a weight, or what is pending for it."""
        if value in self._fixed:
            return self._fixed[value]
        if value in self._where:
            return python.name(self._where[value])
        if value in self._pending:
            return self._pending[value].expr
        if value.weight is not None:
            return self.weight(value)
        raise KeyError(f"value {value.name or value.type} of {self.function.name} has no place")

    def _take(self, values: Sequence[Value]) -> tuple[Node, ...]:
        """Uses values in the next statement, binding those that are too long; their nodes.

        The caller prints them with `_name_of` afterwards.
        """
        self._shorten(values, 0)
        nodes: list[Node] = [self._loose.pop(v) for v in dict.fromkeys(values) if v in self._loose]
        for value in dict.fromkeys(values):
            piece = self._pending.pop(value, None)
            if piece is None:
                continue
            self._spend(piece.reads)
            self._fixed[value] = piece.expr
            nodes += piece.nodes
        self._spend(Counter(v for v in values if v in self._where))
        return tuple(nodes)

    def _variables(self, values: Sequence[Value]) -> None:
        """Sees to it that values are variables (or fixed expressions)."""
        for value in values:
            self._bind_pending(value)

    # --- repeats and branches ---

    def _repeat(self, node: RepeatNode) -> None:
        self._flush([p for p in self._pending.values() if p.effect and p.value not in node.carried])
        self._variables(node.held)
        statements: list[Statement] = []
        targets: list[str] = []
        for value, result in zip(node.carried, node.results, strict=True):
            piece = self._pending.pop(value, None)
            if piece is not None:
                expr, reads, nodes = piece.expr, piece.reads, piece.nodes
            else:
                expr = self._name_of(value)
                reads, nodes = Counter([value] if value in self._where else []), ()
            self._spend(reads)
            name = self._choose(result, reads)
            targets.append(name)
            if not (isinstance(expr, ast.Name) and expr.id == name):
                comment = self.comment([value])
                statements.append(assign([name], expr, *nodes, comment=comment))
        self.out += statements
        held = [self._name_of(v) for v in node.held]
        loop = self.repeat(node, [python.name(t) for t in targets], held)
        self.out += loop
        self._spend(Counter(v for v in node.held if v in self._where))

    def _scan(self, node: ScanNode) -> None:
        self._flush_effects()
        self._variables(node.operands)
        operands = [self._name_of(v) for v in node.operands]
        # chosen before the reads are spent: the loop reads its operands at every step
        targets = [self._choose(v, Counter()) if self._left[v] else "_" for v in node.results]
        loose = [self._loose.pop(v) for v in dict.fromkeys(node.operands) if v in self._loose]
        self.out += self.scan(node, operands, targets)
        last = self.out[-1]
        if loose and isinstance(last, Line):
            self.out[-1] = Line(last.code, last.comment, (*loose, *last.nodes))
        self._spend(Counter(v for v in node.operands if v in self._where))

    def _branch(self, node: BranchNode) -> None:
        if node.then is None or node.orelse is None:
            self._only_side(node, node.then or node.orelse)
            return
        self._flush_effects()
        condition = self.condition(node)
        self._variables([v for v in _outer_values(node) if v in self._pending])
        if self._fits_expression(node):
            self._as_expression(node, node.then, node.orelse, condition)
            return
        self._flush(list(self._pending.values()))
        names: list[str] = []
        for value in node.results:
            names.append(self._choose(value, Counter()))
        then, orelse = (self._side(side, names) for side in (node.then, node.orelse))
        for value, name in zip(node.results, names, strict=True):
            self._take_name(name, value)
        if not then and orelse:
            condition, then, orelse = negated(condition), orelse, []
        header = Line(ast.If(condition, [], []), "", (node,))
        self.out.append(Block(header, then or [line("pass")]))
        if orelse:
            self.out.append(block("else:", orelse))

    def _side(self, side: Side, names: Sequence[str]) -> list[Statement]:
        """One side as statements that leave its yields in `names`."""
        outside, self.out = self.out, []
        self._nodes(side.body)
        nodes = self._take(side.yields)
        pairs = [(n, self._name_of(v)) for n, v in zip(names, side.yields, strict=True)]
        pairs = [(n, e) for n, e in pairs if not (isinstance(e, ast.Name) and e.id == n)]
        if len(pairs) == 1:
            comment = self.comment(side.yields) if len(side.yields) == 1 else ""
            self.out.append(assign([pairs[0][0]], pairs[0][1], *nodes, comment=comment))
        elif pairs:
            value = python.tuple_of(*(e for _, e in pairs))
            self.out.append(assign([n for n, _ in pairs], value, *nodes))
        body, self.out = self.out, outside
        return body

    def _only_side(self, node: BranchNode, side: Side | None) -> None:
        """A side that is known to be taken: its nodes, without a question."""
        if side is None:
            raise ValueError("a branch without sides")
        self._nodes(side.body)
        for result, value in zip(node.results, side.yields, strict=True):
            self._alias(result, value)
        self.taken_branches.append(node)

    def _alias(self, result: Value, value: Value) -> None:
        """result is another name for value, from here on."""
        self._left[value] += self._left[result] - 1
        piece = self._pending.pop(value, None)
        if piece is not None and self._left[result] == 1 and not result.name:
            self._pending[result] = _Pending(
                result, piece.expr, piece.cost, piece.reads, piece.nodes, piece.effect
            )
            self._left[value] = 0
            return
        if piece is not None:
            self._left[value] = 0
            self._assign((result,), piece, ())
            return
        if value in self._where:
            self._where[result] = self._where[value]
            self._holder[self._where[value]] = result
            self._left[result] = self._left[value]
        else:
            self._fixed[result] = self._name_of(value)

    def _fits_expression(self, node: BranchNode) -> bool:
        return len(node.results) == 1 and all(
            side is not None and _is_short(side) and all(self.is_expression(n) for n in side.body)
            for side in (node.then, node.orelse)
        )

    def _as_expression(
        self, node: BranchNode, then: Side, orelse: Side, condition: ast.expr
    ) -> None:
        """`a if c else b`, where both sides are single short expressions."""
        exprs: list[ast.expr] = []
        reads: Counter[Value] = Counter()
        nodes: list[Node] = []
        self._whole = True
        for side in (then, orelse):
            self._nodes(side.body)
            (value,) = side.yields
            piece = self._pending.pop(value, None)
            if piece is None:
                exprs.append(self._name_of(value))
                reads.update([value] if value in self._where else [])
                nodes += [self._loose.pop(value)] if value in self._loose else []
                continue
            exprs.append(piece.expr)
            reads.update(piece.reads)
            nodes += piece.nodes
        self._whole = False
        whole = ast.IfExp(condition, exprs[0], exprs[1])
        if isinstance(exprs[0], ast.IfExp):
            whole = ast.IfExp(negated(condition), exprs[1], exprs[0])
        piece = _Pending(node.results[0], whole, MAX_COST, reads, (*nodes, node))
        self._assign(node.results, piece, ())


def has_effect(node: OpNode) -> bool:
    """Whether an op must keep its place among others that have one."""
    return node.op.random or node.op.ordered or bool(node.updates)


def _is_literal(expr: ast.expr) -> bool:
    """Whether an expression costs nothing, so that it may be printed at each use."""
    return not any(isinstance(n, ast.Call) for n in ast.walk(expr)) or _is_infinite(expr)


def _is_infinite(expr: ast.expr) -> bool:
    return python.flat(expr) in ('float("inf")', '-float("inf")', 'float("-inf")')


def _is_short(side: Side) -> bool:
    """At most two nodes, each feeding the next and the last the yield; nothing with names."""
    body = [n for n in side.body if not (isinstance(n, OpNode) and not n.operands)]
    if len(body) > 2 or len(side.body) > 4:
        return False
    for index, node in enumerate(body):
        if not isinstance(node, OpNode | CallNode) or len(node.results) != 1:
            return False
        if node.results[0].name:
            return False
        user = body[index + 1] if index + 1 < len(body) else None
        if user is not None and not isinstance(user, OpNode | CallNode):
            return False
        consumers = side.yields if user is None else user.operands
        if consumers.count(node.results[0]) != 1:
            return False
    return True


def _outer_values(node: BranchNode) -> list[Value]:
    """Values from outside that a branch uses."""
    inside: set[Value] = set()
    used: list[Value] = []
    for side in (node.then, node.orelse):
        if side is None:
            continue
        for inner in walk(side.body):
            used += operands_of(inner)
            inside.update(inner.results)
        used += side.yields
    return [v for v in dict.fromkeys(used) if v not in inside]


def operands_of(node: Node) -> tuple[Value, ...]:
    """The values that a node itself reads; a branch's sides are nodes of their own."""
    match node:
        case OpNode() | CallNode():
            return node.operands
        case RepeatNode():
            return (*node.carried, *node.held)
        case BranchNode():
            return tuple(v for s in (node.then, node.orelse) if s is not None for v in s.yields)


def uses(body: Sequence[Node], outputs: Sequence[Value]) -> Counter[Value]:
    """How many times each value is read."""
    count = Counter[Value](outputs)
    for node in walk(list(body)):
        count.update(operands_of(node))
    return count


def _is_doubled(part: ast.expr, whole: ast.expr) -> bool:
    """Whether a computed operand stands at several places of an expression."""
    if not any(isinstance(n, ast.Call) for n in ast.walk(part)):
        return False
    return sum(n is part for n in ast.walk(whole)) > 1


def shape_text(value: Value) -> str:
    """`[N, 64, H // 2, W // 2]`"""
    return f"[{', '.join(map(str, value.type.shape))}]"


def attribute_of(slot: Slot) -> str:
    """The attribute or key that holds a slot: its segment's name."""
    return identifier(slot.segment.name)


__all__ = [
    "Body",
    "ChildSlot",
    "Lowered",
    "Reference",
    "WeightSlot",
    "attribute_of",
    "operands_of",
    "returns",
    "shape_text",
    "uses",
]
