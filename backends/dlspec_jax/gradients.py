"""Gradients for tensors of a body: what lies between x and y as a function for `jax.grad`.

That part is written a second time, as a function of x; compilation merges the two. It uses the
keys, or the given draws, of the first, and leaves buffers alone. What only the gradient wanted is
not written outside.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dlspec.codegen import Body, Line, Lowered, assign, block, line, python, unsupported_at
from dlspec.codegen.code import blank, returns
from dlspec.codegen.lower import operands_of
from dlspec.codegen.names import identifier
from dlspec.codegen.paths import gradients, path
from dlspec.ir.graph import BranchNode, CallNode, OpNode, RepeatNode, functions_below, walk
from dlspec.ops.gradient import Grad, Watch
from dlspec.ops.norm import BatchNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Statement
    from dlspec.ir.graph import Function, Node, Slot, Value
    from dlspec_jax.program import Program

SHORT_LAMBDA = 60  # characters


@dataclass(frozen=True)
class Region:
    """nodes: what y is computed with from x; captured: what they read besides."""

    nodes: tuple[Node, ...]
    captured: tuple[Value, ...]


def regions(function: Function) -> dict[int, Region]:
    """By the id of each `Grad` of the function."""
    found: dict[int, Region] = {}
    for node, before in gradients(function.body):
        y, *xs = node.operands
        nodes = path(before, xs, y)
        inside = {v for n in walk(nodes) for v in n.results} | {*xs}
        read = [v for n in walk(nodes) for v in _read(n, found)]
        captured = [v for v in dict.fromkeys(read) if v not in inside and v.weight is None]
        found[id(node)] = Region(tuple(nodes), tuple(captured))
    return found


def _read(node: Node, known: dict[int, Region]) -> Sequence[Value]:
    """What a node reads; a gradient reads what its region does."""
    if id(node) in known:
        return (*node.operands[1:], *known[id(node)].captured)  # type: ignore[union-attr]
    return operands_of(node)


@dataclass
class WithGradients(Body):
    """Lowers `Grad` and `Watch`."""

    program: Program = field(kw_only=True)
    inputs_drawn: bool = field(kw_only=True)
    local: bool = field(default=False, init=False)  # whether this is a region's function
    keys: dict[int, int] = field(default_factory=dict[int, int], init=False)  # by id of a node
    replays: dict[int, str] = field(default_factory=dict[int, str], init=False)
    before: dict[int, dict[int, str]] = field(
        default_factory=dict[int, "dict[int, str]"], init=False
    )  # by id of a call: variables for the buffers of its slots, by their ids
    current: dict[int, str] = field(default_factory=dict[int, str], init=False)

    @cached_property
    def regions(self) -> dict[int, Region]:
        return regions(self.function)

    def key(self, node: Node) -> ast.expr:
        """A key of its own for each draw and each call that draws."""
        number = self.keys.setdefault(id(node), len(self.keys))
        return python.expr(f"jax.random.fold_in(key, {number})")

    def uses(self, nodes: Sequence[Node], outputs: Sequence[Value]) -> Counter[Value]:
        left = super().uses(nodes, outputs)
        if not self.regions:
            return left
        for node in walk(list(nodes)):
            if id(node) in self.regions:
                left.subtract(operands_of(node))
                left.update(_read(node, self.regions))
        self._drop(nodes, left)
        return left

    def _drop(self, nodes: Sequence[Node], left: Counter[Value]) -> None:
        """Nodes that only a gradient's region wants, without effect here, are left out."""
        for node in reversed(nodes):
            if isinstance(node, BranchNode):
                for side in (node.then, node.orelse):
                    self._drop(side.body if side is not None else (), left)
            elif not any(left[v] for v in node.results) and not self._acts(node):
                self.dropped.add(id(node))
                left.subtract(_read(node, self.regions))

    @cached_property
    def dropped(self) -> set[int]:
        return set()

    def _acts(self, node: Node) -> bool:
        if self.local:
            return False
        if isinstance(node, OpNode):
            return node.op.random or bool(node.updates)
        if isinstance(node, CallNode | RepeatNode):
            return self._draws(node) or any(
                map(self.program.stateful_slot, (node.slot, *node.refs))
            )
        return True

    def _draws(self, node: Node) -> bool:
        if isinstance(node, OpNode):
            return node.op.random
        if isinstance(node, BranchNode):
            sides = (side.body for side in (node.then, node.orelse) if side is not None)
            return any(self._draws(inner) for body in sides for inner in body)
        return self.program.traits[id(node.function)].random

    @cached_property
    def replayed(self) -> set[int]:
        """Nodes that draw, in a region: there, they see the same draws once more."""
        nodes = [n for region in self.regions.values() for n in region.nodes]
        return {id(n) for n in nodes if self.inputs_drawn and self._draws(n)}

    def _nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if id(node) in self.dropped:
                continue
            if id(node) in self.replayed:
                self._replay(node)
            if id(node) in self.written:
                self._restore(node)
            super()._nodes([node])

    @cached_property
    def written(self) -> set[int]:
        """Calls in a region that read buffers and write them: there, they see the old ones."""
        nodes = (n for region in self.regions.values() for n in walk([*region.nodes]))
        calls = (n for n in nodes if isinstance(n, CallNode | RepeatNode))
        return {id(n) for n in calls if any(map(_writes, functions_below(n.function)))}

    def _restore(self, node: Node) -> None:
        if not isinstance(node, CallNode):
            why = "a gradient through a repeat of blocks that write buffers"
            raise unsupported_at(self.backend, why, node.span)
        if self.local:
            self.current = self.before[id(node)]
            return
        self._flush_effects()
        slots = [s for s in (node.slot, *node.refs) if self.program.stateful_slot(s)]
        self.before[id(node)] = {id(s): self.names.fresh("before") for s in slots}
        for slot in slots:
            self.out.append(assign([self.before[id(node)][id(slot)]], self.buffers_of(slot)))

    def buffers_of(self, slot: Slot) -> ast.expr:
        """The buffers of a slot."""
        raise NotImplementedError

    def _replay(self, node: Node) -> None:
        self._flush_effects()
        if id(node) in self.replays:
            self.out.append(line(f"draws = copy({self.replays[id(node)]})"))
        else:
            name = self.replays[id(node)] = self.names.fresh("again")
            self.out.append(line(f"draws, {name} = tee(draws)"))

    def _simple(self, node: OpNode | CallNode, operands: tuple[Value, ...]) -> None:
        if isinstance(node, OpNode) and isinstance(node.op, Watch) and not self._reordered(node):
            self._alias(node.results[0], operands[0])
        elif isinstance(node, OpNode) and isinstance(node.op, Grad):
            captured = self.regions[id(node)].captured
            self._variables(captured)
            super()._simple(node, node.operands[1:])
            self._bind_pending(node.results[0])  # variables that it reads may change later
            self._spend(Counter(v for v in captured if v in self._where))
        else:
            super()._simple(node, operands)

    def _reordered(self, node: OpNode) -> bool:
        """Whether a weight is watched in another order of axes than it has."""
        return node.operands[0].weight is not None and self.program.layouts.is_last(node.results[0])

    def gradient(self, node: OpNode, xs: Sequence[ast.expr]) -> Lowered:
        """`jax.grad(lambda x: jnp.sum(…))(x)`, with a function of its own where that is long."""
        y, *watched = node.operands
        inner = self._inner()
        variables: list[str] = []
        for x, value in zip(xs, watched, strict=True):
            known = isinstance(x, ast.Name) and x.id not in variables
            variable = x.id if known else inner.names.fresh(value.name or "x")  # type: ignore[union-attr]
            inner._fixed.pop(value, None)  # a weight, outside
            inner.bind(value, identifier(variable))
            variables.append(identifier(variable))
        given = ", ".join(variables)
        body = inner.total(self.regions[id(node)].nodes, y)
        (last,) = body[-1:]
        assert isinstance(last, Line) and isinstance(last.code, ast.Return)
        assert last.code.value is not None
        function = python.expr(f"lambda {given}: {python.flat(last.code.value)}")
        if len(body) > 1 or len(python.flat(function)) > SHORT_LAMBDA:
            name = self.names.fresh(f"{identifier(y.name or 'y')}_sum")
            first = not self.out
            self.out += [*([] if first else blank()), block(f"def {name}({given}):", body)]
            self.out += blank()
            function = python.name(name)
        several = [python.expr(str(tuple(range(len(xs)))))] if len(xs) > 1 else []
        return Lowered(ast.Call(python.call("jax.grad", function, *several), [*xs], []))

    def _inner(self) -> WithGradients:
        """The scope of a function inside this one, which sees what is here."""
        inner = copy.copy(self)
        inner.local = True
        inner.names = self.names.child()
        inner.out, inner._holder, inner._pending = [], {}, {}
        inner._where, inner._fixed, inner._loose = {**self._where}, {**self._fixed}, {}
        inner.__dict__.pop("dropped", None)
        return inner

    def total(self, nodes: Sequence[Node], y: Value) -> list[Statement]:
        self._left = self.uses(nodes, [y])
        self._nodes(nodes)
        self._take([y])
        result = self._name_of(y)
        last = self.out[-1] if self.out else None
        if isinstance(last, Line) and _assigns(last, result):  # `y = …; return y`
            result = last.code.value  # type: ignore[union-attr]
            self.out.pop()
        self.out.append(returns(python.call("jnp.sum", result) if y.type.rank else result))
        return self.out


def _writes(function: Function) -> bool:
    """Whether a body gives buffers other values than batch norm does, which reads none then."""
    ops = (n for n in walk(function.body) if isinstance(n, OpNode))
    return any(n.updates and not isinstance(n.op, BatchNorm) for n in ops)


def _assigns(statement: Line, name: ast.expr) -> bool:
    """Whether a statement gives this one variable its value."""
    code = statement.code
    if not (isinstance(code, ast.Assign) and isinstance(name, ast.Name)):
        return False
    (target,) = code.targets
    return isinstance(target, ast.Name) and target.id == name.id
