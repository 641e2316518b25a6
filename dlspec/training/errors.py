"""Failures of data and settings, told at the spec's line where there is one."""

from __future__ import annotations

from typing import NoReturn

from dlspec.codes import BAD_DATA, MISSING_EXTRA, Code
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span

NOWHERE = Span(Source("<training>", ""), 0, 0)


class DataError(Exception):
    """Something wrong with data, without a place yet: readers do not know the spec."""

    def __init__(self, message: str, help: str = "", code: Code = BAD_DATA) -> None:
        super().__init__(message)
        self.code = code
        self.help = help


class RunError(Exception):
    """A run that cannot be started as asked: wrong usage, told in one line."""


def fail(code: Code, message: str, span: Span | None, help: str = "") -> NoReturn:
    raise Failure(Diagnostic(code, message, span or NOWHERE, help=help))


def missing(package: str, what: str, extra: str = "data") -> DataError:
    """What to install for `what`, which needs `package`."""
    return DataError(
        f"{what} needs the package `{package}`: pip install 'dlspec[{extra}]'", code=MISSING_EXTRA
    )
