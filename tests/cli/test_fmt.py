"""`dlspec fmt`: what it writes, and when. The layout itself is tested with the syntax."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import dlspec.syntax
from dlspec.cli import main
from dlspec.codes import SYNTAX
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a formatter that only takes away double spaces."""

    def squeeze(text: str, name: str) -> str:
        if "?" in text:
            raise Failure(Diagnostic(SYNTAX, "unexpected ?", Span(Source(name, text), 0, 1)))
        return text.replace("  ", " ")

    monkeypatch.setattr(dlspec.syntax, "format_source", squeeze, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_place(capsys: Output) -> None:
    Path("a.dls").write_text("a  b\n", "utf-8")
    Path("b.dls").write_text("a b\n", "utf-8")
    assert main(["fmt", "a.dls", "b.dls"]) == 0
    assert Path("a.dls").read_text("utf-8") == "a b\n"
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "a.dls: reformatted\n")


def test_unchanged_file_is_not_touched() -> None:
    Path("b.dls").write_text("a b\n", "utf-8")
    before = Path("b.dls").stat()
    assert main(["fmt", "b.dls"]) == 0
    after = Path("b.dls").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_check(capsys: Output) -> None:
    Path("a.dls").write_text("a  b\n", "utf-8")
    assert main(["fmt", "--check", "a.dls"]) == 1
    assert Path("a.dls").read_text("utf-8") == "a  b\n"
    assert capsys.readouterr().err == "a.dls: would be reformatted\n"
    assert main(["fmt", "a.dls"]) == 0
    assert main(["fmt", "--check", "a.dls"]) == 0


def test_standard_input(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a  b\n")))
    assert main(["fmt", "-"]) == 0
    assert capsys.readouterr().out == "a b\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a \xff\n")))
    assert main(["fmt", "-"]) == 1
    assert "cannot read `<stdin>`: byte 2 is not UTF-8" in capsys.readouterr().err


def test_bad_files_do_not_keep_good_ones_from_being_formatted(capsys: Output) -> None:
    Path("bad.dls").write_text("a  ? b\n", "utf-8")
    Path("good.dls").write_text("a  b\n", "utf-8")
    assert main(["fmt", "--concise", "none.dls", "bad.dls", "good.dls"]) == 1
    assert Path("bad.dls").read_text("utf-8") == "a  ? b\n"
    assert Path("good.dls").read_text("utf-8") == "a b\n"
    assert capsys.readouterr().err == (
        "good.dls: reformatted\n"
        "bad.dls:1:1: error[E0101]: unexpected ?\n"
        "none.dls: error[E0601]: cannot read `none.dls`: no such file or directory\n"
    )
