"""Counts against the published numbers, sums over layers, shared weights, speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dlspec.api
from dlspec.summary import summarise

if TYPE_CHECKING:
    from dlspec.ir.graph import Function
    from dlspec.summary import Summary

SPECS = Path(__file__).parents[2] / "specs"


def function(text: str | Path, **statics: Any) -> Function:
    spec = dlspec.api.load(text)
    return spec.model(spec.models[-1], **statics).function


def summary(tmp_path: Path, text: str) -> Summary:
    path = tmp_path / "net.dls"
    path.write_text(text, encoding="utf-8")
    return summarise(function(path))


def test_lenet5() -> None:
    found = summarise(function(SPECS / "vision" / "lenet5.dls")).to_json()
    assert found["model"] == "LeNet5"
    assert found["inputs"] == {"image": {"dtype": "float", "shape": ["N", 1, 28, 28]}}
    assert found["outputs"] == {"output": {"dtype": "float", "shape": ["N", 10]}}
    assert (found["params"], found["trainable"], found["buffers"]) == (61_706, 61_706, 0)
    # 6·28²·25 + 16·10²·150 + 400·120 + 120·84 + 84·10
    assert found["macs"] == 117_600 + 240_000 + 48_000 + 10_080 + 840
    layers: Any = found["layers"]
    assert layers[0] == {
        "path": "c1", "op": "conv", "output": ["N", 6, 28, 28], "params": 156, "macs": 117_600,
    }  # fmt: skip
    assert sum(layer["params"] for layer in layers) == 61_706


def test_resnet18() -> None:
    """torchvision's resnet18 has 11,689,512 parameters and 1.814 GMACs at 224 px."""
    found = summarise(function(SPECS / "vision" / "resnet18.dls"))
    assert found.params.value == 11_689_512
    assert found.buffers.value == 9_600
    assert found.macs.evaluate({"H": 224, "W": 224}) == 1_814_073_344
    layers = list(found.layers())
    assert sum(int(layer.params) for layer in layers) == 11_689_512
    total = sum(layer.macs.evaluate({"H": 224, "W": 224}) for layer in layers)
    assert total == 1_814_073_344


REPEATED = """
block Unit(x: [N, D]) = x -> dense(D) -> relu
model Net(x: [N, 8]) = x -> repeat(5, Unit) as units -> dense(3) as head
"""


def test_repeats_are_folded_in_text_and_numbered_in_json(tmp_path: Path) -> None:
    found = summary(tmp_path, REPEATED)
    text = found.text()
    assert "units.0–4  Unit ×5" in text
    assert text.count("dense") == 2
    assert "parameters  387" in text
    paths = [layer.path for layer in found.layers() if layer.op == "dense"]
    assert paths == [f"units.{i}.dense" for i in range(5)] + ["head"]
    assert found.macs.value == 5 * 64 + 24


def test_macs_are_for_a_batch_of_one_and_open_in_other_sizes(tmp_path: Path) -> None:
    found = summary(tmp_path, "model Net(x: [N, T, 8]) = x -> dense(4)")
    assert found.batch == "N"
    assert found.to_json()["macs"] == "32 * T"
    assert "for N = 1" in found.text()


def test_a_closed_batch_is_counted_whole(tmp_path: Path) -> None:
    found = summary(tmp_path, "model Net(x: [2, 8]) = x -> dense(4)")
    assert found.batch is None
    assert found.macs.value == 64
    assert " = 1" not in found.text()


SHARED = """
block Body(x: [N, D], unit) = x -> unit -> tanh -> unit
model Net(x: [N, 8]) {
  share inner = dense(8)
  return x -> inner -> Body(inner) -> repeat(3, Body(inner)) as more
}
"""


def test_shared_weights_count_once(tmp_path: Path) -> None:
    found = summary(tmp_path, SHARED)
    assert found.params.value == 72
    assert sum(int(layer.params) for layer in found.layers()) == 72
    assert found.macs.value == 9 * 64


def test_weights_handed_on_before_their_owner_uses_them_count_once(tmp_path: Path) -> None:
    text = SHARED.replace("x -> inner -> Body(inner)", "x -> Body(inner) -> inner")
    assert summary(tmp_path, text).params.value == 72


def test_repeats_that_shrink(tmp_path: Path) -> None:
    text = """
block Step(x: [N, C, H, W]) = x -> conv(C, 3)
model Net(x: [N, 2, 12, 12]) = x -> repeat(3, Step)
"""
    found = summary(tmp_path, text)
    assert found.macs.value == 36 * (10**2 + 8**2 + 6**2)
    outputs = [layer.output[0].shape[-1].value for layer in found.layers()]
    assert outputs == [10, 8, 6]
    assert found.params.value == 3 * (36 + 2)


@pytest.mark.parametrize("layers", [96, 5000])
def test_a_deep_net_is_quick(tmp_path: Path, layers: int) -> None:
    text = REPEATED.replace("repeat(5,", f"repeat({layers},")
    path = tmp_path / "net.dls"
    path.write_text(text, encoding="utf-8")
    net = function(path)
    start = time.perf_counter()
    found = summarise(net)
    assert found.params.value == layers * 72 + 27
    assert len(found.text().splitlines()) < 15
    assert time.perf_counter() - start < 0.5
    assert sum(1 for _ in found.layers()) == 2 * layers + 1
