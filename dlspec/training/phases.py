"""The phases of a section, one after the other, with one state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec.codes import TRAINING_FORM
from dlspec.ir.graph import ChildSlot, Training
from dlspec.training import checkpoint
from dlspec.training.errors import fail
from dlspec.training.process import Event
from dlspec.training.unit import Unit
from dlspec.weights import initial_weights, read_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]
Watch: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class Start:
    """What a run begins with: weights by the names of its own training, and the optimizer's
    arrays, where the same statements trained before."""

    weights: Arrays = field(default_factory=dict[str, NDArray[Any]])
    optimizer: Arrays | None = None


def check_phases(unit: Unit) -> None:
    """Raises Failure where two phases give one weight different shapes, and what a backend lacks
    is told by `unit.code` before the first phase begins."""
    seen: dict[str, tuple[str, tuple[int, ...]]] = {}
    for part in unit.phases:
        training = part.graph
        assert isinstance(training, Training)
        for name, array in named(training, initial_weights(training, 0)).items():
            first, shape = seen.setdefault(name, (part.phase, array.shape))
            if shape != array.shape:
                fail(
                    TRAINING_FORM,
                    f"`{name}` is {list(shape)} in the phase `{first}`, and {list(array.shape)} "
                    f"in `{part.phase}`",
                    training.function.span,
                    "a network that differs needs another name",
                )


def named(training: Training, weights: Mapping[str, NDArray[Any]]) -> Arrays:
    """Weights by full path: a training's only network leaves its own segment out."""
    above = own_segment(training)
    return {f"{above}{name}": array for name, array in weights.items()}


def own_segment(training: Training) -> str:
    slots = training.function.slots
    alone = len(slots) == 1 and isinstance(slots[0], ChildSlot)
    return f"{slots[0].segment}." if alone else ""


def start_of(training: Training, state: Mapping[str, NDArray[Any]], seed: int) -> Arrays:
    """The weights of earlier phases, and new ones."""
    fresh = initial_weights(training, seed)
    above = own_segment(training)
    return {name: np.asarray(state.get(f"{above}{name}", w)) for name, w in fresh.items()}


def same_updates(first: Training, second: Training) -> bool:
    """Whether the same `minimize` statements train the same weights in the same way: then their
    state goes on."""
    spans = [[(m.span, m.step) for m in t.minimize] for t in (first, second)]
    names = [named(t, initial_weights(t, 0)).keys() for t in (first, second)]
    kept = [(t.accumulate, t.ema is None) for t in (first, second)]
    return spans[0] == spans[1] and names[0] == names[1] and kept[0] == kept[1]


def status(folder: Path) -> str:
    """Of a phase that has run before: "finished", "interrupted"; "" where it has no checkpoint."""
    if not checkpoint.exists(folder / "checkpoints"):
        return ""
    return str(json.loads((folder / "run.json").read_text()).get("status", "interrupted"))


@dataclass(frozen=True)
class Ended:
    """A phase that ended. evaluated: its weights, with the averages of `ema` where it has them."""

    weights: Arrays
    optimizer: Arrays

    @property
    def evaluated(self) -> Arrays:
        averages = {k.removeprefix("ema/"): a for k, a in self.optimizer.items() if k[:4] == "ema/"}
        return {**self.weights, **averages}


def ended(folder: Path) -> Ended:
    _, _, optimizer = checkpoint.load(folder / "checkpoints")
    weights = read_weights(checkpoint.last_weights(folder / "checkpoints"))
    return Ended(weights, optimizer)
