"""What `sample` shows after an epoch: a program of its own, with the run's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dlspec.training.module import load_module
from dlspec.training.pictures import write_sample

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sampler:
    """told: "module", the program's file; "names", its outputs; "fields", its inputs; "inside",
    the segment that its weights have more than the run's; "characters", of a text."""

    told: Mapping[str, Any]
    folder: Path
    seed: int
    dtype: str

    def write(self, epoch: int, weights: Arrays, batch: Arrays) -> list[Path]:
        """The files of an epoch. Draws are the same each time: `init` sets the generators."""
        module = load_module(Path(self.told["module"]), "sampling")
        state = module.init(self.seed, self.dtype)
        inside = self.told["inside"]
        mine = {
            name: weights[name.removeprefix(f"{inside}.") if inside else name]
            for name in module.export_weights(state)
        }
        state = module.import_weights(state, mine)
        found = module.predict(state, **{name: batch[name] for name in self.told["fields"]})
        names = self.told["names"]
        arrays = cast("Arrays", found) if isinstance(found, dict) else {names[0]: found}
        return [
            write_sample(
                self.folder, f"{name}-{epoch}", np.asarray(arrays[name]), self.told["characters"]
            )
            for name in names
        ]
