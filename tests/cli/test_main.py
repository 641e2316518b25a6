"""The command line's conventions: exit status, streams, options."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from dlspec import cli, codes
from dlspec.cli import options
from dlspec.cli.options import UsageError
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span

Output = pytest.CaptureFixture[str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs `dlspec go`, which calls the function given."""

    def install(act: Callable[[argparse.Namespace], int]) -> None:
        def add_parser(commands: options.Subparsers) -> None:
            parser = commands.add_parser("go", help="", description="")
            options.add_set(parser, "")
            options.add_json(parser)
            parser.set_defaults(run=act)

        monkeypatch.setattr(cli, "COMMANDS", (SimpleNamespace(add_parser=add_parser),))

    return install


def failing(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def act(_: argparse.Namespace) -> int:
        raise error

    return act


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["check"], ["check", "a.dls", "--nonsense"]])
def test_wrong_usage(argv: list[str], capsys: Output) -> None:
    assert cli.main(argv) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "usage: dlspec" in told.err


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["check", "--help"]])
def test_help(argv: list[str], capsys: Output) -> None:
    assert cli.main(argv) == 0
    assert "dlspec" in capsys.readouterr().out


def test_internal_error(
    command: Callable[..., None], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(failing(KeyError("two\nlines\x1b")))
    monkeypatch.delenv("DLSPEC_DEBUG", raising=False)
    assert cli.main(["go"]) == 2
    told = capsys.readouterr().err
    assert told == "internal error[E9999]: KeyError: 'two\\nlines\\x1b'; please report\n"
    monkeypatch.setenv("DLSPEC_DEBUG", "1")
    assert cli.main(["go"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_failure_is_the_users(command: Callable[..., None], capsys: Output) -> None:
    span = Span(Source("a.dls", "abc\n"), 1, 2)
    command(failing(Failure(Diagnostic(codes.UNSUPPORTED_OP, "no sort", span))))
    assert cli.main(["go"]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert "error[E0701]: no sort\n --> a.dls:1:2\n" in told.err
    assert cli.main(["go", "--json"]) == 1
    told = capsys.readouterr()
    assert not told.err
    assert '"ok": false' in told.out


def test_usage_error(command: Callable[..., None], capsys: Output) -> None:
    command(failing(UsageError("cannot write x")))
    assert cli.main(["go"]) == 2
    assert capsys.readouterr().err == "dlspec: error: cannot write x\n"


def test_interrupt(command: Callable[..., None], capsys: Output) -> None:
    command(failing(KeyboardInterrupt()))
    assert cli.main(["go"]) == 130
    assert not capsys.readouterr().err


def test_broken_pipe() -> None:
    listing = subprocess.Popen(
        [sys.executable, "-m", "dlspec", "explain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert listing.stdout
    listing.stdout.close()
    _, told = listing.communicate(timeout=60)
    assert listing.returncode == 141
    assert not told


def test_narrow_terminal() -> None:
    code = "import sys; from dlspec.cli import main; sys.exit(main(['explain', 'E0104']))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b"\\u2026" in told.stdout


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-2", -2), ("1_000", 1000), ("2e-4", 2e-4), ("inf", float("inf")),
        ("true", True), ("false", False), ("none", None), ('"a b"', "a b"),
        ("[]", []), ("[1, [2.5, none]]", [1, [2.5, None]]),
    ],
)  # fmt: skip
def test_setting(text: str, value: object) -> None:
    name, parsed = options.setting(f"width={text}")
    assert (name, parsed) == ("width", value)
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "width", "=1", "a b=1", "width=", "width=abc", "width=True", "width=1+1", "width=(1,)",
        "width=-true", "width=b'x'", "width=2j", "width=...", "width=f()", "width=" + "[" * 500,
    ],
)  # fmt: skip
def test_bad_setting(text: str, capsys: Output) -> None:
    assert cli.main(["check", "a.dls", "--set", text]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "argument --set:" in told[-1]


def test_setting_twice(command: Callable[..., None], capsys: Output) -> None:
    command(lambda args: len(options.settings(args)))
    assert cli.main(["go", "--set", "a=1", "--set", "a=2"]) == 2
    assert "--set a: given twice" in capsys.readouterr().err


def test_start_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'networkx', 'torch', 'jax', 'lark', 'pydantic', 'json', 'tempfile'}"
    code = f"import sys, dlspec.cli; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert told == "[]\n"
