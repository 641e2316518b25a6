"""Attention and embeddings with torch, as the reference of `evaluate`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec.ir.static import plain


def embedding(c: Any, op: Any, indices: Tensor, weight: Tensor) -> Tensor:
    padding = None if op.padding is None else c.number(op.padding)
    return F.embedding(indices, weight, padding)


def attention_grad(
    c: Any, op: Any, q: Tensor, k: Tensor, v: Tensor, dy: Tensor
) -> tuple[Tensor, ...]:
    """As written in the docstring."""
    scale = q.shape[-1] ** -0.5 if op.scale is None else plain(op.scale)
    score = torch.einsum("...td,...sd->...ts", q, k) * scale
    if op.causal:
        seen = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
        score = score.masked_fill(~seen, float("-inf"))
    w = score.softmax(-1)
    g = dy @ v.mT
    ds = w * (g - (w * g).sum(-1, keepdim=True)) * scale
    return ds @ k, ds.mT @ q, w.mT @ dy


def attention(c: Any, op: Any, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> Tensor:
    """By the formula, one head after the other."""
    masks = list(rest)
    mask = masks.pop(0) if op.masked else torch.tensor(True)
    bias = masks.pop(0) if op.biased else torch.tensor(0.0, dtype=q.dtype)
    full = (*q.shape[:-1], k.shape[-2])
    mask, bias = mask.expand(full), bias.expand(full)
    if op.causal:
        mask = mask & torch.ones(full[-2:], dtype=torch.bool).tril()
    if op.grouped:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if op.scale is None else plain(op.scale)
    score = torch.einsum("...td,...sd->...ts", q, k) * scale + bias
    power = torch.where(mask, (score - score.amax(-1, keepdim=True).detach()).exp(), 0.0)
    total = power.sum(-1, keepdim=True)
    return power / torch.where(total == 0, 1.0, total) @ v
