"""Callees that are known by the text alone, and the arguments they take."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate.resolve import SPECIAL
from dlspec.elaborate.static import STATIC_NAMES
from dlspec.ir.inits import INIT_KINDS
from dlspec.ops import registry
from dlspec.ops.base import REQUIRED
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.files import Module
    from dlspec.ops.base import Builtin


@dataclass(frozen=True)
class Callee:
    """What a call may give. words: names for keywords; most: positional arguments at most."""

    name: str
    words: tuple[str, ...]
    inputs: int
    most: int | None
    signature: str
    others: bool = False  # keywords of any name

    def takes(self) -> str:
        return f"{self.name} takes {self.signature or 'nothing'}"


def origin_module(module: Module, name: str) -> Module | None:
    """The file that defines a name which another one sees."""
    if name in module.imported:
        return origin_module(*module.imported[name])
    return module if name in module.names else None


def callee_of(module: Module, expr: ast.Expr) -> Callee | None:
    """The callee that an expression names, where no static code decides it."""
    if isinstance(expr, ast.Attribute) and isinstance(expr.value, ast.Name):
        other = module.namespaces.get(expr.value.id)
        return None if other is None else named(other, expr.name)
    return named(module, expr.id) if isinstance(expr, ast.Name) else None


def named(module: Module, name: str) -> Callee | None:
    if name in module.imported:
        other, inner = module.imported[name]
        return named(other, inner)
    item = module.names.get(name)
    if isinstance(item, ast.Definition):
        return of_definition(item)
    if item is not None or name in STATIC_NAMES or name in SPECIAL or name in INIT_KINDS:
        return None
    builtin = registry.find(name)
    return None if builtin is None else of_builtin(builtin)


def of_definition(item: ast.Definition) -> Callee:
    inputs = [p for p in item.params if p.annotation is not None]
    required = [p for p in inputs if p.default is None]
    statics = [p for p in item.params if p.annotation is None]
    most = len(required) + len(statics) if inputs else None
    words = tuple(p.name for p in item.params)
    return Callee(item.name, words, len(required), most, ", ".join(words))


def of_builtin(builtin: Builtin) -> Callee:
    statics = [p.name for p in builtin.statics if not p.name.startswith("**")]
    others = len(statics) < len(builtin.statics)
    tensors = (*builtin.tensors[:1], *(name.removeprefix("*") for name in builtin.tensors[1:]))
    variadic = any(name.startswith("*") for name in (*tensors, *statics))
    words = (*tensors, *builtin.optional, *statics)
    words = tuple(word for word in words if not word.startswith("*"))
    most = None if variadic else len(builtin.tensors) + len(statics)
    return Callee(builtin.name, words, len(builtin.tensors), most, signature(builtin), others)


def check_call(tell: Callable[..., None], callee: Callee, node: ast.Call, piped: bool) -> None:
    """Keywords that nobody takes, and positional arguments without a place."""
    seen: set[str] = set()
    for word in node.keywords:
        if word.name in seen:
            tell(codes.BAD_ARGUMENT, f"`{word.name}` is given twice", word.span)
        elif word.name not in callee.words and not callee.others:
            message = f"{callee.name} has no argument `{word.name}`"
            help = close_to(word.name, callee.words) or callee.takes()
            tell(codes.BAD_ARGUMENT, message, word.name_span.to(word.value.span), help)
        seen.add(word.name)
    if callee.most is None:
        return
    most = callee.most - (1 if piped and callee.inputs else 0)
    if len(node.args) > max(0, most):
        message = f"{callee.name} has no place for `{shortened(node.args[most].span.text)}`"
        tell(codes.BAD_ARGUMENT, message, node.args[most].span, callee.takes())


def shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 30 else line[:29] + "…"


def layer_by_text(module: Module, expr: ast.Expr, local: Container[str]) -> bool:
    """Whether an expression is a layer and no tensor, whatever static code does."""
    if isinstance(expr, ast.Pipe):
        return layer_by_text(module, expr.stages[0], local)
    if isinstance(expr, ast.As):
        return layer_by_text(module, expr.value, local)
    if isinstance(expr, ast.Name):
        return expr.id not in local and named(module, expr.id) is not None
    if not isinstance(expr, ast.Call) or not isinstance(expr.callee, ast.Name):
        return False
    if expr.callee.id in local or any(isinstance(a, ast.Pipe) for a in expr.args):
        return False
    callee = named(module, expr.callee.id)
    if callee is None or not callee.inputs:
        return False
    given = (*expr.args, *(k.value for k in expr.keywords))
    return all(isinstance(a, ast.Literal_ | ast.Name | ast.Binary) for a in given)


def signature(builtin: Builtin) -> str:
    """The arguments of a built-in as its user writes them."""
    parts = list(builtin.tensors)
    for p in builtin.statics:
        required = p.default is REQUIRED or p.name.startswith("**")
        parts.append(p.name if required else f"{p.name} = {shown(p.default)}")
    parts += [f"{name} = …" for name in builtin.optional]
    return ", ".join(parts)


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return "none" if value is None else str(value)
