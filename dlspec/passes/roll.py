"""Equal calls, one after the other, as a repeat.

`x -> Block -> Block -> Block`, or a loop that elaboration unrolled, becomes what
`x -> repeat(3, Block)` is: a list of instances and a loop over it. Weight paths stay, since both
number their instances from the first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.graph import BranchNode, CallNode, ChildSlot, RepeatNode, functions_below, walk

if TYPE_CHECKING:
    from dlspec.ir.graph import Function, Node, Value

SHORTEST = 3  # two calls read better than a loop


def roll(root: Function) -> None:
    """Rolls the bodies of root and of all below it, in place. Sides of branches stay."""
    functions = functions_below(root)
    several = {f.of for f in functions} | {f for f in functions if f.of is not None}
    for function in functions:
        if function.kind != "train" and function not in several:  # its slots are the networks
            _roll(function)


def _roll(function: Function) -> None:
    uses = Counter(v for node in walk(function.body) for v in _operands(node))
    uses.update(function.outputs)
    slots = Counter(id(n.slot) for n in walk(function.body) if isinstance(n, CallNode))
    handed = {id(s) for n in walk(function.body) for s in getattr(n, "refs", ())}
    own = set(map(id, function.slots))

    def starts(node: Node) -> bool:
        return (
            type(node) is CallNode  # a scan is none
            and isinstance(node.slot, ChildSlot)
            and node.slot.count is None
            and node.slot.segment.index is not None
            and id(node.slot) in own - handed
            and slots[id(node.slot)] == 1
            and _keeps_types(node)
        )

    body: list[Node] = []
    run: list[CallNode] = []
    for node in function.body:
        if starts(node):
            assert isinstance(node, CallNode)
            if run and not _continues(run[-1], node, uses):
                _settle(function, run, body)
            run.append(node)
            continue
        _settle(function, run, body)
        body.append(node)
    _settle(function, run, body)
    function.body = body


def _operands(node: Node) -> tuple[Value, ...]:
    if isinstance(node, RepeatNode):
        return (*node.carried, *node.held)
    if isinstance(node, BranchNode):
        sides = [side for side in (node.then, node.orelse) if side is not None]
        return tuple(v for side in sides for v in side.yields)
    return node.operands


def _keeps_types(node: CallNode) -> bool:
    """Whether its results can be its first operands again."""
    types = [v.type for v in node.results]
    return bool(types) and types == [v.type for v in node.operands[: len(types)]]


def _continues(last: CallNode, node: CallNode, uses: Counter[Value]) -> bool:
    """Whether node is the next of equal runs: the same function on what the last one gave."""
    a, b = last.slot, node.slot
    assert isinstance(a, ChildSlot) and isinstance(b, ChildSlot)
    carried = len(last.results)
    return (
        last.function is node.function
        and a.segment.name == b.segment.name
        and (a.segment.index or 0) + 1 == b.segment.index
        and dict(a.statics) == dict(b.statics)
        and dict(a.dims) == dict(b.dims)
        and dict(last.dims) == dict(node.dims)
        and last.refs == node.refs
        and node.operands[:carried] == last.results
        and node.operands[carried:] == last.operands[carried:]
        and all(uses[v] == 1 for v in last.results)
    )


def _settle(function: Function, run: list[CallNode], body: list[Node]) -> None:
    """Ends a run: as a repeat where it is long enough."""
    if len(run) < SHORTEST:
        body += run
    else:
        first, last = run[0], run[-1]
        assert isinstance(first.slot, ChildSlot)
        count = Dim.const(len(run))
        slot = replace(first.slot, count=count)
        gone = {id(node.slot) for node in run}
        place = next(i for i, s in enumerate(function.slots) if s is first.slot)
        function.slots[place] = slot
        function.slots = [s for s in function.slots if id(s) not in gone]
        carried = len(first.results)
        body.append(
            RepeatNode(
                slot,
                first.function,
                first.dims,
                count,
                first.operands[:carried],
                first.operands[carried:],
                last.results,
                first.refs,
                span=first.span,
            )
        )
    run.clear()
