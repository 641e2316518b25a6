"""Every architecture of the gallery, model and training section, is the same on three backends in
float64 at a reduced size: outputs, loss, gradients, and weights after two steps.

Those that cost least are in tests/specs/test_gallery.py too, which every run of the tests has.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.verification import verify

SPECS = Path(__file__).parents[2] / "specs"


@dataclass(frozen=True)
class Case:
    """name: a model or a training section. sizes: of open dims; those of the model's inputs but N
    are settled when it is elaborated."""

    spec: str
    name: str
    statics: dict[str, object] = field(default_factory=dict[str, object])
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    optimizer: str = ""  # instead of the section's own

    @property
    def title(self) -> str:
        return f"{self.spec}:{self.name}"


SQUARE = {"H": 64, "W": 64, "N": 4}
PAIR = {"N": 2}

CASES = [
    Case("vision/lenet5", "LeNet5", {}, PAIR),
    Case("vision/lenet1998", "LeNet1998", {}, PAIR),
    Case("vision/lenet1998", "mnist", {}, PAIR),
    Case("vision/alexnet", "AlexNet", {"hidden": 16, "classes": 5}, {**SQUARE, "N": 2}),
    Case("vision/alexnet", "AlexNet2012", {"hidden": 16, "classes": 5}, PAIR),
    Case("vision/alexnet", "imagenet", {"hidden": 16, "classes": 5}, PAIR),
    Case("vision/vgg", "VGG", {"depths": [1] * 5, "width": 16, "classes": 5}, {**SQUARE, "N": 2}),
    Case(
        "vision/vgg",
        "VGG",
        {"depths": [1] * 5, "width": 16, "classes": 5, "norm": True},
        SQUARE,
    ),
    Case("vision/vgg", "imagenet", {"size": 32, "width": 16, "classes": 5}, PAIR),
    Case("vision/googlenet", "GoogLeNetTraining", {"classes": 5}, SQUARE),
    Case("vision/googlenet", "imagenet", {"size": 64, "classes": 5}, {"N": 4}),
    Case("vision/inception_v3", "InceptionV3", {"classes": 5}, {"H": 107, "W": 107, "N": 2}),
    Case("vision/inception_v3", "imagenet", {"size": 299, "classes": 5}, PAIR),
    Case("vision/resnet", "ResNet18", {"width": 8, "classes": 5}, SQUARE),
    Case("vision/resnet", "ResNet50", {"width": 8, "classes": 5}, SQUARE),
    Case("vision/resnet", "imagenet", {"size": 64, "width": 8, "classes": 5}, {"N": 4}),
    Case("vision/resnet_cifar", "ResNet", {"n": 2, "classes": 5}, {"N": 4}),
    Case("vision/resnet_cifar", "cifar", {"n": 1}, {"N": 4}),
    Case("vision/xception", "Xception", {"depth": 1, "classes": 5}, {"H": 71, "W": 71, "N": 2}),
    Case("vision/xception", "imagenet", {"size": 71, "depth": 1, "classes": 5}, PAIR),
    Case(
        "vision/inception_resnet_v2",
        "InceptionResNetV2",
        {"depths": [1, 1, 1], "classes": 5},
        {"H": 107, "W": 107, "N": 2},
    ),
    Case(
        "vision/inception_resnet_v2",
        "imagenet",
        {"size": 107, "depths": [1, 1, 1], "classes": 5},
        PAIR,
    ),
    Case("vision/squeezenet", "SqueezeNet", {"classes": 5}, {**SQUARE, "N": 2}),
    Case("vision/squeezenet", "imagenet", {"size": 64, "classes": 5}, PAIR),
    Case("vision/mobilenet_v2", "MobileNetV2", {"width": 0.25, "classes": 5}, SQUARE),
    Case("vision/mobilenet_v2", "imagenet", {"size": 64, "width": 0.25, "classes": 5}, {"N": 4}),
    Case("vision/densenet", "DenseNet", {"depths": [2, 1], "growth": 4, "classes": 5}, SQUARE),
    Case(
        "vision/densenet",
        "imagenet",
        {"size": 32, "depths": [2, 1], "growth": 4, "classes": 5},
        {"N": 4},
    ),
    Case("vision/efficientnet_lite0", "EfficientNetLite0", {"classes": 5}, SQUARE),
    # RMSProp divides a gradient that is 0 but for rounding by its own size: not here
    Case("vision/efficientnet_lite0", "imagenet", {"size": 64, "classes": 5}, {"N": 4}, "sgd"),
    Case(
        "vision/convnext",
        "ConvNeXt",
        {"depths": [1, 2, 1, 1], "widths": [4, 6, 8, 10], "classes": 5},
        {**SQUARE, "N": 2},
    ),
    Case(
        "vision/convnext",
        "imagenet",
        {"size": 64, "depths": [1, 2, 1, 1], "widths": [4, 6, 8, 10], "classes": 5},
        PAIR,
    ),
    Case(
        "vision/vit",
        "ViT",
        {"size": 32, "depth": 2, "heads": 2, "width": 8, "hidden": 16, "classes": 5},
        PAIR,
    ),
    Case(
        "vision/vit",
        "imagenet",
        {"size": 32, "depth": 2, "heads": 2, "width": 8, "hidden": 16, "classes": 5},
        PAIR,
    ),
    Case("vision/unet", "UNet", {"widths": [4, 6, 8]}, {"C": 2, "H": 16, "W": 16, "N": 2}),
    Case("vision/unet", "UNetBilinear", {"widths": [4, 6, 8]}, {"C": 2, "H": 16, "W": 16, "N": 2}),
    Case(
        "vision/unet",
        "UNetPaper",
        {"widths": [4, 6, 8, 10, 12]},
        {"C": 1, "H": 188, "W": 188, "N": 2},
    ),
    Case("generative/autoencoder", "Autoencoder", {}, PAIR),
    Case("generative/autoencoder", "DeepAutoencoder", {"widths": [20, 10], "code": 5}, PAIR),
    Case("generative/autoencoder", "ConvAutoencoder", {"channels": 4}, PAIR),
    Case("generative/denoising_autoencoder", "gaussian", {}, PAIR),
    Case("generative/denoising_autoencoder", "masking", {}, PAIR),
    Case("generative/sparse_autoencoder", "kl", {}, PAIR),
    Case("generative/sparse_autoencoder", "l1", {}, PAIR),
    Case("generative/contractive_autoencoder", "closed", {"code": 4}, PAIR),
    Case("generative/contractive_autoencoder", "jacobian", {"code": 4}, PAIR),
    Case("generative/vae", "digits", {}, PAIR),
    Case("generative/conv_vae", "digits", {}, PAIR),
]


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_three_backends_agree(case: Case) -> None:
    spec = load(SPECS / f"{case.spec}.dls")
    sizes = {name: size for name, size in case.sizes.items() if name == "N"}
    if case.name in spec.trainings:
        unit, optimizer = spec.trainer(case.name, **case.statics), case.optimizer or "declared"
    else:
        settled = {name: size for name, size in case.sizes.items() if name != "N"}
        unit, optimizer = spec.model(case.name, **case.statics, **settled), "sgd"
    found = verify(unit, steps=2, sizes=sizes, optimizers=[optimizer])
    assert found.ok, found.text()


def test_pages_are_what_the_command_writes() -> None:
    pages = SPECS.parent / "docs" / "gallery"
    spec = importlib.util.spec_from_file_location("generate_gallery", pages / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_gallery"] = module
    spec.loader.exec_module(module)
    for name in module.PAGES:
        for file, text in module.files(name).items():
            assert (pages / file).read_text("utf-8") == text, file
