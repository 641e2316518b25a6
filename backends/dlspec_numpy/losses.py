"""A loss and its gradient for the logits in one pass: the backward needs the forward's softmax."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlspec.ir.backward import reads
from dlspec.ir.graph import OpNode, Value
from dlspec.ops.elementwise import Mul
from dlspec.ops.loss import CrossEntropy, CrossEntropyGrad
from dlspec_numpy.table import CrossEntropyWithGradient, has_row

if TYPE_CHECKING:
    from dlspec.ir.backward import Backward, BackwardNode
    from dlspec.ir.graph import Function


@dataclass(frozen=True)
class Joined:
    """losses: by the id of a forward's loss node, the same with its gradient as second result."""

    losses: dict[int, OpNode]
    backward: Backward


def join_losses(function: Function, backward: Backward) -> Joined:
    """The usual cross-entropies of a body, where the backward has the gradient once."""
    gradients = [n for n in backward.body if isinstance(n, OpNode) and _is_usual(n)]
    times = Counter(n.operands[:2] for n in gradients)
    losses: dict[int, OpNode] = {}
    body: list[BackwardNode] = list(backward.body)
    made: list[Value] = []
    for node in function.body:
        if not (isinstance(node, OpNode) and isinstance(node.op, CrossEntropy)):
            continue
        if not has_row(node.op) or times[node.operands] != 1:
            continue
        grad = next(n for n in gradients if n.operands[:2] == node.operands)
        if grad not in body:
            continue
        unit = Value(node.operands[0].type)
        made.append(unit)
        op = CrossEntropyWithGradient()
        losses[id(node)] = replace(node, op=op, results=(*node.results, unit))
        product = replace(grad, op=Mul(), operands=(unit, grad.operands[2]))
        body[body.index(grad)] = product
    if not losses:
        return Joined({}, backward)
    read = {v for n in body for v in reads(n)} | {v for _, v in backward.grads}
    saved = (*(v for v in backward.saved if v in read), *made)
    return Joined(losses, replace(backward, body=body, saved=saved))


def _is_usual(node: OpNode) -> bool:
    return isinstance(node.op, CrossEntropyGrad) and has_row(node.op)
