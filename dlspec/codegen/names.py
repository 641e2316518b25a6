"""Names for emitted code: the spec's own where Python allows, never a clash."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

KEYWORDS = frozenset(keyword.kwlist)
_RESERVED = KEYWORDS | frozenset(dir(builtins)) | {"self", "match", "case", "type"}
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def identifier(text: str) -> str:
    """A legal identifier as close to `text` as possible; never a keyword or a built-in."""
    cleaned = re.sub(r"\W", "_", text, flags=re.ASCII) or "_"
    if cleaned[0].isdigit():
        cleaned = f"_{cleaned}"
    return f"{cleaned}_" if cleaned in _RESERVED else cleaned


def snake(text: str) -> str:
    """`ConvNorm` to `conv_norm`, `LSTM` to `lstm`, `N` to `n`."""
    return identifier(_WORD_START.sub("_", text).lower())


def class_case(text: str) -> str:
    """`mnist_long` to `MnistLong`."""
    return "".join(part[:1].upper() + part[1:] for part in text.split("_"))


def plural(text: str) -> str:
    return text if text.endswith("s") else f"{text}s"


class Names:
    """Hands out names of one scope, each once. reserved: what must not be shadowed there."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.taken = set(reserved)
        self._numbers: dict[str, int] = {}  # all below are taken; only a start, for speed

    def fresh(self, wanted: str) -> str:
        """`wanted`, or with a number behind when it is taken."""
        base = identifier(wanted)
        if base not in self.taken:
            self.taken.add(base)
            return base
        stem = f"{base}_" if base[-1].isdigit() else base
        number = self._numbers.get(base, 2)
        while (name := f"{stem}{number}") in self.taken:
            number += 1
        self._numbers[base] = number + 1
        self.taken.add(name)
        return name

    def child(self) -> Names:
        """A scope inside this one: sees its names, adds none to it."""
        return Names(self.taken)
