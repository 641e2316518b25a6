"""Emitted files as modules, and the case table of the ops' own tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

OPS = Path(__file__).resolve().parent.parent / "ops"


def module(source: str) -> ModuleType:
    """The module that a source is."""
    made = ModuleType("emitted")
    exec(compile(source, "<emitted>", "exec"), made.__dict__)
    return made


def of_ops(name: str) -> ModuleType:
    """`tests/ops/<name>.py`: test folders cannot import each other by name."""
    full = f"tests_ops_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, OPS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]
