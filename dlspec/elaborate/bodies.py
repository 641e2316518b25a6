"""Bodies: a definition, or a composed layer, as a function of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Failure
from dlspec.elaborate import static
from dlspec.elaborate.capture import Capture, key_of
from dlspec.elaborate.expressions import Env, Evaluator, flatten, rebuild
from dlspec.elaborate.gradients import watch
from dlspec.elaborate.inner import settle
from dlspec.elaborate.lists import bind_lists
from dlspec.elaborate.moving import contains_layer, enter_static
from dlspec.elaborate.names import snake
from dlspec.elaborate.patterns import bind_input, check_output, fresh_inputs, is_literal
from dlspec.elaborate.scans import next_states
from dlspec.elaborate.scope import Names, Scope
from dlspec.elaborate.statements import execute, last_stage
from dlspec.elaborate.values import (
    UNKNOWN,
    Composed,
    DefinedLayer,
    Forked,
    Group,
    InitValue,
    Named_,
    Repeated,
    Unknown,
    is_layer,
    is_tensor,
)
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import Function, Value
from dlspec.ir.static import LayerArgument
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dlspec.elaborate.session import Entry, Session
    from dlspec.elaborate.values import AnyValue, LayerValue


def build(
    session: Session,
    caller: Evaluator,
    layer: DefinedLayer,
    inputs: dict[str, Value | None],
    given: dict[str, AnyValue],
) -> Entry:
    definition = layer.definition
    function = Function(
        definition.name, definition.kind, doc=definition.doc, span=definition.name_span
    )
    function.specialisation = session.counts.get(definition.name, 0)
    session.counts[definition.name] = function.specialisation + 1
    names = Names(session.repeats(definition))
    scope = Scope(function, names, chain=caller.scope.calls, inference=caller.scope.inference)
    e = Evaluator(session, layer.module, scope, Env())
    entry = session.entry(scope)
    errors = session.diagnostics.told
    try:
        with scope.at(definition.name_span):
            enter(session, caller, e, definition, inputs, given, entry)
            entry.early = False
            entry.result = run_body(session, e, definition, entry)
            settle(scope)
            watch(scope)
    except Failure as failure:
        session.report(failure)
    entry.consulted = {s: scope.candidates[s] for s in sorted(scope.consulted)}
    if session.diagnostics.told > errors:
        entry.result = UNKNOWN
    return entry


def enter(
    session: Session,
    caller: Evaluator,
    e: Evaluator,
    definition: ast.Definition,
    inputs: dict[str, Value | None],
    given: dict[str, AnyValue],
    entry: Entry,
) -> None:
    """Bind parameters and inputs in the new scope, in the language's order."""
    scope, env = e.scope, e.env
    layers: list[str] = []
    for param in definition.params:
        if param.annotation is not None:
            continue
        if param.default is not None and is_literal(param.default):
            entry.function.defaults[param.name] = e.evaluate(param.default)
        if param.name in given:
            if contains_layer(given[param.name]):
                layers.append(param.name)
            else:
                env.names[param.name] = enter_static(
                    scope, param.name, given[param.name], caller.scope
                )
        elif param.name in entry.function.defaults:
            value = entry.function.defaults[param.name]
            env.names[param.name] = enter_static(scope, param.name, value)
    bind_input(e, caller.scope, definition, inputs)
    bind_lists(env, definition)
    capture = Capture(caller.scope, scope)
    for name in layers:
        env.names[name] = capture.value(given[name], name)
        entry.function.statics[name] = LayerArgument(name, key_of(given[name], caller.scope))
    for param in definition.params:
        if param.annotation is None and param.name not in env.names and param.default:
            env.names[param.name] = enter_default(session, e, param, entry)
    for condition in definition.where:
        precondition(session, e, condition)


def enter_default(session: Session, e: Evaluator, param: ast.Param, entry: Entry) -> AnyValue:
    """A default that depends on dims or other parameters."""
    assert param.default is not None
    value = e.evaluate(param.default)
    if isinstance(value, Dim) and not value.is_const:
        known = e.scope.peek(value)
        if known is None:
            return value
        e.scope.consult(value)
        entry.defaults[param.name] = value
        symbol = e.scope.define_param(param.name, known)
        entry.function.statics[param.name] = symbol
        return symbol
    if is_layer(value) or isinstance(value, InitValue | Group):
        return value
    entry.function.defaults[param.name] = value
    return enter_static(e.scope, param.name, value)


def precondition(session: Session, e: Evaluator, condition: ast.Expr) -> None:
    """`where …`: the caller must prove it, the body may use it."""
    for part in conjuncts(condition):
        with e.scope.at(part.span):
            relation = relation_of(e, part)
            if relation is None:
                if not static.truth(e.scope, e.evaluate(part)):
                    e.scope.fail(codes.PRECONDITION, f"the precondition `{part.span.text}` fails")
                continue
            e.scope.require(
                relation,
                f"the precondition `{part.span.text}` does not hold",
                codes.PRECONDITION,
            )
            e.scope.assume(relation)


def run_body(session: Session, e: Evaluator, definition: ast.Definition, entry: Entry) -> AnyValue:
    body = definition.body
    if isinstance(body, tuple):
        found = execute(e, body)
        if found is None:
            e.scope.fail(codes.MIXED_DEFINITION, f"{definition.name} returns nothing")
        value, place = found.value, found.span
    else:
        value, place = e.evaluate(body), last_stage(body)
    if isinstance(value, Unknown):
        return UNKNOWN
    if not any(p.annotation is not None for p in definition.params):
        with e.scope.at(place):
            layer = e.applier.as_layer(value)
            value = e.applier.apply(strip(layer), e.scope.function.inputs, {}, None)
    with e.scope.at(place):
        value = finish(session, e, definition, value, entry.function)
        if definition.kind != "cell" or isinstance(value, Unknown):
            return value
        states = next_states(e, definition, value)
        return finish(session, e, None, states, entry.function)


def finish(
    session: Session,
    e: Evaluator,
    definition: ast.Definition | None,
    value: AnyValue,
    function: Function,
) -> AnyValue:
    """Outputs of the function, checked against the declared type."""
    if isinstance(value, Unknown):
        return UNKNOWN
    if not is_tensor(value):
        e.scope.fail(
            codes.MIXED_DEFINITION,
            f"{function.name} must return a tensor, not {static.describe(value)}",
            help="apply the layer to an input: x -> …" if is_layer(value) else "",
        )
    leaves = [e.tensor(leaf) for leaf in flatten(value)]
    value = rebuild(value, list(leaves))
    if definition is not None and definition.output is not None:
        value = check_output(e, definition.output, value)
    function.outputs = tuple(leaves)
    function.output_names = flat_names(value)
    return value


def flat_names(value: AnyValue) -> tuple[str, ...]:
    """A name for each tensor of outputs whose outermost have names: `pair_0` of a `pair`."""
    if not isinstance(value, Group) or not value.names:
        return ()
    named: list[str] = []
    for name, item in zip(value.names, value.items, strict=True):
        if not isinstance(item, Group):
            named.append(name)
            continue
        inner = flat_names(item) or tuple(str(k) for k in range(len(flatten(item))))
        named += [f"{name}_{part}" for part in inner]
    return tuple(distinct(named))


def distinct(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        while name in found:
            name += "_"
        found.append(name)
    return found


def build_anonymous(
    session: Session,
    caller: Evaluator,
    layer: LayerValue,
    inputs: dict[str, Value | None],
    name: str,
) -> Entry:
    function = Function(camel(name), "layer", span=layer.span)
    function.specialisation = session.counts.get(function.name, 0)
    session.counts[function.name] = function.specialisation + 1
    scope = Scope(
        function,
        Names(repeated_stages(layer)),
        chain=caller.scope.calls,
        inference=caller.scope.inference,
    )
    e = Evaluator(session, caller.module, scope, Env())
    entry = session.entry(scope)
    errors = session.diagnostics.told
    try:
        with scope.at(layer.span):
            fresh_inputs(scope, caller.scope, [v for v in inputs.values() if v is not None])
            entry.early = False
            own = function.inputs
            inner = Capture(caller.scope, scope).layer(layer, "layer")
            value = e.applier.apply(inner, own, {}, None)
            entry.result = finish(session, e, None, value, function)
            settle(scope)
            watch(scope)
    except Failure as failure:
        session.report(failure)
    entry.consulted = {s: scope.candidates[s] for s in sorted(scope.consulted)}
    if session.diagnostics.told > errors:
        entry.result = UNKNOWN
    return entry


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def repeated_stages(layer: LayerValue) -> frozenset[str]:
    seen: set[str] = set()
    twice: set[str] = set()
    todo: list[Any] = [layer]
    while todo:
        item = todo.pop()
        if isinstance(item, Composed):
            todo.extend(item.stages)
        elif isinstance(item, Forked):
            todo.extend(item.branches)
        else:
            name = default_segment(item)
            (twice if name in seen else seen).add(name)
    return frozenset(twice)


def default_segment(layer: LayerValue) -> str:
    if isinstance(layer, Named_):
        return layer.segment
    if isinstance(layer, DefinedLayer):
        return snake(layer.definition.name)
    if isinstance(layer, Repeated):
        return default_segment(layer.layer)
    return getattr(getattr(layer, "builtin", None), "name", "repeat")


def conjuncts(expr: ast.Expr) -> list[ast.Expr]:
    if isinstance(expr, ast.Binary) and expr.op == "and":
        return [*conjuncts(expr.left), *conjuncts(expr.right)]
    return [expr]


def relation_of(e: Evaluator, expr: ast.Expr) -> Relation | None:
    """A comparison of integers as a relation; None for any other condition."""
    if not isinstance(expr, ast.Binary) or expr.op not in static.COMPARISONS:
        return None
    left, right = e.evaluate(expr.left), e.evaluate(expr.right)
    if isinstance(left, Dim) and isinstance(right, Dim):
        return Relation(expr.op, left, right)  # type: ignore[arg-type]
    return None


def strip(layer: AnyValue) -> AnyValue:
    while isinstance(layer, Named_):
        layer = layer.layer
    return layer
