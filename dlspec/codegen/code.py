"""Emitted code as a tree of lines and blocks, each with the IR nodes that it carries out."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.codegen import python

if TYPE_CHECKING:
    from dlspec.ir.graph import Node
    from dlspec.source import Span

DOC_WIDTH = 88
LineMap = list[tuple[int, "Node", "Span | None"]]


@dataclass(slots=True)
class Line:
    """A simple statement, or the header of a block. comment: dropped where it does not fit.

    code: text is formatted only when too long for a line; a syntax tree always.
    """

    code: ast.stmt | str
    comment: str = ""
    nodes: tuple[Node, ...] = ()


@dataclass(slots=True)
class Block:
    header: Line
    body: list[Statement] = field(default_factory=list["Statement"])


@dataclass(slots=True)
class Text:
    """Lines that are formatted already; indented with their block."""

    text: str


Statement = Line | Block | Text


def docstring(text: str) -> Text:
    """The spec's words as a docstring, wrapped where they are too long."""
    escaped = text.strip().replace("\\", "\\\\").replace('"""', "'''")
    rows = [part for row in escaped.split("\n") for part in _wrapped(row.rstrip())]
    if len(rows) > 1:
        return Text("\n".join([f'"""{rows[0]}', *rows[1:], '"""']))
    space = " " if rows[0].endswith('"') else ""
    return Text(f'"""{rows[0]}{space}"""')


def _wrapped(row: str) -> list[str]:
    indent = row[: len(row) - len(row.lstrip())]
    return textwrap.wrap(row, DOC_WIDTH, subsequent_indent=indent) or [""]


def line(code: str | ast.stmt, *nodes: Node, comment: str = "") -> Line:
    return Line(code, comment, nodes)


def block(header: str | ast.stmt, body: Sequence[Statement], *nodes: Node) -> Block:
    """header: `def f(x):`, `if c:`, `else:` …"""
    return Block(Line(header, "", nodes), list(body))


def assign(
    targets: Sequence[ast.expr | str],
    value: ast.expr,
    *nodes: Node,
    comment: str = "",
) -> Line:
    """targets = value; several targets unpack."""
    names = [python.name(t) if isinstance(t, str) else t for t in targets]
    target = names[0] if len(names) == 1 else python.tuple_of(*names)
    return Line(ast.Assign([target], value), comment, nodes)


def returns(value: ast.expr, *nodes: Node) -> Line:
    return Line(ast.Return(value), "", nodes)


def blank(count: int = 1) -> list[Statement]:
    return [Line("") for _ in range(count)]


def render(statements: Sequence[Statement], indent: int = 0) -> tuple[list[str], LineMap]:
    """Lines of source, and (line number from 1, node, span) for every node carried out."""
    lines: list[str] = []
    line_map: LineMap = []
    for depth, item in _flattened(statements, indent):
        if isinstance(item, Text):
            pad = " " * depth
            lines += [pad + t if t else "" for t in item.text.rstrip("\n").split("\n")]
            continue
        line_map += [(len(lines) + 1, node, node.span) for node in item.nodes]
        lines += _formatted(item, depth)
    return lines, line_map


def _flattened(statements: Sequence[Statement], indent: int) -> Iterator[tuple[int, Line | Text]]:
    for item in statements:
        if isinstance(item, Block):
            yield indent, item.header
            yield from _flattened(item.body, indent + 4)
        else:
            yield indent, item


def _formatted(item: Line, indent: int) -> list[str]:
    code = item.code
    if not code:
        return [""]
    if isinstance(code, str):
        fits = len(code) + indent <= python.WIDTH
        lines = [" " * indent + code] if fits else python.statement(code, indent)
    else:
        lines = python.layout_statement(code, indent)
    if item.comment and len(lines) == 1:
        commented = f"{lines[0]}  # {item.comment}"
        if len(commented) <= python.WIDTH:
            return [commented]
    return lines
