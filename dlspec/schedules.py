"""Learning-rate schedules: float64 on the host; past its end a schedule stays at its end value.

A schedule is plain data, {"kind": "cosine", "rate": 0.1, "warmup": 500}, so that a run can be
written down and resumed. step counts updates from 0; total is the number of updates of the run.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

REQUIRED: Any = object()


@dataclass(frozen=True)
class Clock:
    """Where a run stands. epoch_steps: updates of one epoch; losses: of the whole epochs so far,
    over the first evaluation, or the training data where there is none; passes: how many epochs
    have ended, where updates do not tell."""

    step: int
    total: int
    epoch_steps: int
    losses: Sequence[float] = ()
    passes: int | None = None

    @property
    def epoch(self) -> int:
        return self.step // max(1, self.epoch_steps) if self.passes is None else self.passes


@dataclass(frozen=True)
class Schedule:
    """parameters: names with their defaults, in the order of positional arguments. lists: those
    that are lists of numbers."""

    doc: str
    parameters: Mapping[str, object]
    value: Callable[[Mapping[str, Any], Clock], float]
    lists: frozenset[str] = frozenset()


Spec: TypeAlias = Mapping[str, object]


def rate(schedule: Spec, clock: Clock) -> float:
    """The value at this step."""
    found = SCHEDULES[str(schedule["kind"])]
    return float(found.value({**found.parameters, **schedule}, clock))


def _constant(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"]


def _step_decay(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"] * a["factor"] ** (clock.epoch // a["every"])


def _exponential(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"] * a["factor"] ** clock.epoch


def _cosine(a: Mapping[str, Any], clock: Clock) -> float:
    warmup = a["warmup"]
    if clock.step < warmup:
        return a["rate"] * (clock.step + 1) / warmup
    length = (clock.total if a["steps"] is None else a["steps"]) - warmup
    done = min(1.0, (clock.step - warmup) / length) if length > 0 else 1.0
    return a["end"] + (a["rate"] - a["end"]) * (1 + math.cos(math.pi * done)) / 2


def _linear(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"] + (a["end"] - a["rate"]) * _done(a, clock)


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


def _multi_step(a: Mapping[str, Any], clock: Clock) -> float:
    return a["rate"] * a["factor"] ** bisect_right(sorted(a["epochs"]), clock.epoch)


def _done(a: Mapping[str, Any], clock: Clock) -> float:
    """The part of `steps` that is done, 1 past the end."""
    length = clock.total if a["steps"] is None else a["steps"]
    return min(1.0, clock.step / length) if length > 0 else 1.0


def _polynomial(a: Mapping[str, Any], clock: Clock) -> float:
    return a["end"] + (a["rate"] - a["end"]) * (1 - _done(a, clock)) ** a["power"]


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _cosine_restarts(a: Mapping[str, Any], clock: Clock) -> float:
    at, period = clock.step, a["period"]
    if a["grow"] == 1:
        at %= period
    while at >= period:
        at, period = at - period, period * a["grow"]
    return _half_cosine(a["rate"], a["end"], at / period)


def _one_cycle(a: Mapping[str, Any], clock: Clock) -> float:
    length = clock.total if a["steps"] is None else a["steps"]
    low = a["rate"] / a["start"]
    top, last = a["warm"] * length - 1, length - 1
    if clock.step <= top:
        return _half_cosine(low, a["rate"], clock.step / top if top > 0 else 1.0)
    done = min(1.0, (clock.step - top) / (last - top)) if last > top else 1.0
    return _half_cosine(a["rate"], low / a["end"], done)


def _plateau(a: Mapping[str, Any], clock: Clock) -> float:
    rate, best, waited = a["rate"], math.inf, 0
    for loss in clock.losses:
        if loss < best * (1 - a["threshold"]):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > a["patience"]:
            rate, waited = max(a["end"], rate * a["factor"]), 0
    return rate


AT_LEAST: dict[str, float] = {"every": 1, "period": 1, "grow": 1, "start": 1, "patience": 0}


def _numbers(value: object) -> list[float]:
    items: list[object] = [*value] if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, int | float)]


def problem(schedule: Spec) -> str:
    """What is wrong with the numbers of a schedule, or ""."""
    for name, value in schedule.items():
        for number in _numbers(value):
            least = AT_LEAST.get(name, 0)
            if number < least:
                return f"`{name}` is {number}, but must be at least {least}"
            if number == 0 and (name, schedule["kind"]) in NOT_ZERO:
                return f"`{name}` cannot be 0"
            if name == "warm" and number > 1:
                return f"`warm` is {number}, but is a part of the whole: at most 1"
    return ""


NOT_ZERO = {("warmup", "noam"), ("width", "noam"), ("end", "one_cycle")}

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
    "multi_step": Schedule(
        "rate · factor^(how many of `epochs` have begun)",
        {"rate": REQUIRED, "factor": REQUIRED, "epochs": REQUIRED},
        _multi_step,
        lists=frozenset({"epochs"}),
    ),
    "polynomial": Schedule(
        "end + (rate - end) · (1 - step / steps)^power",
        {"rate": REQUIRED, "power": 1.0, "end": 0.0, "steps": None},
        _polynomial,
    ),
    "cosine_restarts": Schedule(
        "half a cosine down to `end` over `period` steps, then again over `grow` times as many: "
        "Loshchilov & Hutter 2016",
        {"rate": REQUIRED, "period": REQUIRED, "grow": 1, "end": 0.0},
        _cosine_restarts,
    ),
    "one_cycle": Schedule(
        "half a cosine up from rate / start over the part `warm` of `steps`, then one down to "
        "rate / start / end: Smith & Topin 2017",
        {"rate": REQUIRED, "warm": 0.3, "start": 25.0, "end": 1e4, "steps": None},
        _one_cycle,
    ),
    "plateau": Schedule(
        "times factor, down to `end`, when for more than `patience` epochs the loss has not become "
        "smaller by the part `threshold`; the loss is the first evaluation's, or training's",
        {"rate": REQUIRED, "factor": 0.1, "patience": 10, "threshold": 1e-4, "end": 0.0},
        _plateau,
    ),
}
