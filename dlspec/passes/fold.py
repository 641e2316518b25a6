"""Batch norm in inference is y = s x + t for each channel: folded into the layer beside it.

After a convolution or dense layer, s (W x + b) + t = (s W) x + (s b + t); before one,
W (s x + t) + b = (W s) x + (b + W t), where no padding puts zeros between s x + t. The layer gets
a bias where it had none. A batch norm stays where the layer or the norm runs more than once, where
something else reads what lies between them, where only one side of a branch has it, or where
functions for other static arguments run on the same instances.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    LayerSlot,
    OpNode,
    Reference,
    RepeatNode,
    Value,
    Weight,
    functions_below,
    walk,
)
from dlspec.ir.types import TensorType
from dlspec.ops.conv import Conv
from dlspec.ops.conv_transpose import ConvTranspose
from dlspec.ops.initialisers import bias_default
from dlspec.ops.linalg import Linear
from dlspec.ops.norm import BatchNormInference
from dlspec.ops.rules import ONE, ZERO, product
from dlspec.passes.inference import batch_norm_of
from dlspec.passes.paths import reads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Function, Node

How = Literal["after", "after_transposed", "before"]


@dataclass(frozen=True, eq=False)
class Fold:
    """A batch norm that is part of a layer now. node: the one that is gone."""

    layer: LayerSlot
    norm: LayerSlot
    how: How
    node: Node


def fold(root: Function) -> dict[Function, list[Fold]]:
    """Folds what can be folded, in place; what was, by function, in the order of the folding."""
    below = functions_below(root)
    shared = {f.of for f in below if f.of is not None}  # other functions run on their instances
    alone = [f for f in below if f.of is None and f not in shared]
    found = {function: _Folder(function).run() for function in alone}
    return {function: folds for function, folds in found.items() if folds}


class _Folder:
    def __init__(self, function: Function) -> None:
        self.function = function
        nodes = list(walk(function.body))
        self.uses = Counter(v for node in nodes for v in _own_reads(node))
        self.uses.update(function.outputs)
        self.runs = Counter(slot for node in nodes for slot in _slots(node))
        self.runs.update(id(v.weight[0]) for v in function.outputs if v.weight is not None)
        self.found: list[Fold] = []

    def run(self) -> list[Fold]:
        self.body(self.function.body)
        return self.found

    def body(self, body: list[Node]) -> None:
        """One level: nodes on both sides of a branch's border do not meet."""
        for after in (True, False):  # to scale rows of a weight is cheaper than to sum its columns
            for node in [*body]:
                if isinstance(node, OpNode) and isinstance(node.op, BatchNormInference):
                    self.norm(body, node, after)
        for node in body:
            if isinstance(node, BranchNode):
                for side in (node.then, node.orelse):
                    if side is not None:
                        self.body(side.body)

    def norm(self, body: list[Node], node: OpNode, after: bool) -> None:
        norm = batch_norm_of(node)
        if norm is None or self.runs[id(norm)] > 1:
            return
        if after:
            other = next((n for n in body if node.operands[0] in n.results), None)
            alone = self.uses[node.operands[0]] == 1
        else:
            (y,) = node.results
            other = next((n for n in body if y in _own_reads(n)), None)
            alone = self.uses[y] == 1
        how = _how(other, node, after)
        if not alone or how is None:
            return
        assert isinstance(other, OpNode) and isinstance(other.layer, LayerSlot)
        before = any(f.layer is other.layer and (f.how != "before") is after for f in self.found)
        if self.runs[id(other.layer)] == 1 and not before:
            self.join(body, node, other, after)
            self.found.append(Fold(other.layer, norm, how, node))

    def join(self, body: list[Node], norm: OpNode, layer: OpNode, after: bool) -> None:
        slot = layer.layer
        assert isinstance(slot, LayerSlot)
        if len(layer.operands) == 2:
            layer.operands = (*layer.operands, _bias(slot, layer.op, norm))
        if after:
            layer.results = norm.results
        else:
            layer.operands = (norm.operands[0], *layer.operands[1:])
        body.remove(norm)


def _how(other: Node | None, norm: OpNode, after: bool) -> How | None:
    """How a batch norm can be folded into the node beside it, if at all."""
    if not isinstance(other, OpNode) or not isinstance(other.layer, LayerSlot):
        return None
    match other.op:
        case Linear() if norm.operands[0].type.rank == 2:  # else the channels are another axis
            return "after" if after else "before"
        case Conv() if after:
            return "after"
        case Conv() if not _pads(other.op, other.operands[1].type.shape[2:]):
            return "before"
        case ConvTranspose() if after:
            return "after_transposed"
        case _:
            return None


def _pads(op: Conv, kernel: tuple[Dim, ...]) -> bool:
    if isinstance(op.padding, str):
        return any(extent != ONE for extent in kernel)
    return any(side != ZERO for pair in op.padding for side in pair)


def _bias(slot: LayerSlot, op: object, norm: OpNode) -> Value:
    """A bias for a layer without one."""
    weight = slot.weights["weight"]
    shape, dtype = weight.type.shape, weight.type.dtype
    channels = shape[0]
    if isinstance(op, ConvTranspose):
        channels = shape[1] * op.groups
    bias = Weight(
        "bias", TensorType(dtype, (channels,)), bias_default(product(shape[1:])), True, slot.span
    )
    slot.weights["bias"] = bias
    slot.attributes["bias"] = True
    return Value(bias.type, "", norm.span, (slot, bias))


def _own_reads(node: Node) -> list[Value]:
    """What a node itself reads: of a branch, what its sides yield."""
    if isinstance(node, BranchNode):
        sides = [side for side in (node.then, node.orelse) if side is not None]
        return [v for side in sides for v in side.yields]
    return reads(node)


def _slots(node: Node) -> Iterator[int]:
    """The slots that a node uses, each once."""
    found: set[int] = {id(v.weight[0]) for v in _own_reads(node) if v.weight is not None}
    if isinstance(node, OpNode) and node.layer is not None:
        found.add(id(node.layer))
    if isinstance(node, CallNode | RepeatNode):
        for slot in (node.slot, *node.refs):
            found.add(id(slot.target if isinstance(slot, Reference) else slot))
    yield from found
