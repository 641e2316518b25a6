"""The updates as IR against torch.optim, step by step in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlspec.ops.optimizers import OPTIMIZERS, Adam, AdamW, Optimizer, Sgd

from .evaluate import evaluate

CASES: list[tuple[Optimizer, Any, dict[str, Any]]] = [
    (Sgd(), torch.optim.SGD, {}),
    (Sgd(weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    (Sgd(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    (
        Sgd(momentum=0.9, nesterov=True, weight_decay=0.01),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    (Adam(), torch.optim.Adam, {}),
    (
        Adam(beta1=0.5, beta2=0.9, eps=1e-4, weight_decay=0.1),
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "eps": 1e-4, "weight_decay": 0.1},
    ),
    (AdamW(), torch.optim.AdamW, {}),
    (AdamW(weight_decay=0.2), torch.optim.AdamW, {"weight_decay": 0.2}),
    (AdamW(weight_decay=0.0), torch.optim.AdamW, {"weight_decay": 0.0}),
]


@pytest.mark.parametrize(("mine", "theirs", "settings"), CASES, ids=lambda v: str(v)[:50])
def test_five_steps(mine: Optimizer, theirs: Any, settings: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=generator, dtype=torch.float64)
    weight = start.clone().requires_grad_()
    optimizer = theirs([weight], lr=0.1, **settings)
    function = mine.function()
    state = [start, *[torch.zeros_like(start) for _ in mine.slots]]
    for step in range(1, 6):
        lr = 0.1 / step
        optimizer.param_groups[0]["lr"] = lr
        g = torch.randn(5, generator=generator, dtype=torch.float64)
        weight.grad = g.clone()
        optimizer.step()
        names = {**mine.settings(), "step": step}
        scalars = [eval(text, {}, names) for _, text in mine.scalars]
        numbers = [torch.tensor(n, dtype=torch.float64) for n in (lr, *scalars)]
        state = evaluate(function, [state[0], g, *state[1:], *numbers], {"n": 5})
        torch.testing.assert_close(state[0], weight.detach(), rtol=1e-13, atol=1e-13)


def test_slots_are_torchs() -> None:
    assert Adam().slots == ("exp_avg", "exp_avg_sq")
    assert Sgd().slots == () and Sgd(momentum=0.5).slots == ("momentum",)
    assert set(OPTIMIZERS) == {"sgd", "adam", "adamw"}


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (Sgd(momentum=1.0), "momentum is 1.0"),
        (Sgd(nesterov=True), "nesterov needs"),
        (Sgd(weight_decay=-1.0), "weight_decay is -1.0"),
        (Adam(beta1=-0.1), "beta1 is -0.1"),
        (Adam(eps=-1.0), "eps is -1.0"),
    ],
)
def test_bad_settings_are_named(optimizer: Optimizer, words: str) -> None:
    assert optimizer.problems()[0].startswith(words)
