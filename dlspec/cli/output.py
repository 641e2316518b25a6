"""What commands print: diagnostics on standard error, results on standard output."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, TextIO

from dlspec.cli.options import UsageError
from dlspec.diagnostics import Diagnostics, Failure
from dlspec.display import escape
from dlspec.files import write_text

INTERNAL_ERROR = "E9999"


def show(diagnostics: Diagnostics, *, strict: bool = False, concise: bool = False) -> bool:
    """Print the problems and say whether they fail the run."""
    if not diagnostics.found:
        return False
    from dlspec import report  # a clean spec need not wait for it

    if concise:
        sys.stderr.write(report.concise(diagnostics, strict))
    else:
        style = report.Style(color=colored(sys.stderr), strict=strict)
        counted = report.count(diagnostics, strict)
        sys.stderr.write(f"{report.render(diagnostics, style)}\n{counted}\n")
    return failed(diagnostics, strict)


def failed(diagnostics: Diagnostics, strict: bool) -> bool:
    """Whether these problems fail a run."""
    return bool(diagnostics.found) if strict else not diagnostics.ok


def told_json(diagnostics: Diagnostics, strict: bool) -> dict[str, Any]:
    from dlspec.report import to_json

    return {
        "ok": not failed(diagnostics, strict),
        "diagnostics": to_json(diagnostics, strict),
    }


def tell(diagnostics: Diagnostics, args: argparse.Namespace) -> bool:
    """Show the problems as the arguments ask; True when they fail the run."""
    strict: bool = getattr(args, "strict", False)
    if getattr(args, "json", False) and failed(diagnostics, strict):
        print_json(told_json(diagnostics, strict))
        return True
    return show(diagnostics, strict=strict, concise=getattr(args, "concise", False))


def tell_failure(failure: Failure, args: argparse.Namespace) -> int:
    """A failure that no command took: told as that command tells its problems, and in one line
    where no place in a spec is to blame (a package that is not installed)."""
    found = failure.diagnostic
    nowhere = found.span.source.name.startswith("<") and not found.span.source.text
    if nowhere and not getattr(args, "json", False):
        told = "; ".join(filter(None, [found.message, *found.notes, found.help]))
        note(f"error[{found.code.name}]: {told}")
        return 1
    diagnostics = Diagnostics()
    diagnostics.add(found)
    tell(diagnostics, args)
    return 1


def print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def write_output(path: str | None, text: str) -> None:
    """To the file, or to standard output when there is no path or it is `-`."""
    if path is None or path == "-":
        sys.stdout.write(text)
        return
    try:
        write_text(path, text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot write {path}: {reason}") from error


def note(text: str) -> None:
    """A remark for people, beside the result."""
    print(escape(text), file=sys.stderr)


def colored(stream: TextIO) -> bool:
    """Colours only on a terminal, and not against NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
