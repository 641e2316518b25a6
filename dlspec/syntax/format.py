"""The canonical form of a spec: width 100, indent 2, comments and groups of lines kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar, assert_never

from dlspec.diagnostics import Diagnostics, Failure
from dlspec.source import Source, Span
from dlspec.syntax import ast
from dlspec.syntax.layout import (
    HARD,
    SOFT,
    SPACE,
    Doc,
    Group,
    IfBroken,
    Nest,
    Remark,
    group,
    render,
    width,
)
from dlspec.syntax.lexer import CLAUSES
from dlspec.syntax.parser import parse

WIDTH = 100
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
CLOSING = re.compile(r"(?:[\s,;]|#[^\n]*)*[)\]}]")
EMPTY_BODY = re.compile(r"(?:[\s)]|#[^\n]*)*\{(?:\s|#[^\n]*)*\}")
BRACKETED = (ast.Call, ast.ListExpr, ast.Comprehension)
STATEMENTS = (ast.Binding, ast.Return, ast.If, ast.For, ast.Assert, ast.Verb)
PREAMBLE = re.compile(r"\ufeff?(?:\s|#[^\n]*(?:\n|$))*")

# How tightly a node binds; one that binds looser than its place asks for gets parentheses.
CONDITIONAL, PIPE, OR, AND, NOT, COMPARISON, BAR = range(7)
AMPERSAND, SUM, PRODUCT, UNARY, POWER, UNIT, POSTFIX = range(7, 14)
BINARY: dict[ast.BinaryOp, int] = {
    "or": OR, "and": AND, "==": COMPARISON, "!=": COMPARISON, "<": COMPARISON, "<=": COMPARISON,
    ">": COMPARISON, ">=": COMPARISON, "|": BAR, "&": AMPERSAND, "+": SUM, "-": SUM,
    "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT, "@": PRODUCT, "**": POWER,
}  # fmt: skip


def format_source(text: str, name: str) -> str:
    """The text in canonical form. Failure: with the first diagnostic, if it does not parse."""
    diagnostics = Diagnostics()
    file = parse(Source(name, text), diagnostics)
    if diagnostics.errors:
        raise Failure(diagnostics.errors[0])
    return format_file(file)


def format_file(file: ast.File) -> str:
    """The text of a file that parsed without errors."""
    text = render(Formatter(file).file(), WIDTH).strip("\n")
    return f"{text}\n" if text else ""


def level(node: ast.Expr) -> int:
    match node:
        case ast.Conditional():
            return CONDITIONAL
        case ast.Pipe():
            return PIPE
        case ast.Binary(op=op):
            return BINARY[op]
        case ast.Unary(op=op):
            return NOT if op == "not" else UNARY
        case ast.As():
            return UNIT
        case _:
            return POSTFIX


class Formatter:
    """Lays out one file. Comments are taken in source order, at the places that can hold them:
    before and after statements, arguments, list items and stages. Others move to the next one."""

    def __init__(self, source_file: ast.File) -> None:
        self.tree = source_file
        self.source = source_file.source
        self.comments = source_file.comments
        self.taken = 0
        # the last operand of a sum in `report`, with a name of its own: `a + (b as c)`
        self.shielded: ast.As | None = None

    # --- comments ---

    def take(self, before: int) -> Sequence[ast.Comment]:
        """The comments not yet taken that begin before an offset."""
        first = self.taken
        while self.taken < len(self.comments) and self.comments[self.taken].span.start < before:
            self.taken += 1
        return self.comments[first : self.taken]

    def same_line(self, end: int, comment: ast.Comment) -> bool:
        start = comment.span.start  # before `end`: a comment that found no place inside
        return start >= end and "\n" not in self.source.text[end:start]

    def apart(self, end: int, start: int) -> bool:
        """Whether a blank line stands between two places."""
        between = self.source.text[end:start].split("\n")[1:-1]
        return any(not line.strip() for line in between)

    # --- files and bodies ---

    def file(self) -> Doc:
        tree = self.tree
        parts: list[Doc] = []
        if tree.doc is not None:
            match = PREAMBLE.match(self.source.text)
            start = match.end() if match else 0
            parts += [part for comment in self.take(start) for part in (comment.text, HARD)]
            if parts:
                parts.append(HARD)
            parts += [docstring(tree.doc), HARD, HARD]
        lines = self.lines(tree.items, len(self.source.text) + 1)
        return (*parts, *join(HARD, lines))

    def body(self, statements: tuple[ast.Stmt, ...], end: int) -> Doc:
        """A body in braces; end: of the braces."""
        lines = self.lines(statements, end - 1)
        return ("{", Nest((HARD, *join(HARD, lines))), HARD, "}") if lines else "{}"

    def lines(self, nodes: Sequence[ast.Item | ast.Stmt], end: int) -> list[Doc]:
        """A document a line, empty where a blank line stays. end: of the comments to take."""
        lines: list[Doc] = []
        last = 0  # the end of what stands in the last line

        def add(doc: Doc, start: int, stop: int, apart: bool = False) -> None:
            nonlocal last
            if lines and (apart or self.apart(last, start)):
                lines.append("")
            lines.append(doc)
            last = stop

        def add_comments(comments: Sequence[ast.Comment]) -> None:
            for comment in comments:
                span = comment.span
                if lines and self.same_line(last, comment):
                    lines[-1] = (lines[-1], Remark(comment.text))
                else:
                    add(comment.text, span.start, span.end)

        for node in nodes:
            add_comments(self.take(node.span.start))
            doc = self.statement(node) if isinstance(node, STATEMENTS) else self.item(node)
            for comment in self.take(node.span.end):  # inside, where no place could hold it
                add(comment.text, node.span.start, node.span.start)
            documented = isinstance(node, ast.Definition | ast.Train) and node.doc is not None
            add(doc, node.span.start, node.span.end, documented)
        add_comments(self.take(end))
        return lines

    # --- items ---

    def item(self, node: ast.Item) -> Doc:
        match node:
            case ast.Definition():
                return self.definition(node)
            case ast.Train():
                head = (*described(node.doc), "train ", node.name, self.params(node.params), " ")
                return (*head, self.body(node.body, node.span.end))
            case ast.Test():
                name = STRING.search(node.span.text)
                assert name is not None
                return self.braces(("test ", name[0], " "), node, node.body)
            case ast.Const():
                return group("const ", target(node.target), " = ", self.values(node.value))
            case ast.Use():
                return use(node)

    def definition(self, node: ast.Definition) -> Doc:
        params = self.params(node.params)
        output: Doc = ""
        if isinstance(node.output, tuple):
            output = (" -> ", self.fields(node.output))
        elif node.output is not None:
            output = (" -> ", self.expr(node.output, POSTFIX))
        # one group for both: the parameters break before the output does
        inputs = params.doc if isinstance(params, Group) else params
        head: list[Doc] = [*described(node.doc), node.kind, " ", node.name, group(inputs, output)]
        if node.where:
            conditions = [self.expr(condition, PIPE) for condition in node.where]
            head.append(group(Nest(Nest((SPACE, "where ", *join(", ", conditions))))))
        if isinstance(node.body, tuple):
            return (*head, " ", self.body(node.body, node.span.end))
        body = self.expr(node.body)
        if isinstance(node.body, BRACKETED) or isinstance(body, tuple):
            return (*head, " = ", body)
        return (*head, " =", group(Nest((SPACE, body))))

    def params(self, params: tuple[ast.Param, ...]) -> Doc:
        if not params:
            return ""
        end = self.closing(params[-1].span.end)
        return self.sequence("(", params, self.param, ")", end)

    def param(self, node: ast.Param) -> Doc:
        parts: list[Doc] = ["state ", node.name] if node.state else [node.name]
        if node.annotation is not None:
            parts += [": ", self.expr(node.annotation)]
        if node.default is not None:
            parts += [" = ", self.expr(node.default)]
        return tuple(parts)

    def fields(self, fields: tuple[ast.Field, ...]) -> Doc:
        return self.sequence("(", fields, self.field, ")", self.closing(fields[-1].span.end))

    def field(self, node: ast.Field) -> Doc:
        if node.annotation is None:
            return node.name
        return (node.name, ": ", self.expr(node.annotation))

    def closing(self, after: int) -> int:
        """The end of the bracket that closes after a last item, comments skipped."""
        text = self.source.text
        match = CLOSING.match(text, after)
        return match.end() if match else after

    # --- statements ---

    def statement(self, node: ast.Stmt) -> Doc:
        match node:
            case ast.Binding():
                share = "share " if node.shared else ""
                if node.annotation is None:
                    return group(share, target(node.target), " = ", self.values(node.value))
                kind = self.expr(node.annotation)
                return group(share, target(node.target), ": ", kind, " = ", self.values(node.value))
            case ast.Return():
                return group("return ", self.values(node.value))
            case ast.Assert():
                return ("assert ", self.expr(node.condition))
            case ast.If():
                return self.if_(node)
            case ast.For():
                head = ("for ", target(node.target), " in ", self.expr(node.iterable), " ")
                return self.braces(head, node, node.body)
            case ast.Verb():
                return self.verb(node)

    def braces(self, head: Doc, node: ast.Stmt | ast.Item, body: tuple[ast.Stmt, ...]) -> Doc:
        if one_line(node.span) and len(body) == 1 and simple(body[0]):
            inner = self.statement(body[0])
            return group(head, "{", Nest((SPACE, inner)), SPACE, "}")
        return (head, self.body(body, node.span.end))

    def if_(self, node: ast.If) -> Doc:
        branches: list[tuple[ast.Expr | None, tuple[ast.Stmt, ...]]] = []
        tail: tuple[ast.Stmt, ...] = (node,)
        while len(tail) == 1 and isinstance(tail[0], ast.If):
            branches.append((tail[0].condition, tail[0].then))
            tail = tail[0].orelse
        if tail:
            branches.append((None, tail))
        flat = one_line(node.span) and all(len(b) == 1 and simple(b[0]) for _, b in branches)
        parts: list[Doc] = []
        for n, (condition, body) in enumerate(branches):
            parts.append(" else " if n else "")
            if condition is not None:
                parts += ["if ", self.expr(condition), " "]
            if flat:
                parts += ["{", Nest((SPACE, self.statement(body[0]))), SPACE, "}"]
            elif n + 1 == len(branches):
                parts.append(self.body(body, node.span.end))
            else:
                parts.append(self.body(body, self.branch_end(condition, body)))
        return group(*parts) if flat else tuple(parts)

    def branch_end(self, condition: ast.Expr | None, body: tuple[ast.Stmt, ...]) -> int:
        """The end of the braces of a branch that another follows."""
        if body:
            return self.closing(body[-1].span.end)
        assert condition is not None
        match = EMPTY_BODY.match(self.source.text, condition.span.end)
        return match.end() if match else condition.span.end

    def verb(self, node: ast.Verb) -> Doc:
        parts: list[Doc] = [node.name]
        if node.fields:
            parts += [" ", self.fields(node.fields)]
        elif node.args:
            args = [self.verb_arg(node, n) for n in range(len(node.args))]
            parts += [" ", args[0] if len(args) == 1 else Nest(tuple(join((",", SPACE), args)))]
        clauses = [(clause.word, " ", self.listed(clause.args)) for clause in node.clauses]
        head: Doc = group(*parts)
        if clauses:
            head = group(*parts, Nest(tuple((SPACE, clause) for clause in clauses)))
        return head if node.body is None else self.braces((head, " "), node, node.body)

    def verb_arg(self, node: ast.Verb, n: int) -> Doc:
        arg = node.args[n]
        if node.name == "report":
            last = arg
            while isinstance(last, ast.Binary):
                last = last.right
            self.shielded = last if isinstance(last, ast.As) and last is not arg else None
        doc = self.expr(arg)
        if n == 0 and leftmost(arg).upper() in CLAUSES:
            return ("(", doc, ")")
        return doc

    def listed(self, args: tuple[ast.Expr, ...]) -> Doc:
        return tuple(join(", ", [self.expr(arg) for arg in args]))

    def values(self, node: ast.Expr) -> Doc:
        """A value where a tuple needs no parentheses."""
        if isinstance(node, ast.TupleExpr) and len(node.items) > 1:
            return group(Nest(tuple(join((",", SPACE), [self.expr(item) for item in node.items]))))
        return self.expr(node)

    # --- expressions ---

    def expr(self, node: ast.Expr, need: int = CONDITIONAL) -> Doc:
        if level(node) < need or node is self.shielded:
            if node is self.shielded:
                self.shielded = None
            return ("(", self.expr(node), ")")
        match node:
            case ast.Name():
                return node.id
            case ast.Literal_():
                return node.span.text
            case ast.EllipsisExpr():
                return "..."
            case ast.ListExpr():
                return self.list_(node)
            case ast.TupleExpr():
                if len(node.items) == 1:
                    return ("(", self.expr(node.items[0]), ",)")
                return self.sequence("(", node.items, self.expr, ")", node.span.end)
            case ast.Comprehension():
                return self.comprehension(node)
            case ast.Call():
                callee = self.expr(node.callee, POSTFIX)
                args = (*node.args, *node.keywords)
                return (callee, self.sequence("(", args, self.argument, ")", node.span.end))
            case ast.Pipe():
                return self.pipe(node)
            case ast.As():
                index: Doc = ("[", self.expr(node.index), "]") if node.index is not None else ""
                return (self.expr(node.value, POSTFIX), " as ", node.name, index)
            case ast.Binary():
                return self.binary(node)
            case ast.Unary(op=op):
                return (f"{op} " if op == "not" else op, self.expr(node.operand, level(node)))
            case ast.Conditional():
                then = self.expr(node.then, PIPE)
                condition = self.expr(node.condition, PIPE)
                return group(
                    then, " if ", condition, Nest((SPACE, "else ", self.expr(node.orelse)))
                )
            case ast.Attribute():
                return (self.expr(node.value, POSTFIX), ".", node.name)
            case ast.Subscript():
                value = self.expr(node.value, POSTFIX)
                return (value, self.sequence("[", node.items, self.index, "]", node.span.end))
            case _:
                assert_never(node)

    def argument(self, node: ast.Expr | ast.Keyword) -> Doc:
        if isinstance(node, ast.Keyword):
            return (node.name, " = ", self.expr(node.value))
        return self.expr(node)

    def index(self, node: ast.Expr | ast.Slice) -> Doc:
        if not isinstance(node, ast.Slice):
            return self.expr(node)
        start, stop, step = (
            "" if part is None else self.expr(part) for part in (node.start, node.stop, node.step)
        )
        return (start, ":", stop) if node.step is None else (start, ":", stop, ":", step)

    def list_(self, node: ast.ListExpr) -> Doc:
        packed = len(node.items) > 4 and all(small(item) for item in node.items)
        return self.sequence("[", node.items, self.expr, "]", node.span.end, packed=packed)

    def comprehension(self, node: ast.Comprehension) -> Doc:
        element = self.expr(node.element)
        parts: list[Doc] = [element, SPACE, "for ", target(node.target), " in "]
        parts.append(self.expr(node.iterable, PIPE))
        if node.condition is not None:
            parts += [SPACE, "if ", self.expr(node.condition, PIPE)]
        return group("[", Nest((SOFT, *parts)), SOFT, "]")

    def binary(self, node: ast.Binary) -> Doc:
        own = level(node)
        if own == POWER:
            return (self.expr(node.left, UNIT), " ** ", self.expr(node.right, UNARY))
        if own == COMPARISON:
            left, right = self.expr(node.left, own + 1), self.expr(node.right, own + 1)
            return group(left, Nest((SPACE, node.op, " ", right)))
        chain = [node]  # a + b + c is one level, however long
        while isinstance(chain[-1].left, ast.Binary) and level(chain[-1].left) == own:
            chain.append(chain[-1].left)
        first = self.expr(chain[-1].left, own)
        rest = tuple(
            (SPACE, part.op, " ", self.expr(part.right, own + 1)) for part in reversed(chain)
        )
        return group(first, Nest(rest))

    def pipe(self, node: ast.Pipe) -> Doc:
        """On one line if it fits, else in rows: those of the author, or one for each stage."""
        spans = [stage.span for stage in node.stages]
        breaks = [self.line_between(a.end, b.start) for a, b in pairwise(spans)]
        first = self.expr(node.stages[0], UNIT)
        parts: list[Doc] = []
        row: list[Doc] = []  # what follows the first stage of a row
        steps: list[tuple[Doc, ...]] = []
        remarks = False
        for n, stage in enumerate(node.stages[1:]):
            end = spans[n].end
            found = sorted(self.take(stage.span.start), key=lambda c: not self.same_line(end, c))
            steps.append(("-> ", self.expr(stage, UNIT)))
            if n and not found and not breaks[n] and any(breaks):
                row.append((SPACE, *steps[-1]))
                continue
            parts.append(group(*row))
            row.clear()
            for comment in found:
                trailing = self.same_line(end, comment)
                parts.append(Remark(comment.text) if trailing else (HARD, comment.text))
                remarks = True
            parts.append((SPACE, *steps[-1]))
        parts.append(group(*row))
        if hugs(node, first) and not remarks:
            return (first, *((" ", *step) for step in steps))
        return group(first, Nest(tuple(parts)))

    def line_between(self, end: int, start: int) -> bool:
        return "\n" in self.source.text[end:start]

    def sequence(
        self,
        left: str,
        nodes: Sequence[T],
        doc: Callable[[T], Doc],
        right: str,
        end: int,
        *,
        packed: bool = False,
    ) -> Doc:
        """Items in brackets, one a line where they do not fit. end: of the brackets.

        packed: as many a line as fit.
        """
        if not nodes:
            return (left, right)
        packed = packed and not self.pending(end)
        parts: list[Doc] = []
        last = 0

        def add_comments(before: int) -> None:
            # the one behind the last item first: others may have been left over from inside it
            for comment in sorted(self.take(before), key=lambda c: not self.same_line(last, c)):
                trailing = last > 0 and self.same_line(last, comment)
                parts.append(Remark(comment.text) if trailing else (HARD, comment.text))

        for n, node in enumerate(nodes):
            add_comments(node.span.start)
            gap = SPACE if parts else SOFT
            item = doc(node)
            comma: Doc = "," if n + 1 < len(nodes) else IfBroken(",")
            # the trailing comma depends on the brackets, not on the group of the item
            parts += [group(gap, item), comma] if packed and parts else [gap, item, comma]
            last = node.span.end
        add_comments(end - 1)
        return group(left, Nest(tuple(parts)), SOFT, right)

    def pending(self, before: int) -> bool:
        """Whether a comment not yet taken begins before an offset."""
        return self.taken < len(self.comments) and self.comments[self.taken].span.start < before


class Spanned(Protocol):
    @property
    def span(self) -> Span: ...


T = TypeVar("T", bound=Spanned)


# --- small pieces ---


def join(separator: Doc, docs: Sequence[Doc]) -> Iterator[Doc]:
    for n, doc in enumerate(docs):
        if n:
            yield separator
        yield doc


def target(node: ast.Target, *, inner: bool = False) -> str:
    if node.name is not None:
        return node.name
    text = ", ".join(target(item, inner=True) for item in node.items)
    return f"({text})" if inner else text


def use(node: ast.Use) -> Doc:
    path = node.path_span.text
    path = path if path.startswith('"') else node.path
    if not node.names:
        return f"use {path} as {node.alias}" if node.alias else f"use {path}"
    names = [f"{name.name} as {name.alias}" if name.alias else name.name for name in node.names]
    return group("from ", path, " use ", Nest(tuple(join((",", SPACE), names))))


def docstring(text: str) -> Doc:
    """A docstring; on several lines so that reading it back finds the same indents."""
    if text.endswith('"'):
        text += " "
    lines = text.split("\n")
    if len(lines) == 1:
        return f'"""{text}"""'
    below = [line for line in lines[1:] if line.strip()]
    opening: list[Doc] = ['"""']
    if all(line.startswith(" ") for line in below):
        opening.append(HARD)
    return (*opening, *join(HARD, lines), HARD, '"""')


def described(doc: str | None) -> tuple[Doc, ...]:
    return () if doc is None else (docstring(doc), HARD)


def one_line(span: Span) -> bool:
    return "\n" not in span.text


def simple(node: ast.Stmt) -> bool:
    return isinstance(node, ast.Binding | ast.Return | ast.Assert) or (
        isinstance(node, ast.Verb) and node.body is None
    )


def hugs(node: ast.Pipe, first: Doc) -> bool:
    """Whether the last stages follow the bracket that closes a long first: `) -> concat`."""
    return isinstance(node.stages[0], BRACKETED) and len(node.stages) <= 3 and width(first) > WIDTH


def small(node: ast.Expr) -> bool:
    """A literal, a name, or a short row of them."""
    match node:
        case ast.Literal_() | ast.Name():
            return True
        case ast.Unary(operand=operand):
            return small(operand)
        case ast.ListExpr() | ast.TupleExpr():
            return all(isinstance(item, ast.Literal_ | ast.Name) for item in node.items)
        case _:
            return False


def leftmost(node: ast.Expr) -> str:
    """The name that an expression begins with, or nothing."""
    while True:
        match node:
            case ast.Name():
                return node.id
            case ast.Call():
                node = node.callee
            case ast.Subscript() | ast.Attribute() | ast.As():
                node = node.value
            case ast.Binary():
                node = node.left
            case ast.Pipe():
                node = node.stages[0]
            case ast.Conditional():
                node = node.then
            case _:
                return ""
