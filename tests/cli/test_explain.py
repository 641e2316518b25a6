"""Every code has its page, and the examples of the pages do what the pages say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dlspec.cli import main
from dlspec.codes import CODES

PAGES = Path(__file__).parents[2] / "docs" / "errors"
EXAMPLE = re.compile(r"^```dls\n(.*?)^```", re.MULTILINE | re.DOTALL)
CHECKED = sorted(
    name for name in CODES if EXAMPLE.search((PAGES / f"{name}.md").read_text("utf-8"))
)

Output = pytest.CaptureFixture[str]


def test_pages_and_codes_agree() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {*CODES, "E9999"}


@pytest.mark.parametrize("name", sorted(CODES))
def test_page_begins_with_its_title(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {name}: {CODES[name].title}\n\n")
    assert max(map(len, page.splitlines())) <= 100


@pytest.mark.parametrize("name", CHECKED)
def test_examples(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """The first example of a page has the code, the second is free of errors and of the code."""
    monkeypatch.chdir(tmp_path)
    Path("blocks.dls").write_text("block Head(x: [N, D], classes) = x -> dense(classes)\n", "utf-8")
    bad, *mended = EXAMPLE.findall((PAGES / f"{name}.md").read_text("utf-8"))
    assert found(bad, capsys) == {name}
    for example in mended:
        assert not found(example, capsys)


def found(text: str, capsys: Output) -> set[str]:
    Path("spec.dls").write_text(text, "utf-8")
    main(["check", "--json", "spec.dls"])
    return {d["code"] for d in json.loads(capsys.readouterr().out)["diagnostics"]}


def test_explain(capsys: Output) -> None:
    assert main(["explain", "e0301"]) == 0
    assert capsys.readouterr().out == (PAGES / "E0301.md").read_text("utf-8")


def test_list(capsys: Output) -> None:
    assert main(["explain"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(
        [*CODES, "E9999"]
    )


def test_unknown_code(capsys: Output) -> None:
    assert main(["explain", "E031"]) == 2
    assert "did you mean E031" in capsys.readouterr().err
