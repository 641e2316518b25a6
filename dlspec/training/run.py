"""Training: the file that `compile` writes, run on real data in a process of its own."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dlspec import __version__, schemas
from dlspec.codes import BAD_DATA, TRAINING_FORM
from dlspec.files import write_text
from dlspec.ir.graph import ChildSlot, DataSource, Training
from dlspec.source import Span
from dlspec.training import checkpoint, devices, process, settings, sources
from dlspec.training.errors import DataError, RunError, fail
from dlspec.training.fields import check_fields, name_fields
from dlspec.training.limits import Limit, limits
from dlspec.training.loads import apply_loads
from dlspec.training.phases import (
    Ended,
    Start,
    check_phases,
    ended,
    named,
    same_updates,
    start_of,
    status,
)
from dlspec.training.process import Event
from dlspec.training.unit import Unit
from dlspec.weights import initial_weights, read_weights, write_weights

Record = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """A run that ended. status "interrupted": asked to stop; it can be resumed."""

    run_dir: Path
    status: Literal["finished", "interrupted"]
    step: int
    phases: tuple[Result, ...] = ()

    @property
    def records(self) -> list[Record]:
        """metrics.jsonl: {"step", "epoch", "split", name: value …}; split "batch" is one step.
        Of several phases those of the first, then the others."""
        if self.phases:
            return [record for phase in self.phases for record in phase.records]
        return read_records(self.run_dir)

    def curve(self, split: str, metric: str = "loss") -> list[float]:
        """A metric over time: of each step for "batch", else of each epoch."""
        return [r[metric] for r in self.records if r["split"] == split]

    @property
    def final(self) -> dict[str, Record]:
        """The last record of each split."""
        return {r["split"]: r for r in self.records}

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """Of the last phase, where there are several."""
        folder = self.phases[-1].run_dir if self.phases else self.run_dir
        return read_weights(checkpoint.last_weights(folder / "checkpoints"))


def train(
    unit: Unit,
    backend: str = "numpy",
    *,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    watch: Callable[[Event], None] | None = None,
    device: str | None = None,
) -> Result:
    """Run a training section to its end, or until Ctrl-C, which keeps what was learnt.

    run_dir: a new folder (default runs/NAME-BACKEND-1, -2 …); resume: the folder of an earlier
    run, continued as if it had never stopped. watch: told each event. device: "cpu", "cuda" or
    "cuda:1"; without it the best that is there. Raises Failure for what is
    wrong with the spec's data and settings, RunError for the folder, WorkerError for the code.
    """
    if unit.phases:
        return _phases(unit, backend, run_dir, resume, watch, device)
    return _one(unit, backend, run_dir, resume, watch, device, Start())


def _phases(
    unit: Unit,
    backend: str,
    run_dir: str | Path | None,
    resume: str | Path | None,
    watch: Callable[[Event], None] | None,
    device: str | None,
) -> Result:
    """Each phase in a folder of its own, with the weights of those before it."""
    check_phases(unit)
    if resume is None:
        for part in unit.phases:
            part.code(backend)  # what it lacks is told before anything is trained
        folder = _fresh(run_dir, unit.name, backend)
        folder.mkdir(parents=True, exist_ok=True)
        told = {"train": unit.name, "backend": backend, "phases": [p.phase for p in unit.phases]}
        checkpoint.write_json(folder / "run.json", told)
    else:
        folder = Path(resume)
        if not (folder / "run.json").exists():
            raise RunError(f"{folder} holds no run")
        told = json.loads((folder / "run.json").read_text())
        if told.get("phases") != [part.phase for part in unit.phases]:
            raise RunError(f"{folder} holds no run of these phases")
        backend = told["backend"]
    state: dict[str, NDArray[Any]] = {}
    results: list[Result] = []
    loaded: set[Span | None] = set()  # one outside of the phases is for the first
    before: tuple[Training, Ended] | None = None
    for number, part in enumerate(unit.phases, 1):
        training = part.graph
        assert isinstance(training, Training)
        here = folder / f"{number}-{part.phase}"
        if watch is not None:
            watch({"event": "phase", "phase": part.phase})
        if status(here) == "finished":
            step = int(json.loads((here / "run.json").read_text())["step"])
            result = Result(here, "finished", step)
        elif status(here):
            result = _one(part, backend, None, here, watch, device, Start())
        else:
            goes_on = before[1] if before and same_updates(before[0], training) else None
            known = state | named(training, goes_on.weights) if goes_on else state
            weights = start_of(training, known, settings.read(training).seed)
            mine = [load for load in training.loads if load.span not in loaded]
            weights = apply_loads(weights, mine, part)
            start = Start(weights, goes_on.optimizer if goes_on else None)
            result = _one(part, backend, here, None, watch, device, start)
        results.append(result)
        loaded |= {load.span for load in training.loads}
        if result.status == "interrupted":
            break
        before = training, ended(here)
        state |= named(training, before[1].evaluated)
    last = results[-1]
    step = sum(result.step for result in results)
    checkpoint.write_json(folder / "run.json", {**told, "status": last.status, "step": step})
    return Result(folder, last.status, step, tuple(results))


def _one(
    unit: Unit,
    backend: str,
    run_dir: str | Path | None,
    resume: str | Path | None,
    watch: Callable[[Event], None] | None,
    device: str | None,
    start: Start,
) -> Result:
    """The run of a training without phases, or of one phase."""
    training = unit.graph
    if not isinstance(training, Training):
        raise RunError(f"`{unit.name}` is a model: there is nothing to train it with")
    chosen = settings.read(training)
    seen = devices.environment(device)
    folder = _resumed(Path(resume)) if resume is not None else _fresh(run_dir, unit.name, backend)
    # everything that can be wrong with the spec and its data comes before the folder is made
    sampling = None
    if resume is None:
        code = unit.code(backend)
        if training.sampling is not None:
            sampling = unit.code(backend, training.sampling)
        weights = start.weights
        if not weights:
            weights = initial_weights(training, chosen.seed)
            weights = apply_loads(weights, training.loads, unit)
    else:
        weights = {}
        code = (folder / "model.py").read_text(encoding="utf-8")
        backend = json.loads((folder / "run.json").read_text())["backend"]
    vocabularies = _vocabularies(training, unit.path.parent if unit.path else Path())
    with tempfile.TemporaryDirectory(prefix="dlspec-") as temporary:
        scratch = Path(temporary)
        job = {
            "task": "train",
            "device": device,
            "dtype": "float32",
            "seed": chosen.seed,
            "epochs": chosen.epochs,
            "steps": chosen.steps,
            "schedules": [settings.schedule(m) for m in training.minimize],
            "step_schedules": {
                step.name: [settings.schedule(m) for m in training.minimize if m.step == step.name]
                for step in training.steps
            },
            "decides": settings.decides(training),
            "scheduled": training.scheduled,
            "metrics": list(training.metrics),
            "whole": {n: [m.name, dict(m.settings)] for n, m, _ in training.reports},
            "run_dir": str(folder.resolve()),
            "module": str((folder / "model.py").resolve()),
            "weights": str(scratch / "initial.safetensors"),
            "resume": resume is not None,
            "optimizer": str(scratch / "optimizer.safetensors") if start.optimizer else None,
            "sampling": _sampling(training, folder, vocabularies),
            **_data(training, unit.path.parent if unit.path else Path(), scratch),
        }
        if resume is None:
            write_weights(scratch / "initial.safetensors", weights)
            if start.optimizer:
                write_weights(scratch / "optimizer.safetensors", start.optimizer)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "model.py", code)
            if sampling is not None:
                write_text(folder / "sample.py", sampling)
            for name, characters in vocabularies.items():
                checkpoint.write_json(folder / name, {"characters": list(characters)})
        told = _told(unit, backend, job, code)
        return _follow(process.events(job, scratch, seen), folder, told, watch)


def _follow(
    events: Iterator[Event],
    folder: Path,
    told: dict[str, object],
    watch: Callable[[Event], None] | None,
) -> Result:
    last: Event = {}
    for event in events:
        if event["event"] == "started":
            told |= {"versions": event["versions"], "machine": event["machine"]}
            checkpoint.write_json(folder / "run.json", told)
        if watch is not None:
            watch(event)
        last = event
    status = "finished" if last["event"] == "done" else "interrupted"
    checkpoint.write_json(folder / "run.json", {**told, "status": status, "step": last["step"]})
    return Result(folder, status, int(last["step"]))


def read_records(run_dir: Path) -> list[Record]:
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _fresh(run_dir: str | Path | None, name: str, backend: str) -> Path:
    if run_dir is None:
        number = 1
        while (folder := Path("runs") / f"{name}-{backend}-{number}").exists():
            number += 1
        return folder
    folder = Path(run_dir)
    if (folder / "run.json").exists() or checkpoint.exists(folder / "checkpoints"):
        raise RunError(f"{folder} holds a run already: resume it, or name another folder")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file")
    return folder


def _resumed(folder: Path) -> Path:
    if not (folder / "model.py").exists() or not checkpoint.exists(folder / "checkpoints"):
        raise RunError(f"{folder} holds no run with a checkpoint")
    return folder


def _told(unit: Unit, backend: str, job: Mapping[str, object], code: str) -> dict[str, object]:
    kept = ("dtype", "seed", "epochs", "steps", "schedules")
    return {
        "spec": str(unit.path) if unit.path else None,
        "train": unit.name,
        "backend": backend,
        "settings": {name: job[name] for name in kept},
        "model_sha256": hashlib.sha256(code.encode()).hexdigest(),
        "dlspec": __version__,
    }


# --- data ---


def _data(training: Training, folder: Path, scratch: Path) -> dict[str, object]:
    """The sources loaded, checked and written for the worker."""
    _check_leak(training)
    known = training.function.values()
    limited = limits(training.function)

    def group(sources: Sequence[DataSource], name: str, learning: bool) -> list[object]:
        return [
            {
                **_stream(source, folder, scratch / f"{name}-{i}.npz", known, limited, learning),
                "leader": _leader(sources, i),
            }
            for i, source in enumerate(sources)
        ]

    streams = group(training.data, "data", True)
    evaluations = [
        (name, group(sources, f"evaluation-{i}", False))
        for i, (name, sources) in enumerate(training.evaluations)
    ]
    return {"streams": streams, "evaluations": evaluations}


def _leader(sources: Sequence[DataSource], place: int) -> int | None:
    """The first source before this one whose batches have the same extent."""
    mine = sources[place].batch_extent
    return next((i for i in range(place) if mine and sources[i].batch_extent == mine), None)


def _stream(
    source: DataSource,
    folder: Path,
    path: Path,
    symbols: dict[str, int],
    limited: Mapping[str, Limit],
    learning: bool,
) -> dict[str, object]:
    try:
        args = schemas.bind(source.source, (), source.args)
        loaded = name_fields(
            source.fields, sources.load(source.source, args, folder), source.source
        )
        arrays = check_fields(source.fields, loaded, symbols, limited)
        changes = _changes(source, args, arrays)
    except DataError as error:
        fail(error.code, str(error), source.span, error.help)
    except ValueError as error:
        fail(BAD_DATA, str(error), source.span)
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return {
        "file": str(path),
        "batch": None if args["batch"] == "full" else args["batch"],
        "shuffle": bool(args["shuffle"]) and learning,
        "drop_last": bool(args["drop_last"]) and learning,
        "augment": changes,
    }


def _changes(
    source: DataSource, args: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, object] | None:
    """What is done to the images of the training data, for `Augment`."""
    if not any(args.get(name) for name in schemas.CHANGES):
        return None
    fields = [source.fields[i].name for i in schemas.SOURCES[source.source].images]
    for name in fields:
        if args["turn"] and name in arrays and len(set(arrays[name].shape[-2:])) > 1:
            height, width = arrays[name].shape[-2:]
            raise DataError(f"`turn` needs square images, `{name}` is {height} x {width}")
    return {"fields": fields, **{name: args[name] for name in schemas.CHANGES}}


def _vocabularies(training: Training, folder: Path) -> dict[str, tuple[str, ...]]:
    """What the numbers of its texts stand for, so that what a network writes can be read; by the
    file of the run's folder."""
    found: dict[str, tuple[str, ...]] = {}
    for i, source in enumerate(training.data):
        args = schemas.bind(source.source, (), source.args)
        if characters := sources.vocabulary(source.source, args, folder):
            found["vocabulary.json" if not i else f"vocabulary-{i}.json"] = characters
    return found


def _sampling(
    training: Training, folder: Path, vocabularies: Mapping[str, Sequence[str]]
) -> dict[str, object] | None:
    """What the worker needs to sample."""
    model = training.sampling
    if model is None:
        return None
    networks = [s for s in training.function.slots if isinstance(s, ChildSlot)]
    alone = len(networks) == len(training.function.slots) == 1
    return {
        "module": str((folder / "sample.py").resolve()),
        "names": list(model.output_names),
        "fields": [value.name for value in model.inputs],
        "inside": str(networks[0].segment) if alone else "",
        "characters": list(next(iter(vocabularies.values()), ())),
    }


def _check_leak(training: Training) -> None:
    """The test part of a source says nothing if the training part was divided otherwise."""
    for name, evaluation in (
        (name, one) for name, tested in training.evaluations for one in tested
    ):
        for source in training.data:
            same = _identity(source) == _identity(evaluation)
            if same and source.args.get("test") != evaluation.args.get("test"):
                fail(
                    TRAINING_FORM,
                    f"`{name}` divides `{evaluation.source}` otherwise than the training data, so "
                    "it would be tested on examples it was trained on",
                    evaluation.span,
                    "give both the same `test`",
                )


def _identity(source: DataSource) -> tuple[object, ...]:
    found = schemas.SOURCES.get(source.source)
    return source.source, *(source.args.get(name) for name in (found.positional if found else ()))
