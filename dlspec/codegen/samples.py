"""Random inputs that a file's `__main__` can run on: sizes that satisfy the model's requirements,
integers that stay inside the tables they index."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as combinations
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.facts import Facts, Truth
from dlspec.ir.graph import CallNode, ChildSlot, OpNode, Reference, RepeatNode, walk
from dlspec.ops.indexing import Embedding, OneHot, Take
from dlspec.ops.loss import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dlspec.ir.graph import Function, Training, Value
    from dlspec.ir.types import DType

BATCH = 8
SIZES = (32, 28, 64, 16, 224, 100, 8, 4, 3, 2, 1)


@dataclass(frozen=True)
class Sample:
    """One input. high: integers are below it; None where nothing bounds them."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    high: int | None


def sample_inputs(function: Function) -> list[Sample]:
    sizes = sample_sizes(function)
    bounds = dict(_bounds(function, {}, set()))
    samples: list[Sample] = []
    for value in function.inputs:
        shape = tuple(d.evaluate(sizes) for d in value.type.shape)
        bound = bounds.get(value)
        high = bound.evaluate(sizes) if bound is not None and bound.symbols <= set(sizes) else None
        samples.append(Sample(value.name or "x", value.type.dtype, shape, high))
    return samples


def sample_sizes(function: Function) -> dict[str, int]:
    """A value for every dim of the inputs: the first of SIZES that satisfies all requirements."""
    known = function.values()
    free = [
        symbol
        for symbol in dict.fromkeys(
            s for v in function.inputs for d in v.type.shape for s in sorted(d.symbols)
        )
        if symbol not in known
    ]
    first = function.inputs[0].type.shape if function.inputs else ()
    batch = {s for s in (first[0].symbols if first else ()) if s in free}
    others = [s for s in free if s not in batch]
    base = {**known, **dict.fromkeys(batch, BATCH)}
    for size in SIZES:
        found = {**base, **dict.fromkeys(others, size)}
        if _satisfied(function, found):
            return found
    for sizes in combinations(SIZES[:6], repeat=min(len(others), 4)):
        found = {**base, **dict.fromkeys(others, 32), **dict(zip(others, sizes, strict=False))}
        if _satisfied(function, found):
            return found
    return {**base, **dict.fromkeys(others, SIZES[0])}


def _satisfied(function: Function, sizes: Mapping[str, int]) -> bool:
    facts = Facts()
    return all(
        facts.decide(r.relation.substitute(sizes)) is Truth.PROVED for r in function.requirements
    )


def _bounds(
    function: Function, dims: Mapping[str, Dim], busy: set[int]
) -> Iterator[tuple[Value, Dim]]:
    """Integer values with the extent that they index, in the terms of the outermost caller."""
    if id(function) in busy:
        return
    busy = busy | {id(function)}
    known = function.values()

    def seen(dim: Dim) -> Dim:
        return dim.substitute({**known, **dims})

    for node in walk(function.body):
        match node:
            case OpNode(op=CrossEntropy() as op):
                yield node.operands[1], seen(node.operands[0].type.shape[op.axis])
            case OpNode(op=Embedding()):
                yield node.operands[0], seen(node.operands[1].type.shape[0])
            case OpNode(op=Take() as op):
                yield node.operands[1], seen(node.operands[0].type.shape[op.axis])
            case OpNode(op=OneHot() as op):
                yield node.operands[0], seen(op.classes)
            case CallNode():
                inner = {name: seen(dim) for name, dim in node.dims.items()}
                inner |= _static_dims(node, seen)
                found = dict(_bounds(node.function, inner, busy))
                for operand, value in zip(node.operands, node.function.inputs, strict=True):
                    if value in found:
                        yield operand, found[value]
            case RepeatNode():
                inner = {name: seen(dim) for name, dim in node.dims.items()}
                found = dict(_bounds(node.function, inner, busy))
                operands = (*node.carried, *node.held)
                for operand, value in zip(operands, node.function.inputs, strict=True):
                    if value in found:
                        yield operand, found[value]
            case _:
                continue


def _static_dims(node: CallNode, seen: Callable[[Dim], Dim]) -> dict[str, Dim]:
    """The callee's int parameters, in the terms of the outermost caller."""
    slot = node.slot.target if isinstance(node.slot, Reference) else node.slot
    if not isinstance(slot, ChildSlot):
        return {}
    return {name: seen(value) for name, value in slot.statics.items() if isinstance(value, Dim)}


def only_numbers(training: Training) -> str:
    """The end of a comprehension over metrics that keeps those that are one number."""
    return "" if training.scalars_only else " if not value.ndim"
