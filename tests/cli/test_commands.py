"""The commands on real specs: what they print, where, and their exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import dlspec.verification
from dlspec.cli import main

Output = pytest.CaptureFixture[str]

SPEC = '''"""Irises in three classes."""

block Hidden(x: [N, D], width = 8) = x -> dense(width) -> tanh

model Iris(x: [N, 4], width = 8) -> [N, 3] = x -> Hidden(width) -> dense(3) as head

model Small(x: [N, D]) -> [N, 1] = x -> dense(1)

train iris(rate = 0.1) {
  data (features, label) from iris(batch = 30)
  logits = Iris(features)
  minimize cross_entropy(logits, label) using sgd(rate)
  report accuracy(logits, label)
  evaluate on iris(split = "test")
  epochs 3
}

train slow {
  data (features, label) from iris(batch = 10)
  minimize cross_entropy(Iris(features, width = 2), label) using adam(0.001)
  steps 2
}

test "size" { assert params(Iris()) == 67 }
'''
HALVES = """model Halves(x: [N, T, 4]) -> [N, 2 * (T // 2), 4] {
  y = x -> reshape([N, T // 2, 8])
  return x + (y -> reshape([N, 2 * (T // 2), 4]))
}
"""
WRONG = """model Wrong(x: [N, 8], y: [N, 9]) {
  left = 3
  return x + y
}
model Other(x: [N, 4]) = x -> dnese(3)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("iris.dls").write_text(SPEC, "utf-8")
    Path("halves.dls").write_text(HALVES, "utf-8")
    Path("wrong.dls").write_text(WRONG, "utf-8")
    return tmp_path


def ran(*argv: str) -> int:
    return main(argv)


# --- check ---


def test_check(capsys: Output) -> None:
    assert ran("check", "iris.dls") == 0
    assert capsys.readouterr() == ("iris.dls: ok\n", "")


def test_check_prints_requirements(capsys: Output) -> None:
    assert ran("check", "halves.dls") == 0
    assert capsys.readouterr().out == "halves.dls: ok\n  requires T % 2 == 0\n"
    assert ran("check", "halves.dls", "--set", "T=6") == 0
    assert capsys.readouterr().out == "halves.dls: ok\n"
    assert ran("check", "halves.dls", "--set", "T=7") == 1


def test_check_tells_all_problems(capsys: Output) -> None:
    assert ran("check", "wrong.dls") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "\n --> wrong.dls:3:" in err
    assert err.endswith("2 errors, 1 warning\n")
    assert ran("check", "--concise", "wrong.dls") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[:2] for line in lines] == [
        ["wrong.dls:2:3:", "warning[W0901]:"],
        ["wrong.dls:3:10:", "error[E0301]:"],
        ["wrong.dls:5:31:", "error[E0201]:"],
    ]


def test_check_tells_one_mistake_once(capsys: Output) -> None:
    """The training of a wrong model is not wrong once more."""
    Path("iris.dls").write_text(SPEC.replace("-> tanh", "-> conv(3, 3)"), "utf-8")
    assert ran("check", "--concise", "iris.dls") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_check_json(capsys: Output) -> None:
    assert ran("check", "--json", "halves.dls") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"ok": True, "diagnostics": [], "requirements": ["T % 2 == 0"]}
    assert ran("check", "--json", "wrong.dls") == 1
    out, err = capsys.readouterr()
    assert not err
    told = json.loads(out)
    assert not told["ok"]
    assert {d["code"] for d in told["diagnostics"]} == {"W0901", "E0301", "E0201"}
    assert all(d["file"] == "wrong.dls" and d["line"] for d in told["diagnostics"])


def test_check_strict(capsys: Output) -> None:
    Path("warned.dls").write_text("model M(x: [N, 4]) {\n  a = 1\n  return x\n}\n", "utf-8")
    assert ran("check", "warned.dls") == 0
    out, err = capsys.readouterr()
    assert (out, "1 warning" in err) == ("warned.dls: ok\n", True)
    assert ran("check", "--strict", "warned.dls") == 1
    assert "error[W0901]" in capsys.readouterr().err
    assert ran("check", "--strict", "--json", "warned.dls") == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_missing_file(capsys: Output) -> None:
    for command in ("check", "summary", "compile", "train", "verify", "test", "draw"):
        assert ran(command, "none.dls") == 1, command
        assert "error[E0601]: cannot read `none.dls`" in capsys.readouterr().err


def test_names_that_are_not_there(capsys: Output) -> None:
    assert ran("summary", "iris.dls", "--model", "Irus") == 1
    assert "did you mean `Iris`?" in capsys.readouterr().err
    assert ran("train", "iris.dls", "--train", "irs") == 1
    assert "did you mean `iris`?" in capsys.readouterr().err
    assert ran("summary", "iris.dls", "--model", "Iris", "--set", "wdth=3") == 1
    assert "`wdth`" in capsys.readouterr().err


# --- compile ---


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_compile(backend: str, capsys: Output) -> None:
    argv = ("compile", "iris.dls", "--train", "iris", "--backend", backend)
    assert ran(*argv) == 0
    source = capsys.readouterr().out
    compile(source, "iris.py", "exec")
    assert "def train_step(" in source
    assert ran(*argv, "-o", "iris.py") == 0
    assert capsys.readouterr() == ("", "")
    assert Path("iris.py").read_text("utf-8") == source


def test_compiled_file_runs_alone(folder: Path) -> None:
    assert ran("compile", "iris.dls", "-o", "alone.py") == 0
    told = subprocess.run(
        [sys.executable, "-I", "alone.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "loss" in told.stdout


def test_compile_chooses(capsys: Output) -> None:
    assert ran("compile", "iris.dls", "--model", "Iris") == 0
    alone = capsys.readouterr().out
    assert "def predict(" in alone
    assert "def train_step(" not in alone
    assert ran("compile", "iris.dls", "--model", "Iris", "--set", "width=5") == 0
    assert capsys.readouterr().out != alone
    assert ran("compile", "iris.dls", "--train", "slow") == 0
    assert "adam" in capsys.readouterr().out.lower()
    assert ran("compile", "halves.dls") == 0  # no training section: its model
    assert "class Halves" in capsys.readouterr().out
    assert ran("compile", "iris.dls", "--train", "iris", "--model", "Iris") == 2


def test_compile_ir(capsys: Output) -> None:
    from dlspec.interchange import load

    assert ran("compile", "iris.dls", "--model", "Iris", "--emit", "ir") == 0
    text = capsys.readouterr().out
    assert json.loads(text)["format"] == "dlspec-ir"
    assert getattr(load(text), "name", "") == "Iris"


def test_compile_for_nobody(capsys: Output) -> None:
    assert ran("compile", "iris.dls", "--backend", "tensorflow") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "error[E0703]: unknown backend `tensorflow`" in err
    assert "there are: jax, numpy, torch" in err


def test_output_that_cannot_be_written(capsys: Output) -> None:
    assert ran("compile", "iris.dls", "-o", "none/iris.py") == 2
    assert "cannot write none/iris.py" in capsys.readouterr().err


# --- summary, draw, test ---


def test_summary(capsys: Output) -> None:
    assert ran("summary", "iris.dls", "--model", "Iris") == 0
    text = capsys.readouterr().out
    assert text.startswith("Iris ")
    assert "parameters  67\n" in text
    assert ran("summary", "iris.dls", "--model", "Iris", "--set", "width=16") == 0
    assert "parameters  131\n" in capsys.readouterr().out
    assert ran("summary", "halves.dls", "--set", "T=6") == 0
    assert "[N, 6, 4]" in capsys.readouterr().out


def test_summary_json(capsys: Output) -> None:
    assert ran("summary", "iris.dls", "--model", "Iris", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "Iris"
    assert told["params"] == told["trainable"] == 67
    assert told["macs"] == 4 * 8 + 8 * 3
    assert told["inputs"] == {"x": {"dtype": "float", "shape": ["N", 4]}}
    assert ran("summary", "wrong.dls", "--model", "Wrong", "--json") == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_draw(capsys: Output) -> None:
    assert ran("draw", "iris.dls", "--model", "Iris") == 0
    assert capsys.readouterr().out.startswith("<svg ")
    assert ran("draw", "iris.dls", "--format", "mermaid") == 0
    assert capsys.readouterr().out.startswith("flowchart")
    assert ran("draw", "iris.dls", "-o", "iris.dot") == 0
    assert Path("iris.dot").read_text("utf-8").startswith("digraph")
    assert ran("draw", "iris.dls", "-o", "iris.bmp") == 2
    assert "no picture format for iris.bmp" in capsys.readouterr().err
    assert not Path("iris.bmp").exists()


def test_test(capsys: Output) -> None:
    assert ran("test", "iris.dls") == 0
    assert capsys.readouterr().out == "iris.dls: 1 test passed\n"
    Path("iris.dls").write_text(SPEC.replace("== 67", "== 68"), "utf-8")
    assert ran("test", "iris.dls") == 1
    assert "error[E0405]" in capsys.readouterr().err


# --- train, verify ---


def test_train(capsys: Output) -> None:
    pytest.importorskip("sklearn")
    argv = ("train", "iris.dls", "--train", "iris", "--set", "epochs=1")
    assert ran(*argv, "--run-dir", "run") == 0
    out, err = capsys.readouterr()
    assert not err
    assert out.splitlines()[0] == "iris on numpy: 4 steps"
    assert out.splitlines()[-1] == "run: finished at step 4"
    assert json.loads(Path("run/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert Path("run/model.py").is_file()
    assert ran(*argv[:-1], "epochs=2", "--resume", "run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "run: finished at step 8"


def test_train_wrong(capsys: Output) -> None:
    assert ran("train", "halves.dls") == 1
    assert ran("train", "iris.dls", "--set", "epochs=none") == 1
    assert ran("train", "iris.dls", "--train", "iris", "--resume", "nowhere") == 2
    assert "dlspec: error: " in capsys.readouterr().err
    assert not Path("runs").exists()


def test_verify(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    argv = ("verify", "iris.dls", "--train", "iris", "--backend", "numpy", "--backend", "torch")
    assert ran(*argv, "--steps", "1", "--size", "N=3") == 0
    out, err = capsys.readouterr()
    assert "N = 3" in out.splitlines()[-1]
    assert err == "running numpy …\nrunning torch …\n"
    exact = partial(dlspec.verification.verify, tolerance=0.0)
    monkeypatch.setattr(dlspec.verification, "verify", exact)
    assert ran(*argv, "--steps", "1", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {pair["a"] for pair in told["pairs"]} == {"numpy"}


def test_verify_sizes(capsys: Output) -> None:
    assert ran("verify", "iris.dls", "--size", "N=0") == 2
    assert "--size N: a size is a whole number of at least 1" in capsys.readouterr().err


# --- packages that are not installed ---

BLOCKER = """import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def without(folder: Path, packages: tuple[str, ...], *argv: str) -> tuple[int, str, str]:
    """A command in a process that, with its workers, cannot import some packages."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(BLOCKER.format(blocked=packages), "utf-8")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "dlspec", *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_missing_backend(folder: Path) -> None:
    argv = ("train", "iris.dls", "--train", "iris", "--backend", "torch")
    status, _, err = without(folder, ("torch",), *argv)
    assert status == 1
    assert err == "error[E0702]: `torch` is not installed: pip install 'dlspec[torch]'\n"
    argv = ("verify", "iris.dls", "--train", "iris", "--backend", "numpy", "--backend", "jax")
    status, _, err = without(folder, ("jax", "jaxlib"), *argv)
    assert status == 1
    assert err.splitlines()[-1] == (
        "error[E0702]: `jax` is not installed: pip install 'dlspec[jax]'"
    )


def test_missing_data_package(folder: Path) -> None:
    argv = ("train", "iris.dls", "--concise", "--train", "iris")
    status, _, err = without(folder, ("sklearn",), *argv)
    assert status == 1
    assert err == (
        "iris.dls:10:3: error[E0702]: "
        "`iris` needs the package `scikit-learn`: pip install 'dlspec[data]'\n"
    )


def test_text_commands_need_no_framework(folder: Path) -> None:
    packages = ("torch", "jax", "jaxlib", "optax", "sklearn", "mlxtend")
    for argv in (
        ("check", "iris.dls"),
        ("summary", "iris.dls"),
        ("draw", "iris.dls"),
        ("test", "iris.dls"),
        ("compile", "iris.dls", "--backend", "torch"),
        ("compile", "iris.dls", "--backend", "jax"),
    ):
        status, _, err = without(folder, packages, *argv)
        assert (status, err) == (0, ""), argv
