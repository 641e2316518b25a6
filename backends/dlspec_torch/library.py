"""Definitions that files for torch copy, where torch lacks something."""

from __future__ import annotations

from pathlib import Path

from dlspec.codegen import Library

MODULES = ("gradient", "recurrent", "windows", "memory")
LIBRARY = Library(Path(__file__).parent / "emitted", MODULES)
