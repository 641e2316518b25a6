"""docs/data.md and the sources say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.ir.types import DType
from dlspec.schemas import COMMON, IMAGES, SOURCES, Field, names, schema

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
LANGUAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow"}


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, by the name in the first column."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


FILES = ("idx", "npz", "csv", "image_folder", "segmentation_folder")  # of the user's own


def told(field: Field) -> str:
    assert field.shape is not None
    shape = ", ".join("_" if n is None else str(n) for n in field.shape)
    kind = "i64 " if field.dtype is DType.I64 else ""
    return f"{field.name} {kind}[{shape}]"


def test_every_source_is_there() -> None:
    assert list(rows("Sources")) == names()
    for name in names():
        assert f"`{name}`" in LANGUAGE


@pytest.mark.parametrize("name", names())
def test_source(name: str) -> None:
    fields, arguments, package = rows("Sources")[name]
    source = SOURCES[name]
    assert set(re.findall(r"`(\w+)`", arguments)) == set(source.defaults)
    assert package == PACKAGES.get(source.package or "", source.package or "")
    if name not in FILES or name == "idx":
        shown = ", ".join(told(f) for f in schema(name, {"length": 40, "size": 50}) or [])
        named = shown.replace("40", "length").replace("41", "length + 1").replace("50", "size")
        assert fields == named


def test_fields_that_depend_on_arguments() -> None:
    found = rows("Sources")
    asked = {"target": "price", "task": "classification"}
    features, label = schema("csv", asked) or []
    (_, target) = schema("csv", {"target": "price"}) or []
    assert found["csv"][0] == f"{told(features)}, then {told(target)} or {told(label)}"
    for name in ("image_folder", "segmentation_folder"):
        shown = ", ".join(told(f) for f in schema(name, {"size": 7, "channels": 5}) or [])
        assert found[name][0] == shown.replace("5", "channels").replace("7", "size")


def test_common_arguments() -> None:
    common = rows("Arguments that every source has")
    assert {name: cells[0] for name, cells in common.items()} == {
        name: str(value).lower() for name, value in COMMON.items()
    }
    others = {name for source in SOURCES.values() for name in source.defaults}
    own = rows("The division into parts")
    assert set(own) <= others
    divided = {name: source for name, source in SOURCES.items() if "test" in source.defaults}
    assert set(SOURCES) - set(divided) == {"fashion_mnist", "cifar10"}
    for name, source in divided.items():
        assert source.defaults["test"] == (
            0.0 if name in FILES else 0.1 if name in ("text", "python_reference") else 0.2
        )


def test_arguments_of_images() -> None:
    assert {name: cells[0] for name, cells in rows("Images").items()} == {
        name: str(value).lower() for name, value in IMAGES.items()
    }


def test_examples() -> None:
    texts = re.findall(r"^```dls\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(texts) == 2
    for text in texts:
        spec = load(text)
        assert spec.check()
        assert not spec.diagnostics.found
