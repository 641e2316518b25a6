"""Writes the pages of the gallery, one an architecture, from its spec:

    python docs/gallery/generate.py            # all
    python docs/gallery/generate.py resnet     # one

A page has the words of the spec, the sizes of its models, its stages beside their source
(tests/specs/stages.toml), the summary as a tree, and the picture that `dlspec draw` makes.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from dlspec.api import Model, load
from dlspec.render.scene import scene
from dlspec.render.svg import to_svg
from dlspec.render.view import view
from dlspec.summary import Summary, number

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPECS = ROOT / "specs"
STAGES = tomllib.loads((ROOT / "tests" / "specs" / "stages.toml").read_text("utf-8"))["network"]
LARGEST = 60_000  # bytes of a picture: blocks stay closed until it fits

Sizes = dict[str, int]
AT_224, AT_299 = {"H": 224, "W": 224}, {"H": 299, "W": 299}

# the models of each page, the one that is drawn first
PAGES: dict[str, dict[str, Sizes]] = {
    "vision/lenet5": {"LeNet5": {}},
    "vision/lenet1998": {"LeNet1998": {}},
    "vision/alexnet": {"AlexNet2012": {}, "AlexNet": AT_224},
    "vision/vgg": {"VGG": AT_224},
    "vision/googlenet": {"GoogLeNet": AT_224, "GoogLeNetTraining": AT_224},
    "vision/inception_v3": {"InceptionV3": AT_299, "InceptionV3Training": AT_299},
    "vision/resnet": {
        "ResNet50": AT_224,
        "ResNet18": AT_224,
        "ResNet34": AT_224,
        "ResNet101": AT_224,
        "ResNet152": AT_224,
    },
    "vision/xception": {"Xception": AT_299},
    "vision/inception_resnet_v2": {"InceptionResNetV2": AT_299},
    "vision/squeezenet": {"SqueezeNet": AT_224},
    "vision/mobilenet_v2": {"MobileNetV2": AT_224},
    "vision/densenet": {"DenseNet": AT_224},
    "vision/efficientnet_lite0": {"EfficientNetLite0": AT_224},
    "vision/convnext": {"ConvNeXt": AT_224},
    "vision/vit": {"ViT": {}},
    "vision/unet": {
        "UNet": {"C": 3, "H": 256, "W": 256},
        "UNetBilinear": {"C": 3, "H": 256, "W": 256},
        "UNetPaper": {"C": 1, "H": 572, "W": 572},
    },
    "generative/autoencoder": {
        "Autoencoder": {},
        "DeepAutoencoder": {},
        "ConvAutoencoder": {},
    },
    "generative/denoising_autoencoder": {"DenoisingAutoencoder": {}},
    "generative/sparse_autoencoder": {"SparseAutoencoder": {}},
    "generative/contractive_autoencoder": {"Closed": {}, "ByGrad": {}},
    "generative/vae": {"VAE": {}},
    "generative/conv_vae": {"ConvVAE": {}},
}
DRAWN: dict[str, dict[str, object]] = {"vision/densenet": {"depths": [2, 3, 3, 2]}}  # as smaller


def stem(name: str) -> str:
    return name.rpartition("/")[2]


def files(name: str) -> dict[str, str]:
    """The page of a spec and its picture, by file name."""
    spec = load(SPECS / f"{name}.dls")
    models = {model: spec.model(model, **sizes) for model, sizes in PAGES[name].items()}
    first, *_ = models
    small = DRAWN.get(name, {})
    drawn = spec.model(first, **PAGES[name][first], **small)
    more = "".join(f", with {key} = {value}" for key, value in small.items())
    command = f"dlspec draw specs/{name}.dls --model {first}{given(PAGES[name][first])}"
    parts = [
        f"# {stem(name)}",
        (spec.module.file.doc or "").strip(),
        f"The spec: [specs/{name}.dls](../../specs/{name}.dls).",
        table(models),
        *(
            stages(network, models[network["model"]])
            for network in STAGES
            if network["spec"] == name
        ),
        f"![{first}]({stem(name)}.svg)",
        f"`{command}`{more}; blocks are as far open as 60 kB allow.",
        tree(models[first], PAGES[name][first]),
    ]
    page = "\n\n".join(part for part in parts if part) + "\n"
    return {f"{stem(name)}.md": page, f"{stem(name)}.svg": picture(drawn)}


def given(sizes: Sizes) -> str:
    return "".join(f" --set {name}={size}" for name, size in sizes.items())


def table(models: dict[str, Model]) -> str:
    lines = ["| model | input | output | parameters | MACs of one |", "|---|---|---|---|---|"]
    for name, model in models.items():
        found = model.summary()
        shapes = [
            ", ".join(f"`{v.type.substitute(found.env)}`" for v in values)
            for values in (model.function.inputs, model.function.outputs)
        ]
        counts = [f"{int(number(count)):,}" for count in (found.params, found.macs)]
        lines.append(f"| `{name}` | {' | '.join([*shapes, *counts])} |")
    return "\n".join(lines)


def stages(network: dict[str, object], model: Model) -> str:
    """The table of a network's stages, which a test compares with what the summary says."""
    rows = [f"| {stage} | `{path}` | {shape} |" for stage, path, shape in network["stages"]]  # type: ignore[attr-defined]
    head = f"Stages of `{model.name}`, as in {network['source']}:"
    return "\n".join([head, "", "| stage | layer | shape |", "|---|---|---|", *rows])


def tree(model: Model, sizes: Sizes) -> str:
    text = model.summary().text()
    said = f"<code>dlspec summary … --model {model.name}{given(sizes)}</code>"
    return f"<details><summary>{said}</summary>\n\n```\n{text}\n```\n\n</details>"


def picture(model: Model) -> str:
    """The picture, as far open as its size allows; letters are those that the reader has."""
    summary: Summary = model.summary()
    for depth in (None, 1, 0):
        text = to_svg(scene(view(summary, depth)), model.name, fonts=False)
        if len(text.encode()) < LARGEST:
            break
    return text


def index() -> str:
    lines = ["# Gallery, page by page", "", "Written by `python docs/gallery/generate.py`.", ""]
    lines += [f"- [{stem(name)}]({stem(name)}.md): {', '.join(PAGES[name])}" for name in PAGES]
    return "\n".join(lines) + "\n"


def main(wanted: list[str]) -> None:
    for name in PAGES:
        if not wanted or stem(name) in wanted:
            for file, text in files(name).items():
                (HERE / file).write_text(text, "utf-8")
    (HERE / "README.md").write_text(index(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
