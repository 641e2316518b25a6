"""Text that may be laid out in several ways, and the choice (after Wadler, "A prettier printer").

A document is a string, a tuple of documents, or one of the classes below. `render` never recurses.
"""

from __future__ import annotations

from dataclasses import dataclass

INDENT = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line end where the group around it is broken, else `flat`. hard: always a line end."""

    flat: str = " "
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """On one line if it fits, else broken at its own lines. broken: it must break."""

    doc: Doc
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Nest:
    """Its lines are indented by one more step."""

    doc: Doc


@dataclass(frozen=True, slots=True)
class IfBroken:
    """Text only where the group around it is broken."""

    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment at the end of a line; it takes no part in the choice."""

    text: str


Doc = str | Line | Group | Nest | IfBroken | Remark | tuple["Doc", ...]

SPACE = Line()
SOFT = Line("")
HARD = Line(hard=True)


def group(*docs: Doc) -> Group:
    """A group, broken if a hard line or a remark stands in it."""
    todo: list[Doc] = list(docs)
    while todo:
        doc = todo.pop()
        if isinstance(doc, tuple):
            todo.extend(doc)
        elif isinstance(doc, Nest):
            todo.append(doc.doc)
        elif breaks(doc):
            return Group(docs, broken=True)
    return Group(docs)


def breaks(doc: Doc) -> bool:
    return isinstance(doc, Remark) or getattr(doc, "hard", False) or getattr(doc, "broken", False)


Step = tuple[int, bool, Doc]  # indent, flat, what


def render(doc: Doc, width: int) -> str:
    out: list[str] = []
    column = 0
    stack: list[Step] = [(0, False, doc)]
    while stack:
        indent, flat, doc = stack.pop()
        if isinstance(doc, str):
            out.append(doc)
            column += len(doc)
        elif isinstance(doc, tuple):
            stack.extend((indent, flat, part) for part in reversed(doc))
        elif isinstance(doc, Nest):
            stack.append((indent + INDENT, flat, doc.doc))
        elif isinstance(doc, Group):
            one_line = flat or (
                not doc.broken and fits(width - column, (indent, True, doc.doc), stack)
            )
            stack.append((indent, one_line, doc.doc))
        elif isinstance(doc, Line):
            if flat and not doc.hard:
                out.append(doc.flat)
                column += len(doc.flat)
            else:
                out.append("\n" + " " * indent)
                column = indent
        elif isinstance(doc, IfBroken):
            if not flat:
                out.append(doc.text)
        else:
            out.append(f"  {doc.text}")
    lines = "".join(out).split("\n")
    return "\n".join(line.rstrip() for line in lines)


def width(doc: Doc) -> int:
    """The length on one line."""
    total = 0
    todo = [doc]
    while todo:
        doc = todo.pop()
        if isinstance(doc, str):
            total += len(doc)
        elif isinstance(doc, tuple):
            todo.extend(doc)
        elif isinstance(doc, Nest | Group):
            todo.append(doc.doc)
        elif isinstance(doc, Line):
            total += len(doc.flat)
    return total


def fits(room: int, first: Step, after: list[Step]) -> bool:
    """Whether the text up to the next line end has room."""
    todo = [first]
    rest = len(after)
    while room >= 0:
        if not todo:
            if rest == 0:
                return True
            rest -= 1
            todo.append(after[rest])
        indent, flat, doc = todo.pop()
        if isinstance(doc, str):
            room -= len(doc)
        elif isinstance(doc, tuple):
            todo.extend((indent, flat, part) for part in reversed(doc))
        elif isinstance(doc, Nest):
            todo.append((indent, flat, doc.doc))
        elif isinstance(doc, Group):
            todo.append((indent, flat and not doc.broken, doc.doc))
        elif isinstance(doc, Line):
            if not flat or doc.hard:
                return True
            room -= len(doc.flat)
        elif isinstance(doc, IfBroken):
            room -= 0 if flat else len(doc.text)
    return False
