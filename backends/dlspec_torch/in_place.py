"""Where a file for inference may write a result over its operand: fresh memory costs a page fault
every 4 KiB, a seventh of ResNet-50's time on a CPU.

An operand may be overwritten where it is memory of its own (no input, weight or view of either)
that only this node reads.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dlspec.codegen import deriving
from dlspec.ir.graph import BranchNode, CallNode, OpNode, functions_below, walk
from dlspec.ops import activations as act
from dlspec.ops import elementwise as el
from dlspec.ops.conv import Conv
from dlspec.ops.conv_transpose import ConvTranspose
from dlspec.ops.linalg import Linear, MatMul
from dlspec.ops.norm import BatchNormInference
from dlspec.ops.pool import AvgPool, MaxPool
from dlspec_torch.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dlspec.codegen import Table
    from dlspec.ir.graph import Function, Node, Value
    from dlspec.ops.base import Op

# Functions of torch.nn.functional that take `inplace`.
ACTIVATIONS: tuple[type[Op], ...] = (
    *(act.Relu, act.Relu6, act.HardTanh, act.Elu, act.Selu, act.LeakyRelu),
    *(act.Silu, act.HardSwish, act.Mish),
)
OVERWRITES: tuple[type[Op], ...] = (*ACTIVATIONS, el.Add)
MAKES: tuple[type[Op], ...] = (
    *(Conv, ConvTranspose, Linear, MatMul, BatchNormInference, AvgPool, MaxPool),
    *(*OVERWRITES, el.Sub, el.Mul, act.Sigmoid, act.Tanh, act.Gelu),
)


def in_place(root: Function, table: Table) -> frozenset[int]:
    """The ids of nodes below root that may write over their first operand. None where a gradient
    is taken: it wants the values as they were. Of an op with a row of another backend's nothing
    is known."""
    if deriving(root)[id(root)]:
        return frozenset()
    returned: dict[Function, frozenset[int]] = {}
    found: list[int] = []
    makes = tuple(op for op in MAKES if table.get(op) is TABLE.get(op))
    for function in functions_below(root):  # callees first; a recursive call is not known yet
        uses = _uses(function)
        fresh: set[Value] = set()
        _overwritten(function.body, uses, fresh, returned, makes, found)
        own = [v in fresh and uses[v] == 1 for v in function.outputs]
        returned[function] = frozenset(i for i, mine in enumerate(own) if mine)
    return frozenset(found)


def _overwritten(
    body: Sequence[Node],
    uses: Counter[Value],
    fresh: set[Value],
    returned: dict[Function, frozenset[int]],
    makes: tuple[type[Op], ...],
    found: list[int],
) -> None:
    """fresh: gains the values of this level that are memory of their own."""
    for node in body:
        match node:
            case OpNode(op=op) if isinstance(op, makes) and node.results[0].type.rank:
                first = node.operands[0]
                same = first.type == node.results[0].type
                if isinstance(op, OVERWRITES) and first in fresh and uses[first] == 1 and same:
                    found.append(id(node))
                fresh.update(node.results[:1])
            case CallNode() if type(node) is CallNode:
                mine = returned.get(node.function, frozenset())
                fresh.update(v for i, v in enumerate(node.results) if i in mine)
            case BranchNode():
                for side in (node.then, node.orelse):
                    if side is not None:
                        _overwritten(side.body, uses, set(), returned, makes, found)
            case _:
                pass


def _uses(function: Function) -> Counter[Value]:
    uses: Counter[Value] = Counter(function.outputs)
    for node in walk(function.body):
        uses.update(_read(node))
    return uses


def _read(node: Node) -> Iterable[Value]:
    match node:
        case OpNode() | CallNode():
            return node.operands
        case BranchNode():
            sides = [side for side in (node.then, node.orelse) if side is not None]
            return [v for side in sides for v in side.yields]
        case _:
            return (*node.carried, *node.held)
