"""A backend's table: `{OpClass: row}`.

A row is a template, several templates (by number of operands), a function, or `Unsupported`.
A template reads like a lambda: `"a, b: a + b"`. Names before the colon stand for the operands in
order; in the expression, a field of the op stands for its value (`"x: torch.softmax(x, axis)"`),
and every other name for itself. `*xs` takes any number of operands, spliced in where it is
starred in a call, list or tuple. An op with several results gives a tuple.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.codes import UNSUPPORTED_OP
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span

if TYPE_CHECKING:
    from dlspec.codegen.statics import StaticPrinter
    from dlspec.ir.graph import OpNode, Value
    from dlspec.ops.base import Op


@dataclass(frozen=True)
class Unsupported:
    """A declared gap. why: what is missing, as a clause ("needs a stable argsort")."""

    why: str


RowFunction = Callable[
    ["OpNode", Sequence[ast.expr], "StaticPrinter"], "ast.expr | str | Unsupported"
]
Row = str | tuple[str, ...] | RowFunction | Unsupported
Table = Mapping[type["Op"], Row]


@dataclass(frozen=True)
class Template:
    """operands: their names; variadic: the last one takes all that are left."""

    operands: tuple[str, ...]
    variadic: bool
    body: ast.expr

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> Template:
        tree = python.expr(f"lambda {text}")
        if not isinstance(tree, ast.Lambda):
            raise ValueError(f"template {text!r} does not read `operands: expression`")
        names = [a.arg for a in tree.args.args]
        if tree.args.vararg is not None:
            names.append(tree.args.vararg.arg)
        return Template(tuple(names), tree.args.vararg is not None, tree.body)

    def takes(self, count: int) -> bool:
        if self.variadic:
            return count >= len(self.operands) - 1
        return count == len(self.operands)

    def fill(self, node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        used = python.names_in(self.body)
        mapping = {
            f.name: static.value(getattr(node.op, f.name))
            for f in fields(node.op)
            if f.name in used and f.name not in self.operands
        }
        fixed = len(self.operands) - self.variadic
        mapping |= dict(zip(self.operands[:fixed], operands, strict=False))
        if self.variadic:
            mapping[self.operands[-1]] = python.tuple_of(*operands[fixed:])
        return python.substitute(self.body, mapping)


def read_twice(row: Row | None, operands: Sequence[Value]) -> list[Value]:
    """The operands that the row's template reads at several places."""
    match row:
        case str():
            texts = (row,)
        case tuple():
            texts = row
        case _:
            return []
    for text in texts:
        template = Template.parse(text)
        if template.takes(len(operands)) and not template.variadic:
            read = Counter(n.id for n in ast.walk(template.body) if isinstance(n, ast.Name))
            pairs = zip(template.operands, operands, strict=True)
            return [value for name, value in pairs if read[name] > 1]
    return []


def row_of(table: Table, backend: str, op: Op) -> Row | None:
    """The row of an op: the table's, else the op's own."""
    found = table.get(type(op))
    return op.rows.get(backend) if found is None else found


def lower(
    table: Table,
    backend: str,
    node: OpNode,
    operands: Sequence[ast.expr],
    static: StaticPrinter,
    name: str = "",
) -> ast.expr:
    """node as an expression. Raises Failure (E0701) where the table has a gap.

    backend: whose `Op.rows` count. name: the backend in messages, where it is one built on another.
    """
    row = row_of(table, backend, node.op)
    backend = name or backend
    match row:
        case None:
            raise unsupported(backend, node)
        case Unsupported(why):
            raise unsupported(backend, node, why)
        case str():
            return Template.parse(row).fill(node, operands, static)
        case tuple():
            for template in map(Template.parse, row):
                if template.takes(len(operands)):
                    return template.fill(node, operands, static)
            raise unsupported(backend, node, f"not with {len(operands)} operands")
        case _:
            result = row(node, operands, static)
            if isinstance(result, Unsupported):
                raise unsupported(backend, node, result.why)
            return python.expr(result) if isinstance(result, str) else result


def unsupported(backend: str, node: OpNode, why: str = "") -> Failure:
    """E0701 at the node's span."""
    return unsupported_at(backend, type(node.op).__name__, node.span, why)


def unsupported_at(backend: str, what: str, span: Span | None, why: str = "") -> Failure:
    reason = f": {why}" if why else ""
    where = span or Span(Source("<ir>", ""), 0, 0)
    return Failure(
        Diagnostic(
            UNSUPPORTED_OP, f"{backend} cannot lower {what}{reason}", where, label="used here"
        )
    )
