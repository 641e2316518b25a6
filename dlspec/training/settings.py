"""The settings of a training section, as a run needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from dlspec.codes import BAD_SETTING, NOT_SUPPORTED
from dlspec.ir.graph import Minimize, Training
from dlspec.schedules import SCHEDULES, Spec
from dlspec.training.errors import fail

KNOWN = ("epochs", "steps", "seed")
STOP = "early_stop"
# what the program itself carries out
EMITTED = ("clip_norm", "clip_value", "accumulate", "ema", "precision")


@dataclass(frozen=True)
class Settings:
    """epochs or steps says how long; a run without either is one epoch."""

    epochs: int = 1
    steps: int | None = None
    seed: int = 0


def read(training: Training) -> Settings:
    """Raises Failure for a setting that does not exist, or does nothing yet."""
    numbers = {
        name: value for name, value in training.settings.items() if name not in (STOP, *EMITTED)
    }
    for name, value in numbers.items():
        span = training.function.span
        if name not in KNOWN:
            fail(BAD_SETTING, f"there is no setting `{name}`", span)
        least = 0 if name == "seed" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            fail(BAD_SETTING, f"`{name}` is a whole number of at least {least}", span)
    settings = {name: int(str(value)) for name, value in numbers.items()}
    if "epochs" in settings and "steps" in settings:
        fail(BAD_SETTING, "`epochs` and `steps` both say how long", training.function.span)
    return Settings(**settings)


def decides(training: Training) -> dict[str, object] | None:
    """The metric that tells the best weights: the one of `early_stop`, else the only loss. None
    for several losses, none of which tells by itself how good the networks are."""
    stop = training.settings.get(STOP)
    if isinstance(stop, dict):
        return {str(name): value for name, value in cast("dict[object, object]", stop).items()}
    losses = {id(minimize.loss) for minimize in training.minimize}
    if len(losses) != 1:
        return None
    split = training.evaluations[0][0] if training.evaluations else "train"
    return {"metric": training.metrics[0], "split": split, "larger": False, "patience": None}


def schedule(minimize: Minimize) -> Spec:
    """The learning rate of a `minimize` as a schedule; a constant one may stand in `settings`."""
    if minimize.schedule is None:
        return {"kind": "constant", "rate": float(minimize.settings["lr"])}
    kind = minimize.schedule.get("kind")
    if kind not in SCHEDULES:
        fail(NOT_SUPPORTED, f"the schedule `{kind}` is not supported yet", minimize.span)
    return minimize.schedule
