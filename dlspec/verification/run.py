"""`verify`: each backend in a process of its own, on the very file that `compile` writes."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec.codes import BAD_ARGUMENT
from dlspec.ir.graph import Function, Training
from dlspec.passes.randomness import DrawSpec, draws
from dlspec.training import process
from dlspec.training.errors import RunError, fail
from dlspec.training.unit import Graph, Unit
from dlspec.verification.batch import choose_sizes, has_floats, moved, random_batch
from dlspec.verification.compare import Pair, compare, worst
from dlspec.verification.draws import random_draws, repetitions
from dlspec.verification.programs import Program, programs
from dlspec.verification.text import table
from dlspec.weights import initial_weights, write_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]
BACKENDS = ("numpy", "torch", "jax")
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verification:
    """The result. floor: by program and group, how far one backend's numbers go when its inputs
    move by one unit in the last place; hashes: sha256 of each file that ran."""

    pairs: list[Pair]
    floor: dict[tuple[str, str], float]
    sizes: dict[str, int]
    tolerance: float
    steps: int
    dtype: str
    notes: list[str] = field(default_factory=list[str])
    hashes: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def ill_conditioned(self) -> bool:
        """Rounding alone moves the numbers beyond the tolerance: neither equal nor different."""
        return any(floor > self.tolerance for floor in self.floor.values())

    @property
    def ok(self) -> bool:
        return not self.ill_conditioned and all(pair.ok for pair in self.pairs)

    def to_json(self) -> dict[str, object]:
        floors = [
            {"program": program, "what": group, "error": error}
            for (program, group), error in self.floor.items()
        ]
        return {
            "ok": self.ok,
            "ill_conditioned": self.ill_conditioned,
            "pairs": [pair.to_json() for pair in self.pairs],
            "floor": floors,
            "sizes": self.sizes,
            "steps": self.steps,
            "dtype": self.dtype,
            "notes": self.notes,
            "hashes": self.hashes,
        }

    def text(self) -> str:
        """The largest errors by what was compared, and the verdict."""
        return table(self)


def verify(
    unit: Unit,
    backends: Sequence[str] | None = None,
    *,
    steps: int = 5,
    sizes: Mapping[str, int] | None = None,
    optimizers: Sequence[str] | None = None,
    seed: int = 0,
    dtype: str = "float64",
    tolerance: float = TOLERANCE,
    watch: Callable[[str], None] | None = None,
) -> Verification:
    """Run a model, or a training's step, on several backends from the same weights and the same
    random batch, and compare all they compute, pairwise.

    sizes: values of open dims (N is 8 otherwise); optimizers: see `programs`; watch: told what
    runs. Raises Failure for the spec, RunError for wrong usage, WorkerError when a file fails.
    """
    if unit.phases:
        raise RunError(f"`{unit.name}` has phases: verify each of them")
    chosen = list(backends or BACKENDS)
    unit = (unit.trial() if isinstance(unit.graph, Function) else None) or unit
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise RunError("verify compares at least two different backends")
    function = unit.graph.function if isinstance(unit.graph, Training) else unit.graph
    try:
        found = choose_sizes(function, sizes or {})
        todo = programs(unit.graph, optimizers)
    except ValueError as error:
        fail(BAD_ARGUMENT, str(error), function.span)
    drawn = draws(function, found)
    with tempfile.TemporaryDirectory(prefix="dlspec-") as temporary:
        work = _Work(unit, Path(temporary), todo, drawn, steps, seed, dtype)
        if isinstance(unit.graph, Training):
            for step in unit.graph.steps:
                work.step_draws[step.name] = len(draws(step.slot.function, found))
        work.write_inputs(found)
        runs: dict[str, list[list[Arrays]]] = {}
        for i, backend in enumerate(chosen):
            if watch is not None:
                watch(backend)
            runs[backend] = work.run(backend, with_moved=i == 0)
    pairs = [
        pair
        for a, b in itertools.combinations(chosen, 2)
        for program, x, y in zip(todo, runs[a], runs[b], strict=True)
        for pair in compare((a, b), (x[0], y[0]), program.name, tolerance)
    ]
    floor = _floor(todo, runs[chosen[0]], chosen[0], tolerance)
    notes = _notes(unit.graph, drawn)
    return Verification(pairs, floor, found, tolerance, steps, dtype, notes, work.hashes)


@dataclass
class _Work:
    """The files of one verification, and the processes that read them."""

    unit: Unit
    folder: Path
    programs: list[Program]
    draws: list[DrawSpec]
    steps: int
    seed: int
    dtype: str
    hashes: dict[str, str] = field(default_factory=dict[str, str])
    predicts: bool = True
    step_draws: dict[str, int] = field(default_factory=dict[str, int])  # how many each step takes

    def write_inputs(self, sizes: Mapping[str, int]) -> None:
        """The weights, the batch, and what of them is moved for the noise floor."""
        graph = self.unit.graph
        batch = random_batch(graph, sizes, self.seed)
        weights = initial_weights(graph, self.seed)
        shifted = (moved(batch, self.seed), weights)
        if not has_floats(batch.values()):  # tokens cannot move: the weights do
            shifted = (batch, moved(weights, self.seed))
        for name, (inputs, start) in {"same": (batch, weights), "moved": shifted}.items():
            np.savez(self.folder / f"{name}.npz", **inputs)  # pyright: ignore[reportArgumentType]
            write_weights(self.folder / f"{name}.safetensors", start)
        if self.draws:
            steps = range(max(1, self.steps) * repetitions(self.unit.graph))
            np.savez(self.folder / "draws.npz", **random_draws(self.draws, steps, self.seed))  # pyright: ignore[reportArgumentType]
        self.predicts = all(d.modal for d in self.draws) and any(k[:6] == "input/" for k in batch)

    def run(self, backend: str, with_moved: bool) -> list[list[Arrays]]:
        """For each program, the numbers of each case: as given, then moved."""
        names = ["same", "moved"] if with_moved else ["same"]
        folder = self.folder / backend
        folder.mkdir()
        told = [self._program(p, i, backend, folder, names) for i, p in enumerate(self.programs)]
        job = {"task": "trace", "dtype": self.dtype, "programs": told}
        for _ in process.events(job, folder):
            pass
        return [
            [_load(case["out"], program.counts_steps) for case in files["cases"]]
            for program, files in zip(self.programs, told, strict=True)
        ]

    def _program(
        self, program: Program, number: int, backend: str, folder: Path, names: list[str]
    ) -> dict[str, Any]:
        code = self.unit.code(backend, program.graph, "inputs" if self.draws else "own")
        module = folder / f"model_{number}.py"
        module.write_text(code, encoding="utf-8")
        label = f"{backend} {program.name}".strip()
        self.hashes[label] = hashlib.sha256(code.encode()).hexdigest()
        cases = [
            {
                "weights": str(self.folder / f"{name}.safetensors"),
                "batch": str(self.folder / f"{name}.npz"),
                "out": str(folder / f"{number}-{name}.npz"),
            }
            for name in names
        ]
        rates = program.rates
        return {
            "module": str(module),
            "training": isinstance(program.graph, Training),
            "steps": self.steps,
            "seed": self.seed,
            "lr": rates[0] if len(rates) == 1 else rates,
            "step_rates": _by_step(program),
            "step_draws": self.step_draws,
            "predicts": self.predicts,
            "draws": str(self.folder / "draws.npz") if self.draws else None,
            "cases": cases,
        }


def _by_step(program: Program) -> dict[str, list[float]]:
    """The rates of each step's `minimize` statements."""
    training = program.graph
    if not isinstance(training, Training):
        return {}
    pairs = list(zip(training.minimize, program.rates, strict=True))
    return {step.name: [r for m, r in pairs if m.step == step.name] for step in training.steps}


def _load(path: str, count: bool) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        counted = [n for n in file.files if count or not n.startswith("optimizer's step/")]
        return {name: file[name] for name in counted}


def _floor(
    todo: list[Program], runs: list[list[Arrays]], backend: str, tolerance: float
) -> dict[tuple[str, str], float]:
    """The largest error of each group between the two cases of one backend."""
    floor: dict[tuple[str, str], float] = {}
    for program, cases in zip(todo, runs, strict=True):
        pairs = compare((backend, backend), (cases[0], cases[1]), program.name, tolerance)
        for group in dict.fromkeys(pair.group for pair in pairs):
            furthest = worst(pair for pair in pairs if pair.group == group)
            floor[program.name, group] = furthest.error if furthest else 0.0
    return floor


def _notes(graph: Graph, drawn: list[DrawSpec]) -> list[str]:
    notes: list[str] = []
    if not isinstance(graph, Training):
        notes.append("a model without a training section: outputs are compared, no gradients")
    if drawn:
        notes.append("random ops: a variant of the code that takes the draws as inputs was run")
    if isinstance(graph, Training) and graph.half:
        notes.append("precision bfloat16 was left out: float64 is compared")
    if not all(draw.modal for draw in drawn):
        notes.append("outputs in inference mode are random: not compared")
    return notes
