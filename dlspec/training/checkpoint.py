"""Checkpoints of a run: weights and optimizer as safetensors, the rest as JSON.

`last.json` names the files of the newest one and is renamed into place when they are complete, so
a kill at any moment leaves a whole checkpoint. `best.safetensors` are the weights alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from dlspec.weights.files import read_weights, write_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass
class Progress:
    """Where a run stands. epoch: passes over the first source that ended; batch: batches taken;
    totals: of the epoch's metrics so far; best: of the metric that decides; waited:
    epochs since then; ended: by early stopping; losses: of every whole epoch, by the first
    evaluation."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    totals: dict[str, list[tuple[int, Any]]] = field(
        default_factory=dict[str, "list[tuple[int, Any]]"]
    )
    best: float | None = None
    waited: int = 0
    ended: bool = False
    losses: list[float] = field(default_factory=list[float])


def save(folder: Path, progress: Progress, weights: Arrays, optimizer: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"step-{progress.step}.safetensors", f"step-{progress.step}.optimizer.safetensors")
    told = {"step": str(progress.step), "epoch": str(progress.epoch)}
    write_weights(folder / names[0], weights, told)
    write_weights(folder / names[1], optimizer, told)
    meta = {"weights": names[0], "optimizer": names[1], "progress": asdict(progress)}
    write_json(folder / "last.json", meta)
    for old in folder.glob("step-*.safetensors"):
        if old.name not in names:
            with suppress(OSError):
                old.unlink()


def save_best(folder: Path, progress: Progress, weights: Arrays, metric: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = {"step": str(progress.step), "epoch": str(progress.epoch), metric: str(progress.best)}
    write_weights(folder / "best.safetensors", weights, told)


def exists(folder: Path) -> bool:
    return (folder / "last.json").exists()


def load(folder: Path) -> tuple[Progress, Arrays, Arrays]:
    """(progress, weights, optimizer) of the newest checkpoint."""
    meta = json.loads((folder / "last.json").read_text())
    weights = read_weights(folder / meta["weights"])
    return Progress(**meta["progress"]), weights, read_weights(folder / meta["optimizer"])


def last_weights(folder: Path) -> Path:
    """The file with the newest weights."""
    return folder / json.loads((folder / "last.json").read_text())["weights"]


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
