"""Files are read with a diagnostic or written whole."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dlspec.codes import NO_FILE
from dlspec.diagnostics import Failure
from dlspec.files import read_source, write_text


def test_write_new_and_over(tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    write_text(path, "a\r\n")
    assert path.read_bytes() == b"a\r\n"
    path.chmod(0o640)
    write_text(path, "é")
    assert path.read_bytes() == "é".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["out.py"]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    path.write_text("old", "utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.py"]


def test_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.py", tmp_path / "link.py"
    target.write_text("old", "utf-8")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "new"


def test_device(capfd: pytest.CaptureFixture[str]) -> None:
    write_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dls"
    path.write_bytes(b"\xef\xbb\xbfa\r\n")
    assert read_source(str(path)).text == "a\r\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.dls", "no such file or directory"),
        (".", "is a directory"),
        ("latin.dls", "byte 1 is not UTF-8"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_unreadable(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.dls").write_bytes(b"a\xe9")
    with pytest.raises(Failure) as failure:
        read_source(name)
    assert failure.value.diagnostic.code is NO_FILE
    assert failure.value.diagnostic.message == f"cannot read `{name}`: {reason}"
