"""Normalisation, convolution, pooling, resizing and padding against torch's own functions, the
layers' weights included."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .table import Input, Table, rows


def with_std(x: Tensor, group: int, eps: float = 1e-8) -> Tensor:
    parts = x.reshape(group, -1, *x.shape[1:])
    std = torch.sqrt(parts.var(0, correction=0) + eps).mean((1, 2, 3))
    channel = std.repeat(group).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel], 1)


def scaled(direction: Tensor, length: Tensor) -> Tensor:
    """Weight norm (Salimans and Kingma 2016)."""
    return direction * length / direction.norm(2, tuple(range(1, direction.ndim)), keepdim=True)


STATISTICS = {"still": False, "note": "training normalises by the batch's statistics"}
BATCH = {"batches": (3, 1), "note": "torch has no answer without a batch"}
# what a spec says; torch's function of the inputs by name and the weights p
ROWS = rows(
    ("dense(t, 3)", lambda t, p: F.linear(t, *p)),
    ("dense(x, 3, bias = false)", lambda x, p: F.linear(x, *p)),
    ("conv(x, 4, (3, 2), stride = (2, 1))", lambda x, p: F.conv2d(x, *p, (2, 1))),
    ('conv(x, 4, 4, stride = 2, padding = "same")',
        lambda x, p: F.conv2d(F.pad(x, (1, 2, 1, 1)), *p, 2)),
    ("conv(v, 3, 2)", lambda v, p: F.conv3d(v, *p)),
    ("batch_norm(x)", lambda x, p: F.batch_norm(x, p[2], p[3], p[0], p[1]), STATISTICS),
    ("batch_norm(t, eps = 0.1, shift = false)",
        lambda t, p: F.batch_norm(t, p[1], p[2], p[0], None, eps=0.1), STATISTICS),
    ("avg_pool(x, 3, stride = 2, padding = 1)", lambda x: F.avg_pool2d(x, 3, 2, 1)),
    ("avg_pool(w, 4, stride = 3, padding = 1, ceil = true, count_padding = false)",
        lambda w: F.avg_pool1d(w, 4, 3, 1, True, False)),
    ("max_pool(w, 3)", lambda w: F.max_pool1d(w, 3)),
    ("max_pool(v, 2, stride = 1)", lambda v: F.max_pool3d(v, 2, 1)),
    ("global_avg_pool(x)", lambda x: x.mean((2, 3))),
    ("global_avg_pool(w, keepdims = true)", lambda w: w.mean(2, True)),
    ("global_max_pool(v)", lambda v: v.amax((2, 3, 4)), BATCH),
    ("center_crop(x, 4, 3)", lambda x: x[:, :, 2:6, 2:5]),
    ("layer_norm(t)", lambda t, p: F.layer_norm(t, (6,), *p)),
    ("layer_norm(t, axis = [1, 2], eps = 1e-3)", lambda t, p: F.layer_norm(t, (5, 6), *p, 1e-3)),
    ("layer_norm(t, shift = false)", lambda t, p: F.layer_norm(t, (6,), *p)),
    ("layer_norm(t, scale = false)", lambda t, p: F.layer_norm(t, (6,), None, *p)),
    ("layer_norm(t, scale = false, shift = false)", lambda t, p: F.layer_norm(t, (6,))),
    ("rms_norm(t)", lambda t, p: F.rms_norm(t, (6,), *p, 1e-6)),
    ("rms_norm(t, scale = false, eps = 0.1)", lambda t, p: F.rms_norm(t, (6,), None, 0.1)),
    ("group_norm(x, 3)", lambda x, p: F.group_norm(x, 3, *p)),
    ("group_norm(w, 2, scale = false)", lambda w, p: F.group_norm(w, 2) + p[0][:, None]),
    ("instance_norm(x)", lambda x, p: F.instance_norm(x)),
    ("instance_norm(v, scale = true, shift = true, eps = 1e-2)",
        lambda v, p: F.instance_norm(v, weight=p[0], bias=p[1], eps=1e-2), BATCH),
    ("local_response_norm(x, 5)", lambda x, p: F.local_response_norm(x, 5)),
    ("local_response_norm(w, 2, alpha = 0.3, beta = 0.5, k = 2)",
        lambda w, p: F.local_response_norm(w, 2, 0.3, 0.5, 2)),
    ("pixel_norm(conv(x, 4, 1))",
        lambda x, p: F.rms_norm(F.conv2d(x, *p).movedim(1, -1), (4,), None, 1e-8).movedim(-1, 1)),
    ("minibatch_std(x)", lambda x, p: with_std(x, len(x)), BATCH),
    ("minibatch_std(x, group = 1, eps = 0.04)", lambda x, p: with_std(x, 1, 0.04), BATCH),
    ("max_pool(x, 2, stride = 1, padding = 1, dilation = (3, 2), ceil = true)",
        lambda x, p: F.max_pool2d(x, 2, 1, 1, (3, 2), True)),
    ("lp_pool(x, 3, 2)", lambda x, p: F.lp_pool2d(x.abs(), 3, 2)),
    ("lp_pool(w, 2, 3, stride = 2)", lambda w, p: F.lp_pool1d(w, 2, 3, 2)),
    ("adaptive_max_pool(x, (4, 1))", lambda x, p: F.adaptive_max_pool2d(x, (4, 1))),
    ("convolve(x, k, bias = b, groups = 2, padding = 1)",
        lambda x, k, b: F.conv2d(x, k, b, padding=1, groups=2)),
    ("DepthwiseConv(x, 3, padding = 0)", lambda x, p: F.conv2d(x, *p, groups=6)),
    ("EqualConv(x, 4, 3)", lambda x, p: F.conv2d(x, p[0] * (2 / 54) ** 0.5, p[1])),
    ("EqualDense(t, 3)", lambda t, p: F.linear(t, p[0] * (2 / 6) ** 0.5, p[1])),
    ("WeightNormConv(x, 4, 3)", lambda x, p: F.conv2d(x, scaled(p[1], p[0]), p[2])),
    ("WeightNormDense(t, 3)", lambda t, p: F.linear(t, scaled(p[1], p[0]), p[2])),
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
    ("pixel_shuffle(conv(x, 8, 1), 2)", lambda x, p: F.pixel_shuffle(F.conv2d(x, *p), 2)),
    ("pixel_unshuffle(x[:, :, :, :6], 2)",
        lambda x, p: F.pixel_unshuffle(x[..., :6], 2), BATCH),  # torch leaves an empty one as it is
    ("adaptive_max_pool(x, (3, 5))", lambda x, p: F.adaptive_max_pool2d(x, (3, 5)),
        BATCH),
    ("adaptive_max_pool(w, 4)", lambda w, p: F.adaptive_max_pool1d(w, 4),
        BATCH),
    ("adaptive_max_pool(w, 12)", lambda w, p: F.adaptive_max_pool1d(w, 12),
        BATCH),
    ("adaptive_max_pool(v, (2, 4, 3))", lambda v, p: F.adaptive_max_pool3d(v, (2, 4, 3)),
        BATCH),
    ("unfold(x, (2, 3), stride = 2, padding = (1, 0))",
        lambda x, p: F.unfold(x, (2, 3), padding=(1, 0), stride=2),
        BATCH),
    ("unfold(x, 3, padding = [(0, 1), 1], dilation = 2)",
        lambda x, p: F.unfold(F.pad(x, (1, 1, 0, 1)), 3, dilation=2),
        BATCH),
    ('unfold(x, 3, stride = 2, padding = "same")',
        lambda x, p: F.unfold(F.pad(x, (1, 1, 0, 1)), 3, stride=2),
        BATCH),
    ("fold(t[:, :4], (3, 4), 2)", lambda t, p: F.fold(t[:, :4], (3, 4), 2),
        BATCH),
    ("fold(unfold(x, 3, padding = 1), (8, 7), 3, padding = 1)",
        lambda x, p: F.fold(F.unfold(x, 3, padding=1), (8, 7), 3, padding=1),
        BATCH),
    ("channel_shuffle(x, 3)", lambda x, p: F.channel_shuffle(x, 3),
        BATCH),
    ("grid_sample(x, tanh(x[:, :4, :5, :2]) * 1.2)", lambda x, p: F.grid_sample(
        x, x[:, :4, :5, :2].tanh() * 1.2, align_corners=False),
        BATCH),
    ('grid_sample(x, x[:, :4, :5, :2], mode = "nearest", padding = "border", '
        'align_corners = true)',
        lambda x, p: F.grid_sample(x, x[:, :4, :5, :2], "nearest", "border", True),
        BATCH),
)  # fmt: skip

INPUTS = {
    "w": Input("[N, 6, 9]"),
    "x": Input("[N, 6, 8, 7]"),
    "v": Input("[N, 2, 3, 4, 5]"),
    "t": Input("[N, 5, 6]"),
    "k": Input("[4, 3, 2, 2]"),
    "b": Input("[4]"),
}
TABLE = Table(
    "images",
    INPUTS,
    ROWS,
    "from std.image use DepthwiseConv, EqualConv, EqualDense, WeightNormConv, WeightNormDense",
)
