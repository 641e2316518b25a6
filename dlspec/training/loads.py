"""`load`: weights of a file in place of a run's first ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from dlspec.codes import BAD_DATA, IMPORT_OUTSIDE, MISSING_EXTRA, NO_FILE
from dlspec.ir.graph import Load
from dlspec.training.errors import fail
from dlspec.training.unit import Unit
from dlspec.weights.foreign import LoadError, NameMap, fitted, read_any, read_map

Arrays: TypeAlias = dict[str, NDArray[Any]]


def apply_loads(weights: Arrays, loads: Sequence[Load], unit: Unit) -> Arrays:
    """The weights with those of files in their place. Raises Failure, which names what does not
    fit."""
    found = dict(weights)
    for load in loads:
        path = find(load.file, unit, load)
        names = NameMap() if load.names is None else None
        above = f"{load.path}." if load.path else ""
        try:
            if names is None:
                assert load.names is not None
                names = read_map(find(load.names, unit, load))
            wanted = {n.removeprefix(above): w for n, w in found.items() if n.startswith(above)}
            read = fitted(wanted, read_any(path), names)
        except LoadError as error:
            fail(BAD_DATA, str(error), load.span)
        except ModuleNotFoundError:
            fail(MISSING_EXTRA, "torch is not installed: pip install 'dlspec[torch]'", load.span)
        found |= {f"{above}{name}": array for name, array in read.items()}
    return found


def find(name: str, unit: Unit, load: Load) -> Path:
    """A file beside the spec, or in a folder that was allowed."""
    own = unit.path.parent if unit.path else Path()
    outside = False
    for root in (own, *unit.include):
        target = root / name
        if not target.resolve().is_relative_to(root.resolve()):
            outside = True
        elif target.is_file():
            return target
    if outside:
        fail(
            IMPORT_OUTSIDE,
            f'"{name}" leaves the folder of the spec',
            load.span,
            "allow its folder with --include DIR",
        )
    fail(NO_FILE, f'there is no file "{name}"', load.span)
