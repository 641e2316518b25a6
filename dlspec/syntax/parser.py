"""The parser: tables over tokens, one top-level item at a time, going on after errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Failure
from dlspec.source import Source, Span
from dlspec.syntax import ast
from dlspec.syntax.builder import Builder, Docstring
from dlspec.syntax.lexer import END, ERROR, NEWLINE, SOFT, Token, lex
from dlspec.syntax.tables import Rule, tables

DEEPEST = 200  # levels of the syntax tree: what reads it may recurse
# Actions that make no level of their own.
FLAT = frozenset({"kind", "params", "output", "where", "body", "arguments", "paren"})


class Action(NamedTuple):
    """A rule with what it does: nothing (None) where its only child passes through."""

    rule: Rule
    make: Callable[..., Any] | None
    level: int


@cache
def actions() -> list[Action]:
    made: list[Action] = []
    for rule in tables().rules:
        make = None if not rule.action else find_action(rule.action, rule.expand1)
        made.append(Action(rule, make, int(make is not None and rule.action not in FLAT)))
    return made


def find_action(name: str, optional: bool) -> Callable[..., Any] | None:
    found = getattr(Builder, name, None) or getattr(Builder, f"{name}_", None)
    assert found is not None or optional, f"rule {name} has no action"
    return found


@cache
def resuming() -> frozenset[int]:
    """The states between two statements of a body."""
    return frozenset(n for n, row in enumerate(tables().states) if "RBRACE" in row)


class Machine:
    """One run of the tables over tokens."""

    def __init__(self, builder: Builder, start: str) -> None:
        self.builder = builder
        self.end = tables().ends[start]
        self.states = [tables().starts[start]]
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.levels: list[int] = []
        self.reached = 0  # the last token that was read

    def run(self, tokens: list[Token]) -> Any:
        """The value of the start symbol, or None where no statement could be resumed."""
        at = 0
        while at < len(tokens):
            try:
                done, value = self.feed(tokens[at])
            except Failure as failure:
                self.builder.diagnostics.add(failure.diagnostic)
                done, value, stuck = False, None, True
            else:
                stuck = not done and value is STUCK
                if stuck and tokens[at].type != ERROR:
                    self.builder.diagnostics.add(self.problem(tokens, at))
            if done:
                return value
            self.reached = at
            at = self.resume(tokens, at) if stuck else at + 1
        return None

    def problem(self, tokens: list[Token], at: int) -> Diagnostic:
        from dlspec.syntax.problems import Stuck, explain  # needed for bad texts only

        return explain(Stuck(self.builder.source, tokens, at, self.states, self.values))

    def feed(self, token: Token) -> tuple[bool, Any]:
        """Shift one token, with the reductions before it."""
        all_states, all_actions = tables().states, actions()
        states, values, starts, ends, levels = (
            self.states, self.values, self.starts, self.ends, self.levels,
        )  # fmt: skip
        source = self.builder.source
        kind = token.type
        while True:
            row = all_states[states[-1]]
            target = row.get(kind)
            if target is None:
                target = row.get("NAME") if kind in SOFT else None
                if target is None:
                    return False, STUCK
            if target >= 0:
                states.append(target)
                values.append(token)
                starts.append(token.start)
                ends.append(token.end)
                levels.append(0)
                return False, None
            rule, make, level = all_actions[-1 - target]
            size = rule.size
            if size == 1 and make is None and rule.expand1:
                del states[-1:]
                states.append(all_states[states[-1]][rule.origin])
            else:
                start, end = starts[-size], ends[-1]
                value = collect(rule, values)
                deep = max(levels[-size:]) + level
                if deep > DEEPEST:
                    raise too_deep(Span(source, start, end))
                if make is not None and not (rule.expand1 and len(value) == 1):
                    value = make(self.builder, Span(source, start, end), *value)
                elif rule.expand1:
                    value = value[0]
                del states[-size:], values[-size:], starts[-size:], ends[-size:], levels[-size:]
                states.append(all_states[states[-1]][rule.origin])
                values.append(value)
                starts.append(start)
                ends.append(end)
                levels.append(deep)
            if kind == END and states[-1] == self.end:
                return True, values[-1]

    def resume(self, tokens: list[Token], at: int) -> int:
        """Drop the statement in error; where to go on, after the last token if nowhere."""
        closed = 0  # bodies that are complete, and left as a whole
        while self.states and (closed or self.states[-1] not in resuming()):
            self.states.pop()
            if self.values:
                kind = getattr(self.values[-1], "type", "")
                closed += (kind == "RBRACE") - (kind == "LBRACE")
                for stack in (self.values, self.starts, self.ends, self.levels):
                    stack.pop()
        if not self.states:
            return len(tokens)
        depth = 0
        for place in range(at, len(tokens)):
            kind = tokens[place].type
            if kind == NEWLINE and depth == 0:
                return place + 1
            if kind == "RBRACE" and depth == 0:
                return place
            depth += (kind == "LBRACE") - (kind == "RBRACE")
        return len(tokens)


STUCK = object()


def collect(rule: Rule, values: list[Any]) -> list[Any]:
    """The children of a rule that is about to be reduced."""
    size = rule.size
    if not rule.splices:
        return [None if pick < 0 else values[pick - size] for pick in rule.picks]
    children: list[Any] = []
    for n, pick in enumerate(rule.picks):
        value: Any = None if pick < 0 else values[pick - size]
        if n not in rule.splices:
            children.append(value)
        elif n == 0:
            children = value  # a growing list is passed on, never copied: 10,000 stages are fine
        else:
            children += value
    return children


def too_deep(span: Span) -> Failure:
    first = Span(span.source, span.start, min(span.end, span.start + 1))
    help_ = "bind inner parts to names, or put long sums in a list: `sum([…])`"
    message = f"more than {DEEPEST} levels inside each other"
    return Failure(Diagnostic(codes.TOO_DEEP, message, first, help=help_))


# --- files ---


def parse(source: Source, diagnostics: Diagnostics) -> ast.File:
    """The items of a file that parse. Problems go to diagnostics; nothing is raised.

    A docstring directly above a definition or a training (no blank line between), or first in its
    braces, is its own; any other is the file's if it comes first, and an error if not.
    """
    known = len(diagnostics.found)
    tokens, comments = lex(source, diagnostics)
    builder = Builder(source, diagnostics)
    file_doc: str | None = None
    items: list[ast.Item] = []
    waiting: Docstring | None = None
    first = True
    item: ast.Item | Docstring | None = None
    for part in split(tokens):
        if item is None and not first and source.position(part[0].start).column > 1:
            continue  # the rest of something that was complained about
        item = parse_part(part, builder)
        if waiting is not None:
            doc, waiting = waiting, None
            if isinstance(item, ast.Definition | ast.Train) and touches(doc, item):
                item = documented(item, doc, builder)
            elif first:
                file_doc = doc.text
            elif item is not None:
                builder.stray(doc)
            first = False
        if isinstance(item, Docstring):
            waiting = item
            continue
        first = False
        if item is not None:
            items.append(item)
    if waiting is not None and first:
        file_doc = waiting.text
    elif waiting is not None:
        builder.stray(waiting)
    diagnostics.found[known:] = sorted(diagnostics.found[known:], key=lambda d: d.span.start)
    return ast.File(source, file_doc, tuple(items), comments)


def parse_expression(source: Source, diagnostics: Diagnostics) -> ast.Expr | None:
    """A single expression, as in `--set widths=[64, 128]`; None where it does not parse."""
    tokens, _ = lex(source, diagnostics)
    builder = Builder(source, diagnostics)
    while tokens and tokens[-1].type == NEWLINE:
        tokens.pop()
    end = len(source.text)
    value = Machine(builder, "exprs").run([*tokens, Token(END, "", end, end)])
    builder.finish()
    return value


def split(tokens: list[Token]) -> list[list[Token]]:
    """The tokens of each top-level item, with its line end and an end mark."""
    parts: list[list[Token]] = []
    begin, depth = 0, 0
    for at, token in enumerate(tokens):
        kind = token.type
        if kind == NEWLINE and depth == 0:
            parts.append([*tokens[begin : at + 1], Token(END, "", token.start, token.start)])
            begin = at + 1
        elif kind == "LBRACE":
            depth += 1
        elif kind == "RBRACE":
            depth -= 1
    return parts


def parse_part(tokens: list[Token], builder: Builder) -> ast.Item | Docstring | None:
    machine = Machine(builder, "item")
    item = machine.run(tokens)
    if item is None:
        # an error before the body: the statements of the body are still read, for theirs
        brace = next((n for n, token in enumerate(tokens) if token.type == "LBRACE"), 0)
        if brace > machine.reached:
            Machine(builder, "body").run([*tokens[brace:-2], tokens[-1]])
    builder.finish()
    return item


def touches(doc: Docstring, item: ast.Definition | ast.Train) -> bool:
    """Whether the item begins on the line after the docstring, comments apart."""
    between = doc.span.source.text[doc.span.end : item.span.start]
    return all(line.strip() for line in between.split("\n")[1:-1])


def documented(
    item: ast.Definition | ast.Train, doc: Docstring, builder: Builder
) -> ast.Definition | ast.Train:
    if item.doc is not None:
        builder.report(doc.span, f"`{item.name}` has two docstrings", "keep one of them")
    return replace(item, doc=doc.text)
