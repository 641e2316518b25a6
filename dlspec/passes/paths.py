"""What lies between two values of a body, along which a gradient flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never

from dlspec.ir.graph import BranchNode, CallNode, Function, OpNode, RepeatNode, walk
from dlspec.ops.elementwise import StopGradient
from dlspec.ops.gradient import Grad, Watch
from dlspec.passes.randomness import reaching

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dlspec.ir.graph import Node, Value


Assumed: TypeAlias = "dict[tuple[Function, tuple[int, ...]], list[int]]"
"""Of the functions that are being looked through: outputs that depend on inputs at places."""


def gradients(
    body: Sequence[Node], before: Sequence[Node] = ()
) -> Iterator[tuple[OpNode, list[Node]]]:
    """Every `Grad` of a body with the nodes whose results it may see, in order."""
    for position, node in enumerate(body):
        seen = [*before, *body[:position]]
        match node:
            case OpNode(op=Grad()):
                yield node, seen
            case BranchNode():
                for side in (node.then, node.orelse):
                    if side is not None:
                        yield from gradients(side.body, seen)
            case _:
                pass


def active(
    nodes: Sequence[Node], start: Iterable[Value], within: Assumed | None = None
) -> set[Value]:
    """The values that a gradient flows back from, to one of `start`."""
    found = set(start)
    assumed: Assumed = {} if within is None else within
    for node in nodes:
        found.update(_active_results(node, found, assumed))
    return found


def _active_results(node: Node, found: set[Value], assumed: Assumed) -> list[Value]:
    match node:
        case OpNode():
            if isinstance(node.op, StopGradient) or found.isdisjoint(node.operands):
                return []
            return _floats(node.results)
        case CallNode() if type(node) is CallNode:
            places = [i for i, v in enumerate(node.operands) if v in found]
            outputs = _through(node.function, places, assumed)
            return [node.results[i] for i in outputs]
        case CallNode():  # a scan: each step sees what the one before it gave
            return [] if found.isdisjoint(node.operands) else _floats(node.results)
        case RepeatNode():
            given = (*node.carried, *node.held)
            return [] if found.isdisjoint(given) else _floats(node.results)
        case BranchNode():
            return _branch(node, found, assumed)
        case _:
            assert_never(node)


def _branch(node: BranchNode, found: set[Value], assumed: Assumed) -> list[Value]:
    reached: list[Value] = []
    for side in (node.then, node.orelse):
        if side is not None:
            inside = active(side.body, found, assumed)
            pairs = zip(node.results, side.yields, strict=True)
            reached += [result for result, value in pairs if value in inside]
    return reached


def _floats(values: Sequence[Value]) -> list[Value]:
    return [v for v in values if v.type.dtype.is_float]


def _through(function: Function, places: Sequence[int], assumed: Assumed) -> list[int]:
    """The outputs that depend on the inputs at those places. A recursion begins with none, and
    comes round until they are no more."""
    key = function, tuple(places)
    if not places or key in assumed:
        return assumed.get(key, [])
    assumed[key] = []
    while True:
        found = active(function.body, [function.inputs[i] for i in places], assumed)
        outputs = [i for i, v in enumerate(function.outputs) if v in found]
        if outputs == assumed[key]:
            return assumed.pop(key)
        assumed[key] = outputs


def path(nodes: Sequence[Node], xs: Sequence[Value], y: Value) -> list[Node]:
    """The nodes that y is computed with from xs, in order; empty where it depends on none.

    A branch is one node.
    """
    reached = active(nodes, xs)
    if y not in reached:
        return []
    wanted = {y}
    found: list[Node] = []
    for node in reversed(nodes):
        if not any(x in node.results for x in xs) and not (wanted & reached).isdisjoint(
            node.results
        ):
            found.append(node)
            wanted.update(v for v in reads(node) if v in reached)
    return found[::-1]


def reads(node: Node) -> list[Value]:
    """All values that a node reads, its sides included."""
    match node:
        case OpNode() | CallNode():
            return [*node.operands]
        case RepeatNode():
            return [*node.carried, *node.held]
        case BranchNode():
            found: list[Value] = []
            for side in (node.then, node.orelse):
                if side is not None:
                    found += side.yields
                    found += [v for inner in side.body for v in reads(inner)]
            return found
        case _:
            assert_never(node)


def replace(body: list[Node], old: Node, new: Sequence[Node]) -> bool:
    """Puts new nodes where a body, or a side of it, has an old one; whether it has."""
    for position, node in enumerate(body):
        if node is old:
            body[position : position + 1] = new
            return True
        if isinstance(node, BranchNode) and any(
            replace(side.body, old, new) for side in (node.then, node.orelse) if side is not None
        ):
            return True
    return False


def watched_weights(function: Function) -> dict[Value, Value]:
    """The weights that a body takes gradients for, by the values that its nodes read instead."""
    watches = (n for n in walk(function.body) if isinstance(n, OpNode) and isinstance(n.op, Watch))
    return {n.results[0]: n.operands[0] for n in watches if n.operands[0].weight is not None}


def deriving(root: Function) -> dict[int, bool]:
    """By `id`, whether root and each function below takes a gradient."""
    return reaching(root, lambda node: isinstance(node.op, Grad))
