"""Reductions, products, shapes and sizes against torch's functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .table import Input, Table, below, flags, rows, unit


def best(logits: Tensor, label: Tensor, axis: int = -1) -> Tensor:
    return (logits.argmax(axis) == label).double().mean()


SOME = {"batches": (3, 1), "note": "the mean of nothing that counts is 0"}
NONE = {"batches": (3, 1), "note": "torch has no answer without a batch"}
ROWS = rows(
    ("sum(x)", lambda x: x.sum()),
    ("sum(f, axis = [0, 2])", lambda f: f.sum((0, 2))),
    ("sum(i)", lambda i: i.sum()),
    ("mean(f, axis = -1, keepdims = true)", lambda f: f.mean(-1, True)),
    ("mean(f)", lambda f: f.mean()),
    ("max(f, axis = 1)", lambda f: f.amax(1)),
    ("min(f, axis = [1, 2])", lambda f: f.amin((1, 2))),
    ("amin(f, axis = 2, keepdims = true)", lambda f: f.amin(2, True)),
    ("max(x)", lambda x: x.amax(), NONE),
    ("prod(f, axis = 1)", lambda f: f.prod(1)),
    ("prod(x)", lambda x: x.prod()),
    ("logsumexp(f, axis = 2)", lambda f: f.logsumexp(2)),
    ("all(on, axis = 1)", lambda on: on.all(1)),
    ("any(on)", lambda on: on.any()),
    ("var(f, axis = [1, 2])", lambda f: f.var((1, 2))),
    ("std(x, axis = 1, correction = 0)", lambda x: x.std(1, correction=0)),
    ("argmax(f)", lambda f: f.argmax(-1)),
    ("argmin(f, axis = 1)", lambda f: f.argmin(1)),
    ("matmul(f, k)", lambda f, k: f @ k),
    ("f @ transpose(f)", lambda f: f @ f.mT),
    ("k[0] @ k[1]", lambda k: k[0] @ k[1]),
    ("x @ k[:5]", lambda x, k: x @ k[:5]),
    ('einsum("nct, to -> noc", f, k)', lambda f, k: torch.einsum("nct,to->noc", f, k)),
    ('einsum("nc, nd -> cd", x, y)', lambda x, y: torch.einsum("nc,nd->cd", x, y)),
    ("bilinear(x, y, 3)", lambda x, y, p: F.bilinear(x, y, *p)),
    # shapes
    ("reshape(f, [N, 7, 3])", lambda f: f.reshape(-1, 7, 3)),
    ("reshape(f, [-1, 3])", lambda f: f.reshape(-1, 3)),
    ("flatten(f)", lambda f: f.flatten(1)),
    ("flatten(g, axis = 2)", lambda g: g.flatten(2)),
    ("unflatten(g, 1, [2, 3])", lambda g: g.unflatten(1, (2, 3))),
    ("transpose(f)", lambda f: f.mT),
    ("transpose(f, 2, 0, 1)", lambda f: f.permute(2, 0, 1)),
    ("unsqueeze(x, [0, 2])", lambda x: x[None, :, None]),
    ("squeeze(f[:, :1], 1)", lambda f: f[:, 0]),
    ("concat(x, y)", lambda x, y: torch.cat([x, y], -1)),
    ("concat(f, f[:, 1:], axis = 1)", lambda f: torch.cat([f, f[:, 1:]], 1)),
    ("stack(x, y)", lambda x, y: torch.stack([x, y])),
    ("stack(x, y, axis = 1)", lambda x, y: torch.stack([x, y], 1)),
    ("split(g, 3, axis = 1)[1]", lambda g: g.chunk(3, 1)[1]),
    ("split(f, [2, 5], axis = 2)[1]", lambda f: f[..., 2:]),
    ("broadcast_to(x[:, :1], [N, 4])", lambda x: x[:, :1].expand(-1, 4)),
    ("f[:, 1:, ::2] - f[:, :2, -4:]", lambda f: f[:, 1:, ::2] - f[:, :2, -4:]),
    ("f[:, [2, 0, 0]]", lambda f: f[:, [2, 0, 0]]),
    ('rearrange(g, "n (h c) t -> n t c h", h = 2)',
        lambda g: g.unflatten(1, (2, 3)).permute(0, 3, 2, 1)),
    ('reduce(f, "n c t -> t n", "sum")', lambda f: f.sum(1).T),
    ('repeat(x, "n c -> n (c two)", two = 2)', lambda x: x.repeat_interleave(2, 1)),
    # tensors from sizes
    ("zeros([N, 2]) + x[:, :2]", lambda x: x[:, :2]),
    ("ones([3])", lambda: torch.ones(3)),
    ("arange(2, 9, 3)", lambda: torch.arange(2, 9, 3)),
    # indices
    ("take(k, j, axis = 0)", lambda k, j: k[j]),
    ("take(f, j, axis = 1)", lambda f, j: f[:, j]),
    ("take_along(f, n)", lambda f, n: f.gather(-1, n)),
    ("embedding(j, 4, 3)", lambda j, p: F.embedding(j, *p)),
    # losses and measures
    ("mse(x, y)", F.mse_loss),
    ('mae(x, y, reduction = "sum")', lambda x, y: F.l1_loss(x, y, reduction="sum")),
    ('mae(x, 0.5, reduction = "none")', lambda x: (x - 0.5).abs()),
    ("accuracy(x, label)", best, SOME),
    ("accuracy(f, labels, axis = 1, ignore = 1)",
        lambda f, labels: (f.argmax(1) == labels)[labels != 1].double().mean(), {"batches": (3,)}),
    ("binary_accuracy(x, on)", lambda x, on: ((x > 0) == on).double().mean(), SOME),
    ("top_k_accuracy(x, label, 2)",
        lambda x, label: (x.topk(2).indices == label[:, None]).any(1).double().mean(), SOME),
    ("psnr(x, y)", lambda x, y: -10 * ((x - y) ** 2).mean(1).log10().mean()),
    ("rmse(x, y)", lambda x, y: F.mse_loss(x, y).sqrt()),
)  # fmt: skip

INPUTS = {
    "x": Input("[N, 5]"),
    "y": Input("[N, 5]"),
    "f": Input("[N, 3, 7]"),
    "g": Input("[N, 6, 7]"),
    "k": Input("[7, 7]"),
    "u": Input("[N, 5]", unit),
    "on": Input("bool[N, 5]", flags),
    "i": Input("i64[N, 5]", below(4)),
    "j": Input("i64[4]", below(3)),
    "n": Input("i64[N, 3, 2]", below(7)),
    "label": Input("i64[N]", below(5)),
    "labels": Input("i64[N, 7]", below(3)),
}
TABLE = Table("reductions", INPUTS, ROWS)
