"""What is verified of a unit: the model as it stands, or its training with several optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlspec.ir.graph import Minimize, Training
from dlspec.training import schedules, settings
from dlspec.training.unit import Graph

# optimizers that a training is verified with when it does not declare one of that name
STANDARD: dict[str, dict[str, float | bool]] = {
    "sgd": {"lr": 0.01, "momentum": 0.9},
    "adam": {"lr": 1e-3},
}
DECLARED = "declared"


@dataclass(frozen=True)
class Program:
    """name: the optimizer's, or "" for a model. rates: one a minimize."""

    name: str
    graph: Graph
    rates: tuple[float, ...] = ()


def programs(graph: Graph, optimizers: Sequence[str] | None) -> list[Program]:
    """optimizers: "declared" or a name of STANDARD; None takes all three, the spec's own settings
    where it declares one of them. ValueError for another name."""
    if not isinstance(graph, Training):
        return [Program("", graph)]
    own = _declared(graph)
    if optimizers is None:
        others = [name for name in STANDARD if name != own.name]
        return [own, *(_with(graph, name) for name in others)]
    return [own if name in (DECLARED, own.name) else _with(graph, name) for name in optimizers]


def _declared(training: Training) -> Program:
    clock = schedules.Clock(0, 1, 1)
    rates = tuple(schedules.rate(settings.schedule(m), clock) for m in training.minimize)
    names = dict.fromkeys(m.optimizer for m in training.minimize)
    return Program(", ".join(names), training, rates)


def _with(training: Training, name: str) -> Program:
    if name not in STANDARD:
        raise ValueError(f"verify knows {', '.join([DECLARED, *STANDARD])}, not `{name}`")
    chosen = STANDARD[name]
    minimize = tuple(_replaced(m, name, chosen) for m in training.minimize)
    rates = (float(chosen["lr"]),) * len(minimize)
    return Program(name, replace(training, minimize=minimize), rates)


def _replaced(minimize: Minimize, name: str, chosen: dict[str, float | bool]) -> Minimize:
    return replace(minimize, optimizer=name, settings=dict(chosen), schedule=None)
