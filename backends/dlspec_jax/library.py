"""Definitions that generated files copy from `dlspec_jax.emitted`, with what they use."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MODULES = (
    "trees",
    "layers",
    "image",
    "patches",
    "norms",
    "maths",
    "indexing",
    "attention",
    "recurrent",
    "losses",
    "optimizers",
)


@dataclass(frozen=True)
class Definition:
    """A function or class as its module has it. uses: names that it reads."""

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
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                source = ast.get_source_segment(text, node)
                assert source is not None
                found[node.name] = Definition(node.name, source, _free_names(node) - {node.name})
    return found


def _free_names(node: ast.FunctionDef | ast.ClassDef) -> frozenset[str]:
    """Names that a definition reads and does not make itself."""
    read: set[str] = set()
    made: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            (read if isinstance(inner.ctx, ast.Load) else made).add(inner.id)
        elif isinstance(inner, ast.arg):
            made.add(inner.arg)
    return frozenset(read - made)


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
