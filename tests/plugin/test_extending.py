"""docs/extending.md shows the package that the tests install, and specs that check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlspec.api import load

HERE = Path(__file__).parent
TEXT = (HERE.parents[1] / "docs" / "extending.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
PACKAGE = [
    p.read_text("utf-8") for p in (HERE / "package").rglob("*") if p.suffix in (".py", ".toml")
]


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind != "dls"])
def test_code_is_that_of_the_package(text: str) -> None:
    assert any(text in file for file in PACKAGE)


def test_code_of_all_three_is_shown() -> None:
    assert {kind for kind, _ in BLOCKS} == {"dls", "python", "toml"}


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "dls"])
def test_layers_check(text: str) -> None:
    spec = load(text)
    spec.check()
    assert [d.message for d in spec.diagnostics.found] == []
