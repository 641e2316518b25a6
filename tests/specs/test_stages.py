"""The output shapes of the stages of each network against those of its paper (`stages.toml`)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlspec.cli import main

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs"
NETWORKS = tomllib.loads((HERE / "stages.toml").read_text("utf-8"))["network"]


def last_layers(layers: list[dict[str, Any]]) -> Iterator[tuple[str, list[object]]]:
    """The path of each layer, and of each block with what the last layer in it gives."""
    for layer in layers:
        parts = layer["path"].split(".")
        for count in range(1, len(parts) + 1):
            yield ".".join(parts[:count]), layer["output"]


@pytest.mark.parametrize("network", NETWORKS, ids=[n["model"] for n in NETWORKS])
def test_stages_are_those_of_the_source(
    network: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--set={name}={size}" for name, size in network.get("sizes", {}).items()]
    path = str(SPECS / f"{network['spec']}.dls")
    assert main(["summary", path, "--json", "--model", network["model"], *given]) == 0
    found = dict(last_layers(json.loads(capsys.readouterr().out)["layers"]))
    assert network["source"]
    for name, path, shape in network["stages"]:
        assert found[path] == ["N", *shape], (name, path)


def test_every_network_for_images_has_stages() -> None:
    known = {network["spec"] for network in NETWORKS} | {"vision/lenet5", "vision/resnet18"}
    specs = {f"vision/{path.stem}" for path in (SPECS / "vision").glob("*.dls")}
    assert specs <= known
