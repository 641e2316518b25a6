"""Entry points: a model with open dims, called from nowhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Failure
from dlspec.elaborate import static
from dlspec.elaborate.aliases import meant
from dlspec.elaborate.arguments import bind_arguments
from dlspec.elaborate.expressions import Env, Evaluator, flatten
from dlspec.elaborate.lists import element_type
from dlspec.elaborate.names import snake
from dlspec.elaborate.patterns import pattern_of
from dlspec.elaborate.scope import Names, Scope
from dlspec.elaborate.values import DefinedLayer
from dlspec.ir.dims import Dim
from dlspec.ir.graph import DataSource, Function, Minimize, Training, Value
from dlspec.ir.static import Sequence
from dlspec.ir.types import TensorType
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.session import Session
    from dlspec.ir.graph import Requirement


@dataclass(frozen=True, eq=False)
class EntryPoint:
    """A model's function, and what it requires of its inputs (in the names of its types)."""

    function: Function
    requirements: tuple[Requirement, ...]


def chosen(
    session: Session, layer: DefinedLayer, given: dict[str, Any]
) -> tuple[DefinedLayer, dict[str, int]]:
    """A model with static arguments, and what of them are sizes of open dims that the types of its
    inputs name: its own, or those of the definition that it stands for."""
    own = {p.name for p in layer.definition.params}
    mine = with_statics(layer, {k: v for k, v in given.items() if k in own})
    try:
        definition = named(session, mine).definition
    except Failure:
        definition = layer.definition  # told when it is entered
    rest, sizes = split_sizes(definition, given)
    return with_statics(layer, rest), sizes


def lift(value: Any) -> Any:
    """A Python value as a static value."""
    if isinstance(value, bool) or value is None or isinstance(value, float | str):
        return value
    if isinstance(value, int):
        return Dim.const(value)
    if isinstance(value, list | tuple):
        items: tuple[Any, ...] = tuple(map(lift, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return Sequence(items, None, isinstance(value, list))
    raise TypeError(f"a static argument cannot be {type(value).__name__}")


def with_statics(layer: DefinedLayer, given: dict[str, Any]) -> DefinedLayer:
    return replace(layer, keywords=tuple((k, lift(v)) for k, v in given.items()))


def split_sizes(
    definition: ast.Definition, given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Static arguments, and sizes of open dims that the input types name."""
    params = {p.name for p in definition.params}
    dims: set[str] = set()
    for param in definition.params:
        expr = param.annotation
        items = expr.items if isinstance(expr, ast.ListExpr | ast.Subscript) else ()
        dims |= {i.id for i in items if isinstance(i, ast.Name)} - params
    sizes = {k: v for k, v in given.items() if k in dims and type(v) is int and v > 0}
    return {k: v for k, v in given.items() if k not in sizes}, sizes


def entered(session: Session, layer: DefinedLayer) -> DefinedLayer | None:
    """The layer that an entry point stands for: the one that it names, or its own."""
    try:
        return named(session, layer)
    except Failure as failure:
        session.report(failure)
        return None


def named(session: Session, layer: DefinedLayer) -> DefinedLayer:
    e = Evaluator(session, layer.module, session.free_scope(layer.definition.name), Env())
    with e.scope.at(layer.definition.name_span):
        return meant(e, layer)[0]


def open_function(
    session: Session, layer: DefinedLayer, sizes: dict[str, int] | None = None
) -> EntryPoint | None:
    """The function of a model (or a block with typed inputs) for inputs of open size.

    sizes: of dims that shall not be open.
    """
    definition = layer.definition
    if not session.depth:
        session.restart()
    plain = entered(session, layer)
    if plain is None:
        return None
    layer = plain
    scope = session.free_scope(definition.name)
    e = Evaluator(session, layer.module, scope, Env())
    with scope.at(definition.name_span):
        try:
            inputs = open_inputs(e, layer, sizes or {})
            found = session.prepare(e, layer, inputs)
        except Failure as failure:
            session.report(failure)
            return None
    if found is None:
        return None
    function = found.function
    known = {s: scope.peek(d) for s, d in found.dims.items() if s in function.symbols}
    fixed = {s: replace(function.symbols[s], value=v) for s, v in known.items() if v is not None}
    if fixed:
        function = replace(function, symbols={**function.symbols, **fixed})
    if layer.definition is not definition:
        function = replace(function, name=definition.name)
    return EntryPoint(function, tuple(scope.function.requirements))


def open_training(session: Session, layer: DefinedLayer, sizes: dict[str, int]) -> Training | None:
    """A training section made up for a model: its outputs are drawn to given targets by their
    mean squared distance. None where there is nothing to learn. The model has no errors."""
    from dlspec.ops.elementwise import Add
    from dlspec.ops.loss import MseLoss

    definition = layer.definition
    layer = entered(session, layer) or layer
    function = Function(f"fit_{snake(definition.name)}", "train", span=definition.name_span)
    scope = Scope(function, Names(frozenset()))
    e = Evaluator(session, layer.module, scope, Env())
    with scope.at(definition.name_span):
        inputs = open_inputs(e, layer, sizes)
        outputs = flatten(session.apply_defined(e, layer, inputs, None))
        taken = {v.name for v in inputs}
        targets = [
            Value(TensorType(y.type.dtype, y.type.shape), fresh(f"target{k or ''}", taken), y.span)
            for k, y in enumerate(y for y in outputs if y.type.dtype.is_float)
        ]
        function.inputs = (*inputs, *targets)
        wanted = iter(targets)
        losses = [scope.emit(MseLoss(), y, next(wanted)) for y in outputs if y.type.dtype.is_float]
    if not losses or not constructor_weights(function):
        return None
    with scope.at(definition.name_span):
        loss = losses[0]
        for other in losses[1:]:
            loss = scope.emit(Add(), loss, other)
    function.outputs, function.output_names = (loss,), ("loss",)
    data = DataSource(function.inputs, "npz", {"batch": 8}, definition.name_span)
    settings: dict[str, float | bool] = {
        "lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0,
    }  # fmt: skip
    minimize = Minimize(loss, (), "sgd", settings, None, definition.name_span)
    return Training(function, (data,), (minimize,), (), (), {})


def constructor_weights(function: Function) -> bool:
    from dlspec.elaborate.training import trainable

    return trainable(function)


def fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def open_inputs(e: Evaluator, layer: DefinedLayer, sizes: dict[str, int]) -> tuple[Value, ...]:
    """A tensor for each required input, its extents open where the type names them."""
    scope, definition = e.scope, layer.definition
    _, given = bind_arguments(e.session, e, with_placeholders(e, layer), ())
    env = Evaluator(e.session, layer.module, scope, Env())
    env.env.names.update({name: Dim.const(size) for name, size in sizes.items()})
    for param in definition.params:
        if param.annotation is None and param.name in given:
            env.env.names[param.name] = given[param.name]
        elif param.annotation is None and param.default is not None:
            try:
                env.env.names[param.name] = env.evaluate(param.default)
            except Failure:
                continue  # it depends on dims: those are bound by the inputs
    made: list[Value] = []
    for param in definition.params:
        if param.annotation is None or param.default is not None:
            continue
        if element_type(param.annotation) is not None:
            with scope.at(param.span):
                scope.fail(
                    codes.BAD_ARGUMENT,
                    f"how many tensors the list `{param.name}` of {definition.name} has is not "
                    "known here",
                    help="call it from a model, which says how many there are",
                )
        pattern = pattern_of(env, param.annotation)
        shape = tuple(
            open_axis(env, f"{param.name}_{i}", axis)
            for i, axis in enumerate(pattern.spread(max(1, len(pattern.axes))) or ())
        )
        made.append(Value(TensorType(pattern.dtype, shape), param.name, param.span))
    if not made:
        scope.fail(
            codes.MISSING_ARGUMENT,
            f"{definition.name} declares no inputs, so its shapes are open",
            help="give it a typed input: model M(x: [N, D]) = …",
        )
    return tuple(made)


def with_placeholders(e: Evaluator, layer: DefinedLayer) -> DefinedLayer:
    """The layer with a tensor held for each required input, so that its statics bind."""
    held = tuple(
        (p.name, Value(TensorType(pattern_dtype(e, p), ()), p.name, p.span))
        for p in e.session.required_inputs(layer.definition)
    )
    return DefinedLayer(
        layer.definition, layer.module, layer.args, (*layer.keywords, *held), layer.span
    )


def pattern_dtype(e: Evaluator, param: ast.Param):
    assert param.annotation is not None
    return pattern_of(e, param.annotation).dtype


def open_axis(e: Evaluator, name: str, axis: ast.Expr | None) -> Dim:
    scope = e.scope
    if axis is None or (isinstance(axis, ast.Name) and axis.id == "_"):
        return scope.define_dim(name, None)
    if isinstance(axis, ast.Name):
        bound = static.raw(e.env.names.get(axis.id))
        if isinstance(bound, Dim):
            return bound
        symbol = scope.define_dim(axis.id, None)
        e.env.names[axis.id] = symbol
        return symbol
    return static.integer(scope, e.evaluate(axis), "an extent")
