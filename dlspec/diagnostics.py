"""Diagnostics: errors and warnings as values, with the places to blame.

A diagnostic is data. Nothing here prints; `dlspec.cli` renders, `to_json` serves programs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dlspec.codes import Code
    from dlspec.source import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Label:
    """A secondary place, with what is to be seen there."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One problem. message: lower case, no full stop; span: the place to blame."""

    code: Code
    message: str
    span: Span
    label: str = ""  # what is to be seen at the primary span
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""

    @property
    def severity(self) -> Severity:
        return self.code.severity


class Failure(Exception):
    """A diagnostic on its way to the nearest place that can go on without the failed value."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


@dataclass
class Diagnostics:
    """Collects the problems of one run, the same cause at the same place once."""

    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    repeats: dict[tuple[str, str, int, int], int] = field(
        default_factory=dict[tuple[str, str, int, int], int]
    )

    told: int = 0  # errors, each time that they were met

    def add(self, diagnostic: Diagnostic, *, foreseen: bool = False) -> None:
        """foreseen: told from the text alone; what meets it later counts as the first time."""
        span = diagnostic.span
        key = (diagnostic.code.name, span.source.name, span.start, span.end)
        if key not in self.repeats:
            self.found.append(diagnostic)
        self.told += diagnostic.severity is Severity.ERROR
        self.repeats[key] = self.repeats.get(key, 0) + (not foreseen)

    def extra(self, diagnostic: Diagnostic) -> int:
        """How many more times the same cause occurred (instances of one block)."""
        span = diagnostic.span
        key = (diagnostic.code.name, span.source.name, span.start, span.end)
        return max(0, self.repeats.get(key, 1) - 1)

    @property
    def errors(self) -> list[Diagnostic]:
        return [d for d in self.found if d.severity is Severity.ERROR]

    @property
    def ok(self) -> bool:
        return not self.errors


def close_to(name: str, known: Iterable[str]) -> str:
    """A help that suggests the nearest known name; empty where none is near."""
    from difflib import get_close_matches  # a clean spec need not wait for it

    close = get_close_matches(name, sorted(known), 5)
    swapped = [c for c in close if sorted(c) == sorted(name)]  # `tahn` is `tanh`, not `tan`
    return f"did you mean `{(swapped or close)[0]}`?" if close else ""
