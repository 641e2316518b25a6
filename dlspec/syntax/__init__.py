"""Syntax: from text to tree, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.syntax.compare import same
from dlspec.syntax.parser import parse, parse_expression

if TYPE_CHECKING:
    from dlspec.syntax.format import format_file, format_source

__all__ = ["format_file", "format_source", "parse", "parse_expression", "same"]


def __getattr__(name: str) -> object:
    """The formatter, loaded when asked for: most commands only parse."""
    if name in ("format_file", "format_source"):
        from dlspec.syntax import format as formatter

        return getattr(formatter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
