"""The rendering of diagnostics: source lines, carets, labels, JSON, one line each."""

from __future__ import annotations

import re
from textwrap import dedent

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Label
from dlspec.report import Style, concise, count, render, to_json
from dlspec.source import Source, Span


def place(source: Source, text: str) -> Span:
    """The first occurrence of a text."""
    start = source.text.index(text)
    return Span(source, start, start + len(text))


def collect(*found: Diagnostic) -> Diagnostics:
    diagnostics = Diagnostics()
    for diagnostic in found:
        diagnostics.add(diagnostic)
    return diagnostics


def shown(*found: Diagnostic) -> str:
    return render(collect(*found))


ADD = Source("add.dls", "model M(a: [B, S], b: [B, T]) {\n  c = a + b\n  return c\n}\n")


def test_labels_notes_and_help() -> None:
    diagnostic = Diagnostic(
        codes.SHAPE,
        "shapes do not fit: [B, S] + [B, T]",
        place(ADD, "+"),
        "axis 1: S and T",
        (Label(place(ADD, "a: [B, S]"), "[B, S]"), Label(place(ADD, "b: [B, T]"), "[B, T]")),
        ("in M", "two\nlines"),
        "rename T to S",
    )
    assert shown(diagnostic) == dedent("""\
        error[E0301]: shapes do not fit: [B, S] + [B, T]
         --> add.dls:2:9
          |
        1 | model M(a: [B, S], b: [B, T]) {
          |         ---------  --------- [B, T]
          |         |
          |         [B, S]
        2 |   c = a + b
          |         ^ axis 1: S and T
          |
          = note: in M
          = note: two
                  lines
          = help: rename T to S
        """)


def test_lines_between() -> None:
    source = Source("s.dls", "one\ntwo\nthree\nfour\nfive\nsix\n")
    far = Diagnostic(
        codes.DUPLICATE, "far", place(source, "six"), "", (Label(place(source, "one"), ""),)
    )
    assert shown(far).splitlines()[2:] == [
        "  |", "1 | one", "  | ---", "...", "6 | six", "  | ^^^",
    ]  # fmt: skip
    near = Diagnostic(
        codes.DUPLICATE, "n", place(source, "three"), "", (Label(place(source, "one"), ""),)
    )
    assert shown(near).splitlines()[3:] == [
        "1 | one", "  | ---", "2 | two", "3 | three", "  | ^^^^^",
    ]  # fmt: skip


def test_span_of_several_lines() -> None:
    source = Source("s.dls", "x = f(\n  1,\n  2,\n)\n")
    text = shown(Diagnostic(codes.LIMIT, "m", place(source, "f(\n  1,\n  2,\n)"), "too many"))
    assert text == dedent("""\
        error[E0403]: m
         --> s.dls:1:5
          |
        1 | / x = f(
        2 | |   1,
        3 | |   2,
        4 | | )
          | |_^ too many
        """)


def test_long_span_is_cut() -> None:
    source = Source("s.dls", "\n".join(f"line {n}" for n in range(1, 21)))
    lines = shown(Diagnostic(codes.LIMIT, "m", Span(source, 0, len(source.text)))).splitlines()
    assert lines[3:-1] == [
        " 1 | / line 1", " 2 | | line 2", " 3 | | line 3", "...",
        "19 | | line 19", "20 | | line 20",
    ]  # fmt: skip


def test_tabs_wide_and_combining_characters() -> None:
    source = Source("s.dls", "\ty = 日本 + e\u0301x + z")
    text = shown(Diagnostic(codes.UNDEFINED, "m", place(source, "z"), "here"))
    line, carets = text.splitlines()[-2:]
    assert line == "1 |     y = 日本 + e\u0301x + z"
    # two wide characters take four columns, the accent none
    assert carets == "  |                     ^ here"


def test_control_characters_never_reach_the_terminal() -> None:
    source = Source("\x1b[2J.dls", "a = \x1b[31m\u202e7\n")
    found = collect(
        Diagnostic(codes.SYNTAX, "bad \x07", place(source, "7"), "l\x1b", (), ("n\x1b",), "h\x9b")
    )
    for text in (render(found), concise(found)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "1 | a = \\x1b[31m\\u202e7" in render(found)
    assert render(found).splitlines()[-4] == "  |                   ^ l\\x1b"


def test_end_of_file_and_empty_file() -> None:
    source = Source("s.dls", "a = 1")
    assert shown(Diagnostic(codes.SYNTAX, "m", Span(source, 5, 5))).endswith(
        "1 | a = 1\n  |      ^\n"
    )
    nothing = Source("none.dls", "")
    missing = Diagnostic(codes.NO_FILE, "cannot read", Span(nothing, 0, 0))
    assert shown(missing) == "error[E0601]: cannot read\n --> none.dls\n"


def test_span_that_ends_with_the_line_end() -> None:
    source = Source("s.dls", "ab\ncd\n")
    text = shown(Diagnostic(codes.SYNTAX, "m", Span(source, 0, 3)))
    assert text.splitlines()[-2:] == ["1 | ab", "  | ^^"]


def test_long_line_is_cut_round_the_span() -> None:
    source = Source("s.dls", "a" * 500 + " zz " + "b" * 500)
    line, carets = shown(Diagnostic(codes.SYNTAX, "m", place(source, "zz"))).splitlines()[-2:]
    assert len(line) < 160
    assert line.startswith("1 | ...a")
    assert line.endswith("b...")
    assert line[carets.index("^") :].startswith("zz")


def test_other_files_follow() -> None:
    other = Source("other.dls", "block A = relu\n")
    text = shown(
        Diagnostic(
            codes.SHAPE, "m", place(ADD, "a + b"), "", (Label(place(other, "relu"), "here"),)
        )
    )
    assert text.splitlines()[5:] == [
        " ::: other.dls:1:11", "  |", "1 | block A = relu", "  |           ---- here",
    ]  # fmt: skip


def test_sorted_and_repeats_counted() -> None:
    late = Diagnostic(codes.UNUSED_BINDING, "late", place(ADD, "return"))
    early = Diagnostic(codes.SHAPE, "early", place(ADD, "a + b"))
    found = collect(late, *[early] * 50)
    assert concise(found) == (
        "add.dls:2:7: error[E0301]: early (and 49 more)\nadd.dls:3:3: warning[W0901]: late\n"
    )
    assert "= note: and 49 more with this cause" in render(found)
    assert count(found) == "1 error, 1 warning"
    assert count(found, strict=True) == "2 errors"
    assert render(found, Style(strict=True)).count("error[") == 2


def test_json() -> None:
    found = collect(Diagnostic(codes.SHAPE, "m", place(ADD, "a + b"), notes=("n",)))
    (told,) = to_json(found)
    assert told == {
        "code": "E0301", "severity": "error", "message": "m", "file": "add.dls",
        "line": 2, "column": 7, "end_line": 2, "end_column": 12,
        "label": "", "labels": [], "notes": ["n"], "help": None,
    }  # fmt: skip


def test_colors_add_nothing_but_color() -> None:
    found = collect(
        Diagnostic(codes.SHAPE, "m", place(ADD, "a + b"), "l", (Label(place(ADD, "c"), "k"),))
    )
    colored = render(found, Style(color=True))
    assert "\x1b[1;31m" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == render(found)
