"""Learning-rate schedules: float64 on the host; past its end a schedule stays at its end value.

A schedule is plain data, {"kind": "cosine", "rate": 0.1, "warmup": 500}, so that a run can be
written down and resumed. step counts updates from 0; total is the number of updates of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

REQUIRED: Any = object()


@dataclass(frozen=True)
class Clock:
    """Where a run stands. epoch_steps: updates of one epoch."""

    step: int
    total: int
    epoch_steps: int


@dataclass(frozen=True)
class Schedule:
    """parameters: names with their defaults, in the order of positional arguments."""

    doc: str
    parameters: Mapping[str, object]
    value: Callable[[Mapping[str, Any], Clock], float]


Spec: TypeAlias = Mapping[str, object]


def rate(schedule: Spec, clock: Clock) -> float:
    """The value at this step."""
    found = SCHEDULES[str(schedule["kind"])]
    return float(found.value({**found.parameters, **schedule}, clock))


def _constant(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"]


def _step_decay(a: Mapping[str, Any], clock: Clock) -> float:
    epoch = clock.step // max(1, clock.epoch_steps)
    return a["rate"] * a["factor"] ** (epoch // a["every"])


def _exponential(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"] * a["factor"] ** (clock.step // max(1, clock.epoch_steps))


def _cosine(a: Mapping[str, Any], clock: Clock) -> float:
    warmup = a["warmup"]
    if clock.step < warmup:
        return a["rate"] * (clock.step + 1) / warmup
    length = (clock.total if a["steps"] is None else a["steps"]) - warmup
    done = min(1.0, (clock.step - warmup) / length) if length > 0 else 1.0
    return a["end"] + (a["rate"] - a["end"]) * (1 + math.cos(math.pi * done)) / 2


def _linear(a: Mapping[str, Any], clock: Clock) -> float:
    length = clock.total if a["steps"] is None else a["steps"]
    done = min(1.0, clock.step / length) if length > 0 else 1.0
    return a["rate"] + (a["end"] - a["rate"]) * done


def _linear_warmup(a: Mapping[str, Any], clock: Clock) -> float:
    warmup = a["warmup"]
    if clock.step < warmup:
        return a["rate"] * (clock.step + 1) / warmup
    if a["steps"] is None:
        return a["rate"]
    length = a["steps"] - warmup
    return a["rate"] * max(0.0, 1 - (clock.step - warmup) / length) if length > 0 else 0.0


def _noam(a: Mapping[str, Any], clock: Clock) -> float:
    at = clock.step + 1
    return a["width"] ** -0.5 * min(at**-0.5, at * a["warmup"] ** -1.5)


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule("the same rate always", {"rate": REQUIRED}, _constant),
    "step_decay": Schedule(
        "rate · factor^(epoch // every)",
        {"rate": REQUIRED, "factor": REQUIRED, "every": 1},
        _step_decay,
    ),
    "exponential": Schedule(
        "rate · factor^epoch", {"rate": REQUIRED, "factor": REQUIRED}, _exponential
    ),
    "cosine": Schedule(
        "up over `warmup` steps, then half a cosine down to `end` at step `steps` (the run's "
        "last): Loshchilov & Hutter 2016, without restarts",
        {"rate": REQUIRED, "warmup": 0, "steps": None, "end": 0.0},
        _cosine,
    ),
    "linear": Schedule(
        "from rate to end over `steps` steps (the run's)",
        {"rate": REQUIRED, "end": REQUIRED, "steps": None},
        _linear,
    ),
    "linear_warmup": Schedule(
        "up over `warmup` steps; with `steps`, then down to 0 there: Devlin et al. 2018",
        {"rate": REQUIRED, "warmup": REQUIRED, "steps": None},
        _linear_warmup,
    ),
    "noam": Schedule(
        "width^-½ · min(step^-½, step · warmup^-1½): Vaswani et al. 2017, eq. 3",
        {"width": REQUIRED, "warmup": 4000},
        _noam,
    ),
}
