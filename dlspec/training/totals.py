"""The metrics of a pass over a source, batch by batch (decision 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from dlspec.ops import registry
from dlspec.ops.whole import Mean, Pooled, Tally

Told: TypeAlias = Mapping[str, tuple[str, Mapping[str, Any]]]  # a report: its metric and settings
Saved: TypeAlias = dict[str, list[tuple[int, Any]]]


class Totals:
    """names: the metrics in order; those of a step that had no turn have no total."""

    def __init__(self, names: Sequence[str], told: Told, saved: Saved | None = None) -> None:
        self.names = list(names)
        self.ways = {name: _way(*told.get(name, ("", {}))) for name in self.names}
        self.settings = {name: dict(told[name][1]) for name in self.names if name in told}
        self.tallies: dict[str, Tally] = {}
        for name, parts in (saved or {}).items():
            self._tally(name).parts = [(n, np.array(part, np.float64)) for n, part in parts]

    def _tally(self, name: str) -> Tally:
        if name not in self.tallies:
            self.tallies[name] = Tally(self.ways[name], self.settings.get(name, {}))
        return self.tallies[name]

    def add(self, metrics: Mapping[str, Any], size: int) -> None:
        """What a batch of so many examples told."""
        for name in self.names:
            if name in metrics:
                self._tally(name).add(metrics[name], size)

    def scalars(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of a batch that are numbers."""
        means = (n for n, way in self.ways.items() if isinstance(way, Mean))
        return {name: float(metrics[name]) for name in means if name in metrics}

    def shown(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What a step's record has: numbers of its batch, and the others over the pass so far."""
        found = self.scalars(metrics)
        told = (n for n in self.names if n in metrics)
        return {n: found[n] if n in found else self.tallies[n].value() for n in told}

    def values(self) -> dict[str, Any]:
        """The metrics over all batches so far."""
        return {name: self.tallies[name].value() for name in self.names if name in self.tallies}

    def saved(self) -> Saved:
        """As JSON."""
        return {
            name: [(folded, part.tolist()) for folded, part in tally.parts]
            for name, tally in self.tallies.items()
        }


def _way(metric: str, settings: object) -> Mean | Pooled:
    found = registry.find(metric)
    return (found.whole if found else None) or Mean()
