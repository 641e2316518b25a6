"""What the tests of code generation share: units from specs, emitted files as modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import dlspec.api as api
from dlspec.codegen import Generated, Unit
from dlspec.codegen.target import Target
from dlspec.codegen.unit import unit_of

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "specs"
GOLDEN = ROOT / "tests" / "golden"

SPECS = {
    "lenet5": (ROOT / "specs" / "vision" / "lenet5.dls", "train", {}),
    "resnet18": (ROOT / "specs" / "vision" / "resnet18.dls", "ResNet18", {}),
    "shared": (HERE / "shared.dls", "train", {}),
}


def unit(path: Path | str, what: str, **static: object) -> Unit:
    """what: "train", or the name of a model."""
    spec = api.load(str(path))
    if what == "train":
        trainer = spec.trainer(None, **static)
        return unit_of(trainer.training, trainer.name)
    model = spec.model(what, **static)
    return unit_of(model.function, model.name)


def golden_unit(name: str) -> Unit:
    path, what, static = SPECS[name]
    return unit(path, what, **static)


def text_unit(text: str, what: str, **static: object) -> Unit:
    return unit(text, what, **static)


def load(source: str, name: str = "emitted") -> ModuleType:
    """The module that a source means. It is never looked up by its name."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module


def module(target: Target, made: Unit, randomness: str = "framework") -> ModuleType:
    generated: Generated = target.generate(made, randomness=randomness)  # type: ignore[arg-type]
    return load(generated.source)


def check_golden(backend: str, name: str, source: str) -> None:
    """DLSPEC_BLESS=1 writes the file instead."""
    path = GOLDEN / backend / f"{name}.py"
    if os.environ.get("DLSPEC_BLESS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == source
