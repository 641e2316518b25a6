"""Calls of a list's members, one after the other: `for stage in self.stage: x = stage(x)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from dlspec.ir.dims import Dim
from dlspec.ir.graph import CallNode, ChildSlot, Node, RepeatNode, ScanNode

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from dlspec.ir.graph import Value

Link: TypeAlias = CallNode | RepeatNode
SHORTEST = 4  # three calls are read as one expression


def link(node: Node, members: Container[int]) -> ChildSlot | None:
    """The slot of a call of list members, whose one result can be the next one's operand."""
    if isinstance(node, ScanNode) or not isinstance(node, CallNode | RepeatNode):
        return None
    slot = node.slot
    if not isinstance(slot, ChildSlot) or id(slot) not in members:
        return None
    if isinstance(node, RepeatNode) and (slot.count is None or node.held):
        return None
    return slot if len(operands(node)) == len(node.results) == 1 else None


def operands(node: Link) -> tuple[Value, ...]:
    return node.carried if isinstance(node, RepeatNode) else node.operands


def length(node: Link) -> Dim:
    return node.count if isinstance(node, RepeatNode) else Dim.const(1)


def chain(
    nodes: Sequence[Node],
    start: int,
    members: Container[int],
    once: Callable[[Value], bool],
    alike: Callable[[Link, Link], bool],
) -> list[Link]:
    """The longest row of neighbours from a node on; empty where it is no loop worth writing.

    members: ids of the slots in lists; once: whether a value is read once; alike: whether two calls
    take the same further arguments.
    """
    found: list[Link] = []
    for node in nodes[start:]:
        slot = link(node, members)
        if slot is None or not isinstance(node, CallNode | RepeatNode):
            break
        if found:
            last = found[-1]
            before = link(last, members)
            if before is None or before.segment.name != slot.segment.name:
                break
            end = length(last) + (before.segment.index or 0)
            if end != Dim.const(slot.segment.index or 0) or operands(node) != last.results:
                break
            if not once(last.results[0]) or not alike(last, node):
                break
        found.append(node)
    stacks = any(isinstance(node, RepeatNode) for node in found)
    return found if len(found) >= (2 if stacks else SHORTEST) else []
