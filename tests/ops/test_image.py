"""Normalisation, convolution, resizing and padding in the language: three backends in float64
against torch's own functions, the layers' weights included."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import dlspec
from dlspec import codes
from dlspec.api import load
from dlspec.weights import initial_weights
from tests.codegen.build import load as load_module

from .layers import Layers, apply

BACKENDS = ("torch", "jax", "numpy")
SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "w": ("[N, 6, L]", (2, 6, 9)),
    "x": ("[N, 6, H, W]", (2, 6, 8, 7)),
    "v": ("[N, 2, 3, 4, 5]", (2, 2, 3, 4, 5)),
    "t": ("[N, 5, 6]", (2, 5, 6)),
}
Form = tuple[str, Any]

# what a spec says; torch's function of the inputs by name and the weights (w, b)
FORMS: list[Form] = [
    ("layer_norm(t)", lambda t, p: F.layer_norm(t, (6,), *p)),
    ("layer_norm(t, axis = [1, 2], eps = 1e-3)", lambda t, p: F.layer_norm(t, (5, 6), *p, 1e-3)),
    ("layer_norm(t, shift = false)", lambda t, p: F.layer_norm(t, (6,), *p)),
    ("layer_norm(t, scale = false)", lambda t, p: F.layer_norm(t, (6,), None, *p)),
    ("layer_norm(t, scale = false, shift = false)", lambda t, p: F.layer_norm(t, (6,))),
    ("rms_norm(t)", lambda t, p: F.rms_norm(t, (6,), *p, 1e-6)),
    ("rms_norm(t, scale = false, eps = 0.1)", lambda t, p: F.rms_norm(t, (6,), None, 0.1)),
    ("group_norm(x, 3)", lambda x, p: F.group_norm(x, 3, *p)),
    ("group_norm(w, 2, scale = false)", lambda w, p: F.group_norm(w, 2, None, *p)),
    ("instance_norm(x)", lambda x, p: F.instance_norm(x)),
    ("instance_norm(v, scale = true, shift = true, eps = 1e-2)",
        lambda v, p: F.instance_norm(v, weight=p[0], bias=p[1], eps=1e-2)),
    ("local_response_norm(x, 5)", lambda x, p: F.local_response_norm(x, 5)),
    ("local_response_norm(w, 2, alpha = 0.3, beta = 0.5, k = 2)",
        lambda w, p: F.local_response_norm(w, 2, 0.3, 0.5, 2)),
    ("pixel_norm(conv(x, 4, 1))",
        lambda x, p: F.rms_norm(F.conv2d(x, *p).movedim(1, -1), (4,), None, 1e-8).movedim(-1, 1)),
    ("minibatch_std(x)", lambda x, p: with_std(x, 2)),
    ("minibatch_std(x, group = 1, eps = 0.04)", lambda x, p: with_std(x, 1, 0.04)),
    ("max_pool(x, 2, stride = 1, padding = 1, dilation = (3, 2), ceil = true)",
        lambda x, p: F.max_pool2d(x, 2, 1, 1, (3, 2), True)),
    ("lp_pool(x, 3, 2)", lambda x, p: F.lp_pool2d(x.abs(), 3, 2)),
    ("lp_pool(w, 2, 3, stride = 2)", lambda w, p: F.lp_pool1d(w, 2, 3, 2)),
    ("adaptive_max_pool(x, (4, 1))", lambda x, p: F.adaptive_max_pool2d(x, (4, 1))),
    ("adaptive_max_pool(x, (3, 5))", lambda x, p: F.adaptive_max_pool2d(x, (3, 5))),
    ("adaptive_max_pool(w, 4)", lambda w, p: F.adaptive_max_pool1d(w, 4)),
    ("adaptive_max_pool(w, 12)", lambda w, p: F.adaptive_max_pool1d(w, 12)),
    ("adaptive_max_pool(v, (2, 4, 3))", lambda v, p: F.adaptive_max_pool3d(v, (2, 4, 3))),
    ("convolve(x, x[:, :3, :2, :2] ** 2, bias = x[:, 0, 0, 0], groups = 2, padding = 1)",
        lambda x, p: F.conv2d(x, x[:, :3, :2, :2] ** 2, x[:, 0, 0, 0], padding=1, groups=2)),
    ("DepthwiseConv(x, 3, padding = 0)", lambda x, p: F.conv2d(x, *p, groups=6)),
    ("EqualConv(x, 4, 3)", lambda x, p: F.conv2d(x, p[0] * (2 / 54) ** 0.5, p[1])),
    ("EqualDense(t, 3)", lambda t, p: F.linear(t, p[0] * (2 / 6) ** 0.5, p[1])),
    ("WeightNormConv(x, 4, 3)", lambda x, p: F.conv2d(x, torch._weight_norm(p[1], p[0]), p[2])),
    ("WeightNormDense(t, 3)", lambda t, p: F.linear(t, torch._weight_norm(p[1], p[0]), p[2])),
    ("conv_transpose(x, 4, 3)", lambda x, p: F.conv_transpose2d(x, *p)),
    ("conv_transpose(x, 4, 3, stride = 2, padding = 1, output_padding = 1)",
        lambda x, p: F.conv_transpose2d(x, *p, 2, 1, 1)),
    ("conv_transpose(x, 4, (2, 3), stride = (2, 1), dilation = 2, groups = 2, bias = false)",
        lambda x, p: F.conv_transpose2d(x, *p, None, (2, 1), 0, 0, 2, 2)),
    ("conv_transpose(w, 4, 5, stride = 3, padding = 2)",
        lambda w, p: F.conv_transpose1d(w, *p, 3, 2)),
    ("conv_transpose(v, 3, 2, stride = 2)", lambda v, p: F.conv_transpose3d(v, *p, 2)),
    ('conv(x, 4, 3, padding = 1, padding_mode = "reflect")',
        lambda x, p: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), *p)),
    ('conv(w, 4, 3, padding = [(2, 0)], padding_mode = "circular")',
        lambda w, p: F.conv1d(F.pad(w, (2, 0), mode="circular"), *p)),
    ("conv(x, 12, 3, groups = 6, dilation = 2, bias = false)",
        lambda x, p: F.conv2d(x, *p, None, dilation=2, groups=6)),
    ('pad(x, [0, 0, 2, (1, 3)], mode = "replicate")',
        lambda x, p: F.pad(x, (1, 3, 2, 2), mode="replicate")),
    ('pad(v, [0, 0, 1, 2, 0], mode = "reflect")',
        lambda v, p: F.pad(v, (0, 0, 2, 2, 1, 1), mode="reflect")),
    ("pad(x, [0, 1, 0, (1, 0)], value = 2)", lambda x, p: F.pad(x, (1, 0, 0, 0, 1, 1), value=2)),
    ("upsample(x, 2)", lambda x, p: F.interpolate(x, scale_factor=2)),
    ('upsample(x, (2, 3), mode = "bilinear", align_corners = true)',
        lambda x, p: F.interpolate(x, (16, 21), mode="bilinear", align_corners=True)),
    ("upsample(w, 3)", lambda w, p: F.interpolate(w, scale_factor=3)),
    ("resize(x, (5, 9))", lambda x, p: F.interpolate(x, (5, 9), mode="bilinear")),
    ("resize(x, scale = 0.5, antialias = true)",
        lambda x, p: F.interpolate(x, (4, 3), mode="bilinear", antialias=True)),
    ('resize(x, scale = 1.5, mode = "bicubic")',
        lambda x, p: F.interpolate(x, (12, 10), mode="bicubic")),
    ('resize(x, 4, mode = "bicubic", antialias = true)',
        lambda x, p: F.interpolate(x, (4, 4), mode="bicubic", antialias=True)),
    ('resize(x, 5, mode = "nearest")',
        lambda x, p: F.interpolate(x, (5, 5), mode="nearest-exact")),
    ("resize(v, (4, 3, 9))", lambda v, p: F.interpolate(v, (4, 3, 9), mode="trilinear")),
    ("resize(w, 20, align_corners = true)",
        lambda w, p: F.interpolate(w, 20, mode="linear", align_corners=True)),
    ("adaptive_avg_pool(x, (3, 7))", lambda x, p: F.adaptive_avg_pool2d(x, (3, 7))),
    ("adaptive_avg_pool(w, 4)", lambda w, p: F.adaptive_avg_pool1d(w, 4)),
    ("unfold(x, (2, 3), stride = 2, padding = (1, 0))",
        lambda x, p: F.unfold(x, (2, 3), padding=(1, 0), stride=2)),
    ("unfold(x, 3, padding = [(0, 1), 1], dilation = 2)",
        lambda x, p: F.unfold(F.pad(x, (1, 1, 0, 1)), 3, dilation=2)),
    ('unfold(x, 3, stride = 2, padding = "same")',
        lambda x, p: F.unfold(F.pad(x, (1, 1, 0, 1)), 3, stride=2)),
    ("fold(t[:, :4], (3, 4), 2)", lambda t, p: F.fold(t[:, :4], (3, 4), 2)),
    ("fold(unfold(x, 3, padding = 1), (8, 7), 3, padding = 1)",
        lambda x, p: F.fold(F.unfold(x, 3, padding=1), (8, 7), 3, padding=1)),
    ("channel_shuffle(x, 3)", lambda x, p: F.channel_shuffle(x, 3)),
    ("grid_sample(x, tanh(x[:, :4, :5, :2]) * 1.2)", lambda x, p: F.grid_sample(
        x, x[:, :4, :5, :2].tanh() * 1.2, align_corners=False)),
    ('grid_sample(x, x[:, :4, :5, :2], mode = "nearest", padding = "border", align_corners = true)',
        lambda x, p: F.grid_sample(x, x[:, :4, :5, :2], "nearest", "border", True)),
    ("affine_grid(t[:, :2, :3], (4, 3))",
        lambda t, p: F.affine_grid(t[:, :2, :3], [2, 1, 4, 3], align_corners=False)),
    ("affine_grid(t[:, :2, :3], 3, align_corners = true)",
        lambda t, p: F.affine_grid(t[:, :2, :3], [2, 1, 3, 3], align_corners=True)),
    ("pixel_shuffle(conv(x, 8, 1), 2)", lambda x, p: F.pixel_shuffle(F.conv2d(x, *p), 2)),
    ("pixel_unshuffle(x[:, :, :, :6], 2)", lambda x, p: F.pixel_unshuffle(x[..., :6], 2)),
]  # fmt: skip


def with_std(x: Tensor, group: int, eps: float = 1e-8) -> Tensor:
    parts = x.reshape(group, -1, *x.shape[1:])
    std = torch.sqrt(parts.var(0, correction=0) + eps).mean((1, 2, 3))
    channel = std.repeat(group).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel], 1)


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(size) for name, (_, size) in SHAPES.items()}


@pytest.fixture(scope="module")
def spec() -> Any:
    """One model of all forms, so that each backend compiles once; each in a block of its own."""
    std = "DepthwiseConv, EqualConv, EqualDense, WeightNormConv, WeightNormDense"
    lines = [f"from std.image use {std}"]
    for i, (form, _) in enumerate(FORMS):
        name = input_of(form)
        lines.append(f"block F{i}({name}: {SHAPES[name][0]}) = {form}")
    heads = ", ".join(f"{name}: {shape}" for name, (shape, _) in SHAPES.items())
    lines.append(f"model M({heads}) {{")
    for i, (form, _) in enumerate(FORMS):
        name = input_of(form)
        lines.append(f"  y{i} = F{i}({name})")
    lines.append("  return " + ", ".join(f"y{i}" for i in range(len(FORMS))) + "\n}\n")
    return load("\n".join(lines))


def input_of(form: str) -> str:
    """The first letter that stands alone."""
    return re.search(r"[(]([a-z])[,)[]", form).group(1)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def weights(spec: Any) -> dict[str, Any]:
    """Weights that are no initial ones, in float64."""
    rng = np.random.default_rng(1)
    found = initial_weights(spec.model("M").function, 0)
    return {name: rng.standard_normal(w.shape) for name, w in found.items()}


@pytest.fixture(scope="module", params=BACKENDS)
def found(request: pytest.FixtureRequest, spec: Any, weights: dict[str, Any]) -> Any:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    module = load_module(spec.model("M").code(request.param))
    state = module.import_weights(module.init(0, dtype="float64"), weights)
    outputs = module.predict(state, **inputs())
    yield [np.asarray(outputs[f"output{i}"]) for i in range(len(FORMS))]
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("place", range(len(FORMS)), ids=[form for form, _ in FORMS])
def test_as_torch(place: int, found: list[Any], weights: dict[str, Any]) -> None:
    form, function = FORMS[place]
    own: dict[str, Tensor] = {
        name.rsplit(".", 1)[-1]: torch.as_tensor(w)
        for name, w in weights.items()
        if name.split(".")[0].lower() == f"f{place}"
    }
    names = ("weight", "length", "direction", "bias")
    params = [own[name] for name in names if name in own]
    wanted = function(torch.as_tensor(inputs()[input_of(form)]), params).numpy()
    assert found[place].shape == wanted.shape
    np.testing.assert_allclose(found[place], wanted, rtol=1e-11, atol=1e-12)


REJECTED: list[tuple[str, tuple[Any, ...], dict[str, Any], codes.Code]] = [
    ("layer_norm", ("N", 4), {"axis": 0}, codes.BAD_ARGUMENT),
    ("layer_norm", ("N", 4), {"eps": -1.0}, codes.BAD_ARGUMENT),
    ("group_norm", ("N", 6, 4), {"groups": 4}, codes.NOT_DIVISIBLE),
    ("group_norm", ("N", 6, 4), {"groups": 0}, codes.BAD_ARGUMENT),
    ("group_norm", (6,), {"groups": 2}, codes.RANK),
    ("instance_norm", ("N", 6), {}, codes.RANK),
    ("local_response_norm", ("N", 6, 4), {"size": 0}, codes.BAD_ARGUMENT),
    ("minibatch_std", (3, 6, 4), {"group": 2}, codes.NOT_DIVISIBLE),
    ("lp_pool", ("N", 6, 4), {"p": 0, "size": 2}, codes.BAD_ARGUMENT),
    ("adaptive_max_pool", ("N", 6, 4), {"size": 0}, codes.BAD_ARGUMENT),
    ("conv_transpose", ("N", 6), {"channels": 2, "kernel": 3}, codes.RANK),
    ("conv_transpose", ("N", 6, 4), {"channels": 3, "kernel": 3, "groups": 2}, codes.NOT_DIVISIBLE),
    ("conv_transpose", ("N", 6, 4), {"channels": 2, "kernel": 1, "padding": 2},
        codes.NEGATIVE_SIZE),
    ("conv_transpose", ("N", 6, 4), {"channels": 2, "kernel": 1, "output_padding": 1},
        codes.BAD_ARGUMENT),
    ("conv", ("N", 6, 4), {"channels": 2, "kernel": 3, "padding_mode": "mirror"},
        codes.BAD_ARGUMENT),
    ("conv", ("N", 6, 4), {"channels": 2, "kernel": 9, "padding": 4, "padding_mode": "reflect"},
        codes.BAD_ARGUMENT),
    ("upsample", ("N", 6, 4), {"scale": 2, "mode": "bilinear"}, codes.BAD_ARGUMENT),
    ("upsample", ("N", 6, 4), {"scale": 2, "align_corners": True}, codes.BAD_ARGUMENT),
    ("upsample", ("N", 6, 4), {"scale": 0}, codes.BAD_ARGUMENT),
    ("upsample", ("N", 6, 4), {"scale": -0.5}, codes.BAD_ARGUMENT),
    ("resize", ("N", 6, 4), {}, codes.BAD_ARGUMENT),
    ("resize", ("N", 6, 4), {"size": 3, "scale": 2}, codes.BAD_ARGUMENT),
    ("resize", ("N", 6, 4), {"scale": 0.1}, codes.NEGATIVE_SIZE),
    ("resize", ("N", 6, 4), {"size": 3, "antialias": True}, codes.BAD_ARGUMENT),
    ("pixel_shuffle", ("N", 6, 4, 4), {"factor": 2}, codes.NOT_DIVISIBLE),
    ("pixel_unshuffle", ("N", 6, 5, 4), {"factor": 2}, codes.NOT_DIVISIBLE),
    ("pixel_shuffle", ("N", 4, 4), {"factor": 2}, codes.RANK),
    ("adaptive_avg_pool", ("N", 6), {"size": 1}, codes.RANK),
    ("unfold", ("N", 6, 4), {"kernel": 2}, codes.RANK),
    ("unfold", ("N", 6, 4, 4), {"kernel": 5}, codes.NEGATIVE_SIZE),
    ("unfold", ("N", 6, 4, 4), {"kernel": 2, "stride": 0}, codes.BAD_ARGUMENT),
    ("fold", ("N", 6, 4), {"size": 4, "kernel": 2}, codes.SHAPE),
    ("fold", ("N", 6, 9), {"size": 4, "kernel": 2}, codes.SHAPE),
    ("fold", ("N", 6), {"size": 4, "kernel": 2}, codes.RANK),
    ("channel_shuffle", ("N", 6, 4), {"groups": 4}, codes.NOT_DIVISIBLE),
    ("channel_shuffle", (6,), {"groups": 2}, codes.RANK),
    ("affine_grid", ("N", 3, 2), {"size": 4}, codes.SHAPE),
    ("affine_grid", ("N", 2, 3), {"size": 0}, codes.BAD_ARGUMENT),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "arguments", "code"), REJECTED)
def test_rejected(name: str, shape: Any, arguments: dict[str, Any], code: codes.Code) -> None:
    from dlspec.ops.build import BuildError

    b = Layers()
    with pytest.raises(BuildError) as caught:
        apply(b, name, b.input(*shape), **arguments)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("grid", "words", "code"),
    [
        (("N", 5, 5, 3), {}, codes.SHAPE),
        ((3, 5, 2), {}, codes.RANK),
        (("N", 5, 5, 2), {"mode": "bicubic"}, codes.BAD_ARGUMENT),
        (("N", 5, 5, 2), {"padding": "same"}, codes.BAD_ARGUMENT),
    ],
)
def test_rejected_grids(grid: Any, words: dict[str, Any], code: codes.Code) -> None:
    from dlspec.ops.build import BuildError

    b = Layers()
    with pytest.raises(BuildError) as caught:
        apply(b, "grid_sample", b.input("N", 3, 8, 8), b.input(*grid), **words)
    assert caught.value.code is code


def test_patches_of_a_parameter() -> None:
    """Gradients of unfold, fold and sampling with sizes that are parameters, for training."""
    text = """
    block Smooth(x: [N, C, H, W], k, step = 1) -> [N, C, H, W] =
      x -> unfold(k, stride = step, padding = k // 2)
        -> fold((H, W), k, stride = step, padding = k // 2)
    model M(x: [N, 2, 6, 6]) {
      y = x -> conv(4, 1) -> Smooth(3) -> Smooth(1, step = 2) -> channel_shuffle(2)
      theta = x -> flatten -> dense(6) -> tanh -> reshape([-1, 2, 3])
      return y -> grid_sample(affine_grid(theta, (4, 5))) -> flatten -> dense(2)
    }
    """
    assert dlspec.verify(load(text).model("M"), ["numpy", "torch", "jax"]).ok


def test_each_turn_of_a_loop_measures_anew() -> None:
    """U-Net's crops: the extents that one level names are not those of the next."""
    model = load(
        "model M(x: [N, 2, H, W]) -> [N, 2, H - 6, W - 6] {\n"
        "  for i in range(3) {\n"
        "    y: [_, _, h, w] = x -> conv(2, 3)\n"
        "    x = y + (x -> center_crop(h, w))\n"
        "  }\n"
        "  return x\n"
        "}\n"
    ).model("M")
    assert not [r for r in model.function.requirements if r.relation.op == "=="]
