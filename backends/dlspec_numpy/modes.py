"""A function's body in one mode: branches on `training` decided, modal ops in their form there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dlspec.ir.backward import training_side
from dlspec.ir.graph import BranchNode, CallNode, Function, OpNode, RepeatNode, Side
from dlspec.ir.static import ParamRef
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.composite import Composite
from dlspec.ops.gradient import Watch
from dlspec_numpy.table import has_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.backward import BackwardNode
    from dlspec.ir.graph import Node, Value


@dataclass
class ModeBody:
    """nodes and outputs, with `same`: which value stands for one that has no node here.

    taken: nodes that need no statement. origin: the node that one made here belongs to.
    """

    nodes: list[Node] = field(default_factory=list["Node"])
    outputs: tuple[Value, ...] = ()
    same: dict[Value, Value] = field(default_factory=dict["Value", "Value"])
    taken: list[Node] = field(default_factory=list["Node"])
    origin: dict[Any, Node] = field(default_factory=dict["Any", "Node"])
    joined: Mapping[int, OpNode] = field(default_factory=dict["int", "OpNode"])

    def resolve(self, value: Value) -> Value:
        return self.same.get(value, value)

    def all(self, values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(map(self.resolve, values))

    def copy(self, node: Node, **changes: object) -> Node:
        """node with other values, remembered as its own."""
        new = replace(node, **changes)  # type: ignore[arg-type]
        self.origin[new] = node
        return new


def body_in_mode(
    function: Function, training: bool, joined: Mapping[int, OpNode] | None = None
) -> ModeBody:
    """joined: by the id of a node, what stands for it in training."""
    body = ModeBody()
    if joined is not None and training:
        body.joined = joined
    scratch = Function(function.name, function.kind, symbols=function.symbols)
    body.nodes = _nodes(function.body, training, body, scratch)
    body.outputs = body.all(function.outputs)
    return body


def _nodes(nodes: list[Node], training: bool, body: ModeBody, scratch: Function) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        match node:
            case OpNode():
                _op(node, training, body, scratch, found)
            case CallNode():
                found.append(body.copy(node, operands=body.all(node.operands)))
            case RepeatNode():
                carried, held = body.all(node.carried), body.all(node.held)
                found.append(body.copy(node, carried=carried, held=held))
            case BranchNode():
                side = _side(node, training)
                if side is None:
                    found.append(_branch(node, training, body, scratch))
                    continue
                body.taken.append(node)
                found += _nodes(side.body, training, body, scratch)
                body.same.update(zip(node.results, body.all(side.yields), strict=True))
    return found


def _op(node: OpNode, training: bool, body: ModeBody, scratch: Function, found: list[Node]) -> None:
    operands = body.all(node.operands)
    start = len(found)
    if node.op.modal and not training:
        values = node.op.inference(FunctionBuilder(scratch, body=found), operands)
    elif isinstance(node.op, Composite) and not has_row(node.op):
        values = node.op.expand(FunctionBuilder(scratch, body=found), operands)
    elif isinstance(node.op, Watch):
        values = operands
        body.taken.append(node)
    else:
        updates = node.updates if training else ()
        made = body.joined.get(id(node), node)
        again = OpNode(made.op, operands, made.results, node.layer, updates, node.span)
        found.append(again)
        body.origin[again] = node
        return
    for result, value in zip(node.results, values, strict=True):
        if value is not None:
            body.same[result] = value
            if not value.name and value not in operands:
                value.name = result.name
    body.origin.update((new, node) for new in found[start:])


def expanded(function: Function, nodes: list[BackwardNode], body: ModeBody) -> list[BackwardNode]:
    """Backward nodes with composite ops written out where the table has no row for them."""
    scratch = Function(function.name, function.kind, symbols=function.symbols)
    found: list[Any] = []
    for node in nodes:
        if isinstance(node, OpNode):
            _op(node, True, body, scratch, found)
        else:
            found.append(node)
    return found


def _side(node: BranchNode, training: bool) -> Side | None:
    """The side that this mode surely takes."""
    if not training and node.condition == ParamRef("training"):
        return node.orelse
    return training_side(node)


def _branch(node: BranchNode, training: bool, body: ModeBody, scratch: Function) -> BranchNode:
    sides: list[Side | None] = []
    for side in (node.then, node.orelse):
        if side is None:
            sides.append(None)
            continue
        inner = _nodes(side.body, training, body, scratch)
        sides.append(Side(inner, body.all(side.yields), side.slots))
    new = body.copy(node, then=sides[0], orelse=sides[1])
    assert isinstance(new, BranchNode)
    return new
