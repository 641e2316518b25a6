"""`dlspec fmt`: what it writes, and when. The layout itself is tested with the syntax."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dlspec.cli import main

Output = pytest.CaptureFixture[str]


LOOSE = "block A = relu  ->  tanh\n"
NEAT = "block A = relu -> tanh\n"
BAD = "block A = relu  ? tanh\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_place(capsys: Output) -> None:
    Path("a.dls").write_text(LOOSE, "utf-8")
    Path("b.dls").write_text(NEAT, "utf-8")
    assert main(["fmt", "a.dls", "b.dls"]) == 0
    assert Path("a.dls").read_text("utf-8") == NEAT
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "a.dls: reformatted\n")


def test_unchanged_file_is_not_touched() -> None:
    Path("b.dls").write_text(NEAT, "utf-8")
    before = Path("b.dls").stat()
    assert main(["fmt", "b.dls"]) == 0
    after = Path("b.dls").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_check(capsys: Output) -> None:
    Path("a.dls").write_text(LOOSE, "utf-8")
    assert main(["fmt", "--check", "a.dls"]) == 1
    assert Path("a.dls").read_text("utf-8") == LOOSE
    assert capsys.readouterr().err == "a.dls: would be reformatted\n"
    assert main(["fmt", "a.dls"]) == 0
    assert main(["fmt", "--check", "a.dls"]) == 0


def test_standard_input(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LOOSE.encode())))
    assert main(["fmt", "-"]) == 0
    assert capsys.readouterr().out == NEAT
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a \xff\n")))
    assert main(["fmt", "-"]) == 1
    assert "cannot read `<stdin>`: byte 2 is not UTF-8" in capsys.readouterr().err


def test_bad_files_do_not_keep_good_ones_from_being_formatted(capsys: Output) -> None:
    Path("bad.dls").write_text(BAD, "utf-8")
    Path("good.dls").write_text(LOOSE, "utf-8")
    assert main(["fmt", "--concise", "none.dls", "bad.dls", "good.dls"]) == 1
    assert Path("bad.dls").read_text("utf-8") == BAD
    assert Path("good.dls").read_text("utf-8") == NEAT
    assert capsys.readouterr().err == (
        "good.dls: reformatted\n"
        "bad.dls:1:17: error[E0101]: `?` is not part of the language\n"
        "none.dls: error[E0601]: cannot read `none.dls`: no such file or directory\n"
    )
