"""Diagnostics rendered: for people (source lines and carets), one line each, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dlspec.diagnostics import Diagnostic, Diagnostics, Severity
from dlspec.display import Line, escape, width
from dlspec.source import Source, Span

MAX_WIDTH = 140  # columns of a source line that are shown; longer ones are cut round the span
MAX_LINES = 6  # lines of a span that are shown whole


@dataclass(frozen=True)
class Style:
    """How a rendering looks. strict: warnings count and read as errors."""

    color: bool = False
    strict: bool = False

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text


PLAIN = Style()
BOLD, RED, YELLOW, BLUE, CYAN = "1", "1;31", "1;33", "1;34", "1;36"
_COLORS = {Severity.ERROR: RED, Severity.WARNING: YELLOW}


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sorted by file, then by position."""
    return sorted(diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.span.end))


def severity(diagnostic: Diagnostic, strict: bool) -> Severity:
    return Severity.ERROR if strict else diagnostic.severity


def count(diagnostics: Diagnostics, strict: bool = False) -> str:
    """`2 errors, 1 warning`; empty when there is none."""
    kinds = [severity(d, strict) for d in diagnostics.found]
    counts = [(kinds.count(kind), kind.value) for kind in Severity]
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n)


def render(diagnostics: Diagnostics, style: Style = PLAIN) -> str:
    """All of them, each with its source lines, an empty line between two."""
    found = in_order(diagnostics.found)
    return "\n".join(render_one(d, style, diagnostics.extra(d)) for d in found)


def render_one(diagnostic: Diagnostic, style: Style, extra: int = 0) -> str:
    kind = severity(diagnostic, style.strict)
    head = style.paint(f"{kind.value}[{diagnostic.code.name}]", _COLORS[kind])
    lines = [head + style.paint(f": {escape(diagnostic.message)}", BOLD)]
    snippets = _snippets(diagnostic)
    gutter = max((len(str(s.last_line)) for s in snippets), default=1)
    for index, snippet in enumerate(snippets):
        lines += snippet.render(gutter, style, _COLORS[kind], arrow="-->" if not index else ":::")
    remarks = [("note", note) for note in _notes(diagnostic, extra)]
    if diagnostic.help:
        remarks.append(("help", diagnostic.help))
    if remarks:
        lines.append(" " * gutter + style.paint(" |", BLUE))
    for word, text in remarks:
        lines += _remark(gutter, style, word, text)
    return "\n".join(lines) + "\n"


def concise(diagnostics: Diagnostics, strict: bool = False) -> str:
    """`file:line:column: error[E0301]: message`, one line each."""
    return "".join(
        f"{_place(d.span)}: {severity(d, strict).value}[{d.code.name}]: {escape(d.message)}"
        f"{_more(diagnostics.extra(d))}\n"
        for d in in_order(diagnostics.found)
    )


def to_json(diagnostics: Diagnostics, strict: bool = False) -> list[dict[str, Any]]:
    """Lines and columns count characters from 1; the end is exclusive."""
    return [
        {
            "code": d.code.name,
            "severity": severity(d, strict).value,
            "message": d.message,
            **_place_json(d.span),
            "label": d.label,
            "labels": [{**_place_json(label.span), "text": label.text} for label in d.labels],
            "notes": _notes(d, diagnostics.extra(d)),
            "help": d.help or None,
        }
        for d in in_order(diagnostics.found)
    ]


def _place(span: Span) -> str:
    name = escape(span.source.name)
    return f"{name}:{span.first.line}:{span.first.column}" if span.source.text else name


def _place_json(span: Span) -> dict[str, Any]:
    first, last = span.first, span.last
    return {
        "file": span.source.name,
        "line": first.line,
        "column": first.column,
        "end_line": last.line,
        "end_column": last.column,
    }


def _more(extra: int) -> str:
    return f" (and {extra} more)" if extra else ""


def _notes(diagnostic: Diagnostic, extra: int) -> list[str]:
    more = [f"and {extra} more with this cause"] if extra else []
    return [*diagnostic.notes, *more]


def _remark(gutter: int, style: Style, word: str, text: str) -> list[str]:
    margin = " " * gutter + style.paint(" = ", BLUE)
    first, *rest = text.split("\n")
    hang = " " * (gutter + 3 + len(word) + 2)
    head = margin + style.paint(word, CYAN if word == "help" else BOLD) + f": {escape(first)}"
    return [head, *(hang + escape(line) for line in rest)]


# --- source lines with their marks ---


@dataclass(frozen=True)
class _Mark:
    """A place on one line, in display columns. The primary one has carets."""

    first: int
    last: int
    text: str
    primary: bool

    def draw(self) -> str:
        return ("^" if self.primary else "-") * max(1, self.last - self.first)


@dataclass
class _Snippet:
    """The lines of one source that a diagnostic shows."""

    source: Source
    start: Span
    marks: dict[int, list[_Mark]]
    rail: tuple[int, int] | None  # first and last line of a primary span of several lines
    rail_text: str

    @property
    def last_line(self) -> int:
        ends = [self.rail[1]] if self.rail else []
        return max([self.start.first.line, *self.marks, *ends])

    def render(self, gutter: int, style: Style, color: str, arrow: str) -> list[str]:
        blank = " " * gutter + style.paint(" |", BLUE)
        head = " " * gutter + style.paint(arrow, BLUE) + " " + _place(self.start)
        if not self.source.text:
            return [head]
        lines = [head, blank]
        previous = None
        for number in self._numbers():
            if previous is not None and number == previous + 2:
                lines += self._line(number - 1, gutter, style, color)
            elif previous is not None and number > previous + 2:
                lines.append(style.paint("...", BLUE))
            lines += self._line(number, gutter, style, color)
            previous = number
        return lines

    def _numbers(self) -> list[int]:
        numbers = set(self.marks)
        if self.rail:
            first, last = self.rail
            inside = range(first, last + 1)
            numbers |= set(inside) if len(inside) <= MAX_LINES else {*inside[:3], *inside[-2:]}
        return sorted(numbers)

    def _line(self, number: int, gutter: int, style: Style, color: str) -> list[str]:
        line = Line(self.source.line(number))
        marks = sorted(self.marks.get(number, ()), key=lambda m: (m.first, m.last))
        begin, text = _window(line, marks)
        edge = style.paint(f"{number:>{gutter}} |", BLUE)
        rail = style.paint(self._rail_char(number), color)
        shown = [f"{edge} {rail}{text}".rstrip()]
        margin = " " * gutter + style.paint(" |", BLUE) + " "
        inner = self._rail_after(number)
        for row in _mark_rows(marks, begin, style, color):
            shown.append((margin + style.paint(inner, color) + row).rstrip())
        if self.rail and number == self.rail[1]:
            foot = "|" + "_" * max(1, width(text.rstrip())) + "^"
            label = f" {escape(self.rail_text)}" if self.rail_text else ""
            shown.append(margin + style.paint(foot + label, color))
        return shown

    def _rail_char(self, number: int) -> str:
        if not self.rail:
            return ""
        first, last = self.rail
        return "/ " if number == first else "| " if first < number <= last else "  "

    def _rail_after(self, number: int) -> str:
        if not self.rail:
            return ""
        first, last = self.rail
        return "| " if first <= number < last else "  "


def _snippets(diagnostic: Diagnostic) -> list[_Snippet]:
    """The primary's source first, then the others in order of mention."""
    by_source: dict[int, _Snippet] = {}
    places = [(diagnostic.span, diagnostic.label, True)]
    places += [(label.span, label.text, False) for label in diagnostic.labels]
    for span, text, primary in places:
        key = id(span.source)
        snippet = by_source.setdefault(key, _Snippet(span.source, span, {}, None, ""))
        first, last = span.first.line, _last_line(span)
        if primary and last > first:
            snippet.rail, snippet.rail_text = (first, last), text
            continue
        line = Line(span.source.line(first))
        at = line.column(span.first.column - 1)
        end = line.columns[-1] if last > first else line.column(span.last.column - 1)
        if span.last.line > first == last:  # it ends with the line's own end
            end = line.columns[-1]
        snippet.marks.setdefault(first, []).append(_Mark(at, end, escape(text), primary))
    return list(by_source.values())


def _last_line(span: Span) -> int:
    """The line of the last character in the span: an end at column 1 belongs to the line above."""
    return span.source.position(max(span.start, span.end - 1)).line


def _window(line: Line, marks: list[_Mark]) -> tuple[int, str]:
    """The part of a line to show, and the display column where it begins."""
    if line.columns[-1] <= MAX_WIDTH:
        return 0, line.text
    centre = next((m.first for m in marks if m.primary), marks[0].first if marks else 0)
    begin = max(0, min(centre - MAX_WIDTH // 3, line.columns[-1] - MAX_WIDTH))
    text = line.cut(begin + 3 if begin else 0, begin + MAX_WIDTH - 3)
    tail = "..." if begin + MAX_WIDTH < line.columns[-1] else ""
    return begin, ("..." if begin else "") + text + tail


def _mark_rows(marks: list[_Mark], begin: int, style: Style, color: str) -> list[str]:
    """The carets, the rightmost label beside them, the other labels hung below, right to left."""
    if not marks:
        return []
    end = begin + MAX_WIDTH
    seen = [_Mark(max(m.first, begin), min(m.last, end), m.text, m.primary) for m in marks]
    seen = [m for m in seen if m.first <= end]
    *left, right = seen
    beside = all(m.last <= right.first for m in left)
    hung = [m for m in (left if beside else seen) if m.text]
    row = _overlay([(m.first - begin, m.draw(), _paint(m, color)) for m in _under(seen)], style)
    if beside and right.text:
        row += " " + style.paint(right.text, _paint(right, color))
    rows = [row]
    if hung:
        rows.append(_overlay([(m.first - begin, "|", _paint(m, color)) for m in hung], style))
    while hung:
        *hung, last = hung
        bars = [(m.first - begin, "|", _paint(m, color)) for m in hung if m.first < last.first]
        rows.append(_overlay([*bars, (last.first - begin, last.text, _paint(last, color))], style))
    return rows


def _under(marks: list[_Mark]) -> list[_Mark]:
    """Secondary marks first: the primary's carets are drawn over them."""
    return sorted(marks, key=lambda m: m.primary)


def _paint(mark: _Mark, color: str) -> str:
    return color if mark.primary else BLUE


def _overlay(pieces: list[tuple[int, str, str]], style: Style) -> str:
    """Pieces of text at their columns; a later one covers an earlier one."""
    cells: dict[int, tuple[str, str]] = {}
    for at, text, color in pieces:
        for offset, char in enumerate(text):
            cells[at + offset] = (char, color)
    row: list[str] = []
    run, run_color = "", ""
    for column in range(max(cells, default=-1) + 1):
        char, color = cells.get(column, (" ", ""))
        if color != run_color:
            row.append(style.paint(run, run_color) if run_color else run)
            run, run_color = "", color
        run += char
    row.append(style.paint(run, run_color) if run_color else run)
    return "".join(row)
