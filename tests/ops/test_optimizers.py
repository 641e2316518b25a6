"""The updates as IR against torch.optim, step by step in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlspec.ops.optimizers import Adam, Lion, Optimizer, RAdam, RmsProp, Sgd

from .evaluate import evaluate
from .optimizer_references import CASES


@pytest.mark.parametrize(("mine", "theirs", "settings"), CASES, ids=lambda v: str(v)[:50])
def test_twenty_steps(mine: Optimizer, theirs: Any, settings: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=generator, dtype=torch.float64)
    weight = start.clone().requires_grad_()
    optimizer = theirs([weight], lr=0.1, **settings)
    function = mine.function()
    state = [start, *[torch.zeros_like(start) for _ in mine.slots]]
    for step in range(1, 21):
        lr = 0.1 / step
        optimizer.param_groups[0]["lr"] = lr
        g = torch.randn(5, generator=generator, dtype=torch.float64)
        weight.grad = g.clone()
        optimizer.step()
        names: dict[str, Any] = {**mine.settings(), "step": step}
        for name, text in mine.scalars:
            names[name] = eval(text, {}, names)
        numbers = [lr, *(names[name] for name, _ in mine.scalars)]
        given = [torch.tensor(n, dtype=torch.float64) for n in numbers]
        state = evaluate(function, [state[0], g, *state[1:], *given], {"n": 5})
        torch.testing.assert_close(state[0], weight.detach(), rtol=1e-12, atol=1e-12)


def test_slots_are_torchs() -> None:
    assert Adam().slots == ("exp_avg", "exp_avg_sq")
    assert Adam(amsgrad=True).slots == ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    assert Sgd().slots == () and Sgd(momentum=0.5).slots == ("momentum",)
    assert RmsProp(centered=True, momentum=0.5).slots == ("square_avg", "grad_avg", "momentum")


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (Sgd(momentum=1.0), "momentum is 1.0"),
        (Sgd(nesterov=True), "nesterov needs"),
        (Sgd(nesterov=True, momentum=0.5, dampening=0.1), "nesterov allows no dampening"),
        (Sgd(weight_decay=-1.0), "weight_decay is -1.0"),
        (Adam(beta1=-0.1), "beta1 is -0.1"),
        (Adam(eps=-1.0), "eps is -1.0"),
        (Lion(beta2=1.0), "beta2 is 1.0"),
        (RmsProp(alpha=1.5), "alpha is 1.5"),
        (RAdam(beta2=0.5), "beta2 must be above 0.6"),
    ],
)
def test_bad_settings_are_named(optimizer: Optimizer, words: str) -> None:
    assert optimizer.problems()[0].startswith(words)
