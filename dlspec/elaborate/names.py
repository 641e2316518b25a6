"""Path segments: what a layer is called, and which names a scope must number.

A segment is the `as` name, else the `share`, `param` or `buffer` name, else the callee in snake
case. A name that occurs at several places of a definition is numbered at each of them; so depth 1
and depth 12 agree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from dlspec.syntax import ast

COMBINATORS = frozenset({"repeat", "scan", "fork"})

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[A-Z][a-z])")


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`ConvNorm` → `conv_norm`, `UNet` → `u_net`, `ResNet18` → `res_net18`."""
    return _WORD.sub("_", name).lower()


def callee_name(expr: ast.Expr) -> str | None:
    """The segment that an expression in layer position would take."""
    if isinstance(expr, ast.Call):
        return callee_name(expr.callee)
    if isinstance(expr, ast.Name):
        return snake(expr.id)
    if isinstance(expr, ast.Attribute):
        return snake(expr.name)
    return None


def repeated_names(body: ast.Expr | tuple[ast.Stmt, ...]) -> frozenset[str]:
    """The names that occur at more than one place of a definition's body."""
    counts: Counter[str] = Counter()
    todo: list[object] = [body] if not isinstance(body, tuple) else list(body)
    shared = shared_names(todo)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Binding) and node.target.name is not None:
            if node.shared or is_weight(node.value):
                counts[node.target.name] += 1
            _bound(node, todo)
        elif isinstance(node, ast.As):
            if node.index is None:
                counts[node.name] += 1
            _inside(node.value, todo)
        elif isinstance(node, ast.Call):
            name = callee_name(node)
            if name is not None and name not in COMBINATORS and not _is_one(node.callee, shared):
                counts[name] += 1
            _inside(node, todo)
        elif isinstance(node, ast.Pipe):
            for stage in node.stages:
                name = callee_name(stage)
                if isinstance(stage, ast.Name | ast.Attribute) and name:
                    counts[name] += not _is_one(stage, shared)
            todo.extend(node.stages)
        else:
            todo.extend(children(node))
    return frozenset(name for name, count in counts.items() if count > 1)


def shared_names(body: Sequence[object]) -> frozenset[str]:
    """What the body shares, and its own weights: a use of it makes no weights."""
    found: set[str] = set()
    todo = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Binding) and node.target.name is not None:
            if node.shared or is_weight(node.value):
                found.add(node.target.name)
        elif isinstance(node, ast.If | ast.For):
            todo.extend(children(node))
    return frozenset(found)


def _is_one(expr: ast.Expr, names: frozenset[str]) -> bool:
    """Whether an expression is one of these names, as it is written."""
    return isinstance(expr, ast.Name) and expr.id in names


def is_weight(expr: ast.Expr) -> bool:
    """`param(…)` or `buffer(…)`, named by what it is bound to."""
    if not isinstance(expr, ast.Call) or not isinstance(expr.callee, ast.Name):
        return False
    return expr.callee.id in ("param", "buffer")


def _bound(node: ast.Binding, todo: list[object]) -> None:
    """What to look at below a binding that gives its own name to what it makes."""
    value = node.value
    if not node.shared and not is_weight(value):
        todo.append(value)
        return
    while isinstance(value, ast.As):
        value = value.value
    if isinstance(value, ast.Call):
        _inside(value, todo)
    elif not isinstance(value, ast.Name | ast.Attribute):
        todo.extend(children(value))


def _inside(node: ast.Expr, todo: list[object]) -> None:
    """What to look at below a callee: the layers given to combinators own segments here, those
    given to definitions do not."""
    if not isinstance(node, ast.Call):
        todo.extend(children(node))
        return
    combinator = isinstance(node.callee, ast.Name) and node.callee.id in COMBINATORS
    for arg in node.args:
        if combinator and isinstance(arg, ast.Name):
            todo.append(ast.Pipe(arg.span, (arg,)))
        else:
            todo.append(arg)
    if not isinstance(node.callee, ast.Name):
        todo.append(node.callee)


def children(node: object) -> list[object]:
    """The expressions and statements directly below a node."""
    found: list[object] = []
    for name in getattr(type(node), "__dataclass_fields__", ()):
        child = getattr(node, name)
        if isinstance(child, tuple):
            found.extend(c for c in child if hasattr(c, "span"))  # type: ignore[union-attr]
        elif hasattr(child, "span") and not isinstance(child, type):
            found.append(child)
    return found
