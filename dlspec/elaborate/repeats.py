"""`repeat(count, layer)`: equal runs are one node, whatever the count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.expressions import flatten, passed_on, spread
from dlspec.elaborate.values import (
    UNKNOWN,
    Composed,
    DefinedLayer,
    Forked,
    Group,
    Named_,
    Repeated,
    Unknown,
    is_tensor,
)
from dlspec.ir.dims import Dim
from dlspec.ir.graph import RepeatNode, Value, constructor_symbols

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.session import Prepared
    from dlspec.elaborate.values import AnyValue, LayerValue

MAX_REPEAT = 20_000
Segmented = tuple[str, bool, "int | None"]


def apply_repeated(
    e: Evaluator, layer: Repeated, args: tuple[AnyValue, ...], segment: Segmented | None
) -> AnyValue:
    scope = e.scope
    with scope.at(layer.span):
        dim = static.integer(scope, layer.count, "the count of repeat")
        count = scope.known(dim)
        if count < 0:
            scope.fail(codes.STATIC_VALUE, f"the count of repeat is {count}")
        if count > MAX_REPEAT:
            scope.fail(codes.LIMIT, f"repeat of {count:,} layers, at most {MAX_REPEAT:,}")
        unit, named = unit_of(layer.layer)
        own = segment or named
        scope.loop += 1
        try:
            if isinstance(unit, DefinedLayer | Composed | Forked):
                return Runs(e, unit, dim, count, own).apply(args)
            return one_by_one(e, layer.layer, count, args, segment)
        finally:
            scope.loop -= 1


def unit_of(layer: LayerValue) -> tuple[LayerValue, Segmented | None]:
    """What is repeated, under its outermost name: a layer that was handed on may have several."""
    named: Segmented | None = None
    while isinstance(layer, Named_):
        named = named or (layer.segment, True, None)
        layer = layer.layer
    return layer, named


def one_by_one(
    e: Evaluator,
    unit: LayerValue,
    count: int,
    args: tuple[AnyValue, ...],
    segment: Segmented | None,
) -> AnyValue:
    """Built-ins and shared layers: applied in turn."""
    value: AnyValue = args
    for _ in range(count):
        e.session.tick(e.scope)
        value = e.applier.apply(unit, passed_on(value), {}, segment and (segment[0], True, None))
        if isinstance(value, Unknown):
            return UNKNOWN
    return unpack(value)


def unpack(value: AnyValue) -> AnyValue:
    if not isinstance(value, tuple):
        return value
    given = cast("tuple[Any, ...]", value)
    return given[0] if len(given) == 1 else Group(given)


class Runs:
    """The runs of a definition or composition: prepared one by one, appended in equal groups."""

    def __init__(
        self, e: Evaluator, unit: Any, dim: Dim, count: int, segment: Segmented | None
    ) -> None:
        self.e = e
        self.unit = unit
        self.dim = dim
        self.count = count
        self.segment = segment

    def prepare(self, values: tuple[AnyValue, ...]) -> Prepared | None:
        session = self.e.session
        if isinstance(self.unit, DefinedLayer):
            return session.prepare(self.e, self.unit, values)
        name = self.segment[0] if self.segment else "repeat"
        return session.prepare_anonymous(self.e, self.unit, values, name)

    def apply(self, args: tuple[AnyValue, ...]) -> AnyValue:
        for arg in args:
            if not is_tensor(arg):
                static.wrong_kind(
                    self.e.scope, f"repeat runs on tensors, not {static.describe(arg)}"
                )
        done = 0
        value: AnyValue = args
        if self.count == 0:
            if self.dim.is_const:
                return unpack(args)
            prepared = self.prepare(args)
            if prepared is None:
                return UNKNOWN
            return self.append(prepared, [], tuple(args), self.dim, ())
        while done < self.count:
            inputs = passed_on(value)
            group = self.gather(inputs, self.count - done)
            if group is None:
                return UNKNOWN
            first, runs, results = group
            whole = len(runs) == self.count
            size = (
                self.dim
                if whole
                else self.dim - done
                if done + len(runs) == self.count
                else Dim.const(len(runs))
            )
            steady = [r.type for r in results] == [v.type for v in leaves(inputs)]
            if len(runs) == 1 and not whole and not (steady and not size.is_const):
                value = self.e.session.append_call(self.e, first, self.numbered(), None)
            else:
                value = self.append(first, runs, inputs, size, results)
            if isinstance(value, Unknown):
                return UNKNOWN
            done += len(runs)
        return unpack(value)

    def numbered(self) -> Segmented | None:
        return self.segment and (self.segment[0], True, None)

    def gather(
        self, args: tuple[AnyValue, ...], most: int
    ) -> tuple[Prepared, list[Prepared], tuple[Value, ...]] | None:
        """The longest row of runs that differ in open dims only."""
        e = self.e
        runs: list[Prepared] = []
        results: tuple[Value, ...] = ()
        while len(runs) < most:
            e.session.tick(e.scope)
            prepared = self.prepare(args)
            if prepared is None:
                return None
            if runs and not same_instance(e, runs[0], prepared):
                break
            runs.append(prepared)
            results = tuple(
                e.session.result(v, prepared.full, e.scope) for v in prepared.function.outputs
            )
            values = leaves(args)
            if [r.type for r in results] == [v.type for v in values]:
                runs.extend([prepared] * (most - len(runs)))
                break
            if len(results) != len(values):
                break
            args = spread(e.session.structure(prepared, results))
        return runs[0], runs, results

    def append(
        self,
        first: Prepared,
        runs: list[Prepared],
        inputs: tuple[AnyValue, ...],
        size: Dim,
        results: tuple[Value, ...],
    ) -> AnyValue:
        e, scope = self.e, self.e.scope
        carried = tuple(map(e.tensor, leaves(inputs)))
        if first.operands[: len(carried)] != carried:
            scope.fail(
                codes.NOT_SUPPORTED,
                "repeat of a block whose held inputs stand before the others is not supported yet",
                help="declare the inputs that change from run to run first",
            )
        slot = e.session.child(e, first, self.segment, size)
        names = scope.names
        known = scope.known(size)
        names.next_index[slot.segment.name] = (slot.segment.index or 0) + known
        scope.slots.append(slot)
        results = results or tuple(Value(v.type, "", scope.span) for v in carried)
        changing = any(run.dims != first.dims for run in runs)
        scope.append(
            RepeatNode(
                slot, first.function, first.dims, size, carried,
                first.operands[len(carried) :], results, first.refs,
                tuple(run.dims for run in runs) if changing else (), scope.span,
            )
        )  # fmt: skip
        return e.session.structure(first, results)


def leaves(args: tuple[AnyValue, ...]) -> list[AnyValue]:
    return [leaf for arg in args for leaf in flatten(arg)]


def same_instance(e: Evaluator, a: Prepared, b: Prepared) -> bool:
    """Whether two runs build equal instances: only dims that no weight depends on differ."""
    if a.function is not b.function or a.refs != b.refs:
        return False
    scope = e.scope
    if any(
        scope.resolve(a.dims[s]) != scope.resolve(b.dims[s])
        for s in constructor_symbols(a.function)
        if s in a.dims
    ):
        return False
    return a.statics.keys() == b.statics.keys() and all(
        equal_static(scope, a.statics[k], b.statics[k]) for k in a.statics
    )


def equal_static(scope: Any, a: AnyValue, b: AnyValue) -> bool:
    if isinstance(a, Dim) and isinstance(b, Dim):
        return scope.resolve(a) == scope.resolve(b)
    return static.raw(a) == static.raw(b) or a is b
