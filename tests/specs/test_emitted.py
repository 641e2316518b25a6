"""The files that torch gets for the networks of the gallery: as long, and in as many classes, as
their papers' figures have kinds of blocks; eleven of them whole (`tests/golden/torch/gallery`).

DLSPEC_BLESS=1 pytest tests/specs/test_emitted.py      # write the golden files anew; then read them
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dlspec.api import load

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "torch" / "gallery"


@dataclass(frozen=True)
class Net:
    """classes: how many modules, the network itself among them, and which kinds of blocks they
    are; lines: at most."""

    spec: str
    model: str
    classes: int
    kinds: str
    golden: bool = False
    lines: int = 300
    statics: dict[str, object] = field(default_factory=dict[str, object])


NETS = [
    Net(
        "lenet1998", "LeNet1998", 5, "pooling with weights, table, and the bend of maps and numbers"
    ),
    Net("alexnet", "AlexNet2012", 5, "convolution, response, pooling, classifier", golden=True),
    Net("vgg", "VGG", 3, "convolution, the layers of one width", golden=True),
    Net("googlenet", "GoogLeNetTraining", 7, "convolution, inception, pooling, trunk, two heads"),
    Net(
        "inception_v3",
        "InceptionV3",
        10,
        "convolution, figures 5, 6 and 7 with what 7 splits, two reductions, pooled branch, trunk",
        golden=True,
        lines=260,
    ),
    Net("resnet", "ResNet18", 4, "convolution, building block, stage"),
    Net("resnet", "ResNet50", 4, "convolution, bottleneck, stage", golden=True, lines=130),
    Net("xception", "Xception", 6, "convolution, separable, bent separable, entry, middle", True),
    Net(
        "inception_resnet_v2",
        "InceptionResNetV2",
        9,
        "convolution, stem, three blocks and what adds their branches, two reductions",
    ),
    Net("squeezenet", "SqueezeNet", 4, "convolution, pooling, fire", golden=True),
    Net("mobilenet_v2", "MobileNetV2", 3, "convolution, inverted residual", golden=True),
    Net("densenet", "DenseNet", 4, "layer, what it is put behind, transition", golden=True),
    Net("efficientnet_lite0", "EfficientNetLite0", 3, "convolution, inverted residual"),
    Net("convnext", "ConvNeXt", 5, "block, stage, normalisation, downsampling", golden=True),
    Net("vit", "ViT", 3, "attention, layer", golden=True),
    Net("unet", "UNet", 4, "convolution, two of them, level", golden=True, statics={"C": 3}),
    Net("unet", "UNetBilinear", 4, "convolution, two of them, level", statics={"C": 3}),
    Net("unet", "UNetPaper", 2, "two convolutions", statics={"C": 1}),
]


@pytest.mark.parametrize("net", NETS, ids=[net.model for net in NETS])
def test_one_class_for_each_kind_of_block(net: Net) -> None:
    path = ROOT / "specs" / "vision" / f"{net.spec}.dls"
    source = load(path).model(net.model, **net.statics).code("torch")
    assert source.count("\n") <= net.lines
    modules = [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and "nn.Module" in map(ast.unparse, node.bases)
    ]
    assert len(modules) == net.classes, (modules, net.kinds)
    if net.golden:
        golden = GOLDEN / f"{net.spec}.py"
        if os.environ.get("DLSPEC_BLESS"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(source, encoding="utf-8")
        assert golden.read_text(encoding="utf-8") == source


def test_golden_files_are_formatted_and_clean() -> None:
    options = ["--isolated", "--line-length", "100", str(GOLDEN)]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,B,UP,SIM,C4,RET"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options], capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


def test_no_golden_file_is_left_over() -> None:
    assert {net.spec for net in NETS if net.golden} == {path.stem for path in GOLDEN.glob("*.py")}
