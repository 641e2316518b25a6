"""Whether a definition is a function of static code, by its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.elaborate import static
from dlspec.elaborate.names import children
from dlspec.ops import plugins, registry
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.files import Module


def is_static_body(
    definition: ast.Definition, module: Module, seen: frozenset[int] = frozenset()
) -> bool:
    """Whether a body has no layer in it, by its text."""
    params = {p.name for p in definition.params}
    seen |= {id(definition)}
    body = definition.body
    todo: list[object] = list(body) if isinstance(body, tuple) else [body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Pipe | ast.As):
            return False
        if isinstance(node, ast.Call):
            if not isinstance(node.callee, ast.Name) or not node.args:
                return False
            name = node.callee.id
            if name not in static.STATIC_NAMES and not calls_static(name, module, seen):
                return False
            todo.extend(node.args)
            continue
        if isinstance(node, ast.Name) and node.id not in params and is_layer(node.id, module):
            return False
        todo.extend(children(node))
    return True


def is_layer(name: str, module: Module) -> bool:
    if name in module.names:
        return isinstance(module.names[name], ast.Definition)
    if registry.own(name) is not None:
        return True
    others = (static.STATIC_NAMES, module.imported, module.namespaces)
    return not any(name in known for known in others) and plugins.find(name) is not None


def calls_static(name: str, module: Module, seen: frozenset[int]) -> bool:
    if name in module.imported:
        module, name = module.imported[name]
    item = module.names.get(name)
    if not isinstance(item, ast.Definition):
        return False
    if any(p.annotation is not None for p in item.params):
        return False
    return id(item) in seen or is_static_body(item, module, seen)
