"""Random arrays that fit the inputs of a function, as text for the `__main__` of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.graph import BranchNode, CallNode, OpNode, RepeatNode, walk
from dlspec.ops.indexing import Embedding, OneHot
from dlspec.ops.loss import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Function, Value

BATCH, EXTENT, BOUND = 8, 32, 2


def arrays(function: Function) -> list[str]:
    """`rng.standard_normal((8, 1, 28, 28))` for each input."""
    values = _sizes(function)
    return [_array(function, value, values) for value in function.inputs]


def _sizes(function: Function) -> dict[str, int]:
    """A number for every symbol: what is known, a small batch, 32 for other extents."""
    sizes = dict(function.values())
    for value in function.inputs:
        for axis, dim in enumerate(value.type.shape):
            for symbol in sorted(dim.symbols):
                sizes.setdefault(symbol, EXTENT if axis else BATCH)
    return sizes


def _array(function: Function, value: Value, sizes: Mapping[str, int]) -> str:
    shape = tuple(dim.evaluate(sizes) for dim in value.type.shape)
    dtype = value.type.dtype
    if dtype.is_float:
        return f"rng.standard_normal({shape})"
    if not dtype.is_int:
        return f"rng.random({shape}) < 0.5"
    bounds = [b.evaluate(sizes) for b in _bounds(function, value) if b.symbols <= sizes.keys()]
    return f"rng.integers({min(bounds, default=BOUND)}, size={shape})"


def _bounds(function: Function, value: Value) -> Iterator[Dim]:
    """Extents that value is an index into, as far as calls tell them in function's terms."""
    for node in walk(function.body):
        match node:
            case OpNode(op=CrossEntropy(axis=axis)) if node.operands[1] is value:
                yield node.operands[0].type.shape[axis]
            case OpNode(op=Embedding()) if node.operands[0] is value:
                yield node.operands[1].type.shape[0]
            case OpNode(op=OneHot(classes=classes)) if node.operands[0] is value:
                yield classes
            case CallNode():
                known = {**node.function.values(), **node.dims}
                for position, operand in enumerate(node.operands):
                    if operand is value:
                        inner = node.function.inputs[position]
                        yield from (b.substitute(known) for b in _bounds(node.function, inner))
            case OpNode() | RepeatNode() | BranchNode():
                pass
