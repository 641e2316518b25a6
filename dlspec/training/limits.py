"""Which integers an input may hold: classes of a cross-entropy, rows of an embedding.

A value out of range would be an error, a clamp or silence, as the framework has it. So ranges are
read off the graph and data is held to them at the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dlspec.ir.dims import Dim
from dlspec.ir.graph import CallNode, Function, OpNode, RepeatNode, Value, walk


@dataclass(frozen=True)
class Limit:
    """Values in [0, below), or among `allowed` (the ignored label)."""

    below: int
    reason: str
    allowed: tuple[int, ...] = ()


def limits(function: Function) -> dict[str, Limit]:
    """The strictest limit of each integer input, by its name."""
    found: dict[str, Limit] = {}
    for value in function.inputs:
        if value.type.dtype.is_int:
            given = list(_of(value, function, function.values()))
            if given:
                found[value.name] = min(given, key=lambda limit: limit.below)
    return found


def _of(value: Value, function: Function, sizes: Mapping[str, int]) -> Iterator[Limit]:
    """What the uses of a value demand, followed into calls and through renamings of it."""
    same = {id(value)}
    for node in walk(function.body):
        match node:
            case OpNode():
                uses = [i for i, v in enumerate(node.operands) if id(v) in same]
                name = type(node.op).__name__
                for i in uses:
                    if limit := _LIMITS.get(name, _none)(node, i, sizes):
                        yield limit
                if uses and name in _RENAMES:
                    same.add(id(node.results[0]))
            case CallNode():
                inner = _inside(node.function, node.dims, sizes)
                yield from _through(node.operands, node.function, same, inner)
            case RepeatNode():
                inner = _inside(node.function, node.dims, sizes)
                yield from _through((*node.carried, *node.held), node.function, same, inner)
            case _:
                pass


def _through(
    operands: Sequence[Value], callee: Function, same: set[int], sizes: Mapping[str, int]
) -> Iterator[Limit]:
    for operand, inside in zip(operands, callee.inputs, strict=True):
        if id(operand) in same:
            yield from _of(inside, callee, sizes)


def _inside(
    callee: Function, dims: Mapping[str, Dim], sizes: Mapping[str, int]
) -> Mapping[str, int]:
    known = {name: dim.evaluate(sizes) for name, dim in dims.items() if dim.symbols <= sizes.keys()}
    return {**callee.values(), **known}


def _none(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    return None


def _classes(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    """The last axis but for images, [N, K, …]: axis 1 of the logits."""
    logits = node.operands[0].type
    if operand != 1 or logits.rank < 2:
        return None
    axis = getattr(node.op, "axis", 1 if logits.rank > 1 else 0)
    below = _size(logits.shape[axis], sizes)
    ignore = getattr(node.op, "ignore", None)
    allowed = (ignore,) if isinstance(ignore, int) else ()
    return None if below is None else Limit(below, f"the logits have {below} classes", allowed)


def _rows(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    below = _size(node.operands[0].type.shape[0], sizes)
    if operand != 1 or below is None:
        return None
    return Limit(below, f"the embedding has {below} rows")


def _size(dim: Dim, sizes: Mapping[str, int]) -> int | None:
    return dim.evaluate(sizes) if dim.symbols <= sizes.keys() else None


_LIMITS: dict[str, Callable[[OpNode, int, Mapping[str, int]], Limit | None]] = {
    "CrossEntropy": _classes,
    "Embedding": _rows,
    "Gather": _rows,
}
_RENAMES = {"Reshape", "Slice", "Transpose", "BroadcastTo", "Cast"}
