"""`grad(y, x)` in a finished body: x is marked where it is made, and y must depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.ir.graph import BranchNode, CallNode, OpNode, RepeatNode, Value, walk
from dlspec.ops.gradient import Grad, Watch
from dlspec.passes.paths import active, gradients, path, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.elaborate.scope import Scope
    from dlspec.ir.graph import Node


def watch(scope: Scope) -> None:
    """Puts a `Watch` behind every x of the body. Fails where y does not depend on x."""
    function = scope.function
    taken = [n for n in walk(function.body) if isinstance(n, OpNode) and isinstance(n.op, Grad)]
    for node in taken:
        for x in node.operands[1:]:
            _check_weight(scope, node, x)
    for x in dict.fromkeys(x for node in taken for x in node.operands[1:]):
        watched = Value(x.type, x.name, x.span)
        for node in walk(function.body):
            _replace(node, x, watched)
        mark = OpNode(Watch(), (x,), (watched,), span=x.span)
        if not _insert(function.body, x, mark):
            function.body.insert(0, mark)
    for node, before in gradients(function.body):
        _check(scope, node, before)
        _check_between(scope, node, before)
        replace(function.body, node, _apart(node, before))


def _check_weight(scope: Scope, node: OpNode, x: Value) -> None:
    """A weight is read where the body reads it: not in a block that it was handed to."""
    if x.weight is None:
        return
    slot, weight = x.weight
    with scope.at(node.span or scope.span):
        if not weight.trainable:
            help = "take the gradient for what is computed from it"
            scope.fail(codes.NO_GRADIENT, f"{called(x, 'x')} is a buffer", help=help)
        calls = (n for n in walk(scope.function.body) if isinstance(n, CallNode | RepeatNode))
        if any(ref is slot for call in calls for ref in (call.slot, *call.refs)):
            scope.fail(
                codes.NOT_SUPPORTED,
                f"a gradient for {called(x, 'x')}, which a block that it was handed to reads too",
                help="apply its layer in this body only, or hand the block the tensor",
            )


def _check(scope: Scope, node: OpNode, before: Sequence[Node]) -> None:
    y, *xs = node.operands
    for x in xs:
        if y in active(before, [x]):
            continue
        with scope.at(node.span or scope.span):
            scope.fail(
                codes.NO_GRADIENT,
                f"{called(y, 'y')} does not depend on {called(x, 'x')}: its gradient would be zero",
                help=f"compute {called(y, 'y')} from this very tensor",
            )


def _check_between(scope: Scope, node: OpNode, before: Sequence[Node]) -> None:
    """A gradient from y to x is no function of what lies between them."""
    y, *xs = node.operands
    for other, _ in gradients(path(before, xs, y)):
        inner, *starts = other.operands
        for x in xs:
            if x in starts or x not in active(before, starts) or inner not in active(before, [x]):
                continue
            with scope.at(node.span or scope.span):
                scope.fail(
                    codes.NO_GRADIENT,
                    f"the gradient of {called(inner, 'y')} is no function of {called(x, 'x')}, "
                    f"which lies between {called(inner, 'y')} and {called(starts[0], 'x')}",
                    help=f"take it for {called(starts[0], 'x')}, or for a tensor that "
                    f"{called(starts[0], 'x')} is computed from",
                )


def _apart(node: OpNode, before: Sequence[Node]) -> list[Node]:
    """The gradient as one op for all x of which none is computed from another."""
    y = node.operands[0]
    groups: list[list[tuple[Value, Value]]] = []
    for x, result in zip(node.operands[1:], node.results, strict=True):
        above = active(before, [x])
        for group in groups:
            if not any(other in above or x in active(before, [other]) for other, _ in group):
                group.append((x, result))
                break
        else:
            groups.append([(x, result)])
    return [
        OpNode(node.op, (y, *(x for x, _ in g)), tuple(r for _, r in g), span=node.span)
        for g in groups
    ]


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
