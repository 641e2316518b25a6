"""Which integers an input may hold: classes of a cross-entropy, rows of an embedding.

A value out of range would be an error, a clamp or silence, as the framework has it. So ranges are
read off the graph and data is held to them at the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dlspec.ir.dims import Dim
from dlspec.ir.graph import CallNode, Function, OpNode, RepeatNode, Value, walk
from dlspec.ops.base import Op
from dlspec.ops.elementwise import Cast, Constant, NotEqual, Where
from dlspec.ops.indexing import Embedding, OneHot, ScatterAdd, Take, TakeAlong
from dlspec.ops.loss import ClassLoss, CrossEntropy
from dlspec.ops.shape import Movement


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
    """What the uses of a value demand, followed into calls, through reshapes and slices."""
    same: dict[int, tuple[int, ...]] = {id(value): ()}  # what it is, and what was put elsewhere
    makers: dict[int, OpNode] = {}
    for node in walk(function.body):
        match node:
            case OpNode():
                makers.update((id(result), node) for result in node.results)
                uses = [i for i, v in enumerate(node.operands) if id(v) in same]
                rule = _LIMITS.get(type(node.op))
                for i in uses if rule else ():
                    limit = rule(node, i, sizes) if rule else None
                    spared = same[id(node.operands[i])]
                    if limit:
                        yield replace(limit, allowed=limit.allowed + spared)
                if uses and isinstance(node.op, Movement | Cast):
                    same[id(node.results[0])] = same[id(node.operands[uses[0]])]
                elif uses == [1] and isinstance(node.op, Where):
                    spared = _spared(node.operands[0], makers)
                    if spared is not None:
                        same[id(node.results[0])] = same[id(node.operands[1])] + spared
            case CallNode():
                inner = _inside(node.function, node.dims, sizes)
                yield from _through(node.operands, node.function, same, inner)
            case RepeatNode():
                inner = _inside(node.function, node.dims, sizes)
                yield from _through((*node.carried, *node.held), node.function, same, inner)
            case _:
                pass


def _spared(condition: Value, makers: Mapping[int, OpNode]) -> tuple[int, ...] | None:
    """The numbers at which a condition `label != number` is false; None where it may be false at
    any."""
    node = makers.get(id(condition))
    if node is None or not isinstance(node.op, NotEqual):
        return None
    other = makers.get(id(node.operands[1]))
    op = other.op if other else None
    value = op.value if isinstance(op, Constant) else None
    if isinstance(value, Dim):
        return (value.value,) if value.is_const else None
    return (value,) if isinstance(value, int) else None


def _through(
    operands: Sequence[Value], callee: Function, same: Collection[int], sizes: Mapping[str, int]
) -> Iterator[Limit]:
    for operand, inside in zip(operands, callee.inputs, strict=True):
        if id(operand) in same:
            yield from _of(inside, callee, sizes)


def _inside(
    callee: Function, dims: Mapping[str, Dim], sizes: Mapping[str, int]
) -> Mapping[str, int]:
    known = {name: dim.evaluate(sizes) for name, dim in dims.items() if dim.symbols <= sizes.keys()}
    return {**callee.values(), **known}


def _classes(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    op = node.op
    assert isinstance(op, ClassLoss)
    if operand != 1:
        return None
    below = _size(node.operands[0].type.shape[op.axis], sizes)
    ignored = op.ignore
    allowed = (ignored.value,) if ignored is not None and ignored.is_const else ()
    return None if below is None else Limit(below, f"the logits have {below} classes", allowed)


def _rows(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    below = _size(node.operands[1].type.shape[0], sizes)
    if operand != 0 or below is None:
        return None
    return Limit(below, f"the embedding has {below} rows")


def _taken(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    assert isinstance(node.op, Take | TakeAlong)
    below = _size(node.operands[0].type.shape[node.op.axis], sizes)
    if operand != 1 or below is None:
        return None
    return Limit(below, f"it picks from {below}")


def _added(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    assert isinstance(node.op, ScatterAdd)
    below = _size(node.op.size, sizes)
    return None if below is None or operand else Limit(below, f"it counts {below}")


def _one_hot(node: OpNode, operand: int, sizes: Mapping[str, int]) -> Limit | None:
    assert isinstance(node.op, OneHot)
    below = _size(node.op.classes, sizes)
    return None if below is None else Limit(below, f"one_hot has {below} classes")


def _size(dim: Dim, sizes: Mapping[str, int]) -> int | None:
    return dim.evaluate(sizes) if dim.symbols <= sizes.keys() else None


_LIMITS: dict[type[Op], Callable[[OpNode, int, Mapping[str, int]], Limit | None]] = {
    CrossEntropy: _classes,
    Embedding: _rows,
    Take: _taken,
    TakeAlong: _taken,
    OneHot: _one_hot,
    ScatterAdd: _added,
}
