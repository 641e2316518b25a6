"""dlspec: neural networks as specs; checked, then written as readable code.

From Python:

    spec = dlspec.load("lenet5.dls")
    print(spec.model().summary().text())
    print(spec.trainer().compile("torch").source)
    print(dlspec.verify(spec.trainer()).text())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlspec.api import Model, Spec, SpecError, Trainer, load
    from dlspec.verification import Verification, verify

__version__ = "0.1.0"

__all__ = [
    "Model", "Spec", "SpecError", "Trainer", "Verification", "__version__", "load", "verify",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """What the package exports, imported when it is first asked for: the commands start quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = "dlspec.verification" if name in ("Verification", "verify") else "dlspec.api"
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
