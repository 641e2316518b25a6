"""`--device`: what the process of a run may see, and what it says where that is not there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import dlspec
from dlspec.cli import main
from dlspec.training import devices
from dlspec.training.errors import RunError
from dlspec.training.run import train

SPEC = """
model M(x: [N, 4]) = x -> dense(3)
train t {
  data (x, label) from iris(batch = 75)
  minimize cross_entropy(M(x), label) using sgd(0.1)
  steps 1
}
"""


def test_what_the_process_may_see():
    assert devices.environment(None) == {}
    assert devices.environment("cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in devices.environment("cuda")
    assert devices.environment("cuda:2")["CUDA_VISIBLE_DEVICES"] == "2"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:1,2", "cpu:0", ""])
def test_no_device(name: str):
    with pytest.raises(RunError, match="is no device: cpu, cuda"):
        devices.environment(name)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_the_framework_is_asked(framework: str, there: bool, monkeypatch: pytest.MonkeyPatch):
    def found(kind: str) -> list[str]:
        if not there:
            raise RuntimeError("unknown backend cuda")
        return [kind]

    for name in ("torch", "jax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: there), devices=found)
    monkeypatch.setitem(sys.modules, framework, made)
    devices.check(None)
    devices.check("cpu")
    if there:
        devices.check("cuda:0")
    else:
        with pytest.raises(RunError, match="finds no device `cuda:0` here"):
            devices.check("cuda:0")


def test_a_run_on_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("sklearn")
    (tmp_path / "t.dls").write_text(SPEC)
    argv = ["train", str(tmp_path / "t.dls"), "--run-dir", str(tmp_path / "run"), "--device"]
    assert main([*argv, "cuda"]) == 2
    assert "finds no device `cuda` here" in capsys.readouterr().err
    assert main([*argv, "cpu"]) == 0
    with pytest.raises(RunError, match="no device"):
        train(dlspec.load(SPEC).trainer(), device="tpu", run_dir=tmp_path / "other")
    assert not (tmp_path / "other").exists()
