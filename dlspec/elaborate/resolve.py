"""Names that are not a definition's own: of the file, of its imports, of the language."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

from dlspec.diagnostics import close_to
from dlspec.elaborate.static import STATIC_NAMES
from dlspec.ir.inits import INIT_KINDS
from dlspec.ops import plugins, registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dlspec.elaborate.files import Module

SPECIAL = frozenset(
    {
        *("repeat", "scan", "bidirectional", "fork", "param", "buffer"),
        *("greedy", "sample", "beam", "params", "macs", "shape", "l1", "l2"),
    }
)
LATER = {
    "grad": "gradients as expressions",
    "generate": "`greedy`, `sample` and `beam` write sequences",
}  # fmt: skip


class Known(Enum):
    YES = auto()
    LATER = auto()  # a name of the language that is not supported yet


def not_yet(name: str) -> str:
    return f"`{name}` ({LATER[name]}) is not supported yet"


def language() -> frozenset[str]:
    return frozenset(registry.names()) | STATIC_NAMES | SPECIAL | frozenset(INIT_KINDS)


def unresolved(module: Module, name: str, local: Iterable[str] = ()) -> Known | str:
    """Whether a file knows a name; if not, a suggestion (or nothing)."""
    if name == "training" or name in module.names or name in module.imported:
        return Known.YES
    if name in module.namespaces or name in language() or is_lost(module, name):
        return Known.YES
    if name in LATER:
        return Known.LATER
    if plugins.find(name) is not None:
        return Known.YES
    return suggestion(module, name, local)


def suggestion(module: Module, name: str, local: Iterable[str]) -> str:
    if reason := plugins.broken(name):
        return f"an installed package has it, but {reason}"
    known = {*local, *module.names, *module.imported, *module.namespaces, *language()}
    known.update(plugins.installed())
    lower = name.lower()
    best = lower if lower in known else None
    return f"did you mean `{best}`?" if best else close_to(name, known)


def is_lost(module: Module, name: str) -> bool:
    """Whether an import or a definition that failed would have given the name."""
    if name in module.lost:
        return True
    if not module.incomplete:
        return False
    text = module.file.source.text
    return (
        re.search(rf"\b(block|model|cell|const|use|as)\b[^\n]*\b{re.escape(name)}\b", text)
        is not None
    )
