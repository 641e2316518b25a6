"""The process of one backend: `python traced.py JOB.json` runs the emitted file of every job."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from dlspec.training.module import load_module
from dlspec.training.trace import trace_case
from dlspec.weights.files import read_weights


def trace(job: dict[str, Any], backend: str) -> None:
    folder = Path(job["folder"])
    module = load_module(folder / f"{backend}.py")
    if backend == "jax" and hasattr(module, "update"):
        # without its own jit, the part that `gradients` needs too is compiled once
        module.update = module.update.__wrapped__
    for case in ("same", "moved") if backend == "numpy" else ("same",):
        with np.load(folder / f"{case}.npz", allow_pickle=False) as file:
            batch = {name: file[name] for name in file.files}
        state = module.import_weights(
            module.init(0, "float64"), read_weights(folder / f"{case}.safetensors")
        )
        found = trace_case(module, state, batch, job)
        np.savez(folder / f"{backend}-{case}.npz", **found)  # type: ignore[arg-type]


def main(path: Path) -> None:
    told = json.loads(path.read_text())
    backend, answers = told["backend"], {}
    for name, job in told["jobs"].items():
        try:
            trace(job, backend)
            answers[name] = ""
        except Exception:
            answers[name] = traceback.format_exc()[-1500:]
    (path.parent / f"{backend}.answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
