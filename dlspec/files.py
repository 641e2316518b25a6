"""Files read and written whole."""

from __future__ import annotations

import os
from pathlib import Path

from dlspec.codes import NO_FILE
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span

MAX_FILE = 4 * 1024 * 1024


def read_source(path: str) -> Source:
    """The text of a UTF-8 file; raises Failure (E0601) when there is none to be had."""
    try:
        if Path(path).stat().st_size > MAX_FILE:
            raise _no_file(path, f"it is larger than {MAX_FILE >> 20} MiB")
        data = Path(path).read_bytes()
    except OSError as error:
        raise _no_file(path, (error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a NUL in the path
        raise _no_file(path, str(error)) from error
    return decode(path, data)


def decode(name: str, data: bytes) -> Source:
    """UTF-8 with or without a byte order mark; raises Failure (E0601) on anything else."""
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _no_file(name, f"byte {error.start} is not UTF-8") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed.

    A file that stood there keeps its permissions; a link stays a link, a device a device.
    Raises OSError.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # /dev/stdout cannot be renamed over
        target.write_text(text, encoding="utf-8", newline="")
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    file = temporary.open("x", encoding="utf-8", newline="")
    try:
        with file:
            file.write(text)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _no_file(path: str, reason: str) -> Failure:
    span = Span(Source(path, ""), 0, 0)
    return Failure(Diagnostic(NO_FILE, f"cannot read `{path}`: {reason}", span))
