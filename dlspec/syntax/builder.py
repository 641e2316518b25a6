"""From reductions of the grammar to nodes of the syntax tree.

Each method of `Builder` is the action of the rule (or alias) of its name in the grammar; its
arguments are the rule's children, as Lark shapes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from inspect import cleandoc
from math import inf, isinf
from typing import TYPE_CHECKING, Literal, cast

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics
from dlspec.source import Source, Span
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.syntax.lexer import Token

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", '"': '"', "\\": "\\"}
CONSTANTS: dict[str, float | bool | None] = {
    "TRUE": True, "FALSE": False, "NONE": None, "INF": inf,
}  # fmt: skip
ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.?))", re.DOTALL)
LONGEST_NUMBER = 1000  # characters; Python refuses to read integers of more than 4300
DIGITS = r"[0-9]+(?:_[0-9]+)*"
NUMBER = re.compile(rf"{DIGITS}(?P<fraction>\.{DIGITS})?(?P<exponent>[eE][+-]?{DIGITS})?")
# Words that begin a statement elsewhere, and read like a verb here.
NESTED = "definitions stand at the top of the file: `block Name(…) { … }`"
FOREIGN_VERBS = {
    "def": NESTED,
    "class": NESTED,
    "function": NESTED,
    "fn": NESTED,
    "elif": "write `else if`",
    "while": "there is no `while`; `for i in range(n)` is unrolled, `scan` runs over time",
    "import": 'write `use "file.dls"` or `from a.b use Name` at the top of the file',
    "raise": "a precondition is written `where`",
    "pass": "an empty body is written `{}`",
    "print": "the training statement for values to show is `report`",
}


@dataclass(frozen=True, eq=False, slots=True)
class Docstring:
    """A docstring on its way to the definition it belongs to."""

    span: Span
    text: str


@dataclass(frozen=True, eq=False, slots=True)
class Word:
    """A name in place: what a `dotted` path or a string path stands for."""

    span: Span
    text: str


Line = ast.Stmt | Docstring


class Builder:
    """Makes the nodes of one source. Problems that do not stop the parser go to diagnostics."""

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        self.source = source
        self.diagnostics = diagnostics
        # parentheses with typed names, by identity, until a place that may have them takes them
        self.typings: dict[int, tuple[ast.Expr, tuple[ast.Expr | ast.Field, ...]]] = {}

    def report(
        self, span: Span, message: str, help_: str = "", code: codes.Code = codes.SYNTAX
    ) -> None:
        self.diagnostics.add(Diagnostic(code, message, span, help=help_))

    def at(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def finish(self) -> None:
        """Complain about what was collected and never taken."""
        for _, items in self.typings.values():
            field = next(item for item in items if isinstance(item, ast.Field))
            message = f"`{field.name}: …` cannot stand here"
            help_ = "a name has a type in parameters, in outputs and in `data (…)`"
            self.report(field.span, message, help_)
        self.typings.clear()

    # --- items ---

    def kind(self, _: Span, token: Token) -> Token:
        return token

    def definition(
        self,
        span: Span,
        kind: Token,
        name: Token,
        params: tuple[ast.Param, ...] | None,
        output: ast.Expr | tuple[ast.Field, ...] | None,
        where: tuple[ast.Expr, ...] | None,
        body: ast.Expr | tuple[Line, ...],
    ) -> ast.Definition:
        doc: str | None = None
        if isinstance(body, tuple):
            doc, body = self.documented(body)
        return ast.Definition(
            span,
            cast('Literal["block", "model", "cell"]', kind.text),
            name.text,
            self.at(name),
            params or (),
            output,
            where or (),
            body,
            doc,
        )

    def train(
        self,
        span: Span,
        name: Token,
        params: tuple[ast.Param, ...] | None,
        body: tuple[Line, ...],
    ) -> ast.Train:
        doc, statements = self.documented(body)
        return ast.Train(span, name.text, self.at(name), params or (), statements, doc)

    def documented(self, body: tuple[Line, ...]) -> tuple[str | None, tuple[ast.Stmt, ...]]:
        """The docstring that leads a body, and its statements."""
        if body and isinstance(body[0], Docstring):
            return body[0].text, self.plain(body[1:])
        return None, self.plain(body)

    def plain(self, body: tuple[Line, ...]) -> tuple[ast.Stmt, ...]:
        """The statements of a body that has no docstring."""
        for line in body:
            if isinstance(line, Docstring):
                self.stray(line)
        return tuple(line for line in body if not isinstance(line, Docstring))

    def stray(self, line: Docstring) -> None:
        help_ = "put it directly above a definition, or first in its body; a remark begins with #"
        self.report(line.span, "docstring belongs to no definition", help_)

    def params(self, _: Span, *params: ast.Param) -> tuple[ast.Param, ...]:
        return params

    def param(
        self, span: Span, name: Token, annotation: ast.Expr | None, default: ast.Expr | None
    ) -> ast.Param:
        return ast.Param(span, name.text, annotation, default)

    def state_param(
        self,
        span: Span,
        _: Token,
        name: Token,
        annotation: ast.Expr | None,
        default: ast.Expr | None,
    ) -> ast.Param:
        return ast.Param(span, name.text, annotation, default, state=True)

    def output(self, _: Span, type_: ast.Expr) -> ast.Expr | tuple[ast.Field, ...]:
        fields = self.fields(type_, bare=isinstance(type_, ast.TupleExpr))
        return fields if fields is not None else type_

    def where(self, _: Span, *conditions: ast.Expr) -> tuple[ast.Expr, ...]:
        return conditions

    def test(self, span: Span, name: Token, body: tuple[Line, ...]) -> ast.Test:
        return ast.Test(span, self.unquote(name), self.plain(body))

    def const(self, span: Span, target: ast.Target, value: ast.Expr) -> ast.Const:
        return ast.Const(span, target, value)

    def dotted(self, span: Span, *names: Token) -> Word:
        return Word(span, ".".join(name.text for name in names))

    def path(self, path: Token | Word) -> Word:
        return path if isinstance(path, Word) else Word(self.at(path), self.unquote(path))

    def use_file(self, span: Span, path: Token | Word, alias: Token | None) -> ast.Use:
        place = self.path(path)
        return ast.Use(span, place.text, place.span, alias.text if alias else None, ())

    def use_names(self, span: Span, path: Token | Word, *names: ast.ImportedName) -> ast.Use:
        place = self.path(path)
        return ast.Use(span, place.text, place.span, None, names)

    def imported(self, span: Span, name: Token, alias: Token | None) -> ast.ImportedName:
        return ast.ImportedName(span, name.text, alias.text if alias else None)

    def docstring(self, span: Span, token: Token) -> Docstring:
        text = cleandoc(token.text[3:-3])
        return Docstring(span, "\n".join(line.rstrip() for line in text.splitlines()).strip())

    # --- statements ---

    def body(self, _: Span, *lines: Line) -> tuple[Line, ...]:
        return lines

    def binding(self, span: Span, target: ast.Target, value: ast.Expr) -> ast.Binding:
        return ast.Binding(span, target, None, value)

    def typed(self, span: Span, name: Token, annotation: ast.Expr, value: ast.Expr) -> ast.Binding:
        return ast.Binding(span, ast.Target(self.at(name), name.text), annotation, value)

    def shared(self, span: Span, target: ast.Target, value: ast.Expr) -> ast.Binding:
        return ast.Binding(span, target, None, value, shared=True)

    def return_(self, span: Span, value: ast.Expr) -> ast.Return:
        return ast.Return(span, value)

    def if_(
        self,
        span: Span,
        condition: ast.Expr,
        then: tuple[Line, ...],
        orelse: ast.If | tuple[Line, ...] | None,
    ) -> ast.If:
        other = (orelse,) if isinstance(orelse, ast.If) else self.plain(orelse or ())
        return ast.If(span, condition, self.plain(then), other)

    def for_(
        self, span: Span, target: ast.Target, iterable: ast.Expr, body: tuple[Line, ...]
    ) -> ast.For:
        return ast.For(span, target, iterable, self.plain(body))

    def assert_(self, span: Span, condition: ast.Expr) -> ast.Assert:
        return ast.Assert(span, condition)

    def verb(self, span: Span, name: Token, *parts: object) -> ast.Verb:
        args = cast("tuple[ast.Expr, ...] | None", parts[0]) or ()
        clauses = cast("tuple[ast.Clause, ...]", parts[1:-1])
        body = cast("tuple[Line, ...] | None", parts[-1])
        if name.text in FOREIGN_VERBS:
            message = f"`{name.text}` is not part of the language"
            self.report(self.at(name), message, FOREIGN_VERBS[name.text])
        fields: tuple[ast.Field, ...] = ()
        if name.text == "data" and len(args) == 1:
            found = self.fields(args[0], bare=True)
            if found is not None:
                args, fields = (), found
        if name.text == "report":
            args = tuple(named_whole(arg) for arg in args)
        statements = None if body is None else self.plain(body)
        return ast.Verb(span, name.text, self.at(name), args, fields, clauses, statements)

    def clause(self, span: Span, word: Token, args: tuple[ast.Expr, ...]) -> ast.Clause:
        return ast.Clause(span, word.text, args)

    def arguments(self, _: Span, *args: ast.Expr) -> tuple[ast.Expr, ...]:
        return args

    def targets(self, span: Span, *targets: ast.Target) -> ast.Target:
        return targets[0] if len(targets) == 1 else ast.Target(span, None, targets)

    def target(self, span: Span, name: Token) -> ast.Target:
        return ast.Target(span, name.text)

    def group(self, span: Span, *targets: ast.Target) -> ast.Target:
        return ast.Target(span, None, targets)

    # --- expressions ---

    def tuple_(self, span: Span, *items: ast.Expr | ast.Field) -> ast.Expr:
        names = tuple(
            ast.Name(item.span, item.name) if isinstance(item, ast.Field) else item
            for item in items
        )
        value = ast.TupleExpr(span, names)
        if any(isinstance(item, ast.Field) for item in items):
            self.typings[id(value)] = (value, items)
        return value

    bare_tuple = tuple_

    def conditional(
        self, span: Span, then: ast.Expr, condition: ast.Expr, orelse: ast.Expr
    ) -> ast.Expr:
        return ast.Conditional(span, then, condition, orelse)

    def pipe(self, span: Span, *stages: ast.Expr) -> ast.Expr:
        return ast.Pipe(span, stages)

    def binary(self, span: Span, left: ast.Expr, op: Token, right: ast.Expr) -> ast.Expr:
        return ast.Binary(span, cast("ast.BinaryOp", op.text), self.at(op), left, right)

    def unary(self, span: Span, op: Token, operand: ast.Expr) -> ast.Expr:
        return ast.Unary(span, cast("ast.UnaryOp", op.text), operand)

    def as_name(self, span: Span, value: ast.Expr, name: Token, index: ast.Expr | None) -> ast.Expr:
        return ast.As(span, value, name.text, self.at(name), index)

    def call(self, span: Span, callee: ast.Expr, *args: ast.Expr | ast.Keyword) -> ast.Expr:
        positional: list[ast.Expr] = []
        keywords: list[ast.Keyword] = []
        for arg in args:
            if isinstance(arg, ast.Keyword):
                keywords.append(arg)
                continue
            if keywords:
                help_ = "put arguments without a name first"
                self.report(arg.span, "argument without a name after one with a name", help_)
            positional.append(arg)
        return ast.Call(span, callee, tuple(positional), tuple(keywords))

    def keyword(self, span: Span, name: Token, value: ast.Expr) -> ast.Keyword:
        return ast.Keyword(span, name.text, self.at(name), value)

    def subscript(self, span: Span, value: ast.Expr, *items: ast.Expr | ast.Slice) -> ast.Expr:
        return ast.Subscript(span, value, items)

    def slice(
        self, span: Span, start: ast.Expr | None, stop: ast.Expr | None, step: ast.Expr | None
    ) -> ast.Slice:
        return ast.Slice(span, start, stop, step)

    def attribute(self, span: Span, value: ast.Expr, name: Token) -> ast.Expr:
        return ast.Attribute(span, value, name.text, self.at(name))

    def name(self, span: Span, token: Token) -> ast.Expr:
        return ast.Name(span, token.text)

    def number(self, span: Span, token: Token) -> ast.Expr:
        return ast.Literal_(span, self.count(span, token.text))

    def string(self, span: Span, token: Token) -> ast.Expr:
        return ast.Literal_(span, self.unquote(token))

    def constant(self, span: Span, token: Token) -> ast.Expr:
        return ast.Literal_(span, CONSTANTS[token.type])

    def ellipsis(self, span: Span) -> ast.Expr:
        return ast.EllipsisExpr(span)

    def list_(self, span: Span, *items: ast.Expr) -> ast.Expr:
        return ast.ListExpr(span, items)

    def comprehension(
        self,
        span: Span,
        element: ast.Expr,
        target: ast.Target,
        iterable: ast.Expr,
        condition: ast.Expr | None,
    ) -> ast.Expr:
        return ast.Comprehension(span, element, target, iterable, condition)

    def paren(self, span: Span, item: ast.Expr | ast.Field) -> ast.Expr:
        return self.tuple_(span, item) if isinstance(item, ast.Field) else item

    def field(self, span: Span, name: Token, annotation: ast.Expr) -> ast.Field:
        return ast.Field(span, name.text, annotation)

    def fields(self, value: ast.Expr, *, bare: bool = False) -> tuple[ast.Field, ...] | None:
        """The fields that a value in parentheses stands for, or None. bare: names are enough."""
        if id(value) in self.typings:
            items = self.typings.pop(id(value))[1]
        elif bare and isinstance(value, ast.TupleExpr):
            items = value.items
        elif bare:
            items = (value,)
        else:
            return None
        fields: list[ast.Field] = []
        for item in items:
            if isinstance(item, ast.Field):
                fields.append(item)
            elif isinstance(item, ast.Name):
                fields.append(ast.Field(item.span, item.id, None))
            else:
                self.report(item.span, "expected a name here", "fields are names: `(a, b: [N])`")
        return tuple(fields)

    # --- literals ---

    def count(self, span: Span, text: str) -> int | float:
        """The value of a number."""
        match = NUMBER.fullmatch(text)
        if match is None:
            help_ = "digits may be grouped by single underscores: `1_000`, `1.5`, `1e-3`"
            self.report(span, f"`{text}` is not a number", help_, codes.BAD_LITERAL)
            return 0
        digits = text.replace("_", "")
        if len(digits) > LONGEST_NUMBER:
            self.report(span, "number is too long", "", codes.BAD_LITERAL)
            return 0
        if not match["fraction"] and not match["exponent"]:
            return int(digits)
        value = float(digits)
        if isinf(value):
            self.report(span, f"`{text}` is too large", "infinity is `inf`", codes.BAD_LITERAL)
        return value

    def unquote(self, token: Token) -> str:
        """The value of a string."""
        text = token.text
        if not text.startswith('"'):
            return text
        inside = text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:]
        if "\\" not in inside:
            return inside
        offset = token.start + 1

        def value(match: re.Match[str]) -> str:
            point, sign = match[1], match[2]
            if point is not None and int(point, 16) < 0x110000:
                return chr(int(point, 16))
            if sign in ESCAPES:
                return ESCAPES[sign]
            span = Span(self.source, offset + match.start(), offset + match.end())
            help_ = r"escapes are \n \t \r \0 \" \\ and \u{1F600}"
            self.report(span, f"`{span.text}` is no escape", help_, codes.BAD_LITERAL)
            return ""

        return ESCAPE.sub(value, inside)


def named_whole(arg: ast.Expr) -> ast.Expr:
    """`report a - b as d` names the difference, not b."""
    last = arg
    while isinstance(last, ast.Binary) and last.right.span.end == last.span.end:
        last = last.right
    if last is arg or not isinstance(last, ast.As):
        return arg
    return ast.As(arg.span, without_name(arg), last.name, last.name_span, last.index)


def without_name(arg: ast.Expr) -> ast.Expr:
    """The value, without the name at its very end."""
    if isinstance(arg, ast.As):
        return arg.value
    assert isinstance(arg, ast.Binary)
    right = without_name(arg.right)
    return replace(arg, span=arg.span.to(right.span), right=right)
