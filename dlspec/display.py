"""Text as it stands on a terminal: how wide it is, and what must not reach it raw."""

from __future__ import annotations

import unicodedata

TAB = 4


def escape(text: str) -> str:
    """Control characters and direction marks made visible; the rest as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(c) for c in text)


def width(text: str) -> int:
    """Terminal columns of an escaped text: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


class Line:
    """A source line, expanded for display, with the column of each of its characters."""

    def __init__(self, text: str) -> None:
        shown: list[str] = []
        columns = [0]
        for char in text:
            at = columns[-1]
            piece = " " * (TAB - at % TAB) if char == "\t" else _visible(char)
            shown.append(piece)
            columns.append(at + width(piece))
        self.columns = columns
        self._shown = shown

    @property
    def text(self) -> str:
        return "".join(self._shown)

    def column(self, index: int) -> int:
        """The display column where character `index` starts; past the end: the end."""
        return self.columns[min(index, len(self.columns) - 1)]

    def cut(self, first: int, last: int) -> str:
        """What stands in display columns [first, last)."""
        pieces = zip(self.columns, self._shown, strict=False)
        return "".join(piece for at, piece in pieces if first <= at < last)


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in {"Cc", "Cs", "Zl", "Zp"} or (category == "Cf" and char != "\u200d"):
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return char


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
