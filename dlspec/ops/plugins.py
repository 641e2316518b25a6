"""Built-ins of installed packages, through the entry points `dlspec.ops`.

The entry point's name is the name in the language, its value a `Builtin` of that name. They are
looked for only when a spec uses a name that the language does not have, and each is loaded when
its own name is used; one that cannot be loaded is as if it were not there, with the reason kept.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from dlspec.ops.base import Builtin, Op

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "dlspec.ops"


@cache
def installed() -> Mapping[str, EntryPoint]:
    """Entry points by name, none of them loaded. Of two with one name, the first found."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        found.setdefault(entry.name, entry)
    return found


def find(name: str) -> Builtin | None:
    """The built-in that a package gives for this name; None also where it cannot be loaded."""
    found = _load(name)
    return found if isinstance(found, Builtin) else None


def broken(name: str) -> str:
    """Why the built-in that a package gives for this name cannot be used; "" where none does."""
    found = _load(name)
    return found if isinstance(found, str) else ""


def op_classes() -> dict[str, type[Op]]:
    """The ops by class name that stand in the modules of the entry points, for documents that
    name them."""
    found: dict[str, type[Op]] = {}
    for entry in installed().values():
        if find(entry.name) is not None:
            for value in vars(import_module(entry.module)).values():
                if isinstance(value, type) and issubclass(value, Op):
                    found.setdefault(value.__name__, value)
    return found


@cache
def _load(name: str) -> Builtin | str | None:
    entry = installed().get(name)
    if entry is None:
        return None
    try:
        found = entry.load()
    except Exception as error:  # whatever a plug-in does while it loads is its own fault
        return f"`{entry.value}` cannot be loaded: {type(error).__name__}: {error}"
    if not isinstance(found, Builtin) or found.name != name:
        return f"`{entry.value}` is no built-in named `{name}`"
    return found
