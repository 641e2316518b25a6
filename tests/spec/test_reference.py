"""The reference: its pages are what the command writes, and its examples run."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dlspec.api import Model, load
from dlspec.ir.inits import INIT_KINDS
from dlspec.ops import registry
from dlspec.ops.base import Builtin
from dlspec.ops.optimizers import OPTIMIZERS
from dlspec.schedules import SCHEDULES

HERE = Path(__file__).parents[2] / "docs" / "reference"
COMMAND = "python docs/reference/generate.py"
FENCE = re.compile(r"^```dls\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", HERE / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_command_writes(generate: ModuleType) -> None:
    written = generate.pages()
    assert {path.name for path in HERE.glob("*.md")} == set(written), COMMAND
    for name, text in written.items():
        assert (HERE / name).read_text("utf-8") == text, f"{name} is old: {COMMAND}"


def names_of(*files: str) -> set[str]:
    texts = [(HERE / file).read_text("utf-8") for file in files]
    return {name for text in texts for name in re.findall(r"^## (\w+)$", text, re.M)}


def test_everything_is_in_it() -> None:
    families = [f"{family}.md" for family in registry.FAMILIES]
    assert names_of(*families) == set(registry.names())
    assert names_of("optimizers.md") == set(OPTIMIZERS)
    assert names_of("schedules.md") == set(SCHEDULES)
    assert names_of("initialisers.md") == set(INIT_KINDS)
    for path in (HERE.parents[1] / "specs" / "std").glob("*.dls"):
        blocks = re.findall(r"^(?:block|cell|model) (\w+)", path.read_text("utf-8"), re.M)
        assert names_of(f"std_{path.stem}.md") == set(blocks), path


@pytest.mark.parametrize("page", sorted(path.name for path in HERE.glob("*.md")))
def test_examples_can_be_written_for_all_backends(page: str) -> None:
    for text in FENCE.findall((HERE / page).read_text("utf-8")):
        spec = load(text)
        found = spec.trainer() if spec.trainings else with_sizes(text)
        for backend in ("numpy", "torch", "jax"):
            assert found.compile(backend).source


def with_sizes(text: str) -> Model:
    """The model with a size for each open dim but the batch: weights may depend on them."""
    shapes = [value.type.shape for value in load(text).model().function.inputs]
    names = {symbol for shape in shapes for dim in shape for symbol in dim.symbols}
    return load(text).model(**dict.fromkeys(names - {"N"}, 8))


def test_a_builtin_without_words_or_example_is_told(generate: ModuleType) -> None:
    relu = registry.find("relu")
    assert relu is not None
    silent = Builtin("relu", relu.tensors, relu.apply)
    with pytest.raises(generate.Missing, match="relu has no doc"):
        generate.builtin_entry(silent)
    odd = Builtin("new", ("u", "v", "w"), relu.apply, doc="New.")
    with pytest.raises(generate.Missing, match="new needs an example"):
        generate.builtin_entry(odd)
    with pytest.raises(generate.Missing, match="is not defined"):
        generate.spec_of("new", "x: [N, D] | nosuch(x)")


def test_a_docstring_is_markdown(generate: ModuleType) -> None:
    assert generate.quoted("Σ_k a*b of `x_y*z`") == r"Σ\_k a\*b of `x_y*z`"
