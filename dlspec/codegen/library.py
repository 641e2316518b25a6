"""Definitions that generated files copy from a backend's `emitted` package, with what they use."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Definition:
    """A function, class or constant as its module has it. uses: names that it reads."""

    name: str
    source: str
    uses: frozenset[str]


@dataclass(frozen=True)
class Library:
    """modules: files of the folder, in the order in which a generated file has them. A later
    definition takes the place of one of the same name."""

    folder: Path
    modules: tuple[str, ...]

    def _statements(self) -> Iterator[tuple[str, ast.stmt]]:
        for module in self.modules:
            text = (self.folder / f"{module}.py").read_text(encoding="utf-8")
            for node in ast.parse(text).body:
                yield text, node

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        found: dict[str, Definition] = {}
        for text, node in self._statements():
            name = _name(node)
            source = ast.get_source_segment(text, node)
            if name is not None and source is not None:
                found[name] = Definition(name, source, _free_names(node) - {name})
        return found

    def closure(self, names: set[str]) -> list[Definition]:
        """The named definitions and all that they use, in the library's order."""
        wanted: set[str] = set()
        pending = [n for n in names if n in self.definitions]
        while pending:
            name = pending.pop()
            if name not in wanted:
                wanted.add(name)
                pending.extend(n for n in self.definitions[name].uses if n in self.definitions)
        return [d for d in self.definitions.values() if d.name in wanted]

    def import_lines(self, body: str, known: frozenset[str]) -> list[str]:
        """`from … import …` of what a body uses, but for the modules that are known to it."""
        found: dict[str, list[str]] = {}
        for _, node in self._statements():
            if isinstance(node, ast.ImportFrom) and node.module and node.module not in known:
                names = [a.name for a in node.names if re.search(rf"\b{a.name}\b", body)]
                if names:
                    found[node.module] = names
        return [f"from {module} import {', '.join(names)}" for module, names in found.items()]


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _free_names(node: ast.stmt) -> frozenset[str]:
    """Names that a definition reads and does not make itself."""
    read: set[str] = set()
    made: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            (read if isinstance(inner.ctx, ast.Load) else made).add(inner.id)
        elif isinstance(inner, ast.arg):
            made.add(inner.arg)
    return frozenset(read - made)
