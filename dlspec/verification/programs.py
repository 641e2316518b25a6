"""What is verified of a unit: the model as it stands, or its training with several optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlspec import schedules
from dlspec.ir.graph import Training
from dlspec.ops.optimizers import Adam, Optimizer, Sgd, optimizer_of
from dlspec.training import settings
from dlspec.training.unit import Graph

# optimizers with their rates: a training that does not declare one of that name is verified with
STANDARD: dict[str, tuple[Optimizer, float]] = {
    "sgd": (Sgd(momentum=0.9), 0.01),
    "adam": (Adam(), 1e-3),
}
DECLARED = "declared"


@dataclass(frozen=True)
class Program:
    """name: the optimizer's, or "" for a model. rates: one a minimize."""

    name: str
    graph: Graph
    rates: tuple[float, ...] = ()

    @property
    def counts_steps(self) -> bool:
        """Whether an update depends on its number: if not, a backend need not keep count."""
        minimize = self.graph.minimize if isinstance(self.graph, Training) else ()
        return any(optimizer_of(m.optimizer, m.settings).scalars for m in minimize)


def programs(graph: Graph, optimizers: Sequence[str] | None) -> list[Program]:
    """optimizers: "declared" or a name of STANDARD; None takes all three, the spec's own settings
    where it declares one of them. ValueError for another name."""
    if not isinstance(graph, Training):
        return [Program("", graph)]
    # the numbers of float64 are compared
    kept = {name: value for name, value in graph.settings.items() if name != "precision"}
    graph = replace(graph, settings=kept)
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
    optimizer, rate = STANDARD[name]
    chosen = {"lr": rate, **optimizer.settings()}
    minimize = tuple(
        replace(m, optimizer=name, settings=chosen, schedule=None) for m in training.minimize
    )
    return Program(name, replace(training, minimize=minimize), (rate,) * len(minimize))
