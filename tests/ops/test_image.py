"""What normalisation, convolution, resizing and padding refuse."""

from __future__ import annotations

from typing import Any

import pytest

import dlspec
from dlspec import codes
from dlspec.api import load

from .layers import Layers, apply

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
