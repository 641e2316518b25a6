"""A function's body as its reader sees it: one step a layer, built-in or call.

A built-in that is made of several ops is one step; constants belong to the step that uses them;
of a branch, the side that inference takes. Sizes are put in the terms of the model: `Env` maps
the symbols of a function to the caller's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    LayerSlot,
    OpNode,
    Reference,
    RepeatNode,
    WeightSlot,
)
from dlspec.ops.elementwise import Constant
from dlspec.ops.gradient import Watch
from dlspec.ops.state import Read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dlspec.ir.graph import Function, Node, Slot, Value
    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Op

Env = dict[str, Dim]
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")

LEAVES = (Constant, Read)  # shown with what uses them


@dataclass(frozen=True, eq=False)
class Step:
    """Consecutive ops of one layer or built-in, or one call. name: as the spec writes it.

    results: those that later steps use, or all of a call. weights: slots whose weights it reads.
    """

    name: str
    nodes: tuple[OpNode | CallNode | RepeatNode, ...]
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    weights: tuple[Slot, ...]
    number: int | None = None  # where several steps of a body have the name

    @property
    def call(self) -> CallNode | RepeatNode | None:
        node = self.nodes[0]
        return None if isinstance(node, OpNode) else node

    @property
    def ops(self) -> tuple[OpNode, ...]:
        return tuple(n for n in self.nodes if isinstance(n, OpNode))

    @property
    def main(self) -> OpNode:
        """The op that the step is about: the one with the weights, else the last."""
        ops = [n for n in self.ops if not isinstance(n.op, LEAVES)] or list(self.ops)
        owners = [n for n in ops if n.layer is not None]
        return (owners or ops)[-1]

    @property
    def slot(self) -> Slot | None:
        if (call := self.call) is not None:
            return call.slot
        return self.main.layer

    @property
    def segment(self) -> str:
        """Its part of a path: that of the slot, else its name and number."""
        if self.slot is not None:
            return str(self.slot.segment)
        return self.name if self.number is None else f"{self.name}.{self.number}"


@dataclass(frozen=True, eq=False)
class Outline:
    """steps in order; outputs: of the function, as values of its steps or inputs."""

    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]


_OUTLINES: WeakKeyDictionary[Function, Outline] = WeakKeyDictionary()


def outline(function: Function) -> Outline:
    """The steps of a function, memoised."""
    found = _OUTLINES.get(function)
    if found is None:
        found = _OUTLINES[function] = _outline(function)
    return found


def target(slot: Slot) -> LayerSlot | ChildSlot | WeightSlot:
    """The instance itself, through any number of hands."""
    return slot.target if isinstance(slot, Reference) else slot


def entry_env(function: Function) -> Env:
    """The known values of a function that nobody calls."""
    return {name: Dim.const(value) for name, value in function.values().items()}


def call_env(node: CallNode | RepeatNode, outer: Env, dims: Mapping[str, Dim] | None = None) -> Env:
    """The callee's symbols in the model's terms. dims: of one run, instead of the node's."""
    slot = target(node.slot)
    env = slot_env(slot, outer) if isinstance(slot, ChildSlot) else entry_env(node.function)
    own = entry_env(node.function) if slot_function(slot) is not node.function else {}
    env = {**own, **env}
    env.update({k: v.substitute(outer) for k, v in (dims or node.dims).items()})
    return env


def slot_function(slot: Slot) -> Function | None:
    return slot.function if isinstance(slot, ChildSlot) else None


def slot_env(slot: ChildSlot, outer: Env) -> Env:
    """The symbols of a child's weights in the model's terms."""
    env = entry_env(slot.function)
    env.update({k: v.substitute(outer) for k, v in slot.statics.items() if isinstance(v, Dim)})
    env.update({k: v.substitute(outer) for k, v in slot.dims.items()})
    return env


def types_in(values: Sequence[Value], env: Env) -> tuple[TensorType, ...]:
    return tuple(v.type.substitute(env) for v in values)


def batch_symbol(function: Function) -> str | None:
    """The open symbol that leads the shapes of the inputs."""
    for value in function.inputs:
        shape = value.type.shape
        if not shape or shape[0].is_const:
            continue
        name = str(shape[0])
        symbol = function.symbols.get(name)
        if shape[0] == Dim.symbol(name) and (symbol is None or symbol.value is None):
            return name
    return None


def op_name(op: Op) -> str:
    """`MaxPool` → `max_pool`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(op).__name__).lower()


def _outline(function: Function) -> Outline:
    alias: dict[Value, Value] = {}
    nodes = list(_taken(function.body, alias))

    def resolve(value: Value) -> Value:
        while value in alias:
            value = alias[value]
        return value

    outputs = tuple(resolve(v) for v in function.outputs)
    groups = _grouped(nodes)
    used = {resolve(v) for g in groups for n in g for v in _operands(n)} | set(outputs)
    counts: dict[str, int] = {}
    steps = [_step(group, resolve, used, counts) for group in groups]
    return Outline(tuple(steps), outputs)


def _taken(body: list[Node], alias: dict[Value, Value]) -> Iterator[OpNode | CallNode | RepeatNode]:
    for node in body:
        if isinstance(node, OpNode) and isinstance(node.op, Watch):
            alias[node.results[0]] = node.operands[0]
            continue
        if not isinstance(node, BranchNode):
            yield node
            continue
        side = node.then if node.taken else node.orelse
        if side is None:
            side = node.then or node.orelse
        if side is not None:
            yield from _taken(side.body, alias)
            pairs = zip(node.results, side.yields, strict=True)
            alias.update((a, b) for a, b in pairs if a is not b)


def _operands(node: OpNode | CallNode | RepeatNode) -> tuple[Value, ...]:
    return (*node.carried, *node.held) if isinstance(node, RepeatNode) else node.operands


def _grouped(
    nodes: Sequence[OpNode | CallNode | RepeatNode],
) -> list[list[OpNode | CallNode | RepeatNode]]:
    """Ops of one built-in are neighbours, with one span; constants go to their first user."""
    groups: list[list[OpNode | CallNode | RepeatNode]] = []
    for node in nodes:
        if groups and _continues(groups[-1], node):
            groups[-1].append(node)
        else:
            groups.append([node])
    constants: dict[Value, OpNode] = {}
    found: list[list[OpNode | CallNode | RepeatNode]] = []
    for group in groups:
        if all(isinstance(n, OpNode) and isinstance(n.op, LEAVES) for n in group):
            constants.update((r, n) for n in group if isinstance(n, OpNode) for r in n.results)
            continue
        mine = [constants.pop(v) for n in group for v in _operands(n) if v in constants]
        found.append([*mine, *group] if isinstance(group[0], OpNode) else group)
    return found


def _continues(group: list[OpNode | CallNode | RepeatNode], node: Node) -> bool:
    last = group[-1]
    if not isinstance(node, OpNode) or not isinstance(last, OpNode):
        return False
    if node.span is None or last.span != node.span:
        return False
    name = _builtin(node.span.text)
    if name is None or name in (op_name(node.op), op_name(last.op)):
        return False  # an op by itself
    layers = {n.layer for n in (*group, node) if isinstance(n, OpNode) and n.layer is not None}
    if len(layers) > 1:
        return False
    ops = [n.op for n in group if isinstance(n, OpNode)]
    if not isinstance(node.op, Constant) and node.op in ops:
        return False  # the built-in once more, as in repeat(2, relu)
    made = {r for n in group for r in n.results}
    return any(v in made for v in node.operands) or isinstance(last.op, Constant | type(node.op))


@cache
def _known_names() -> frozenset[str]:
    from dlspec.ops import registry

    return frozenset(registry.names())


def _builtin(text: str) -> str | None:
    """The built-in that a source text calls: `relu`, `conv(6, 5)`."""
    found = _WORD.match(text)
    if found is None or found[0] not in _known_names():
        return None
    rest = text[found.end() :].strip()
    return found[0] if not rest or _one_call(rest) else None


def _one_call(text: str) -> bool:
    """Whether a text is one pair of parentheses with what is inside."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return i == len(text) - 1
    return False


def _step(
    group: Sequence[OpNode | CallNode | RepeatNode],
    resolve: Callable[[Value], Value],
    used: set[Value],
    counts: dict[str, int],
) -> Step:
    inside = {r for n in group for r in n.results}
    operands: dict[Value, None] = {}
    weights: dict[Slot, None] = {}
    for node in group:
        for operand in _operands(node):
            value = resolve(operand)
            if value.weight is not None:
                weights[value.weight[0]] = None
            elif value not in inside:
                operands[value] = None
    results = tuple(r for n in group for r in n.results)
    if isinstance(group[-1], OpNode):
        results = tuple(r for r in results if r in used and _leaves(r, group)) or results[:1]
    name = _name(group)
    counts[name] = counts.get(name, 0) + 1
    number = counts[name] - 1 or None
    return Step(name, tuple(group), tuple(operands), results, tuple(weights), number)


def _leaves(value: Value, group: Sequence[OpNode | CallNode | RepeatNode]) -> bool:
    """Whether a result is more than a step of the way inside its group."""
    return not any(value in _operands(n) for n in group) or value in group[-1].results


def _name(group: Sequence[OpNode | CallNode | RepeatNode]) -> str:
    last = group[-1]
    if not isinstance(last, OpNode):
        return last.function.name
    layers = (n.layer for n in group if isinstance(n, OpNode) and n.layer is not None)
    slot = next(layers, None)
    if slot is not None and isinstance(owner := target(slot), LayerSlot):
        return owner.layer
    written = _builtin(last.span.text) if last.span is not None else None
    return written or op_name(last.op)


def weights_of(slots: Iterable[Slot]) -> list[tuple[Slot, TensorType, bool]]:
    """(owner, type, trainable) of each weight that slots own themselves."""
    found: list[tuple[Slot, TensorType, bool]] = []
    for slot in slots:
        match slot:
            case WeightSlot():
                found.append((slot, slot.weight.type, slot.weight.trainable))
            case LayerSlot():
                found.extend((slot, w.type, w.trainable) for w in slot.weights.values())
            case ChildSlot() | Reference():
                pass
    return found
