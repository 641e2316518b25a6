"""The output shapes of the stages of each network against those of its paper (`stages.toml`)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dlspec.cli import main

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs"
NETWORKS = tomllib.loads((HERE / "stages.toml").read_text("utf-8"))["network"]

WITHOUT_TABLE = {
    "vision/lenet5": "as it is taught: no paper has it",
    "vision/lenet5_trained": "the same, trained",
    "vision/resnet18": "one of the networks of vision/resnet",
    "vision/resnet_cifar": "made for small images here",
}


def shapes(layers: list[dict[str, Any]]) -> dict[str, list[object]]:
    """What each layer gives, and each block: what the last layer in it gives."""
    found: dict[str, list[object]] = {}
    for layer in layers:
        parts = layer["path"].split(".")
        found |= {".".join(parts[:count]): layer["output"] for count in range(1, len(parts))}
    return found | {layer["path"]: layer["output"] for layer in layers}


@pytest.mark.parametrize("network", NETWORKS, ids=[n["model"] for n in NETWORKS])
def test_stages_are_those_of_the_source(
    network: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--set={name}={size}" for name, size in network.get("sizes", {}).items()]
    path = str(SPECS / f"{network['spec']}.dls")
    assert main(["summary", path, "--json", "--model", network["model"], *given]) == 0
    found = shapes(json.loads(capsys.readouterr().out)["layers"])
    assert network["source"]
    for name, path, shape in network["stages"]:
        assert found[path] == ["N", *shape], (name, path)


def test_every_network_for_images_has_stages() -> None:
    known = {network["spec"] for network in NETWORKS}
    specs = {f"vision/{path.stem}" for path in (SPECS / "vision").glob("*.dls")}
    assert specs - known == WITHOUT_TABLE.keys()
