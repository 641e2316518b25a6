"""CTC of the standard library: losses and gradients on three backends against torch's."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import dlspec
from dlspec.api import load
from tests.codegen.build import load as load_module

N, T, C, S = 5, 9, 4, 3
SPEC = f"""
from std.losses use CTC

model Net(labels: i64[{N}, {S}], frames: i64[{N}], lengths: i64[{N}]) {{
  x = param([{N}, {T}, {C}], init = normal())
  return CTC(x, labels, frames, lengths, ARGUMENTS)
}}

train Run {{
  data (labels: i64[{N}, {S}], frames: i64[{N}], lengths: i64[{N}])
    from npz("none.npz", fields = "labels, frames, lengths", batch = {N})
  loss = Net(labels, frames, lengths)
  minimize FINAL using sgd(0.1)
}}
"""
LABELS = np.array([[1, 2, 3], [2, 2, 1], [3, 1, 1], [1, 1, 1], [2, 3, 1]])
FRAMES, LENGTHS = np.array([9, 5, 2, 4, 7]), np.array([3, 3, 1, 3, 0])  # the fourth is impossible


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def reference(x: torch.Tensor, reduction: str, blank: int, zero_infinity: bool) -> torch.Tensor:
    logs = x.log_softmax(-1).transpose(0, 1)
    given = [torch.tensor(a) for a in (LABELS, FRAMES, LENGTHS)]
    return F.ctc_loss(logs, *given, blank, reduction, zero_infinity)


@pytest.mark.parametrize("backend", ["torch", "jax", "numpy"])
@pytest.mark.parametrize(
    ("reduction", "blank", "zero_infinity"),
    [("mean", 0, True), ("sum", 0, True), ("none", 0, True), ("none", 0, False)],
)
def test_as_torch(backend: str, reduction: str, blank: int, zero_infinity: bool) -> None:
    words = f'reduction = "{reduction}", zero_infinity = {str(zero_infinity).lower()}'
    final = "loss" if reduction != "none" else "sum(square(loss))"
    text = SPEC.replace("ARGUMENTS", words).replace("FINAL", final)
    made = load_module(load(text).trainer("Run").code(backend))
    x = np.random.default_rng(0).standard_normal((N, T, C))
    state = made.init(0, dtype="float64")
    (name,) = made.export_weights(state)
    state = made.import_weights(state, {name: x})
    given = {"labels": LABELS, "frames": FRAMES, "lengths": LENGTHS}
    metrics, gradients = made.gradients(state, given)
    leaf = torch.tensor(x, requires_grad=True)
    loss = reference(leaf, reduction, blank, zero_infinity)
    total = loss if reduction != "none" else loss.square().sum()
    np.testing.assert_allclose(float(metrics["loss"]), total.item(), rtol=1e-10)
    if zero_infinity:
        (slope,) = torch.autograd.grad(total, leaf)
        np.testing.assert_allclose(np.asarray(gradients[name]), slope, rtol=1e-8, atol=1e-10)


def test_another_blank() -> None:
    text = f"""
    from std.losses use CTC
    model Net(x: [{N}, {T}, {C}], y: i64[{N}, {S}], frames: i64[{N}], lengths: i64[{N}]) =
      CTC(x, y - 1, frames, lengths, blank = {C - 1}, zero_infinity = true, reduction = "none")
    """
    x = np.random.default_rng(1).standard_normal((N, T, C))
    logs = torch.tensor(x).log_softmax(-1).transpose(0, 1)
    given = [torch.tensor(a) for a in (LABELS - 1, FRAMES, LENGTHS)]
    wanted = F.ctc_loss(logs, *given, C - 1, "none", True)
    for backend in ("torch", "jax", "numpy"):
        made = load_module(load(text).model("Net").code(backend))
        state = made.init(0, dtype="float64")
        found = made.predict(state, x=x, y=LABELS, frames=FRAMES, lengths=LENGTHS)
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-10)


def test_a_choice_of_two_numbers_has_the_element_type_of_the_network() -> None:
    """torch.where of two numbers is of torch's default type."""
    model = load("model W(x: [N, 4]) = x * where(x > 0, 0.1, 0.3)").model("W")
    assert dlspec.verify(model, ["numpy", "torch", "jax"]).ok
