"""A definition that is another one with arguments: `block Row(n) = Conv(n, (1, 7))`.

It has no level of its own: what it names is applied in its place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec.elaborate.arguments import bind_arguments
from dlspec.elaborate.expressions import Env, Evaluator
from dlspec.elaborate.values import DefinedLayer, is_tensor
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.files import Module
    from dlspec.elaborate.values import AnyValue


Args = tuple["AnyValue", ...]


def meant(e: Evaluator, layer: DefinedLayer, args: Args = ()) -> tuple[DefinedLayer, Args]:
    """The layer that a definition stands for, and the tensors it is applied to; what is given,
    where it is more than a name. args: tensors, then static arguments."""
    if not is_alias(layer.definition, layer.module):
        return layer, args
    count = next((i for i, v in enumerate(args) if not is_tensor(v)), len(args))
    statics = (*args[count:], *layer.args)
    if any(is_tensor(v) for v in (*statics, *(v for _, v in layer.keywords))):
        return layer, args
    with e.session.deeper(e.scope, layer.definition.name):
        found = named(e, replace(layer, args=statics))
        return (layer, args) if found is None else meant(e, found, args[:count])


def named(e: Evaluator, layer: DefinedLayer) -> DefinedLayer | None:
    """What the body of a definition says, where it is a definition with arguments."""
    definition, session = layer.definition, e.session
    session.reached.add(id(definition))
    if session.broken(definition):
        return None
    env = Env()
    inner = Evaluator(session, layer.module, e.scope, env)
    env.names.update(bind_arguments(session, e, layer, ())[1])
    for param in definition.params:
        if param.name not in env.names and param.default is not None:
            env.names[param.name] = inner.evaluate(param.default)
    assert not isinstance(definition.body, tuple)
    found = inner.evaluate(definition.body)
    return found if isinstance(found, DefinedLayer) else None


def is_alias(definition: ast.Definition, module: Module) -> bool:
    """Whether the body is a call of one other definition, by its text."""
    if definition.where or definition.output is not None or definition.kind == "cell":
        return False
    if any(p.annotation is not None for p in definition.params):
        return False
    body = definition.body
    callee = body.callee if isinstance(body, ast.Call) else None
    if not isinstance(callee, ast.Name) or any(p.name == callee.id for p in definition.params):
        return False
    name = callee.id
    if name in module.imported:
        module, name = module.imported[name]
    return isinstance(module.names.get(name), ast.Definition)
