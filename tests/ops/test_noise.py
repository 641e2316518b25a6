"""Noise in training: backends agree on given draws; torch's draws have their distribution."""

from __future__ import annotations

from typing import Any

import dlspec_torch
import numpy as np
import pytest
import torch
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget

import dlspec
import dlspec.api as api
from dlspec import codes
from dlspec.ir.types import DType
from dlspec.ops.build import BuildError
from tests.codegen.build import module, text_unit

from .layers import Layers, apply

TARGETS = {"torch": dlspec_torch.Target(), "jax": JaxTarget(), "numpy": NumpyTarget()}
SPEC = """
model Net(x: [N, 6, 4], p = 0.3) {
  h = x -> gaussian_noise(p) -> gaussian_dropout(p) -> rrelu -> prelu(per_channel = true)
  h = h -> alpha_dropout(p) -> feature_alpha_dropout(0.2) -> prelu
  return h -> rrelu(low = 0, high = p) -> flatten -> dense(3)
}
"""


def test_backends_agree() -> None:
    report = dlspec.verify(api.load(SPEC).model("Net"), ["numpy", "torch", "jax"])
    assert report.ok
    assert not any("inference mode" in note for note in report.notes)


@pytest.mark.parametrize("backend", TARGETS)
def test_inference_is_still(backend: str) -> None:
    text = """
    model Net(x: [N, 4]) -> (a: [N, 4], b: [N, 4], c: [N, 4], d: [N, 4], e: [N, 4]) {
      a, b, c = x -> gaussian_noise(2), x -> gaussian_dropout, x -> alpha_dropout(0.9)
      return a, b, c, x -> feature_alpha_dropout, x -> rrelu(low = 0, high = 0.5)
    }
    """
    made = module(TARGETS[backend], text_unit(text, "Net"))
    x = np.random.default_rng(0).standard_normal((5, 4))
    found = made.predict(made.init(0, dtype="float64"), x=x)
    for name in "abcd":
        np.testing.assert_array_equal(found[name], x)
    np.testing.assert_allclose(found["e"], np.where(x > 0, x, x / 4), rtol=1e-15)


def trained(call: str, x: torch.Tensor) -> torch.Tensor:
    shape = ", ".join(map(str, ("N", *x.shape[1:])))
    text = f"model Net(x: [{shape}]) -> [{shape}] = x -> {call}"
    net = module(dlspec_torch.Target(), text_unit(text, "Net")).init(dtype="float64").net.train()
    torch.manual_seed(0)
    return net(x)


def test_gaussian() -> None:
    x = torch.full((400, 500), 3.0, dtype=torch.float64)
    noisy, dropped = trained("gaussian_noise(0.5)", x), trained("gaussian_dropout(0.2)", x)
    assert abs(noisy.mean() - 3) < 0.01 and abs(noisy.std() - 0.5) < 0.01
    assert abs(dropped.mean() - 3) < 0.01 and abs(dropped.std() - 1.5) < 0.01


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p: float) -> None:
    x = torch.randn(400, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = trained(f"alpha_dropout({p})", x)
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.02


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_is_torchs(p: float) -> None:
    """What is dropped has one value, what is kept is scaled and moved, alike in both."""
    x = torch.rand(40, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = trained(f"alpha_dropout({p})", x)
    theirs = torch.nn.functional.alpha_dropout(x.clone(), p, training=True)
    torch.testing.assert_close(y.min(), theirs.min())
    kept = (y != y.min()) & (theirs != theirs.min())
    assert kept.any()
    torch.testing.assert_close(y[kept], theirs[kept])
    assert abs((y == y.min()).double().mean() - p) < 0.05


def test_whole_channels_are_dropped() -> None:
    y = trained("feature_alpha_dropout(0.5)", torch.zeros(50, 8, 4, 3, dtype=torch.float64))
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert not torch.equal(y, y[:, :1].expand_as(y)) and len(y.unique()) == 2


def test_slopes_are_drawn_for_each_element() -> None:
    x = torch.full((200, 100), -2.0, dtype=torch.float64)
    slopes = trained("rrelu(low = 0.1, high = 0.3)", x) / -2
    assert slopes.min() >= 0.1 and slopes.max() < 0.3 and abs(slopes.mean() - 0.2) < 0.002
    assert torch.equal(trained("rrelu", -x), -x)


ERRORS: list[tuple[str, Any, dict[str, Any], codes.Code, str]] = [
    ("gaussian_noise", ("N", 4), {"std": -1.0}, codes.BAD_ARGUMENT, "std is -1.0"),
    ("gaussian_dropout", ("N", 4), {"p": 1.0}, codes.BAD_ARGUMENT, "p is 1.0, not from 0"),
    ("alpha_dropout", ("N", 4), {"p": -0.1}, codes.BAD_ARGUMENT, "p is -0.1"),
    ("feature_alpha_dropout", ("N",), {}, codes.RANK, "2 axes"),
    ("rrelu", ("N", 4), {"low": 0.5}, codes.BAD_ARGUMENT, "low 0.5 is above high"),
    ("prelu", ("N",), {"per_channel": True}, codes.RANK, "2 axes"),
    ("prelu", (), {}, codes.RANK, "1 axis"),
]


@pytest.mark.parametrize(("name", "shape", "arguments", "code", "words"), ERRORS)
def test_refused(
    name: str, shape: Any, arguments: dict[str, Any], code: codes.Code, words: str
) -> None:
    b = Layers()
    with pytest.raises(BuildError) as caught:
        apply(b, name, b.input(*shape), **arguments)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value


@pytest.mark.parametrize("name", ["gaussian_noise", "alpha_dropout", "rrelu", "prelu"])
def test_integers_are_no_floats(name: str) -> None:
    b = Layers()
    words = {"std": 1.0} if name == "gaussian_noise" else {}
    with pytest.raises(BuildError) as caught:
        apply(b, name, b.input("N", 4, dtype=DType.I64), **words)
    assert caught.value.code is codes.DTYPE
