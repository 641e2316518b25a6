"""Many specs checked, compiled and run at once: one process for each backend."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlspec.api import Model, Spec, Trainer, load
from dlspec.diagnostics import Diagnostics
from dlspec.interchange import dump
from dlspec.interchange import load as load_ir
from dlspec.ir.graph import Training
from dlspec.passes.randomness import draws
from dlspec.passes.verifier import verify_graph
from dlspec.source import Source
from dlspec.syntax import format_source, parse, same
from dlspec.verification.batch import choose_sizes, has_floats, moved, random_batch
from dlspec.verification.compare import Pair, compare, worst
from dlspec.verification.draws import random_draws
from dlspec.verification.programs import programs
from dlspec.weights import initial_weights, write_weights

BACKENDS = ("numpy", "torch", "jax")
STEPS = 3
TOLERANCE = 1e-9
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """problem: what is wrong, or "". ill: rounding alone moves the numbers beyond the tolerance."""

    problem: str = ""
    ill: bool = False


def outcomes(texts: Mapping[str, str], folder: Path) -> dict[str, Outcome]:
    """For each spec by name, whether it is valid and the backends agree on its numbers."""
    found: dict[str, Outcome] = {}
    jobs: dict[str, dict[str, Any]] = {}
    for name, text in texts.items():
        try:
            jobs[name] = prepare(text, folder / name)
        except Exception:
            found[name] = Outcome(traceback.format_exc())
    runs = {backend: run(backend, jobs, folder) for backend in BACKENDS}
    for name, job in jobs.items():
        errors = [f"{b}: {runs[b][name]}" for b in BACKENDS if runs[b][name]]
        found[name] = Outcome("\n".join(errors)) if errors else compared(job)
    return {name: found[name] for name in texts}


# --- the front ---


def checked(text: str) -> Spec:
    """The spec, which has no diagnostic, even after it was formatted."""
    spec = load(text)
    spec.check()
    told = [f"{d.code.name} line {d.span.first.line}: {d.message}" for d in spec.diagnostics.found]
    assert not told, told
    formatted = format_source(text, "spec.dls")
    assert format_source(formatted, "spec.dls") == formatted
    before, after = (parse(Source("spec.dls", t), Diagnostics()) for t in (text, formatted))
    assert same(before, after), formatted
    return spec


def unit_of(spec: Spec) -> Trainer | Model:
    """Its training section; else its last model, in a training made up for it."""
    if spec.trainings:
        return spec.trainer()
    model = spec.model()
    for backend in BACKENDS:
        model.compile(backend)
    return model.trial() or model


def prepare(text: str, folder: Path) -> dict[str, Any]:
    """Check, dump and compile; write what the runs need. The job, less the backend."""
    unit = unit_of(checked(text))
    graph = unit.graph
    assert verify_graph(graph) == []
    document = dump(graph)
    assert dump(load_ir(document)) == document
    folder.mkdir()
    program = programs(graph, ["sgd"])[0]
    function = graph.function if isinstance(graph, Training) else graph
    sizes = choose_sizes(function, {})
    drawn = draws(function, sizes)
    if drawn:
        arrays = random_draws(drawn, range(STEPS), 0)
        np.savez(folder / "draws.npz", **arrays)  # type: ignore[arg-type]
    batch, weights = random_batch(graph, sizes, 0), initial_weights(graph, 0)
    other = (moved(batch, 0), weights)
    if not has_floats(batch.values()):
        other = (batch, moved(weights, 0))
    for case, (inputs, start) in {"same": (batch, weights), "moved": other}.items():
        np.savez(folder / f"{case}.npz", **inputs)  # type: ignore[arg-type]
        write_weights(folder / f"{case}.safetensors", start)
    for backend in BACKENDS:
        unit.compile(backend)
        code = unit.code(backend, program.graph, "inputs" if drawn else "own")
        (folder / f"{backend}.py").write_text(code)
    return {
        "folder": str(folder),
        "training": isinstance(graph, Training),
        "steps": STEPS,
        "seed": 0,
        "lr": list(program.rates) if len(program.rates) > 1 else sum(program.rates),
        "predicts": all(d.modal for d in drawn) and any(k.startswith("input/") for k in batch),
        "draws": str(folder / "draws.npz") if drawn else None,
    }


# --- the runs ---


def run(backend: str, jobs: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """What went wrong with each job on a backend, "" for nothing."""
    path = folder / f"{backend}.json"
    path.write_text(json.dumps({"backend": backend, "jobs": jobs}))
    environment = {
        **os.environ,
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-P", str(Path(__file__).with_name("traced.py")), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    answers = folder / f"{backend}.answers.json"
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answers.read_text())


# --- the comparison ---


def compared(job: Mapping[str, Any]) -> Outcome:
    folder = Path(job["folder"])
    arrays = {b: read(folder / f"{b}-same.npz") for b in BACKENDS}
    floor = largest(compare(("", ""), (arrays["numpy"], read(folder / "numpy-moved.npz")), "", 1))
    pairs = list(everything(arrays))
    bad = [p for p in pairs if not p.ok]
    if not bad:
        return Outcome()
    ill = floor > TOLERANCE and all(p.max_abs < np.inf for p in bad)
    told = "\n".join(f"{p.a}-{p.b} {p.what}: {p.error:.1e}" for p in bad[:6])
    return Outcome("" if ill else f"floor {floor:.1e}\n{told}", ill)


def everything(arrays: Mapping[str, Mapping[str, Any]]) -> Iterator[Pair]:
    for a, b in itertools.combinations(BACKENDS, 2):
        yield from compare((a, b), (arrays[a], arrays[b]), "", TOLERANCE)


def largest(pairs: list[Pair]) -> float:
    furthest = worst(pairs)
    return furthest.error if furthest else 0.0


def read(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "optimizer's step/"}
