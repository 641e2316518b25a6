"""`grad(y, x)` in a finished body: x is marked where it is made, and y must depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.ir.graph import BranchNode, CallNode, OpNode, RepeatNode, Value, walk
from dlspec.ops.gradient import Grad, Watch
from dlspec.passes.paths import active, gradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.elaborate.scope import Scope
    from dlspec.ir.graph import Node


def watch(scope: Scope) -> None:
    """Puts a `Watch` behind every x of the body. Fails where y does not depend on x."""
    function = scope.function
    taken = [n for n in walk(function.body) if isinstance(n, OpNode) and isinstance(n.op, Grad)]
    for node in taken:
        _check_tensor(scope, node)
    for x in dict.fromkeys(node.operands[1] for node in taken):
        watched = Value(x.type, x.name, x.span)
        for node in walk(function.body):
            _replace(node, x, watched)
        mark = OpNode(Watch(), (x,), (watched,), span=x.span)
        if not _insert(function.body, x, mark):
            function.body.insert(0, mark)
    for node, before in gradients(function.body):
        _check(scope, node, before)


def _check_tensor(scope: Scope, node: OpNode) -> None:
    x = node.operands[1]
    if x.weight is None:
        return
    with scope.at(node.span or scope.span):
        scope.fail(
            codes.NO_GRADIENT,
            f"{called(x, 'x')} is a weight: `grad` takes gradients for tensors",
            help="`minimize` takes those for weights",
        )


def _check(scope: Scope, node: OpNode, before: Sequence[Node]) -> None:
    y, x = node.operands
    if y in active(before, [x]):
        return
    with scope.at(node.span or scope.span):
        scope.fail(
            codes.NO_GRADIENT,
            f"{called(y, 'y')} does not depend on {called(x, 'x')}: its gradient would be zero",
            help=f"compute {called(y, 'y')} from this very tensor",
        )


def called(value: Value, role: str) -> str:
    return f"`{value.name or role}`"


def _replace(node: Node, old: Value, new: Value) -> None:
    def some(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(new if v is old else v for v in values)

    match node:
        case OpNode() | CallNode():
            node.operands = some(node.operands)
        case RepeatNode():
            node.carried, node.held = some(node.carried), some(node.held)
        case BranchNode():
            for side in (node.then, node.orelse):
                if side is not None:
                    side.yields = some(side.yields)


def _insert(body: list[Node], x: Value, mark: OpNode) -> bool:
    """Puts mark behind the node that makes x; whether there was one."""
    for position, node in enumerate(body):
        if any(v is x for v in node.results):
            body.insert(position + 1, mark)
            return True
        if isinstance(node, BranchNode) and any(
            _insert(side.body, x, mark) for side in (node.then, node.orelse) if side is not None
        ):
            return True
    return False
