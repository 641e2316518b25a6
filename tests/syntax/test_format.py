"""The canonical form: each `format/NAME.before.dls` becomes `format/NAME.after.dls`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.diagnostics import Diagnostics, Failure
from dlspec.source import Source
from dlspec.syntax import format_source, parse, same

FOLDER = Path(__file__).parent / "format"
SPECS = sorted((Path(__file__).parents[2] / "specs").rglob("*.dls"))
CASES = sorted(path.name.partition(".")[0] for path in FOLDER.glob("*.before.dls"))


@pytest.mark.parametrize("name", CASES)
def test_canonical(name: str) -> None:
    before, after = (
        (FOLDER / f"{name}.{side}.dls").read_text(encoding="utf-8") for side in ("before", "after")
    )
    assert format_source(before, "spec.dls") == after
    assert format_source(after, "spec.dls") == after
    assert same(tree(before), tree(after))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_our_own_specs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_source(text, path.name) == text


def tree(text: str) -> object:
    diagnostics = Diagnostics()
    file = parse(Source("spec.dls", text), diagnostics)
    assert diagnostics.ok
    return file


def test_bad_text_is_a_failure() -> None:
    with pytest.raises(Failure, match="found name `b`"):
        format_source("const x = f(a b)", "spec.dls")


def test_same_tells_trees_apart() -> None:
    assert same(tree("const a = f( 1 )  # c"), tree("const a = f(1)"))
    for other in ("const a = f(2)", "const a = f(1.0)", "const b = f(1)", "const a = f(1, 1)", ""):
        assert not same(tree("const a = f(1)"), tree(other))


def test_long_pipeline() -> None:
    text = format_source("block A = x" + " -> f(1)" * 10_000, "spec.dls")
    assert text.count("\n    -> f(1)") == 10_000


def test_deep_nesting() -> None:
    deep = "f(a = [" * 48 + "x" + "])" * 48
    text = format_source(f"const a = {deep}", "spec.dls")
    assert same(tree(text), tree(f"const a = {deep}"))
