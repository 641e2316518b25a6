"""The syntax tree: plain frozen nodes, each with its span.

A pipe is one flat node, so that a pipeline of 10,000 stages does not nest. Types are
expressions (a list, a subscript of an element type, a tuple of fields); their meaning is
checked in elaboration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlspec.source import Source, Span

BinaryOp = Literal[
    "+", "-", "*", "/", "//", "%", "**", "@", "&", "|",
    "==", "!=", "<", "<=", ">", ">=", "and", "or",
]  # fmt: skip
UnaryOp = Literal["-", "+", "~", "not"]


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    span: Span
    id: str  # "_" is the wildcard


@dataclass(frozen=True, eq=False, slots=True)
class Literal_:
    """A number, string, true, false, none or inf (a float)."""

    span: Span
    value: int | float | str | bool | None


@dataclass(frozen=True, eq=False, slots=True)
class EllipsisExpr:
    span: Span


@dataclass(frozen=True, eq=False, slots=True)
class ListExpr:
    span: Span
    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class TupleExpr:
    span: Span
    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Comprehension:
    span: Span
    element: Expr
    target: Target
    iterable: Expr
    condition: Expr | None


@dataclass(frozen=True, eq=False, slots=True)
class Keyword:
    span: Span
    name: str
    name_span: Span
    value: Expr


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    span: Span
    callee: Expr
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Pipe:
    """stages[0] -> stages[1] -> …; at least two stages."""

    span: Span
    stages: tuple[Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class As:
    """`value as name` or `value as name[index]`; binds tighter than a pipe."""

    span: Span
    value: Expr
    name: str
    name_span: Span
    index: Expr | None


@dataclass(frozen=True, eq=False, slots=True)
class Binary:
    span: Span
    op: BinaryOp
    op_span: Span
    left: Expr
    right: Expr


@dataclass(frozen=True, eq=False, slots=True)
class Unary:
    span: Span
    op: UnaryOp
    operand: Expr


@dataclass(frozen=True, eq=False, slots=True)
class Conditional:
    """`then if condition else orelse`."""

    span: Span
    then: Expr
    condition: Expr
    orelse: Expr


@dataclass(frozen=True, eq=False, slots=True)
class Attribute:
    span: Span
    value: Expr
    name: str
    name_span: Span


@dataclass(frozen=True, eq=False, slots=True)
class Slice:
    span: Span
    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, eq=False, slots=True)
class Subscript:
    span: Span
    value: Expr
    items: tuple[Expr | Slice, ...]


Expr = (
    Name | Literal_ | EllipsisExpr | ListExpr | TupleExpr | Comprehension | Call | Pipe | As
    | Binary | Unary | Conditional | Attribute | Subscript
)  # fmt: skip


# --- statements ---


@dataclass(frozen=True, eq=False, slots=True)
class Target:
    """What is bound: a name, or several (`q, (k, v)`). index only in comprehensions: none."""

    span: Span
    name: str | None
    items: tuple[Target, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Binding:
    """`target = value`, `target: type = value`, `share target = value`."""

    span: Span
    target: Target
    annotation: Expr | None
    value: Expr
    shared: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Return:
    span: Span
    value: Expr  # `return a, b` is a TupleExpr


@dataclass(frozen=True, eq=False, slots=True)
class If:
    span: Span
    condition: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...]  # `else if` is a nested If


@dataclass(frozen=True, eq=False, slots=True)
class For:
    span: Span
    target: Target
    iterable: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Assert:
    span: Span
    condition: Expr


@dataclass(frozen=True, eq=False, slots=True)
class Field:
    """A typed or bare name in `data (image: [N, 3, H, W], label) from …` or `-> (mu: […])`."""

    span: Span
    name: str
    annotation: Expr | None


@dataclass(frozen=True, eq=False, slots=True)
class Clause:
    """`from expr`, `over expr, expr`, `using expr`, `times expr`, `every expr`, `on expr`."""

    span: Span
    word: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Verb:
    """A training statement: verb, expressions or fields, clauses, body. Verbs are checked later.

    `data (image, label) from …` has fields; `step critic times 5 { … }` has args and a body;
    an arg may be an As (`report x as name`).
    """

    span: Span
    name: str
    name_span: Span
    args: tuple[Expr, ...]
    fields: tuple[Field, ...]
    clauses: tuple[Clause, ...]
    body: tuple[Stmt, ...] | None


Stmt = Binding | Return | If | For | Assert | Verb


# --- items ---


@dataclass(frozen=True, eq=False, slots=True)
class Param:
    span: Span
    name: str
    annotation: Expr | None  # a tensor type makes it an input
    default: Expr | None
    state: bool = False  # `state h: […]`, in a cell


@dataclass(frozen=True, eq=False, slots=True)
class Definition:
    span: Span
    kind: Literal["block", "model", "cell"]
    name: str
    name_span: Span
    params: tuple[Param, ...]
    output: Expr | tuple[Field, ...] | None  # `-> [N, C]` or `-> (mu: […], logvar: […])`
    where: tuple[Expr, ...]  # preconditions; `where a and b` is one Binary
    body: Expr | tuple[Stmt, ...]
    doc: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Train:
    span: Span
    name: str
    name_span: Span
    params: tuple[Param, ...]
    body: tuple[Stmt, ...]
    doc: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Test:
    span: Span
    name: str
    body: tuple[Stmt, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Const:
    span: Span
    target: Target
    value: Expr


@dataclass(frozen=True, eq=False, slots=True)
class ImportedName:
    span: Span
    name: str
    alias: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Use:
    """`use "blocks.dls" as b` (names empty) or `from std.attention use A, B as C`."""

    span: Span
    path: str  # "blocks.dls", or "std.attention"
    path_span: Span
    alias: str | None
    names: tuple[ImportedName, ...]


Item = Definition | Train | Test | Const | Use


@dataclass(frozen=True, eq=False, slots=True)
class Comment:
    span: Span
    text: str  # with its "#"


@dataclass(frozen=True, eq=False, slots=True)
class File:
    """A parsed file. doc: the docstring of the file itself; comments in source order."""

    source: Source
    doc: str | None
    items: tuple[Item, ...]
    comments: tuple[Comment, ...]
