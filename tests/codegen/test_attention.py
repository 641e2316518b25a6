"""Attention in single precision, where frameworks take their own fused forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dlspec_jax.emitted.attention import attention as in_jax
from dlspec_torch import Target

from dlspec.ops.attention import Attention
from tests.ops import evaluate
from tests.ops.cases import Case, build
from tests.ops.cases_index import attentions

from .build import load
from .test_torch_ops import unit_of

CASES = [case for case in attentions() if isinstance(case.op, Attention)]
ids = [case.id for case in CASES]


def wanted(case: Case) -> tuple[list[Any], Any, list[Any]]:
    """Operands, value and gradients of its sum of squares, in double precision."""
    leaves = [t.requires_grad_() if t.is_floating_point() else t for t in case.tensors()]
    (y,) = evaluate.evaluate(build(case), leaves, case.sizes)
    floats = [t for t in leaves if t.requires_grad]
    gradients = torch.autograd.grad(y.square().sum(), floats)
    return leaves, y.detach().numpy(), [g.numpy() for g in gradients]


def single(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.float() if tensor.is_floating_point() else tensor


def close(found: Any, expected: Any) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_jax(case: Case) -> None:
    op = case.op
    assert isinstance(op, Attention)
    leaves, value, gradients = wanted(case)
    arrays = [jnp.asarray(single(t).numpy()) for t in leaves]
    names = ["mask"] * op.masked + ["bias"] * op.biased
    places = [i for i, t in enumerate(leaves) if t.is_floating_point()]

    def run(*floats: Any) -> Any:
        given = list(arrays)
        for place, x in zip(places, floats, strict=True):
            given[place] = x
        extra = dict(zip(names, given[3:], strict=True))
        return in_jax(*given[:3], **extra, causal=op.causal, scale=op.scale)

    floats = [arrays[i] for i in places]
    close(run(*floats), value)
    found = jax.grad(lambda *x: jnp.square(run(*x)).sum(), tuple(range(len(floats))))(*floats)
    for a, b in zip(found, gradients, strict=True):
        close(a, b)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_torch(case: Case) -> None:
    leaves, value, gradients = wanted(case)
    net = load(Target().generate(unit_of(case)).source).init().net.train()
    inputs = [single(t) for t in leaves]
    floats = [x.requires_grad_() for x in inputs if x.is_floating_point()]
    y = net(*inputs)
    close(y.detach().numpy(), value)
    for a, b in zip(torch.autograd.grad(y.square().sum(), floats), gradients, strict=True):
        close(a.numpy(), b)
