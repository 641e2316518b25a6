"""An emitted file in this process, and how the process is asked to stop."""

from __future__ import annotations

import importlib.util
import platform
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Job: TypeAlias = dict[str, Any]
Emit: TypeAlias = Callable[[str, Mapping[str, object]], None]


class Stop:
    """Set by the first SIGINT or SIGTERM: the run ends after the present step."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True


def load_module(path: Path, name: str = "model") -> Any:
    """The emitted file as a module; it is run as it stands."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def environment() -> dict[str, object]:
    """Versions of what took part, and the machine."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("torch", "jax", "optax"):
        if name in sys.modules:
            versions[name] = metadata.version(name)
    return {"versions": versions, "machine": f"{platform.system()} {platform.machine()}"}
