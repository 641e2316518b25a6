"""What training and verification need of a spec's model or training section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from dlspec.ir.graph import Function, Training

Graph: TypeAlias = Function | Training
Randomness: TypeAlias = Literal["own", "inputs"]


class Unit(Protocol):
    """A model or training section, elaborated with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def phase(self) -> str:
        """Which of a section's phases it is, or ""."""
        ...

    @property
    def phases(self) -> Sequence[Unit]:
        """Of a section that has some: its phases in order, each a unit."""
        ...

    @property
    def include(self) -> Sequence[Path]:
        """Folders beside the spec's own that files may come from."""
        ...

    @property
    def path(self) -> Path | None:
        """The spec's file; data files are relative to its folder."""
        ...

    def trial(self) -> Unit | None:
        """For a model: a training section made up for it."""
        ...

    def code(self, backend: str, graph: Graph | None = None, randomness: Randomness = "own") -> str:
        """The file that `compile` writes; of another graph of this spec, where one is given.

        randomness "inputs": the variant whose `train_step` and `gradients` take `draws`.
        Raises Failure for an unknown backend or an op that it cannot lower.
        """
        ...
