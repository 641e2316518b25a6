"""Attention, positions, indexing, shapes and what is made of them against torch's functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .table import Input, Table, below, flags, rows


def rotated(x: Tensor, pairs: bool, axis: int = -2) -> Tensor:
    """As complex numbers (Su et al. 2021, equation 34)."""
    x = x.movedim(axis, -2)
    half = x.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turn = torch.exp(1j * torch.arange(x.shape[-2])[:, None] * rate)
    both = x.unflatten(-1, (half, 2)) if pairs else x.unflatten(-1, (2, half)).transpose(-1, -2)
    y = torch.view_as_real(torch.view_as_complex(both.contiguous()) * turn)
    y = y.flatten(-2) if pairs else y.transpose(-1, -2).flatten(-2)
    return y.movedim(-2, axis)


def sines(length: int, size: int) -> Tensor:
    table = torch.zeros(length, size, dtype=torch.float64)
    for t in range(length):
        for i in range(0, size, 2):
            table[t, i] = np.sin(t / 10000 ** (i / size))
            table[t, i + 1] = np.cos(t / 10000 ** (i / size))
    return table


def alibi(heads: int, rows: int, columns: int) -> Tensor:
    gap = (torch.arange(rows)[:, None] - torch.arange(columns)).abs()
    slopes = torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)])
    return -slopes[:, None, None].double() * gap


sdpa = F.scaled_dot_product_attention
P: Any = torch.nn.functional.pairwise_distance
BATCH = {"batches": (3, 1), "note": "torch has no answer without a batch"}
# what the spec says, what torch says
ROWS = rows(
    ("attention(q, k, v)", lambda q, k, v, **_: sdpa(q, k, v)),
    ("attention(q, q, q, causal = true)", lambda q, **_: sdpa(q, q, q, is_causal=True)),
    ("attention(q, k, v, mask = see)", lambda q, k, v, see, **_: sdpa(q, k, v, see)),
    ("attention(q, k2, k2, scale = 0.5)", lambda q, k2, **_: sdpa(
        q, k2, k2, scale=0.5, enable_gqa=True)),
    ("attention(q, k, v, bias = alibi(4, 5, 3))", lambda q, k, v, **_: sdpa(
        q, k, v, alibi(4, 5, 3))),
    ("attention(swapaxes(q, 1, 2), swapaxes(q, 1, 2), swapaxes(q, 1, 2), axis = -3)",
        lambda q, **_: sdpa(q, q, q).transpose(1, 2)),
    ("rotary(q)", lambda q, **_: rotated(q, False), BATCH),
    ('rotary(q, convention = "pairs")', lambda q, **_: rotated(q, True)),
    ("rotary(q, axis = 1)", lambda q, **_: rotated(q, False, 1), BATCH),
    ("sinusoidal_positions(5, 6)", lambda **_: sines(5, 6)),
    ("causal_mask(3, 5)", lambda **_: torch.ones(3, 5).tril().bool()),
    ("tril(m)", lambda m, **_: m.tril()),
    ("tril(m, diagonal = -1)", lambda m, **_: m.tril(-1)),
    ("triu(m, diagonal = 2)", lambda m, **_: m.triu(2)),
    ("triu(c)", lambda c, **_: c.triu()),
    ("masked_fill(m, on, -2)", lambda m, on, **_: m.masked_fill(on, -2)),
    ("masked_fill(i, on, 7)", lambda i, on, **_: i.masked_fill(on, 7)),
    ("argsort(m)", lambda m, **_: m.argsort(-1)),
    ("sort(m, axis = 0, descending = true)", lambda m, **_: m.sort(0, descending=True).values),
    ("topk(m, 2).values", lambda m, **_: m.topk(2).values),
    ("topk(m, 2).indices", lambda m, **_: m.topk(2).indices),
    ("topk(m, 2, axis = 0, largest = false).values", lambda m, **_: m.topk(2, 0, False).values),
    ("cumprod(m)", lambda m, **_: m.cumprod(-1)),
    ("cumsum(m, axis = 0)", lambda m, **_: m.cumsum(0)),
    ("logcumsumexp(m, axis = 0)", lambda m, **_: m.logcumsumexp(0)),
    ("gather(m, n)", lambda m, n, **_: m.gather(1, n)),
    ("index_select(m, j)", lambda m, j, **_: m.index_select(0, j)),
    ("scatter_add(m, i, w)", lambda m, i, w, **_: m.scatter_add(1, i, w)),
    ("index_add(m, j, m[[0, 1, 2, 0]])", lambda m, j, **_: m.index_add(0, j, m[[0, 1, 2, 0]])),
    ("argmax(m, axis = 0)", lambda m, **_: m.argmax(0)),
    ("roll(m, 2)", lambda m, **_: m.roll(2, -1)),
    ("roll(c, [-1, 2], axis = [0, 1])", lambda c, **_: c.roll((-1, 2), (0, 1))),
    ("flip(m, axis = 0)", lambda m, **_: m.flip(0)),
    ("tile(m, [2, 3])", lambda m, **_: m.tile(2, 3)),
    ("tile(m, [2, 1, 3])", lambda m, **_: m.tile(2, 1, 3)),
    ("tile(c, [2])", lambda c, **_: c.tile(2)),
    ("repeat_interleave(m, 3, axis = 0)", lambda m, **_: m.repeat_interleave(3, 0)),
    ("unbind(c)[1]", lambda c, **_: c.unbind()[1]),
    ("chunk(c, 3, axis = 1)[1]", lambda c, **_: c.chunk(3, 1)[1]),
    ("expand(m[:, :1], [2, -1, 5])", lambda m, **_: m[:, :1].expand(2, -1, 5)),
    ("swapaxes(c, 0, 2)", lambda c, **_: c.swapaxes(0, 2)),
    ("moveaxis(c, 0, -1)", lambda c, **_: c.moveaxis(0, -1)),
    ("moveaxis(c, [0, 1], [2, 0])", lambda c, **_: c.moveaxis((0, 1), (2, 0))),
    ("diagonal(c)", lambda c, **_: c.diagonal(0, -2, -1)),
    ("diagonal(c, offset = 2)", lambda c, **_: c.diagonal(2, -2, -1)),
    ("diagonal(c, offset = -1)", lambda c, **_: c.diagonal(-1, -2, -1)),
    ("trace(s)", lambda s, **_: s.trace()),
    ("outer(m[0], m[1])", lambda m, **_: m[0].outer(m[1])),
    ("full([2, 3], 1.5)", lambda **_: torch.full((2, 3), 1.5, dtype=torch.float64)),
    ("zeros_like(m) + 1", lambda m, **_: torch.ones_like(m)),
    ("ones_like(i)", lambda i, **_: torch.ones_like(i)),
    ("eye(3, 4)", lambda **_: torch.eye(3, 4, dtype=torch.float64)),
    ("linspace(-1, 2, 7)", lambda **_: torch.linspace(-1, 2, 7, dtype=torch.float64)),
    ("norm(m)", lambda m, **_: m.norm()),
    ("norm(m, axis = 1, p = 1)", lambda m, **_: m.norm(1, 1)),
    ("norm(m, axis = 1, p = inf, keepdims = true)", lambda m, **_: m.norm(np.inf, 1, True)),
    ("norm(m, axis = 0, p = 3)", lambda m, **_: m.norm(3, 0)),
    ("norm(m, axis = 0, p = 0)", lambda m, **_: m.norm(0, 0)),
    ("normalize(m)", lambda m, **_: F.normalize(m)),
    ("normalize(m, axis = 0, p = 1)", lambda m, **_: F.normalize(m, 1, 0)),
    ("cosine_similarity(m, w)", lambda m, w, **_: F.cosine_similarity(m, w)),
    ("pairwise_distance(m, w)", lambda m, w, **_: P(m, w)),
    ("pairwise_distance(m, w, p = 1, keepdims = true)", lambda m, w, **_: P(m, w, 1, 1e-6, True)),
    ("amax(m, axis = 1)", lambda m, **_: m.amax(1)),
    ("var(m, axis = 1, correction = 0)", lambda m, **_: m.var(1, correction=0)),
    ("std(m, axis = 0)", lambda m, **_: m.std(0)),
    ("quantize(m, w).codes", lambda m, w, **_: w[torch.cdist(m, w).argmin(-1)]),
    ("quantize(m, w).indices", lambda m, w, **_: torch.cdist(m, w).argmin(-1)),
    ("unfold(a, 3, stride = 2, padding = 1)", lambda a, **_: F.unfold(a, 3, 1, 1, 2)),
    ("unfold(a, (2, 3), dilation = 2)", lambda a, **_: F.unfold(a, (2, 3), 2)),
    ("fold(o, (5, 6), 2)", lambda o, **_: F.fold(o, (5, 6), 2)),
        ("grid_sample(a, grid)", lambda a, grid, **_: F.grid_sample(a, grid, align_corners=False)),
    ('grid_sample(a, grid, mode = "nearest", padding = "border", align_corners = true)',
        lambda a, grid, **_: F.grid_sample(a, grid, "nearest", "border", True)),
    ("affine_grid(theta, (3, 4))",
        lambda theta, **_: F.affine_grid(theta, [len(theta), 1, 3, 4], align_corners=False), BATCH),
    ("affine_grid(theta, (3, 4), align_corners = true)",
        lambda theta, **_: F.affine_grid(theta, [len(theta), 1, 3, 4], align_corners=True), BATCH),
    ("channel_shuffle(a, 2)", lambda a, **_: F.channel_shuffle(a, 2)),
    ("searchsorted(cumsum(square(m), axis = 1)[0], w)",
        lambda m, w, **_: torch.searchsorted((m**2).cumsum(1)[0], w)),
    ("searchsorted(linspace(-2, 2, 5), m, right = true)", lambda m, **_: torch.searchsorted(
        torch.linspace(-2, 2, 5, dtype=torch.float64), m, right=True)),
    ("bucketize(m, linspace(-2, 2, 5))", lambda m, **_: torch.bucketize(
        m, torch.linspace(-2, 2, 5, dtype=torch.float64))),
    ("cdist(m, w)", lambda m, w, **_: torch.cdist(m, w)),
    ("cdist(c, c[:, :2], p = 1)", lambda c, **_: torch.cdist(c, c[:, :2], 1), {"smooth": False}),
    ("cummax(m)", lambda m, **_: m.cummax(1).values),
    ("cummin(c, axis = 0)", lambda c, **_: c.cummin(0).values),
    ("median(m)", lambda m, **_: m.median(-1).values),
    ("median(c, axis = 1, keepdims = true)", lambda c, **_: c.median(1, True).values),
    ("quantile(m, 0.3)", lambda m, **_: m.quantile(0.3, -1)),
    ("lgamma(square(m) + 1)", lambda m, **_: torch.lgamma(m**2 + 1)),
    ("digamma(square(m) + 1)", lambda m, **_: torch.digamma(m**2 + 1)),
    ("polygamma(square(m) + 1, 1)", lambda m, **_: torch.polygamma(1, m**2 + 1),
        {"tolerance": 1e-7}),
    ("unflatten(c, -1, [3, -1])", lambda c, **_: c.unflatten(-1, (3, 2))),
    ("unflatten(c, 1, [2, 2])", lambda c, **_: c.unflatten(1, (2, 2))),
    ("straight_through(m, w)", lambda m, w, **_: w + (m - w).detach(), {"smooth": False}),
    ("one_hot(j, 3)", lambda j, **_: F.one_hot(j, 3).double()),
)  # fmt: skip

INPUTS = {
    "q": Input("[N, 4, 5, 6]"),
    "k": Input("[N, 4, 3, 6]"),
    "v": Input("[N, 4, 3, 6]"),
    "k2": Input("[N, 2, 3, 6]"),
    "a": Input("[N, 4, 5, 6]"),
    "o": Input("[N, 8, 20]"),
    "grid": Input("[N, 3, 2, 2]", lambda rng, shape: rng.uniform(-1.2, 1.2, shape)),
    "theta": Input("[N, 2, 3]"),
    "m": Input("[3, 5]"),
    "s": Input("[5, 5]"),
    "w": Input("[3, 5]"),
    "c": Input("[3, 4, 6]"),
    "i": Input("i64[3, 5]", below(5)),
    "j": Input("i64[4]", below(3)),
    "n": Input("i64[3, 2]", below(5)),
    "see": Input("bool[N, 1, 5, 3]", flags),
    "on": Input("bool[3, 5]", flags),
}
TABLE = Table("tensors", INPUTS, ROWS)
