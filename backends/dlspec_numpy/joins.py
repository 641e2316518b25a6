"""Ops whose backward would compute again what the forward had: it is kept instead.

A join turns the forward's op into one with a second result, which the backward then reads: the
gradient for the logits, the derivative of an activation, the weights of attention.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlspec.ir.backward import reads
from dlspec.ir.graph import OpNode, Value
from dlspec.ir.types import TensorType
from dlspec.ops.activations import Gelu, GeluGrad
from dlspec.ops.attention import Attention, AttentionGrad
from dlspec.ops.elementwise import Mul
from dlspec.ops.loss import CrossEntropy, CrossEntropyGrad
from dlspec_numpy.ops import (
    AttentionGradOfWeights,
    AttentionWithWeights,
    CrossEntropyWithGradient,
    GeluWithSlope,
)
from dlspec_numpy.table import has_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from dlspec.ir.backward import Backward, BackwardNode
    from dlspec.ir.graph import Function
    from dlspec.ops.base import Op


@dataclass(frozen=True)
class Join:
    """gradient: the op of the backward, whose first operands are the forward's. joined: the op
    with the second result; kept: that result's type; rewritten: the gradient that reads it."""

    gradient: type[Op]
    joined: Callable[[OpNode], Op]
    kept: Callable[[OpNode], TensorType]
    rewritten: Callable[[OpNode, Value], OpNode]


def _times(grad: OpNode, kept: Value) -> OpNode:
    """kept is the derivative: the gradient is its product with what comes from above."""
    return replace(grad, op=Mul(), operands=(kept, grad.operands[-1]))


def _of_input(node: OpNode) -> TensorType:
    return node.operands[0].type


def _of_weights(node: OpNode) -> TensorType:
    q, k, _ = (v.type for v in node.operands)
    return TensorType(q.dtype, (*q.shape[:-1], k.shape[-2]))


def _gelu(node: OpNode) -> Op:
    assert isinstance(node.op, Gelu)
    return GeluWithSlope(node.op.approximate)


def _attention(node: OpNode) -> Op:
    assert isinstance(node.op, Attention)
    return AttentionWithWeights(node.op)


def _attention_grad(grad: OpNode, kept: Value) -> OpNode:
    assert isinstance(grad.op, AttentionGrad)
    *inputs, dy = grad.operands
    return replace(grad, op=AttentionGradOfWeights(grad.op), operands=(*inputs, kept, dy))


JOINS: dict[type[Op], Join] = {
    CrossEntropy: Join(CrossEntropyGrad, lambda _: CrossEntropyWithGradient(), _of_input, _times),
    Gelu: Join(GeluGrad, _gelu, _of_input, _times),
    Attention: Join(AttentionGrad, _attention, _of_weights, _attention_grad),
}


@dataclass(frozen=True)
class Joined:
    """nodes: by the id of a forward's node, the same with what the backward reads."""

    nodes: dict[int, OpNode]
    backward: Backward


def join(function: Function, backward: Backward) -> Joined:
    """The ops of a body that have a join, where the backward has their gradient once."""
    body: list[BackwardNode] = list(backward.body)
    gradients: dict[tuple[type[Op], tuple[Value, ...]], list[int]] = {}
    wanted = {j.gradient for j in JOINS.values()}
    for at, node in enumerate(body):
        if isinstance(node, OpNode) and type(node.op) in wanted and has_row(node.op):
            gradients.setdefault((type(node.op), node.operands[:-1]), []).append(at)
    times = Counter((type(n.op), n.operands) for n in function.body if isinstance(n, OpNode))
    found: dict[int, OpNode] = {}
    kept: list[Value] = []
    for node in function.body if gradients else ():
        if not isinstance(node, OpNode) or type(node.op) not in JOINS or not has_row(node.op):
            continue
        rule = JOINS[type(node.op)]
        places = gradients.get((rule.gradient, node.operands), [])
        if len(places) != 1 or times[type(node.op), node.operands] != 1:
            continue
        grad = body[places[0]]
        assert isinstance(grad, OpNode)
        extra = Value(rule.kept(node))
        kept.append(extra)
        results = (*node.results, extra)
        found[id(node)] = replace(node, op=rule.joined(node), results=results)
        body[places[0]] = rule.rewritten(grad, extra)
    if not found:
        return Joined({}, backward)
    read = {v for n in body for v in reads(n)} | {v for _, v in backward.grads}
    saved = (*(v for v in backward.saved if v in read), *kept)
    return Joined(found, replace(backward, body=body, saved=saved))
