"""What to say where the parser is stuck: what was found, what would go on, and the likely slip."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from dlspec import codes
from dlspec.diagnostics import Diagnostic
from dlspec.source import Source, Span
from dlspec.syntax import ast
from dlspec.syntax.lexer import CLAUSES, END, ITEM_WORDS, NEWLINE, OPERATORS, SOFT, Token
from dlspec.syntax.tables import tables

COMPARISONS = frozenset({"EQ", "NE", "LT", "LE", "GT", "GE"})
PREFIXES = frozenset({"NOT", "MINUS", "PLUS", "TILDE"})
VALUES = frozenset({
    "NAME", "NUMBER", "STRING", "TRUE", "FALSE", "NONE", "INF", "LPAR", "LSQB", "ELLIPSIS",
})  # fmt: skip
# Terminals worth naming as what would go on, in the order to name them.
MARKS = {
    "EQUAL": "`=`", "COMMA": "`,`", "RPAR": "`)`", "RSQB": "`]`", "LBRACE": "`{`",
    "RBRACE": "`}`", "IN": "`in`", "ELSE": "`else`", "USE": "`use`", "COLON": "`:`",
    NEWLINE: "the end of the line", END: "the end of the text",
}  # fmt: skip
SHORT = 24  # characters of an operand that a help line repeats
HEADS = "`block`, `model`, `cell`, `train`, `test`, `const` or `use`"


class Stuck(NamedTuple):
    """Where the parser is: the token that does not fit, and what it holds."""

    source: Source
    tokens: list[Token]
    at: int
    states: list[int]
    values: list[Any]

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    @property
    def before(self) -> Token | None:
        return self.tokens[self.at - 1] if self.at else None

    @property
    def after(self) -> Token | None:
        return self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None


def explain(stuck: Stuck) -> Diagnostic:
    """The diagnostic for a token that does not fit."""
    for slip in SLIPS:
        found = slip(stuck)
        if found is not None:
            return found
    wanted = expected(stuck)
    message = f"expected {wanted}, found {describe(stuck.token)}"
    return Diagnostic(codes.SYNTAX, message, place(stuck, stuck.token))


def place(stuck: Stuck, token: Token) -> Span:
    """The span to blame: the token, or the last character before an empty one."""
    end = max(token.end, token.start)
    if token.text.strip():
        return Span(stuck.source, token.start, end)
    start = stuck.before.end if stuck.before is not None else token.start
    return Span(stuck.source, max(0, start - 1), start)


def describe(token: Token) -> str:
    kind = token.type
    if kind == NEWLINE:
        return "the end of the line"
    if kind == END:
        return "the end of the text"
    if kind == "NAME":
        return f"name `{token.text}`"
    if kind == "NUMBER":
        return f"number `{token.text}`"
    if kind == "STRING":
        return "a string"
    if kind == "DOC":
        return "a docstring"
    return f"`{token.text}`" if token.text else "the end of the body"


# --- what would go on ---


def accepts(states: list[int], kind: str) -> bool:
    """Whether the parser could go on with a terminal."""
    table = tables()
    stack = states[-64:]  # a reduction inside one statement rarely looks further down
    while stack:
        if stack[-1] in table.ends.values():
            return kind == END
        target = table.states[stack[-1]].get(kind)
        if target is None:
            return False
        if target >= 0:
            return True
        rule = table.rules[-1 - target]
        del stack[len(stack) - rule.size :]
        if not stack:
            return True
        stack.append(table.states[stack[-1]][rule.origin])
    return False


def expected(stuck: Stuck) -> str:
    kinds = {kind for kind in (*MARKS, *VALUES, "DOC") if accepts(stuck.states, kind)}
    if {"NAME", "NUMBER"} <= kinds:
        closers = [MARKS[kind] for kind in ("RPAR", "RSQB") if kind in kinds]
        return alternatives(["an expression", *closers])
    if "DOC" in kinds:
        return "a statement" if "NAME" in kinds else HEADS
    if "COMMA" in kinds and kinds & {"RPAR", "RSQB"}:
        kinds.discard("EQUAL")
    words = [text for kind, text in MARKS.items() if kind in kinds]
    if "NAME" in kinds:
        return alternatives(["a name", *words])
    return alternatives(words) if words else "a string" if "STRING" in kinds else "something else"


def alternatives(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


# --- frequent slips ---


def error(
    stuck: Stuck, message: str, help_: str, token: Token | None = None,
    code: codes.Code = codes.SYNTAX,
) -> Diagnostic:  # fmt: skip
    return Diagnostic(code, message, place(stuck, token or stuck.token), help=help_)


def bare_operator(stuck: Stuck) -> Diagnostic | None:
    if stuck.token.type != "ARROW":
        return None
    for at in range(len(stuck.values) - 1, -1, -1):
        value = stuck.values[at]
        if not isinstance(value, Token):
            continue
        if value.type in OPERATORS or value.type in PREFIXES:
            message = f"`{value.text}` stands bare on the left of `->`"
            left, sign = stuck.values[at - 1] if at else None, value.text
            b = short(stuck.values[-1], "b")
            a = short(left, "a")
            help_ = f"write `{a} {sign} ({b} -> …)` or `({a} {sign} {b}) -> …`"
            if left is None or isinstance(left, Token | list):
                gap = " " if value.type == "NOT" else ""
                help_ = f"write `{sign}{gap}({b} -> …)` or `({sign}{gap}{b}) -> …`"
            return error(stuck, message, help_, value, codes.BARE_OPERATOR)
        if value.type not in ("NAME", "AS"):
            return None
    return None


def short(value: Any, other: str) -> str:
    """The text of an expression if it is short, else a stand-in."""
    span = getattr(value, "span", None)
    text = span.text if isinstance(span, Span) else ""
    return text if 0 < len(text) <= SHORT and "\n" not in text else other


def chained_comparison(stuck: Stuck) -> Diagnostic | None:
    if stuck.token.type not in COMPARISONS:
        return None
    held = [value.type for value in stuck.values[-3:] if isinstance(value, Token)]
    compared = [value for value in stuck.values[-2:] if isinstance(value, ast.Binary)]
    chained = any(kind in COMPARISONS for kind in held) or any(
        value.op in ("==", "!=", "<", "<=", ">", ">=") for value in compared
    )
    if not chained:
        return equality(stuck)
    return error(stuck, "comparisons cannot be chained", "write `a < b and b < c`")


def equality(stuck: Stuck) -> Diagnostic | None:
    if stuck.token.type == "EQ" and accepts(stuck.states, "EQUAL"):
        return error(stuck, "a binding is written with a single `=`", "`==` compares")
    return None


def assignment(stuck: Stuck) -> Diagnostic | None:
    begin = line_begin(stuck)
    if stuck.token.type != "EQUAL" or stuck.at == begin:
        return None
    statement = stuck.tokens[begin].type
    if statement in ("IF", "ASSERT", "RETURN") and stuck.at - begin > 1:
        return error(stuck, "`=` binds a name, it does not compare", "to compare, write `==`")
    if statement == "NAME" and stuck.at - begin > 1 and stuck.tokens[begin + 1].type == "LSQB":
        message = "an element cannot be assigned"
        return error(stuck, message, "build a new list: `xs = xs + [x]`")
    return None


def line_begin(stuck: Stuck) -> int:
    at = stuck.at
    while at > 0 and stuck.tokens[at - 1].type not in (NEWLINE, "LBRACE"):
        at -= 1
    return at


def colon(stuck: Stuck) -> Diagnostic | None:
    if stuck.token.type != "COLON" or not accepts(stuck.states, "LBRACE"):
        return None
    return error(stuck, f"expected {expected(stuck)}, found `:`", "a body is written `{ … }`")


def item_word(stuck: Stuck) -> Diagnostic | None:
    """The start of an item that is none."""
    token = stuck.token
    if stuck.at != 0 or not accepts(stuck.states, "MODEL") or token.type == NEWLINE:
        return None
    message = f"expected {HEADS}, found {describe(token)}"
    help_ = FOREIGN_ITEMS.get(token.text, "")
    if not help_ and token.type == "NAME" and stuck.after is not None:
        near = get_close_matches(token.text, [word.lower() for word in sorted(ITEM_WORDS)], 1)
        if near:
            help_ = f"did you mean `{near[0]}`?"
        elif stuck.after.type == "EQUAL":
            help_ = f"outside of definitions write `const {token.text} = …`"
    return error(stuck, message, help_)


FOREIGN_ITEMS = {
    "def": "a definition is written `block Name(…) { … }`",
    "function": "a definition is written `block Name(…) { … }`",
    "fn": "a definition is written `block Name(…) { … }`",
    "class": "a network is written `model Name(…) { … }`",
    "layer": "a definition is written `block Name(…) { … }`",
    "import": 'write `use "file.dls"` or `from a.b use Name`',
    "include": 'write `use "file.dls"`',
    "let": "write `const name = …`",
    "var": "write `const name = …`",
}


def foreign_statement(stuck: Stuck) -> Diagnostic | None:
    before = stuck.before
    if before is None:
        return None
    if before.text in ("let", "var", "val", "const") and stuck.token.type != "EQUAL":
        return error(stuck, expected_message(stuck), "a binding is written `name = value`", before)
    if before.text == "lambda":
        help_ = "there are no nameless functions: write a `block`"
        return error(stuck, "`lambda` is not part of the language", help_, before)
    first = stuck.tokens[line_begin(stuck)]
    if first.text in ("let", "var") and stuck.token.type == "EQUAL":
        message = f"`{first.text}` is not part of the language"
        return error(stuck, message, "a binding is written `name = value`", first)
    if first.text in ("def", "class", "fn", "function"):
        message = f"`{first.text}` is not part of the language"
        help_ = "definitions stand at the top of the file: `block Name(…) { … }`"
        return error(stuck, message, help_, first)
    return None


def expected_message(stuck: Stuck) -> str:
    return f"expected {expected(stuck)}, found {describe(stuck.token)}"


def clause_word(stuck: Stuck) -> Diagnostic | None:
    """A misspelt clause word: a name right after a value in a training statement."""
    token = stuck.token
    if token.type != "NAME" or not accepts(stuck.states, "OVER"):
        return None
    near = get_close_matches(token.text, [word.lower() for word in sorted(CLAUSES)], 1)
    help_ = f"did you mean `{near[0]}`?" if near else "every statement needs a line of its own"
    return error(stuck, expected_message(stuck), help_)


def bare_pipe(stuck: Stuck) -> Diagnostic | None:
    """An operator after a pipeline: `x -> f + y`."""
    if stuck.token.type not in OPERATORS:
        return None
    begin = line_begin(stuck)
    if not any(token.type == "ARROW" for token in stuck.tokens[begin : stuck.at]):
        return None
    sign = stuck.token.text
    help_ = f"put the pipeline in parentheses: `(x -> f) {sign} y`"
    return error(stuck, f"`{sign}` cannot follow a pipeline", help_)


def missing_comma(stuck: Stuck) -> Diagnostic | None:
    token = stuck.token
    if token.type not in VALUES and token.type not in SOFT:
        return None
    if not accepts(stuck.states, "COMMA") or accepts(stuck.states, NEWLINE):
        return None
    return error(stuck, expected_message(stuck), "put a `,` between the two")


def crowded(stuck: Stuck) -> Diagnostic | None:
    """Two statements on a line, or a value that nothing does anything with."""
    if not accepts(stuck.states, NEWLINE):
        return None
    if stuck.token.type == "ARROW" and len(stuck.values) and stuck.at - line_begin(stuck) == 1:
        message = "a value has to be bound or returned"
        return error(stuck, message, "write `name = …` or `return …`")
    if stuck.token.type in VALUES or stuck.token.type in ("RETURN", "IF", "FOR", "SHARE"):
        return error(stuck, expected_message(stuck), "every statement needs a line of its own")
    return None


def misplaced(stuck: Stuck) -> Diagnostic | None:
    token, before = stuck.token, stuck.before
    if token.type == "FOR" and accepts(stuck.states, "COMMA"):
        return error(
            stuck, "a comprehension needs brackets of its own", "write `[f(x) for x in xs]`"
        )
    if token.type == NEWLINE and before is not None and before.type == "IF":
        return error(stuck, expected_message(stuck), "write `if condition { … }`")
    if before is not None and before.type == "DOT" and stuck.at > 1:
        number = stuck.tokens[stuck.at - 2]
        if number.type == "NUMBER":
            return error(stuck, expected_message(stuck), f"write `{number.text}.0`")
    if token.type == "DOT" and stuck.at - line_begin(stuck) == 1 and before is not None:
        return error(stuck, f"nothing can be bound to a part of `{before.text}`", "bind a name")
    if token.type == "DOT" and stuck.after is not None and stuck.after.type == "NUMBER":
        return error(stuck, expected_message(stuck), "a number begins with a digit: `0.5`")
    if token.type in ("AND", "OR", "IN") and accepts(stuck.states, "EQUAL"):
        return None
    if token.type == "IN":
        return error(stuck, expected_message(stuck), "there is no test for membership")
    if token.text in RESERVED and before is not None and accepts(stuck.states, "NAME"):
        return error(stuck, expected_message(stuck), f"`{token.text}` is a reserved word")
    return None


RESERVED = frozenset({
    "and", "as", "assert", "else", "for", "if", "in", "not", "or", "return", "share",
})  # fmt: skip

SLIPS: tuple[Callable[[Stuck], Diagnostic | None], ...] = (
    item_word, bare_operator, chained_comparison, foreign_statement, assignment, colon,
    clause_word, bare_pipe, missing_comma, crowded, misplaced,
)  # fmt: skip
