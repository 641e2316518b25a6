"""Schedules against torch.optim.lr_scheduler, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from dlspec import api
from dlspec.schedules import Clock, problem, rate

LOSSES = [3.0, 2.0, 2.0, 2.1, 1.99999, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
SPEC = """
model M(x: [N, 4]) -> [N, 3] = x -> dense(3)
train t {
  data (x, y) from iris(batch = 10)
  minimize cross_entropy(M(x), y) using sgd(SCHEDULE)
}
"""


def torchs(kind: str, count: int, values: list[float] | None = None, **words: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = getattr(lr_scheduler, kind)(optimizer, **words)
    found: list[float] = []
    for i in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([] if values is None else [values[i]]))
    return found


@pytest.mark.parametrize(
    ("mine", "kind", "words"),
    [
        (
            {"kind": "step_decay", "factor": 0.5, "every": 3},
            "StepLR",
            {"gamma": 0.5, "step_size": 3},
        ),
        (
            {"kind": "multi_step", "factor": 0.5, "epochs": [7, 2]},
            "MultiStepLR",
            {"gamma": 0.5, "milestones": [2, 7]},
        ),
        ({"kind": "exponential", "factor": 0.9}, "ExponentialLR", {"gamma": 0.9}),
    ],
)
def test_by_epoch(mine: dict[str, Any], kind: str, words: dict[str, Any]) -> None:
    wanted = torchs(kind, 12, **words)
    for step in range(48):
        found = rate({"rate": 0.5, **mine}, Clock(step, 48, 4))
        assert found == pytest.approx(wanted[step // 4], rel=1e-12)


@pytest.mark.parametrize(
    ("mine", "kind", "words"),
    [
        ({"kind": "cosine", "end": 0.1}, "CosineAnnealingLR", {"T_max": 20, "eta_min": 0.1}),
        ({"kind": "polynomial", "power": 2.0}, "PolynomialLR", {"total_iters": 20, "power": 2.0}),
        (
            {"kind": "linear", "end": 0.05},
            "LinearLR",
            {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 20},
        ),
        (
            {"kind": "cosine_restarts", "period": 4, "grow": 2, "end": 0.1},
            "CosineAnnealingWarmRestarts",
            {"T_0": 4, "T_mult": 2, "eta_min": 0.1},
        ),
        (
            {"kind": "cosine_restarts", "period": 6},
            "CosineAnnealingWarmRestarts",
            {"T_0": 6},
        ),
        (
            {"kind": "one_cycle", "warm": 0.25, "start": 10.0, "end": 100.0},
            "OneCycleLR",
            {"max_lr": 0.5, "total_steps": 20, "pct_start": 0.25, "div_factor": 10.0,
             "final_div_factor": 100.0, "cycle_momentum": False},
        ),
    ],
)  # fmt: skip
def test_by_step(mine: dict[str, Any], kind: str, words: dict[str, Any]) -> None:
    wanted = torchs(kind, 20, **words)
    schedule = {"rate": 0.5, **mine}
    found = [rate(schedule, Clock(step, 20, 4)) for step in range(20)]
    assert found == pytest.approx(wanted, rel=1e-9)
    if kind not in ("CosineAnnealingWarmRestarts", "OneCycleLR"):
        assert rate(schedule, Clock(20, 20, 4)) == rate(schedule, Clock(50, 20, 4))
    if kind == "OneCycleLR":
        assert rate(schedule, Clock(50, 20, 4)) == pytest.approx(5e-4)


def test_plateau() -> None:
    words = {"factor": 0.5, "patience": 1, "threshold": 1e-4, "min_lr": 0.1}
    wanted = torchs("ReduceLROnPlateau", len(LOSSES), LOSSES, **words)
    schedule = {"kind": "plateau", "rate": 0.5, "factor": 0.5, "patience": 1, "end": 0.1}
    found = [rate(schedule, Clock(0, 1, 1, LOSSES[:i])) for i in range(len(LOSSES))]
    assert found == pytest.approx(wanted, rel=1e-12)


def test_a_list_in_the_language() -> None:
    trainer = api.load(SPEC.replace("SCHEDULE", "multi_step(0.5, 0.1, [3, 6])")).trainer()
    (minimize,) = trainer.training.minimize
    assert minimize.schedule is not None
    assert rate(minimize.schedule, Clock(4, 8, 1)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "schedule",
    [
        "step_decay(0.1, 0.5, every = 0)",
        "cosine(-0.1)",
        "multi_step(0.1, 0.5, 3)",
        "multi_step(0.1, 0.5, [-3])",
        "cosine_restarts(0.1, 0)",
        "noam(512, warmup = 0)",
        "one_cycle(0.1, warm = 2)",
    ],
)
def test_refused(schedule: str) -> None:
    with pytest.raises(api.SpecError, match="error"):
        api.load(SPEC.replace("SCHEDULE", schedule)).trainer()


def test_problem_names_the_number() -> None:
    assert problem({"kind": "cosine", "rate": -1.0}).startswith("`rate` is -1.0")
    assert not problem({"kind": "cosine", "rate": 1.0, "steps": None})
