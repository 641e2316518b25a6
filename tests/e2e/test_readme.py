"""The tour of README.md, followed by a new user from an empty folder; and the command table."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dlspec.cli import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Each `$ command` of the console blocks with the output that stands below it."""
    found: list[tuple[str, str]] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def run(argv: list[str], folder: Path) -> str:
    done = subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the spec of the tour, and nothing else."""
    path = tmp_path_factory.mktemp("tour")
    (spec,) = blocks("dls")
    (path / "lenet5.dls").write_text(spec, encoding="utf-8")
    return path


@pytest.mark.slow
def test_tour(folder: Path) -> None:
    for package in ("torch", "jax", "mlxtend"):
        pytest.importorskip(package)
    for command, output in commands():
        program, *arguments = shlex.split(command)
        start = ["-m", "dlspec"] if program == "dlspec" else []
        told = run([sys.executable, *start, *arguments], folder)
        if output:
            assert told == output, command
    for name in ("lenet5.py", "lenet5.svg", "runs/digits-numpy-1/metrics.jsonl"):
        assert (folder / name).is_file()
    (script,) = blocks("python")
    told = run([sys.executable, "-c", script], folder)
    assert "parameters  63,066\n" in told
    assert told.splitlines()[-1].startswith("equal in float64")


def test_spec_is_in_the_standard_layout(folder: Path) -> None:
    run([sys.executable, "-m", "dlspec", "fmt", "--check", "lenet5.dls"], folder)


def test_mistake(folder: Path, tmp_path: Path) -> None:
    """What the README says about a mistake is what check says."""
    text = (folder / "lenet5.dls").read_text(encoding="utf-8")
    (tmp_path / "lenet5.dls").write_text(text.replace("conv(16, 5)", "conv(16, 15)"), "utf-8")
    argv = [sys.executable, "-m", "dlspec", "check", "lenet5.dls"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, encoding="utf-8")
    (told,) = blocks("text")
    assert (done.returncode, done.stderr) == (1, told)


def test_table_has_every_command() -> None:
    have = {module.__name__.rpartition(".")[2].rstrip("_") for module in COMMANDS}
    named = set(re.findall(r"^\| `dlspec (\w+)", README, re.MULTILINE))
    assert named == have


def test_links() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
