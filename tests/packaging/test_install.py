"""The wheel (built from the sdist) and the editable install, each used from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = "model M(x: [N, 4]) -> [N, 2] = x -> dense(3) -> relu -> dense(2)\n"
LIBRARY = """from std.blocks use ConvNorm
model M(x: [N, 3, 8, 8]) = x -> ConvNorm(4, 3)
"""
LOOK = """import dlspec
from dlspec.codegen.target import installed
from dlspec.resources import resources
print(dlspec.__file__)
print(*installed())
print(resources("specs"))
"""


def run(*argv: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{argv}:\n{done.stdout}{done.stderr}"
    return done.stdout


def install(folder: Path, *what: str | Path) -> Path:
    """A virtual environment with dlspec alone installed; what dlspec needs is found in this one."""
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "needs.pth").write_text("\n".join(sorted(ours)), "utf-8")  # after its own packages
    python = folder / "env" / "bin" / "python"
    flags = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *flags, *what, cwd=folder)
    return python


def use(python: Path, folder: Path) -> Path:
    """Go through the commands in an empty folder. Returns where the package lies."""
    empty = folder / "empty"
    empty.mkdir()
    package, backends, specs = run(python, "-c", LOOK, cwd=empty).splitlines()
    assert backends == "jax numpy torch"
    dlspec = python.with_name("dlspec")
    (empty / "a.dls").write_text(SPEC, "utf-8")
    (empty / "b.dls").write_text(LIBRARY, "utf-8")
    assert run(dlspec, "check", "a.dls", cwd=empty) == "a.dls: ok\n"
    assert run(dlspec, "check", "b.dls", cwd=empty) == "b.dls: ok\n"
    assert run(dlspec, "check", Path(specs, "vision", "resnet18.dls"), cwd=empty).endswith("ok\n")
    assert run(dlspec, "explain", "E0301", cwd=empty).startswith("# E0301")
    assert run(dlspec, "draw", "a.dls", cwd=empty).startswith("<svg")
    for backend in ("numpy", "torch", "jax"):
        source = run(dlspec, "compile", "a.dls", "--backend", backend, cwd=empty)
        assert "def predict(" in source
    assert sorted(p.name for p in empty.iterdir()) == ["a.dls", "b.dls"]
    return Path(package)


@pytest.mark.slow
def test_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    packages = {"dlspec", "dlspec_jax", "dlspec_numpy", "dlspec_torch"}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
    package = use(install(tmp_path, wheel), tmp_path)
    assert package.is_relative_to(tmp_path / "env")


@pytest.mark.slow
def test_editable(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    package = use(install(tmp_path, "-e", ROOT), tmp_path)
    assert package == ROOT / "dlspec" / "__init__.py"


def test_version_is_told_once() -> None:
    from importlib.metadata import version

    import dlspec

    assert version("dlspec") == dlspec.__version__


def test_exports() -> None:
    import dlspec

    assert set(dlspec.__all__) <= set(dir(dlspec))
    assert all(getattr(dlspec, name) is not None for name in dlspec.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = dlspec.nonsense
