"""The pages of the gallery are what the command writes: three here, all of them in
tests/trained/test_gallery_full.py."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docs" / "gallery"
COMMAND = "python docs/gallery/generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_gallery", HERE / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_gallery"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["vision/lenet1998", "vision/resnet", "vision/vgg"])
def test_a_page_is_what_the_command_writes(generate: ModuleType, name: str) -> None:
    for file, text in generate.files(name).items():
        assert (HERE / file).read_text("utf-8") == text, f"{file} is old: {COMMAND}"


def test_every_page_is_there_and_its_picture_is_small(generate: ModuleType) -> None:
    stems = {generate.stem(name) for name in generate.PAGES}
    assert {path.stem for path in HERE.glob("*.md")} == stems | {"README"}
    assert {path.stem for path in HERE.glob("*.svg")} == stems
    assert all(path.stat().st_size < generate.LARGEST for path in HERE.glob("*.svg"))
    assert (HERE / "README.md").read_text("utf-8") == generate.index(), COMMAND


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in HERE.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert link.startswith("http") or (page.parent / link).is_file(), (page.name, link)
