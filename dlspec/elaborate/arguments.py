"""Arguments of definitions: what fills inputs, what fills static parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.builtins import unknown_argument
from dlspec.elaborate.expressions import Env, Evaluator, flatten
from dlspec.elaborate.values import DefinedLayer, Group, is_layer, is_tensor
from dlspec.ir.graph import Value
from dlspec.ir.static import Sequence
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.session import Session
    from dlspec.elaborate.values import AnyValue


def bind_arguments(
    session: Session, e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]
) -> tuple[dict[str, Value | None], dict[str, AnyValue]]:
    """Tensor inputs and static arguments by name. Point-free: inputs under "0", "1", …"""
    inputs, given = filled_inputs(session, e, layer, args)
    definition = layer.definition
    for param in definition.params:
        if param.annotation is None and param.name not in given and param.default is None:
            message = f"{definition.name} needs `{param.name}`"
            e.scope.fail(codes.MISSING_ARGUMENT, message, help=takes(definition))
    return inputs, given


def filled_inputs(
    session: Session, e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]
) -> tuple[dict[str, Value | None], dict[str, AnyValue]]:
    """What is given. States of a cell come by keyword; those that are not given are left out."""
    scope, definition = e.scope, layer.definition
    rest = [*args, *layer.args]
    words = dict(layer.keywords)
    inputs: dict[str, Value | None] = {}
    declared = [p for p in definition.params if p.annotation is not None]
    if declared:
        bind_inputs(session, e, layer, declared, rest, words, inputs)
    else:
        leaves: list[Value] = []
        while rest and is_tensor(rest[0]):
            leaves.extend(flatten(rest.pop(0)))
        inputs = {str(k): leaf for k, leaf in enumerate(leaves)}
    names = [p.name for p in definition.params if p.annotation is None]
    if len(rest) > len(names):
        scope.fail(
            codes.BAD_ARGUMENT,
            f"{definition.name} has no place for {static.describe(rest[len(names)])}",
            span=layer.places.of(len(names), len(rest)),
            help=takes(definition),
        )
    given = dict(zip(names, rest, strict=False))
    for name, value in words.items():
        if name not in names:
            known = tuple(p.name for p in definition.params)
            place = layer.places.words.get(name)
            unknown_argument(e, definition.name, name, known, place)
        if name in given:
            message = f"`{name}` of {definition.name} is given twice"
            scope.fail(codes.BAD_ARGUMENT, message, span=layer.places.words.get(name))
        given[name] = value
    return inputs, given


def bind_inputs(
    session: Session,
    e: Evaluator,
    layer: DefinedLayer,
    declared: list[ast.Param],
    rest: list[AnyValue],
    words: dict[str, AnyValue],
    inputs: dict[str, Value | None],
) -> None:
    scope, definition = e.scope, layer.definition
    count = len(rest)
    for param in declared:
        value: AnyValue = None
        place = layer.places.words.get(param.name)
        if param.name in words:
            value = words.pop(param.name)
        elif param.state and definition.kind == "cell":
            continue
        elif param.default is None:
            if not rest:
                scope.fail(
                    codes.MISSING_ARGUMENT,
                    f"{definition.name} needs the tensor `{param.name}`",
                )
            place = layer.places.of(count - len(rest), count)
            value = rest.pop(0)
        else:
            value = Evaluator(session, e.module, scope, Env()).evaluate(param.default)
        if static.raw(value) is None:
            if param.default is None:
                scope.fail(codes.BAD_ARGUMENT, f"`{param.name}` of {definition.name} is none")
            inputs[param.name] = None
            continue
        if isinstance(value, Group | Sequence) or is_layer(value):
            scope.fail(
                codes.BAD_ARGUMENT,
                f"`{param.name}` of {definition.name} needs a tensor, not {static.describe(value)}",
                span=place,
            )
        with scope.at(place or scope.span):
            inputs[param.name] = e.tensor(value)


def takes(definition: ast.Definition) -> str:
    names = ", ".join(p.name for p in definition.params)
    return f"{definition.name} takes {names or 'nothing'}"
