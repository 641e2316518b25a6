"""Ops that are defined by other ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.ops.base import Op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.ir.dims import Dim
    from dlspec.ir.facts import Relation, Truth
    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder


@dataclass(frozen=True)
class Composite(Op):
    """An op that `expand` writes in other ops. Its gradient is that of the expansion, unless it
    has a better rule of its own."""

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        """The same results by other ops."""
        raise NotImplementedError

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        tape = Tape(b)
        outputs = self.expand(tape, operands)
        found = tape.pullback(outputs, grads, operands)
        # of a value that stands at several places, the first has the whole gradient
        first = {value: i for i, value in reversed(list(enumerate(operands)))}
        return [
            g if first[v] == i else None
            for i, (v, g) in enumerate(zip(operands, found, strict=True))
        ]


class Tape:
    """A builder that remembers what it emits, so that it can be differentiated on the spot."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.steps: list[tuple[Op, tuple[Value, ...], tuple[Value, ...]]] = []

    def emit(self, op: Op, *operands: Value) -> Value:
        (result,) = self.emit_all(op, *operands)
        return result

    def emit_all(self, op: Op, *operands: Value) -> tuple[Value, ...]:
        results = self.b.emit_all(op, *operands)
        self.steps.append((op, operands, results))
        return results

    def constant(self, value: float, like: Value | None = None) -> Value:
        return self.b.constant(value, like)

    def decide(self, relation: Relation) -> Truth:
        return self.b.decide(relation)

    def pullback(
        self, outputs: Sequence[Value], grads: Sequence[Value | None], inputs: Sequence[Value]
    ) -> list[Value | None]:
        """Reverse mode over the steps: the inputs' gradients from the outputs'."""
        from dlspec.ops.elementwise import Add

        total: dict[int, Value] = {}

        def add(value: Value, g: Value | None) -> None:
            if g is not None and value.type.dtype.is_float:
                old = total.get(id(value))
                total[id(value)] = g if old is None else self.b.emit(Add(), old, g)

        reached = {id(value) for value in inputs}
        for _, operands, results in self.steps:
            if any(id(v) in reached for v in operands):
                reached.update(id(v) for v in results)
        for value, g in zip(outputs, grads, strict=True):
            add(value, g)
        for op, operands, results in reversed(self.steps):
            gs = [total.get(id(v)) for v in results]
            if all(g is None for g in gs) or not any(id(v) in reached for v in operands):
                continue
            found = op.gradient(self.b, operands, results, gs)
            for value, g in zip(operands, found, strict=True):
                if id(value) in reached:
                    add(value, g)
        return [total.get(id(value)) for value in inputs]


def count(operations: int, extent: Dim) -> Dim:
    """So many operations an element."""
    return operations * extent
