"""Imports: where files may come from, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.api import load

HEAD = "block Head(x: [N, D], classes) = x -> dense(classes)\nconst width = 3\n"
USE = 'use "blocks.dls" as b\nmodel M(x: [N, 4]) = x -> b.Head(b.width)\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "spec"
    (inside / "parts").mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "blocks.dls").write_text(HEAD)
    return inside


def told(text: str, path: str = "main.dls", **options: object) -> list[tuple[str, str]]:
    Path(path).write_text(text)
    spec = load(path, **options)  # type: ignore[arg-type]
    spec.check()
    return sorted((d.code.name, d.span.source.name) for d in spec.diagnostics.found)


@pytest.mark.parametrize(
    "text",
    [
        USE,
        'use "blocks.dls"\nmodel M(x: [N, 4]) = x -> blocks.Head(2)\n',
        "from blocks use Head\nmodel M(x: [N, 4]) = x -> Head(2)\n",
        "from blocks use Head as H, width\nmodel M(x: [N, 4]) = x -> H(width)\n",
    ],
)
def test_ways_to_import(folder: Path, text: str) -> None:
    assert told(text) == []


def test_an_imported_file_is_named_as_the_user_would(folder: Path) -> None:
    (folder / "parts" / "bad.dls").write_text("block Bad(x: [N, D]) = x -> reshape([N, 7])\n")
    text = 'use "parts/bad.dls" as p\nmodel M(x: [N, 4]) = x -> p.Bad\n'
    assert told(text) == [("E0301", "parts/bad.dls")]
    (folder / "run").mkdir()
    assert load(folder / "main.dls").module.uses[0].file.source.name == str(
        folder / "parts/bad.dls"
    )


def test_files_in_folders_may_import_from_the_folder_of_the_spec(folder: Path) -> None:
    (folder / "parts" / "deep.dls").write_text(
        'use "../blocks.dls" as b\nblock Deep(x: [N, D]) = x -> b.Head(2)\n'
    )
    assert told('use "parts/deep.dls" as d\nmodel M(x: [N, 4]) = x -> d.Deep\n') == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('use "nowhere.dls" as b\n', "E0601"),
        ('use "../secret.dls" as b\n', "E0602"),
        ('use "/etc/passwd" as b\n', "E0602"),
        ('use "parts" as b\n', "E0601"),
        ('use "main.dls" as b\n', "E0603"),
        ('use "link.dls" as b\n', "E0602"),
        ('use "loop.dls" as b\n', "E0601"),
        ('use "binary.dls" as b\n', "E0601"),
        ("from std.nothing use b\n", "E0601"),
        ("from blocks use b\n", "E0604"),
        ('use "a\\0b.dls" as b\n', "E0601"),
    ],
)
def test_an_import_that_fails_is_the_only_problem(folder: Path, text: str, code: str) -> None:
    (folder.parent / "secret.dls").write_text(HEAD)
    (folder / "link.dls").symlink_to(folder.parent / "secret.dls")
    (folder / "loop.dls").symlink_to(folder / "loop.dls")
    (folder / "binary.dls").write_bytes(b"\xff\xfe\x00")
    text += "model M(x: [N, 4]) = x -> b.Head(2)\n" if "from" not in text else ""
    text += "model M2(x: [N, 4]) = x -> b(2)\n" if "from" in text else ""
    assert told(text) == [(code, "main.dls")]


def test_included_folders(folder: Path) -> None:
    (folder.parent / "shared").mkdir()
    (folder.parent / "shared" / "more.dls").write_text(HEAD)
    text = "from more use Head\nmodel M(x: [N, 4]) = x -> Head(2)\n"
    assert told(text) == [("E0601", "main.dls")]
    assert told(text, include=["../shared"]) == []


def test_a_circle_is_told_once(folder: Path) -> None:
    (folder / "a.dls").write_text('use "b.dls" as b\nblock A(x: [N, D]) = x -> b.B\n')
    (folder / "b.dls").write_text('use "a.dls" as a\nblock B(x: [N, D]) = x -> a.A\n')
    assert told('use "a.dls" as a\nmodel M(x: [N, 4]) = x -> a.A\n') == [("E0603", "b.dls")]


def test_a_long_chain_of_files(folder: Path) -> None:
    for k in range(150):
        text = f'use "f{k + 1}.dls" as n\nblock B(x: [N, D]) = x -> n.B\n'
        (folder / f"f{k}.dls").write_text(text)
    (folder / "f150.dls").write_text("block B(x: [N, D]) = x\n")
    assert [c for c, _ in told('use "f0.dls" as n\nmodel M(x: [N, 4]) = x -> n.B\n')] == ["E0403"]


def test_a_definition_that_does_not_parse_causes_no_second_error(folder: Path) -> None:
    (folder / "blocks.dls").write_text("block Head(x: [N D], classes) = x -> dense(classes)\n")
    assert told(USE.replace("b.width", "2")) == [("E0101", "blocks.dls")]
    text = "from blocks use Head\nmodel M(x: [N, 4]) = x -> Head(2)\n"
    assert told(text) == [("E0101", "blocks.dls")]
    text = "block Head(x: [N D]) = x\nmodel M(x: [N, 4]) = x -> Head\n"
    assert told(text) == [("E0101", "main.dls")]


def test_text_without_a_file_imports_from_std_only() -> None:
    spec = load('use "blocks.dls" as b\nmodel M(x: [N, 4]) = x -> b.Head(2)\n')
    spec.check()
    (found,) = spec.diagnostics.found
    assert found.code.name == "E0601" and "std" in found.help


def test_each_file_is_read_once(folder: Path) -> None:
    (folder / "two.dls").write_text(
        'use "blocks.dls" as b\nblock Two(x: [N, D]) = x -> b.Head(2)\n'
    )
    text = 'use "two.dls" as t\n' + USE.replace("b.Head(b.width)", "t.Two -> b.Head(2)")
    Path("main.dls").write_text(text)
    spec = load("main.dls")
    assert spec.module.uses[0].uses[0] is spec.module.uses[1]
