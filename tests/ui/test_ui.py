"""Bad specs beside the exact message they get.

A case is a file under `cases/`. `# error: CODE` (or `# warning: CODE`; several with commas) marks
the line to blame; `# error-below: CODE` on a line of its own marks the next one. A first line
`# flags: --strict` gives options to `check`. Files that a case imports lie in `cases/parts/`; marks
in those named after the case count too. The marks are compared before the snapshot, so that
blessing cannot hide a wrong code.

    DLSPEC_BLESS=1 pytest tests/ui      # write the snapshots (*.stderr) anew
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from dlspec.cli import main
from dlspec.codes import CODES

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.name for path in CASES.glob("*.dls"))
MARK = re.compile(r"# (error|warning)(-below)?: ([EW]\d{4}(?:, [EW]\d{4})*)\s*$")
FLAGS = re.compile(r"# flags: (.*)")

WITHOUT_CASE = {
    "E0405": "an assertion fails in `dlspec test`, not in `check`",
    "E0701": "check knows no backend",
    "E0702": "check needs no extra",
    "E0703": "check knows no backend",
}

Mark = tuple[str, int, str, str]  # file, line, severity, code


def marks(path: Path) -> list[Mark]:
    """The marks of a case, with those of its own parts."""
    found: list[Mark] = []
    for file in [path, *CASES.glob(f"parts/{path.stem}_*.dls")]:
        name = file.relative_to(CASES).as_posix()
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if match := MARK.search(line):
                severity, below, codes = match.groups()
                found += [
                    (name, number + bool(below), severity, code) for code in codes.split(", ")
                ]
    return sorted(found)


def flags(path: Path) -> list[str]:
    match = FLAGS.match(path.read_text("utf-8"))
    return match.group(1).split() if match else []


def blamed(output: str) -> list[Mark]:
    return sorted(
        (Path(d["file"]).as_posix(), d["line"], d["severity"], d["code"])
        for d in json.loads(output)["diagnostics"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_case(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CASES)
    monkeypatch.setenv("NO_COLOR", "1")
    path = CASES / name
    expected = marks(path)
    assert expected, "a case marks at least one line"

    status = main(["check", "--json", *flags(path), name])
    told = capsys.readouterr()
    assert not told.err
    assert blamed(told.out) == expected
    assert status == any(severity == "error" for _, _, severity, _ in expected)

    assert main(["check", *flags(path), name]) == status
    rendered = capsys.readouterr().err
    snapshot = path.with_suffix(".stderr")
    if os.environ.get("DLSPEC_BLESS") == "1":
        snapshot.write_text(rendered, "utf-8")
    assert rendered == snapshot.read_text("utf-8")


def test_every_code_has_a_case() -> None:
    cased = {code for name in NAMES for _, _, _, code in marks(CASES / name)}
    assert cased | set(WITHOUT_CASE) == set(CODES)
    assert not cased & set(WITHOUT_CASE), "a code with a case needs no excuse"


def test_every_snapshot_has_a_case() -> None:
    stems = {path.stem for path in CASES.glob("*.dls")}
    assert {path.stem for path in CASES.glob("*.stderr")} <= stems
