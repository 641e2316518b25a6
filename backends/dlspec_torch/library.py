"""Definitions that generated files copy from `dlspec_torch.emitted`, with what they use."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MODULES = ("recurrent",)


@dataclass(frozen=True)
class Definition:
    """A function as its module has it. uses: all names that occur in it."""

    name: str
    source: str
    uses: frozenset[str]


@lru_cache(maxsize=1)
def definitions() -> dict[str, Definition]:
    """All of them, in the order in which a file has them."""
    folder = Path(__file__).parent / "emitted"
    found: dict[str, Definition] = {}
    for module in MODULES:
        text = (folder / f"{module}.py").read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                source = ast.get_source_segment(text, node)
                assert source is not None
                found[node.name] = Definition(node.name, source, frozenset(names_in(node)))
    return found


def import_lines(body: str) -> list[str]:
    """What the definitions in a body import besides torch itself."""
    folder = Path(__file__).parent / "emitted"
    found: dict[str, list[str]] = {}
    for module in MODULES:
        for node in ast.parse((folder / f"{module}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module not in (None, "torch"):
                names = [a.name for a in node.names if re.search(rf"\b{a.name}\b", body)]
                if names:
                    found[str(node.module)] = names
    return [f"from {module} import {', '.join(names)}" for module, names in found.items()]


def names_in(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def closure(names: set[str]) -> list[Definition]:
    """The named definitions and all that they use, in the library's order."""
    known = definitions()
    wanted: set[str] = set()
    pending = [n for n in names if n in known]
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending.extend(n for n in known[name].uses if n in known)
    return [d for d in known.values() if d.name in wanted]
