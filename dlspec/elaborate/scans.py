"""Cells: their states, one step of them, and `scan` along axis 1."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.arguments import filled_inputs
from dlspec.elaborate.builtins import unknown_argument
from dlspec.elaborate.expressions import Env, Evaluator, flatten, rebuild
from dlspec.elaborate.masks import mask_input, mask_of, masked, where_there
from dlspec.elaborate.patterns import pattern_of
from dlspec.elaborate.sharing import inside
from dlspec.elaborate.values import (
    UNKNOWN,
    DefinedLayer,
    Group,
    Named_,
    Scanned,
    Shared,
    Unknown,
    is_tensor,
)
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import OpNode, ScanNode, Value, functions_below, walk
from dlspec.ir.types import TensorType
from dlspec.ops.norm import BatchNormInference
from dlspec.ops.shape import BroadcastTo, Concat
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.session import Prepared
    from dlspec.elaborate.values import AnyValue, LayerValue
    from dlspec.ir.graph import Slot

Segmented = tuple[str, bool, "int | None"]


def state_params(definition: ast.Definition) -> list[ast.Param]:
    return [p for p in definition.params if p.state]


def with_states(e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]) -> DefinedLayer:
    """The cell with zeros for every state that is not held."""
    words = dict(layer.keywords)
    missing = [p for p in state_params(layer.definition) if p.name not in words]
    if not missing:
        return layer
    inner = sizes(e, layer, args)
    zeros: dict[str, AnyValue] = {}
    for param in missing:
        assert param.annotation is not None
        pattern = pattern_of(inner, param.annotation)
        axes = pattern.axes
        if any(
            isinstance(a, ast.EllipsisExpr) or (isinstance(a, ast.Name) and a.id == "_")
            for a in axes
        ):
            e.scope.fail(
                codes.BAD_ARGUMENT,
                f"`{param.name}` of {layer.definition.name} starts at zero, and its shape "
                f"{param.annotation.span.text} leaves an extent open",
                help=f"hold it: {layer.definition.name}({param.name} = …)",
            )
        with e.scope.at(param.annotation.span):
            shape = tuple(static.integer(e.scope, inner.evaluate(a), "an extent") for a in axes)
        like = Value(TensorType(pattern.dtype, ()))
        zeros[param.name] = e.scope.emit(BroadcastTo(shape), e.scope.constant(0.0, like))
    return replace(layer, keywords=tuple({**words, **zeros}.items()))


def sizes(e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]) -> Evaluator:
    """An evaluator that knows the cell's dims and parameters in the caller's terms."""
    definition = layer.definition
    inputs, given = filled_inputs(e.session, e, layer, args)
    env = Env()
    env.names.update(given)
    inner = Evaluator(e.session, layer.module, e.scope, env)
    names = {p.name for p in definition.params}
    for param in definition.params:
        value = inputs.get(param.name)
        if param.annotation is None or value is None:
            continue
        axes = pattern_of(inner, param.annotation).spread(value.type.rank) or []
        for axis, extent in zip(axes, value.type.shape, strict=False):
            if isinstance(axis, ast.Name) and axis.id not in names:
                env.names.setdefault(axis.id, extent)
    for param in definition.params:
        if param.annotation is None and param.name not in given and param.default is not None:
            env.names[param.name] = inner.evaluate(param.default)
    return inner


def next_states(e: Evaluator, definition: ast.Definition, value: AnyValue) -> AnyValue:
    """The outputs of a step, then what the states' names hold at the end of the body."""
    names: list[str] = []
    states: list[Value] = []
    leaves = [e.tensor(leaf) for leaf in flatten(value)]
    mask = mask_input(e, definition)
    if mask is not None:
        leaves = [where_there(e, mask, v, e.scope.constant(0, v)) for v in leaves]
    for param in state_params(definition):
        assert param.annotation is not None
        (before,) = (v for v in e.scope.function.inputs if v.name == param.name)
        with e.scope.at(param.span):
            after = next_state(e, definition, param, before)
            states.append(after if mask is None else where_there(e, mask, after, before))
        names.append(param.name)
    outputs = value.names if isinstance(value, Group) else ()
    items = outputs_of(rebuild(value, leaves))
    return Group((*items, *states), False, (*outputs, *names) if outputs else ())


def outputs_of(value: AnyValue) -> tuple[AnyValue, ...]:
    return value.items if isinstance(value, Group) else (value,)


def next_state(e: Evaluator, definition: ast.Definition, param: ast.Param, before: Value) -> Value:
    held = e.env.find(param.name)
    if not is_tensor(held) or isinstance(held, Group):
        e.scope.fail(
            codes.STATE,
            f"the state `{param.name}` of {definition.name} ends as {static.describe(held)}",
            help="what its name holds at the end of the body is the next state",
        )
    after = e.tensor(held)
    same_state(e, definition, param, before, after)
    return after


def same_state(
    e: Evaluator, definition: ast.Definition, param: ast.Param, before: Value, after: Value
) -> None:
    scope = e.scope
    message = f"the state `{param.name}` of {definition.name} starts a step as "
    message += f"{before.type.substitute(scope.values)}"
    message += f" and ends it as {after.type.substitute(scope.values)}"
    if before.type.dtype is not after.type.dtype or before.type.rank != after.type.rank:
        scope.fail(codes.STATE, message)
    for a, b in zip(before.type.shape, after.type.shape, strict=True):
        scope.require(Relation("==", a, b), message, codes.STATE)


def scanned(
    e: Evaluator, name: str, layer: LayerValue, keywords: dict[str, AnyValue]
) -> LayerValue:
    """`scan(cell, …)`, or `bidirectional(cell, …)`: one cell each way, outputs side by side."""
    known = ("reverse", "final", "lengths", "mask")[1 if name == "bidirectional" else 0 :]
    flags = {"reverse": False, "final": False}
    held: dict[str, Value] = {}
    for key, value in keywords.items():
        if key not in known:
            unknown_argument(e, name, key, known)
        if key in flags:
            flags[key] = static.truth(e.scope, value)
        elif isinstance(value, Value):
            held[key] = value
        elif static.raw(value) is not None:
            what = f"`{key}` of {name} needs a tensor, not {static.describe(value)}"
            e.scope.fail(codes.BAD_ARGUMENT, what)
    span, there = e.scope.span, (held.get("lengths"), held.get("mask"))
    if name == "scan":
        return Scanned(layer, flags["reverse"], flags["final"], span, *there)
    while isinstance(layer, Named_):
        layer = layer.layer
    both = Scanned(layer, False, flags["final"], span, *there, both=True)
    return Named_(both, "bidirectional", None, span, e.scope.loop > 0)


def apply_both(
    e: Evaluator, layer: Scanned, args: tuple[AnyValue, ...], segment: Segmented | None
) -> AnyValue:
    """One cell each way; of each result, the last axes side by side."""
    if segment is not None:
        return e.session.apply_anonymous(e, layer, args, segment)
    ways: list[AnyValue] = []
    for way in ("forward", "backward"):
        cell = Named_(layer.layer, way, None, layer.span)
        one = replace(layer, layer=cell, reverse=way == "backward", both=False)
        ways.append(apply_scanned(e, one, args, None))
    if any(isinstance(way, Unknown) for way in ways):
        return UNKNOWN
    first, second = ([e.tensor(leaf) for leaf in flatten(way)] for way in ways)
    with e.scope.at(layer.span):
        states = len(state_params(cell_of(e, layer.layer)[0].definition)) if layer.final else 0
        joined = tuple(
            beside(e, a, b, 2 + (i < len(first) - states))
            for i, (a, b) in enumerate(zip(first, second, strict=True))
        )
    return rebuild(ways[0], list(joined))


def beside(e: Evaluator, forward: Value, backward: Value, least: int) -> Value:
    if forward.type.rank < least:
        shape = forward.type.substitute(e.scope.values)
        e.scope.fail(codes.RANK, f"bidirectional: {shape} has no features to put side by side")
    return e.scope.emit(Concat(-1), forward, backward)


def apply_scanned(
    e: Evaluator, layer: Scanned, args: tuple[AnyValue, ...], segment: Segmented | None
) -> AnyValue:
    """One node for all steps: the cell is built for one step of each sequence."""
    if layer.both:
        return apply_both(e, layer, args, segment)
    scope = e.scope
    with scope.at(layer.span):
        cell, named, shared = cell_of(e, layer.layer)
        whole = tuple(e.tensor(leaf) for arg in args for leaf in flatten(arg))
        steps = tuple(step_of(e, v) for v in whole)
        for other in whole[1:]:
            first = whole[0].type
            scope.require(
                Relation("==", first.shape[1], other.type.shape[1]),
                f"the sequences of a scan have {first.shape[1]} and {other.type.shape[1]} steps",
            )
        scope.require(
            Relation(">=", whole[0].type.shape[1], Dim.const(1)), "a scan needs at least one step"
        )
        of_step = dict(zip(steps, whole, strict=True))
        mask = mask_of(e, layer, whole[0])
        if mask is not None:
            step = step_of(e, mask)
            of_step[step] = mask
            cell = masked(cell, step)
        prepared = e.session.prepare(e, with_states(e, cell, steps), steps)
        if prepared is None:
            return UNKNOWN
        return append(e, layer, prepared, of_step, segment or named, shared)


def cell_of(
    e: Evaluator, layer: LayerValue
) -> tuple[DefinedLayer, Segmented | None, Shared | None]:
    """The cell, the place of an instance of its own, and the instance where it is shared."""
    named: Segmented | None = None
    shared: Shared | None = None
    if isinstance(layer, Named_):
        named = (layer.segment, layer.numbered or e.scope.loop > 0, layer.index)
        layer = layer.layer
    if isinstance(layer, Shared):
        shared, layer = layer, inside(e, layer)
    if not isinstance(layer, DefinedLayer) or layer.definition.kind != "cell":
        e.scope.fail(
            codes.BAD_ARGUMENT,
            f"scan runs a cell, not {static.describe(layer)}",
            help="a cell is declared with `cell` and has `state` inputs",
        )
    return layer, named, shared


def step_of(e: Evaluator, sequence: Value) -> Value:
    """What one step takes of a sequence."""
    shape = sequence.type.shape
    if len(shape) < 2:
        e.scope.fail(
            codes.RANK,
            f"scan runs along axis 1, and {sequence.type.substitute(e.scope.values)} has "
            f"{len(shape)} ax{'i' if len(shape) == 1 else 'e'}s",
        )
    step = (shape[0], *shape[2:])
    return Value(TensorType(sequence.type.dtype, step), sequence.name, sequence.span)


def append(
    e: Evaluator,
    layer: Scanned,
    prepared: Prepared,
    whole: dict[Value, Value],
    segment: Segmented | None,
    shared: Shared | None,
) -> AnyValue:
    scope, function = e.scope, prepared.function
    if layer.decoding:
        refuse_effects(e, prepared, layer.decoding)
    states = [p.name for p in state_params(cell_of(e, layer.layer)[0].definition)]
    positions = {v.name: i for i, v in enumerate(function.inputs)}
    sequences = tuple(i for i, v in enumerate(prepared.operands) if v in whole)
    steps = next(iter(whole.values())).type.shape[1]
    results: list[Value] = []
    stacked = len(function.outputs) - len(states)
    for position, output in enumerate(function.outputs):
        result = e.session.result(output, prepared.full, scope)
        if position < stacked:
            shape = result.type.shape
            if not shape:
                scope.fail(codes.RANK, f"an output of {prepared.name} has no axis to scan over")
            result.type = TensorType(result.type.dtype, (shape[0], steps, *shape[1:]))
        results.append(result)
    slot = instance(e, prepared, segment, shared)
    scope.append(
        ScanNode(
            slot, function, prepared.dims, tuple(whole.get(v, v) for v in prepared.operands),
            tuple(results), prepared.refs, scope.span,
            sequences, tuple(positions[s] for s in states), layer.reverse,
        )
    )  # fmt: skip
    found = e.session.structure(prepared, tuple(results))
    wanted = found.items if layer.final else found.items[: len(found.items) - len(states)]
    if len(wanted) == 1:
        return wanted[0]
    return Group(wanted, False, tuple(found.names[: len(wanted)]))


def instance(
    e: Evaluator, prepared: Prepared, segment: Segmented | None, shared: Shared | None
) -> Slot:
    if shared is None:
        slot = e.session.child(e, prepared, segment)
        e.scope.slots.append(slot)
        return slot
    before = shared.function
    if before is not None and len(before.inputs) != len(prepared.function.inputs):
        e.scope.fail(
            codes.NOT_SUPPORTED,
            f"`{shared.name}` runs with lengths or a mask in one place and without in another, "
            "which is not supported yet",
        )
    return e.session.shared_child(e, prepared, shared)


def refuse_effects(e: Evaluator, prepared: Prepared, decoding: str) -> None:
    for function in functions_below(prepared.function):
        for node in walk(function.body):
            if isinstance(node, OpNode) and (what := effect(node)):
                message = f"{decoding} by a network that {what} is not supported yet"
                e.scope.fail(codes.NOT_SUPPORTED, message)


def effect(node: OpNode) -> str:
    """What a step must not do."""
    if isinstance(node.op, BatchNormInference):
        return "normalises by batch statistics"
    if node.op.random:
        return "draws random numbers"
    return "updates a buffer" if node.updates else ""
