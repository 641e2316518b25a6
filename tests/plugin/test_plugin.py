"""A package of a third party, installed into a folder: a backend, ops, broken entries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlspec.api import load
from dlspec.ops import plugins

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPEC = HERE / "spec.dls"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("site")
    flags = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *flags, str(HERE / "package")],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def python(site: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), str(ROOT / "backends"), str(site)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, *map(str, argv)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)


def dlspec(site: Path, *argv: str | Path) -> str:
    done = python(site, "-m", "dlspec", *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(site: Path, *argv: str | Path) -> str:
    done = python(site, "-m", "dlspec", *argv)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def test_its_ops_and_its_backend_agree_with_all_others(site: Path) -> None:
    names = ("numpy", "torch", "jax", "mine")
    chosen = [word for name in names for word in ("--backend", name)]
    told = dlspec(site, "verify", SPEC, *chosen, "--steps", "2", "--optimizer", "sgd")
    assert "equal in float64" in told and "jax–mine" in told


def test_its_backend_writes_with_its_own_row(site: Path) -> None:
    mine = dlspec(site, "compile", SPEC, "--backend", "mine")
    assert ".clamp(min=0)" in mine and "torch.sigmoid(1.5 * x)" in mine
    assert ".clamp(" not in dlspec(site, "compile", SPEC, "--backend", "torch")


def test_a_gap_of_its_backend_names_it(site: Path, tmp_path: Path) -> None:
    spec = tmp_path / "a.dls"
    spec.write_text("model M(x: [N, 4]) = erf(x)\n")
    told = refused(site, "compile", spec, "--backend", "mine")
    assert "error[E0701]: mine cannot lower Erf: has no erf" in told
    dlspec(site, "compile", spec, "--backend", "torch")


def test_trains_on_its_backend(site: Path, tmp_path: Path) -> None:
    dlspec(site, "train", SPEC, "--backend", "mine", "--run-dir", tmp_path / "run")


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("my_gate(x, x[:, :3])", "E0301", "3"),
        ("my_swish(x > 0)", "E0303", "my_swish"),
        ('x -> my_swish("a")', "E0204", "`beta` of my_swish needs"),
        ("x -> my_swish(slope = 1)", "E0204", "my_swish has no argument `slope`"),
        ("x -> my_swihs", "E0201", "did you mean `my_swish`?"),
        ("x -> my_lost", "E0201", "ModuleNotFoundError"),
        ("x -> my_other", "E0201", "is no built-in named `my_other`"),
    ],
)
def test_wrong_uses_are_told(site: Path, tmp_path: Path, body: str, code: str, text: str) -> None:
    spec = tmp_path / "a.dls"
    spec.write_text(f"model M(x: [N, 4]) = {body}\n")
    told = refused(site, "check", spec)
    assert f"error[{code}]" in told and text in told


def test_a_broken_plugin_breaks_no_other(site: Path) -> None:
    assert "ModuleNotFoundError" in refused(site, "compile", SPEC, "--backend", "lost")
    assert "there are: jax, lost, mine, numpy, torch" in refused(
        site, "compile", SPEC, "--backend", "nobody"
    )
    assert dlspec(site, "check", SPEC).endswith("ok\n")


def test_a_layer_of_its_op_is_a_value(site: Path, tmp_path: Path) -> None:
    spec = tmp_path / "a.dls"
    spec.write_text(
        "block Act = my_swish(2)\n"
        "block Use(x: [N, D], act = my_swish) = x -> act -> Act -> repeat(2, my_swish)\n"
        "model M(x: [N, 4]) = x -> Use\n"
    )
    dlspec(site, "check", spec)
    assert "sigmoid" in dlspec(site, "compile", spec)
    assert "my swish" in dlspec(site, "draw", spec).lower().replace("_", " ")


def test_documents_name_its_ops(site: Path) -> None:
    script = (
        "import sys, dlspec\n"
        "from dlspec.interchange import dump as dumps, load as loads\n"
        "text = dumps(dlspec.load(sys.argv[1]).model().function)\n"
        "assert dumps(loads(text)) == text and 'MySwish' in text\n"
    )
    done = python(site, "-c", script, SPEC)
    assert done.returncode == 0, done.stderr


def scan(**_: Any) -> Any:
    raise AssertionError("entry points were looked for")


def test_what_the_language_has_needs_no_look_at_the_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "entry_points", scan)
    plugins.installed.cache_clear()
    for path in sorted((ROOT / "specs").rglob("*.dls")):
        assert load(path, is_path=True).check(), path
    with pytest.raises(AssertionError, match="looked for"):
        load("model M(x: [N, 4]) = x -> my_swish").check()
