"""Inputs that are lists of tensors: `xs: [[N, D]]`.

A definition with such an input stands for one with an input for each tensor: `xs_0`, `xs_1`, …,
which its body sees as the list. So each length is a variant of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.patterns import DTYPES
from dlspec.elaborate.values import Group
from dlspec.ir.graph import Value
from dlspec.ir.static import Sequence
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Env, Evaluator
    from dlspec.elaborate.values import AnyValue, DefinedLayer

Lengths = tuple["int | None", ...]  # of each parameter; None where it is no list
# (the definition as written, as it is with these lengths, its lists)
_WITH: dict[
    tuple[int, Lengths], tuple[ast.Definition, ast.Definition, dict[str, tuple[str, ...]]]
] = {}
_LISTS: dict[int, dict[str, tuple[str, ...]]] = {}  # of the definitions made here, by identity


def element_type(annotation: ast.Expr | None) -> ast.Expr | None:
    """The type of the tensors of a list, if a type is one: `[[N, D]]`, `[i64[N]]`."""
    if not isinstance(annotation, ast.ListExpr) or len(annotation.items) != 1:
        return None
    (item,) = annotation.items
    base = item.value if isinstance(item, ast.Subscript) else None
    typed = isinstance(base, ast.Name) and base.id in DTYPES
    return item if typed or isinstance(item, ast.ListExpr) else None


def has_lists(definition: ast.Definition) -> bool:
    return any(element_type(p.annotation) is not None for p in definition.params)


def with_lists(
    e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]
) -> tuple[DefinedLayer, tuple[AnyValue, ...]]:
    """The layer and its arguments with an input for each tensor of the lists that are given."""
    if not has_lists(layer.definition):
        return layer, args
    own, rest, words = list(args), list(layer.args), dict(layer.keywords)
    lengths: list[int | None] = []
    place = 0  # among the positional arguments
    for param in layer.definition.params:
        listed = element_type(param.annotation) is not None
        named = param.name in words
        positional = not named and is_required(param)
        lengths.append(None)
        if not listed or not (named or positional):
            place += positional
            continue
        if positional and place >= len(own) + len(rest):
            message = f"{layer.definition.name} needs the list `{param.name}`"
            e.scope.fail(codes.MISSING_ARGUMENT, message)
        value = words[param.name] if named else (own + rest)[place]
        if static.raw(value) is None and param.default is not None:
            continue
        items = tensors_of(e, layer, param, value)
        lengths[-1] = len(items)
        if named:
            del words[param.name]
            names = names_of(layer.definition, param, len(items))
            words.update(zip(names, items, strict=True))
            continue
        side, at = (own, place) if place < len(own) else (rest, place - len(own))
        side[at : at + 1] = items
        place += len(items)
    definition = expanded(layer.definition, tuple(lengths))
    changed = replace(layer, definition=definition, args=tuple(rest), keywords=tuple(words.items()))
    return changed, tuple(own)


def is_required(param: ast.Param) -> bool:
    """Whether a positional argument fills it, before the static ones."""
    return param.annotation is not None and param.default is None and not param.state


def tensors_of(
    e: Evaluator, layer: DefinedLayer, param: ast.Param, value: AnyValue
) -> tuple[AnyValue, ...]:
    items = value.items if isinstance(value, Group | Sequence) else ()
    tensors = isinstance(value, Group | Sequence) and all(isinstance(v, Value) for v in items)
    if not tensors:
        e.scope.fail(
            codes.BAD_ARGUMENT,
            f"`{param.name}` of {layer.definition.name} needs a list of tensors, not "
            f"{static.describe(value)}",
            span=layer.places.words.get(param.name),
        )
    return tuple(items)


def names_of(definition: ast.Definition, param: ast.Param, length: int) -> tuple[str, ...]:
    """The names of the inputs that a list becomes."""
    taken = {p.name for p in definition.params}
    stem = param.name
    while any(f"{stem}_{k}" in taken for k in range(length)):
        stem += "_"
    return tuple(f"{stem}_{k}" for k in range(length))


def expanded(definition: ast.Definition, lengths: Lengths) -> ast.Definition:
    """The definition with so many inputs in the place of each list. Made once."""
    key = (id(definition), lengths)
    found = _WITH.get(key)
    if found is None or found[0] is not definition:
        params: list[ast.Param] = []
        lists: dict[str, tuple[str, ...]] = {}
        for param, length in zip(definition.params, lengths, strict=True):
            element = element_type(param.annotation)
            if element is None:
                params.append(param)
            elif length is None:  # an optional list that is not there
                params.append(replace(param, annotation=element))
            else:
                lists[param.name] = names_of(definition, param, length)
                params += [
                    replace(param, name=name, annotation=element, default=None)
                    for name in lists[param.name]
                ]
        found = (definition, replace(definition, params=tuple(params)), lists)
        _WITH[key] = found
        _LISTS[id(found[1])] = lists
    return found[1]


def bind_lists(env: Env, definition: ast.Definition) -> None:
    """In the body of such a definition: the lists by their names."""
    for name, inputs in _LISTS.get(id(definition), {}).items():
        env.names[name] = Group(tuple(env.names[i] for i in inputs), True)
