"""From text to the tokens of one file: words, brackets that match, line ends that count.

Three passes: `scan` cuts the text, `match_brackets` finds what is left open, `settle_lines` keeps
the line ends that end a statement. A token that was already complained about has type ERROR; the
parser skips its statement without a word.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Label
from dlspec.source import Source, Span
from dlspec.syntax.ast import Comment
from dlspec.syntax.tables import tables

DEEPEST = 100  # brackets and braces inside each other

NEWLINE, ERROR, END = "_NEWLINE", "ERROR", "$END"
OPENERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}
SIGNS = {"LPAR": "(", "LSQB": "[", "LBRACE": "{", "RPAR": ")", "RSQB": "]", "RBRACE": "}"}
CLAUSES = frozenset({"FROM", "OVER", "USING", "TIMES", "EVERY", "ON", "PATIENCE"})
OPERATORS = frozenset({
    "OR", "AND", "EQ", "NE", "LT", "LE", "GT", "GE", "BAR", "AMPERSAND", "PLUS", "MINUS", "STAR",
    "SLASH", "FLOOR", "PERCENT", "AT", "POWER",
})  # fmt: skip
UNFINISHED = OPERATORS | OPENERS.keys() | {
    "EQUAL", "COMMA", "ARROW", "DOT", "COLON", "NOT", "TILDE", "ELSE", "IN",
}  # fmt: skip
CONTINUING = OPERATORS | {"ARROW", "ELSE", "AS", "EQUAL", "LBRACE", "DOT", "COMMA"}
STATEMENT_WORDS = frozenset({"RETURN", "SHARE", "ASSERT", "RBRACE"})
ITEM_WORDS = frozenset({"BLOCK", "MODEL", "CELL", "TRAIN", "TEST", "CONST", "USE", "FROM"})
SOFT = CLAUSES | ITEM_WORDS | {"STATE", "WHERE"}  # names wherever the grammar has no such word

# What other languages write, with the terminal it stands for ("" for none) and the advice.
FOREIGN: dict[str, tuple[str, str]] = {
    "=>": ("ARROW", "write `->`"),
    "&&": ("AND", "write `and`"),
    "||": ("OR", "write `or`; elementwise, `|`"),
    "!": ("NOT", "write `not`; elementwise, `~`"),
    ":=": ("EQUAL", "write `=`"),
    "===": ("EQ", "write `==`"),
    "!==": ("NE", "write `!=`"),
    "<>": ("NE", "write `!=`"),
    "+=": ("", "write the sum out: `x = x + y`"),
    "-=": ("", "write the difference out: `x = x - y`"),
    "*=": ("", "write the product out: `x = x * y`"),
    "/=": ("", "write the quotient out: `x = x / y`"),
    ";": (NEWLINE, "a statement ends with its line"),
    "^": ("POWER", "a power is written `**`"),
    "?": ("", "a choice is written `a if condition else b`"),
    "\\": ("", "a line goes on after an operator, a comma or `->`, and inside brackets"),
}
FOREIGN_WORDS = {
    "True": ("TRUE", "write `true`"),
    "False": ("FALSE", "write `false`"),
    "None": ("NONE", "write `none`"),
}


class Token(NamedTuple):
    type: str
    text: str
    start: int
    end: int


class Lexed(NamedTuple):
    tokens: list[Token]
    comments: tuple[Comment, ...]


def lex(source: Source, diagnostics: Diagnostics) -> Lexed:
    """The tokens of a text. Each item ends with a _NEWLINE at brace depth 0."""
    tokens, comments = scan(source, diagnostics)
    tokens, heads = match_brackets(source, tokens, diagnostics)
    return Lexed(settle_lines(tokens, heads), comments)


# --- scanning ---


@cache
def master() -> re.Pattern[str]:
    longest_first = sorted(FOREIGN, key=len, reverse=True)
    foreign = "|".join("!(?!=)" if text == "!" else re.escape(text) for text in longest_first)
    return re.compile(
        r"(?P<SPACE>[ \t\r\f]+)|(?P<_NEWLINE>\n)|(?P<COMMENT>\#[^\n]*)"
        r"|(?P<FOREIGN>" + foreign + r")|" + tables().pattern + r"|(?P<WORD>[^\W\d]\w*)"
        r"|(?P<OPEN_DOC>\"\"\"[\s\S]*)|(?P<OPEN_STRING>\"(?:[^\"\\\n]|\\[^\n])*\\?)"
        r"|(?P<SINGLE>'(?:[^'\\\n]|\\[^\n])*'?)|(?P<STRAY>[\s\S])"
    )


def scan(source: Source, diagnostics: Diagnostics) -> tuple[list[Token], tuple[Comment, ...]]:
    tokens: list[Token] = []
    comments: list[Comment] = []
    words = tables().words
    add = tokens.append
    for match in master().finditer(source.text, 1 if source.text.startswith("\ufeff") else 0):
        kind = match.lastgroup or ERROR
        if kind == "SPACE":
            continue
        text = match.group()
        start, end = match.span()
        if kind == "NAME" or kind == "WORD":
            if text in FOREIGN_WORDS:
                kind = foreign(Span(source, start, end), FOREIGN_WORDS[text], diagnostics)
            else:
                kind = words.get(text, "NAME")
        elif kind == "COMMENT":
            comments.append(Comment(Span(source, start, end), text.rstrip()))
            continue
        elif kind == "FOREIGN":
            kind = foreign(Span(source, start, end), FOREIGN[text], diagnostics)
        elif kind in COMPLAINTS:
            kind = complain(kind, Span(source, start, end), diagnostics)
        add(Token(kind, text, start, end))
    return tokens, tuple(comments)


def foreign(span: Span, advice: tuple[str, str], diagnostics: Diagnostics) -> str:
    kind, help_ = advice
    message = f"`{span.text}` is not part of the language"
    diagnostics.add(Diagnostic(codes.SYNTAX, message, span, help=help_))
    return kind or ERROR


# What is cut out but malformed: code, message, help, and the terminal to go on with.
COMPLAINTS = {
    "OPEN_DOC": (codes.UNCLOSED, "docstring is not closed", 'close it with `"""`', ERROR),
    "OPEN_STRING": (codes.BAD_LITERAL, "string is not closed on its line", "", "STRING"),
    "SINGLE": (codes.BAD_LITERAL, "strings are written in double quotes", "", "STRING"),
    "STRAY": (codes.SYNTAX, "unexpected character", "", ERROR),
}


def complain(kind: str, span: Span, diagnostics: Diagnostics) -> str:
    code, message, help_, go_on = COMPLAINTS[kind]
    text = span.text
    if kind == "OPEN_DOC":
        span = Span(span.source, span.start, span.start + 3)
    elif kind == "SINGLE":
        inside = text.strip("'").replace('"', "")
        help_ = f'write `"{inside}"`'
    elif kind == "STRAY":
        message += f" {printable(text)}"
    diagnostics.add(Diagnostic(code, message, span, help=help_))
    return go_on


def printable(character: str) -> str:
    return f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"


# --- brackets ---


class Open(NamedTuple):
    """An open bracket. at: its place in the tokens; indent: of the line it stands in."""

    at: int
    token: Token
    indent: int


class Brackets:
    """The brackets open at one place while the tokens go by."""

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        self.source = source
        self.diagnostics = diagnostics
        self.out: list[Token] = []
        self.heads: set[int] = set()
        self.stack: list[Open] = []
        self.suspects: list[Open] = []  # braces whose closer stands in the wrong column
        self.too_deep = False

    def open(self, token: Token, indent: int) -> None:
        if token.type == "LBRACE":
            self.drop_round()
        self.stack.append(Open(len(self.out), token, indent))
        if len(self.stack) <= DEEPEST:
            self.out.append(token)
            return
        if not self.too_deep:
            message = f"more than {DEEPEST} brackets inside each other"
            self.report(codes.TOO_DEEP, message, token, "bind an inner part to a name")
        self.too_deep = True
        self.out.append(token._replace(type=ERROR))

    def close(self, token: Token, indent: int, fresh: bool) -> None:
        opener = CLOSERS[token.type]
        if token.type == "RBRACE":
            self.drop_round()
        elif any(entry.token.type == opener for entry in self.round()):
            while self.stack[-1].token.type != opener:
                self.unclosed([self.stack.pop()])
        elif self.round():
            entry = self.stack.pop()
            self.blame(entry, [Open(0, token, 0)], f"`{SIGNS[token.type]}` cannot close it")
            self.out[entry.at] = entry.token._replace(type=ERROR)
            self.out.append(token._replace(type=ERROR))
            return
        if not self.stack or self.stack[-1].token.type != opener:
            sign = SIGNS[token.type]
            self.report(codes.SYNTAX, f"`{sign}` closes nothing", token, "")
            self.out.append(token._replace(type=ERROR))
            return
        entry = self.stack.pop()
        if token.type == "RBRACE" and fresh and indent < entry.indent:
            self.suspects.append(entry)
        if not self.stack:
            self.suspects.clear()
        too_deep = len(self.stack) >= DEEPEST
        self.out.append(token._replace(type=ERROR) if too_deep else token)

    def round(self) -> list[Open]:
        """The open ( and [ since the last {, innermost last."""
        count = 0
        for entry in reversed(self.stack):
            if entry.token.type == "LBRACE":
                break
            count += 1
        return self.stack[len(self.stack) - count :]

    def drop_round(self) -> None:
        """Give up the open ( and [: a brace or a statement cannot stand inside them."""
        open_ = self.round()
        if open_:
            del self.stack[-len(open_) :]
            self.unclosed(open_)

    def drop_all(self) -> None:
        """Give up everything open, and close the braces so that their bodies still parse."""
        self.drop_round()
        if not self.stack:
            return
        blamed = self.suspects[-1] if self.suspects else self.stack[-1]
        others = [entry for entry in self.stack if entry is not blamed][-3:]
        self.blame(blamed, [] if self.suspects else others)
        end = self.out[-1].end
        for _ in self.stack:
            self.out.append(Token("RBRACE", "", end, end))
        self.out.append(Token(NEWLINE, "", end, end))
        self.stack.clear()
        self.suspects.clear()

    def unclosed(self, entries: list[Open]) -> None:
        # an open string took the closer with it, and was complained about
        inside = self.out[entries[-1].at :]
        if not any(t.type == "STRING" and t.text[:1] not in t.text[1:] for t in inside):
            self.blame(entries[-1], entries[-4:-1])
        for entry in entries:
            self.out[entry.at] = entry.token._replace(type=ERROR)

    def blame(self, entry: Open, others: list[Open], seen: str = "also open here") -> None:
        sign = SIGNS[entry.token.type]
        closer = SIGNS[OPENERS[entry.token.type]]
        labels = tuple(Label(self.span(other.token), seen) for other in others)
        self.diagnostics.add(
            Diagnostic(
                codes.UNCLOSED,
                f"`{sign}` is never closed",
                self.span(entry.token),
                labels=labels,
                help=f"add the missing `{closer}`",
            )
        )

    def report(self, code: codes.Code, message: str, token: Token, help_: str) -> None:
        self.diagnostics.add(Diagnostic(code, message, self.span(token), help=help_))

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def breaks_off(self, tokens: list[Token], at: int, indent: int) -> bool:
        """Whether the first token of a line cannot belong to the open ( or [."""
        token = tokens[at]
        if not self.stack or self.stack[-1].token.type == "LBRACE":
            return False
        if token.type in STATEMENT_WORDS:
            return True
        if token.type in CLOSERS or token.type in CONTINUING or indent > self.stack[-1].indent:
            return False
        last = next((t for t in reversed(self.out) if t.type != NEWLINE), None)
        if last is None or last.type in UNFINISHED:
            return False
        # the `if` of a comprehension has no brace
        return token.type == "NAME" or (token.type == "IF" and opens_body(tokens, at))


def match_brackets(
    source: Source, tokens: list[Token], diagnostics: Diagnostics
) -> tuple[list[Token], set[int]]:
    """The tokens with every bracket matched, and the places of the words that begin an item."""
    brackets = Brackets(source, diagnostics)
    out = brackets.out
    fresh, line, indent = True, 0, 0
    for at, token in enumerate(tokens):
        kind = token.type
        if kind == NEWLINE:
            fresh, line = True, token.end
            out.append(token)
            continue
        first, fresh = fresh, False
        if first:
            indent = token.start - line
            if indent == 0 and kind in ITEM_WORDS and begins_item(tokens, at):
                brackets.drop_all()
                brackets.heads.add(len(out))
            elif brackets.breaks_off(tokens, at, indent):
                brackets.drop_round()
        if kind in OPENERS:
            brackets.open(token, indent)
        elif kind in CLOSERS:
            brackets.close(token, indent, first)
        else:
            out.append(token)
    brackets.drop_all()
    return out, brackets.heads


def opens_body(tokens: list[Token], at: int) -> bool:
    """Whether a `{` stands in the rest of the line."""
    for token in tokens[at:]:
        if token.type == NEWLINE:
            return False
        if token.type == "LBRACE":
            return True
    return False


def begins_item(tokens: list[Token], at: int) -> bool:
    """Whether the word here, at the start of a line, reads like the head of an item."""
    following = [token.type for token in tokens[at + 1 : at + 3]] + [END, END]
    kind = tokens[at].type
    if kind == "TEST":
        return following[0] == "STRING"
    if kind == "USE" and following[0] == "STRING":
        return True
    if kind == "FROM" and following[0] == "STRING":
        return following[1] == "USE"
    if following[0] != "NAME" and following[0] not in SOFT:
        return False
    return following[1] in FOLLOWERS[kind]


FOLLOWERS = {
    "BLOCK": frozenset({"LPAR", "EQUAL", "LBRACE", "ARROW", "WHERE"}),
    "MODEL": frozenset({"LPAR", "EQUAL", "LBRACE", "ARROW", "WHERE"}),
    "CELL": frozenset({"LPAR", "EQUAL", "LBRACE", "ARROW", "WHERE"}),
    "TRAIN": frozenset({"LPAR", "LBRACE"}),
    "CONST": frozenset({"EQUAL", "COMMA"}),
    "USE": frozenset({"DOT", NEWLINE, "AS", END}),
    "FROM": frozenset({"DOT", "USE"}),
}


# --- line ends ---


def settle_lines(tokens: list[Token], heads: set[int]) -> list[Token]:
    """Without the line ends that end nothing, and with one before each `}`."""
    out: list[Token] = []
    nest: list[str] = []
    pending: Token | None = None
    for at, token in enumerate(tokens):
        kind = token.type
        if kind == NEWLINE:
            if pending is None and out and not (nest and nest[-1] != "LBRACE"):
                pending = token
            continue
        last = out[-1].type if out else NEWLINE
        if pending is not None:
            ends = at in heads or ends_line(last, tokens, at, bool(nest))
            if ends and last not in (NEWLINE, "LBRACE"):
                out.append(pending)
                last = NEWLINE
            pending = None
        if kind in OPENERS:
            nest.append(kind)
        elif kind in CLOSERS:
            if nest:
                nest.pop()
            if kind == "RBRACE" and last not in (NEWLINE, "LBRACE"):
                out.append(Token(NEWLINE, "", token.start, token.start))
        out.append(token)
    if out and out[-1].type != NEWLINE:
        end = pending or Token(NEWLINE, "", out[-1].end, out[-1].end)
        out.append(end)
    return out


def ends_line(last: str, tokens: list[Token], at: int, inside: bool) -> bool:
    """Whether a line end between a token of type `last` and the token here ends a statement."""
    kind = tokens[at].type
    following = tokens[at + 1].type if at + 1 < len(tokens) else END
    if last in UNFINISHED:
        unbound = last != "COMMA" and kind == "NAME" and following == "EQUAL"
        return unbound or kind in STATEMENT_WORDS
    if kind in CONTINUING:
        return False
    if kind in CLAUSES:
        return not inside or following in ("EQUAL", "COLON", "COMMA")
    return kind != "WHERE" or inside
