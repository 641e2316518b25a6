"""Ops that this backend alone has: a pass makes them from the language's."""

from __future__ import annotations

from dataclasses import dataclass

from dlspec.ops.attention import Attention, AttentionGrad
from dlspec.ops.base import Op


@dataclass(frozen=True)
class CrossEntropyWithGradient(Op):
    """CrossEntropy of one operand pair; results: the loss, and its gradient for the logits."""


@dataclass(frozen=True)
class GeluWithSlope(Op):
    """Gelu; results: y, and dy/dx. approximate: that of Gelu."""

    approximate: str = "none"


@dataclass(frozen=True)
class AttentionWithWeights(Op):
    """Attention of q, k and v alone; results: y, and the weights [..., T, S]."""

    op: Attention


@dataclass(frozen=True)
class AttentionGradOfWeights(Op):
    """AttentionGrad. Operands: q, k, v, the weights, dy."""

    op: AttentionGrad
