"""What a model is made of: output shapes, parameters and operations, layer by layer.

Operations count one inference pass, for a batch of one where the inputs share an open leading
size. Each function is counted once for each set of sizes that it runs with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.graph import ChildSlot, OpNode, Reference, RepeatNode, ScanNode, Segment, all_slots
from dlspec.ops.elementwise import Constant
from dlspec.outline import (
    batch_symbol,
    call_env,
    entry_env,
    outline,
    slot_env,
    types_in,
    weights_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.ir.graph import CallNode, Function, Slot
    from dlspec.ir.types import TensorType
    from dlspec.outline import Env, Step

ZERO = Dim.const(0)
ONE = Dim.const(1)


@dataclass(frozen=True, slots=True)
class Counts:
    """params: trainable elements; buffers: elements of buffers."""

    params: Dim = ZERO
    buffers: Dim = ZERO
    macs: Dim = ZERO
    flops: Dim = ZERO

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.params + other.params,
            self.buffers + other.buffers,
            self.macs + other.macs,
            self.flops + other.flops,
        )

    def times(self, instances: Dim, runs: Dim) -> Counts:
        return Counts(
            self.params * instances, self.buffers * instances, self.macs * runs, self.flops * runs
        )


@dataclass(frozen=True, eq=False)
class Row:
    """One step of a function. segment: its part of the path; output: types, first to last.

    bodies: what is inside, one body a run, the last one for all further runs; runs: how many, None
    for a single call; each: every run has weights of its own. shared: the weights are counted
    elsewhere.
    """

    segment: str
    op: str
    output: tuple[TensorType, ...]
    counts: Counts
    bodies: tuple[Body, ...] = ()
    runs: Dim | None = None
    slot: Segment | None = None
    each: bool = False
    shared: bool = False
    step: Step | None = None  # none: weights that only others use

    @property
    def named(self) -> bool:
        """Whether the segment is that of a slot."""
        return self.step is None or self.step.slot is not None

    @property
    def label(self) -> str:
        return f"{self.op} (shared)" if self.shared else self.op


@dataclass(frozen=True, eq=False)
class Body:
    """The rows of one function for one set of sizes, which `env` gives in the model's terms."""

    function: Function
    env: Env
    rows: tuple[Row, ...]
    counts: Counts


@dataclass(frozen=True)
class Layer:
    """A row of `Summary.layers`. macs: for a batch of one."""

    path: str
    op: str
    output: tuple[TensorType, ...]
    params: int | str
    macs: Dim


@dataclass(eq=False)
class Counter:
    """Bodies by function, sizes, and whether the run owns its weights."""

    bodies: dict[object, Body] = field(default_factory=dict[object, Body])
    weights: dict[object, Counts] = field(default_factory=dict[object, Counts])

    def body(self, function: Function, env: Env, owned: bool) -> Body:
        key = (function, frozenset(env.items()), owned)
        found = self.bodies.get(key)
        if found is None:
            found = self.bodies[key] = self._count(function, env, owned)
        return found

    def instance(self, function: Function, env: Env) -> Counts:
        """The weights of an instance with all below it."""
        key = (function, frozenset(env.items()))
        found = self.weights.get(key)
        if found is None:
            found = Counts()
            for slot in all_slots(function):
                found = found + self._slot(slot, env)
            self.weights[key] = found
        return found

    def _slot(self, slot: Slot, env: Env) -> Counts:
        if isinstance(slot, ChildSlot):
            inside = self.instance(slot.function, slot_env(slot, env))
            count = ONE if slot.count is None else slot.count.substitute(env)
            return inside.times(count, ZERO)
        total = Counts()
        for _, kind, trainable in weights_of((slot,)):
            size = _size(kind.substitute(env))
            total = total + (Counts(params=size) if trainable else Counts(buffers=size))
        return total

    def _count(self, function: Function, env: Env, owned: bool) -> Body:
        rows: list[Row] = []
        unused = dict.fromkeys(all_slots(function)) if owned else {}
        for step in outline(function).steps:
            call = step.call
            for slot in call.refs if call is not None else ():
                if slot in unused:  # it runs inside the callee, and belongs here
                    del unused[slot]
                    rows.append(self._owned(slot, env))
            rows.append(
                self._call(step, call, env, unused) if call else self._ops(step, env, unused)
            )
        rows.extend(self._owned(slot, env) for slot in unused if not isinstance(slot, Reference))
        total = Counts()
        for row in rows:
            total = total + row.counts
        return Body(function, env, tuple(rows), total)

    def _owned(self, slot: Slot, env: Env) -> Row:
        name = slot.function.name if isinstance(slot, ChildSlot) else "weights"
        return Row(str(slot.segment), name, (), self._slot(slot, env), shared=True)

    def _ops(self, step: Step, env: Env, unused: dict[Slot, None]) -> Row:
        counts, shared = Counts(), False
        for slot in step.weights:
            if slot in unused:
                del unused[slot]
                counts = counts + self._slot(slot, env)
            else:
                shared = True
        for node in step.nodes:
            if isinstance(node, OpNode) and not isinstance(node.op, Constant):
                operands, results = types_in(node.operands, env), types_in(node.results, env)
                macs = node.op.macs([v.type for v in node.operands], [v.type for v in node.results])
                counts = counts + Counts(
                    macs=macs.substitute(env), flops=node.op.flops(operands, results)
                )
        return Row(
            step.segment,
            step.name,
            types_in(step.results, env),
            counts,
            shared=shared,
            step=step,
        )

    def _call(
        self, step: Step, node: CallNode | RepeatNode, env: Env, unused: dict[Slot, None]
    ) -> Row:
        owned = node.slot in unused
        unused.pop(node.slot, None)
        output = types_in(node.results, env)
        segment, name = str(node.slot.segment), node.function.name
        if not isinstance(node, RepeatNode):
            body = self.body(node.function, call_env(node, env), owned)
            if isinstance(node, ScanNode):
                steps = node.length.substitute(env)
                later = self.body(node.function, call_env(node, env), False)
                total = body.counts.times(ONE, steps)
                pair = (body, later)
                slot = node.slot.segment
                return Row(segment, name, output, total, pair, steps, slot, False, not owned, step)
            return Row(segment, name, output, body.counts, (body,), shared=not owned, step=step)
        count = node.count.substitute(env)
        each = isinstance(node.slot, ChildSlot) and node.slot.count is not None
        dims = node.runs or (node.dims,)
        bodies: list[Body] = []
        total = Counts()
        for i, run in enumerate(dims):
            body = self.body(node.function, call_env(node, env, run), owned and (each or i == 0))
            bodies.append(body)
            if node.runs:
                total = total + body.counts
        if not node.runs:
            first = bodies[0]
            total = first.counts.times(count if each else ONE, count)
            later = first if each else self.body(node.function, call_env(node, env), False)
            bodies = [first, later]
        slot = node.slot.segment
        return Row(segment, name, output, total, tuple(bodies), count, slot, each, not owned, step)


@dataclass(frozen=True, eq=False)
class Summary:
    """batch: the leading size of the inputs that operations are counted for one of."""

    function: Function
    env: Env
    body: Body
    batch: str | None

    @cached_property
    def params(self) -> Dim:
        return self.body.counts.params

    @cached_property
    def buffers(self) -> Dim:
        return self.body.counts.buffers

    @cached_property
    def macs(self) -> Dim:
        return self.for_one(self.body.counts.macs)

    @cached_property
    def flops(self) -> Dim:
        return self.for_one(self.body.counts.flops)

    def for_one(self, total: Dim) -> Dim:
        """A count for a batch of one."""
        return total if self.batch is None else total.substitute({self.batch: 1})

    def layers(self) -> Iterator[Layer]:
        """All layers and ops, repeats run by run; a shared instance's weights count once."""
        stack = [(row, "") for row in reversed(self.body.rows)]
        while stack:
            row, prefix = stack.pop()
            path = f"{prefix}{row.segment}"
            if not row.bodies:
                macs = self.for_one(row.counts.macs)
                yield Layer(path, row.label, row.output, number(row.counts.params), macs)
                continue
            for inner, name in reversed(list(self._runs(row))):
                start = f"{prefix}{name}." if name else prefix
                stack.extend((r, start) for r in reversed(inner.rows))

    @property
    def outputs(self) -> tuple[TensorType, ...]:
        return types_in(self.function.outputs, self.env)

    def paths(self) -> Iterator[str]:
        """The paths of all layers, and of all that are made of layers."""
        return (path for path, _ in self._places())

    def at(self, path: str) -> tuple[TensorType, ...] | None:
        """What the layer at a path gives."""
        return next((types for place, types in self._places() if place == path), None)

    def _places(self) -> Iterator[tuple[str, tuple[TensorType, ...]]]:
        stack = [(row, "") for row in self.body.rows]
        while stack:
            row, prefix = stack.pop()
            if not row.bodies:
                yield f"{prefix}{row.segment}", row.output
            for inner, name in self._runs(row) if row.bodies else ():
                yield f"{prefix}{name}", types_in(inner.function.outputs, inner.env)
                stack.extend((r, f"{prefix}{name}.") for r in inner.rows)

    def _runs(self, row: Row) -> Iterator[tuple[Body, str]]:
        if row.runs is None or row.slot is None:
            yield row.bodies[0], row.segment
            return
        count = row.runs.value if row.runs.is_const else 1
        for i in range(count):
            body = row.bodies[min(i, len(row.bodies) - 1)]
            index = row.slot.index
            numbered = row.each and index is not None
            yield body, str(Segment(row.slot.name, (index or 0) + i) if numbered else row.slot)

    def to_json(self) -> dict[str, object]:
        """The contract of `dlspec summary --json`."""
        trainable, buffers = number(self.params), number(self.buffers)
        outputs = self.function.output_names
        return {
            "model": self.function.name,
            "inputs": {
                v.name or f"input{i}": _shape_json(v.type.substitute(self.env))
                for i, v in enumerate(self.function.inputs)
            },
            "outputs": {
                name: _shape_json(v.type.substitute(self.env))
                for name, v in zip(
                    outputs or _default_names(self.function), self.function.outputs, strict=True
                )
            },
            "params": trainable,
            "trainable": trainable,
            "buffers": buffers,
            "macs": number(self.macs),
            "flops": number(self.flops),
            "layers": [
                {
                    "path": layer.path,
                    "op": layer.op,
                    "output": _output_json(layer.output),
                    "params": layer.params,
                    "macs": number(layer.macs),
                }
                for layer in self.layers()
            ],
        }

    def text(self) -> str:
        """The tree for a terminal."""
        from dlspec.summary.text import render

        return render(self)


def summarise(function: Function) -> Summary:
    """The summary of a model, or of any function that owns its instances."""
    env = entry_env(function)
    body = Counter().body(function, env, True)
    return Summary(function, env, body, batch_symbol(function))


def number(dim: Dim) -> int | str:
    return dim.value if dim.is_const else str(dim)


def _size(kind: TensorType) -> Dim:
    total = ONE
    for extent in kind.shape:
        total = total * extent
    return total


def _shape_json(kind: TensorType) -> dict[str, object]:
    return {"dtype": kind.dtype.value, "shape": [number(d) for d in kind.shape]}


def _output_json(types: tuple[TensorType, ...]) -> object:
    """The shape, or a list of shapes where there are several outputs."""
    shapes = [[number(d) for d in t.shape] for t in types]
    return shapes[0] if len(shapes) == 1 else shapes


def _default_names(function: Function) -> tuple[str, ...]:
    count = len(function.outputs)
    return ("output",) if count == 1 else tuple(f"output{i}" for i in range(count))
