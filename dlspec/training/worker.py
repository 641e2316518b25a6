"""The process that runs an emitted file: `python -m dlspec.training.worker JOB.json`.

It knows the protocol of emitted files and numpy, no framework. Events leave on standard output,
one JSON object a line; whatever the file itself prints goes to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dlspec import schedules
from dlspec.training import checkpoint
from dlspec.training.batches import Stream, joint
from dlspec.training.checkpoint import Progress
from dlspec.training.totals import Saved, Totals
from dlspec.weights.files import read_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]
Job: TypeAlias = dict[str, Any]
Emit: TypeAlias = Callable[[str, Mapping[str, object]], None]
TICK = 0.1  # seconds between two events about steps
SAVE = 300.0  # seconds after which a long epoch is saved in between
EVERY_STEP = 200  # first steps whose metrics are all recorded; later ones are thinned
RECORDS = 2000


class Stop:
    """Set by the first SIGINT or SIGTERM: the run ends after the present step."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True


def load_module(path: Path) -> Any:
    """The emitted file as a module; it is run as it stands."""
    spec = importlib.util.spec_from_file_location("model", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    return module


# --- training ---


@dataclass
class Run:
    """A training run in this process."""

    job: Job
    module: Any
    emit: Emit
    stop: Stop
    progress: Progress = field(default_factory=Progress)
    state: Any = None
    pending: list[tuple[int, int, Mapping[str, Any], float]] = field(
        default_factory=list[tuple[int, int, Mapping[str, Any], float]]
    )
    saved_at: float = field(default_factory=time.monotonic)
    told_at: float = 0.0
    finite: bool = True

    def __post_init__(self) -> None:
        self.folder = Path(self.job["run_dir"])
        self.checkpoints = self.folder / "checkpoints"
        self.seed = int(self.job["seed"])
        dtype = np.dtype("float64" if self.job["dtype"] == "float64" else "float32")
        self.streams = [_stream(s, dtype, i) for i, s in enumerate(self.job["streams"])]
        self.evaluations = [(name, _stream(s, dtype, 0)) for name, s in self.job["evaluations"]]
        per_epoch = len(self.streams[0])
        if not per_epoch:
            raise ValueError("drop_last leaves no batch: the source is smaller than one")
        steps = self.job["steps"]
        self.table = getattr(self.module, "STEPS", {})
        self.draws_a_step = len(self.table) * max((s.times for s in self.table.values()), default=1)
        self.totals = self._totals()
        self.total = int(steps) if steps is not None else self._iterations(per_epoch)

    def _totals(self, saved: Saved | None = None) -> Totals:
        return Totals(self.job["metrics"], self.job["whole"], saved)

    def _iterations(self, per_epoch: int) -> int:
        """How many iterations the epochs have: repetitions take batches too."""
        done = 0
        for _ in range(int(self.job["epochs"])):
            used = 0
            while used < per_epoch:
                steps = self.table.values()
                used += 1 + sum(s.times - 1 for s in steps if done % s.every == 0)
                done += 1
        return done

    def begin(self) -> None:
        """Fresh weights, or the checkpoint's."""
        state = self.module.init(self.seed, self.job["dtype"])
        if self.job["resume"]:
            self.progress, weights, optimizer = checkpoint.load(self.checkpoints)
            self.totals = self._totals(self.progress.totals)
            state = self.module.import_weights(state, weights)
            self.state = self.module.import_optimizer(state, optimizer)
            _keep_records(self.folder / "metrics.jsonl", self.progress.step)
        else:
            self.state = self.module.import_weights(state, read_weights(self.job["weights"]))
        start = {"step": self.progress.step, "total": self.total, "epoch": self.progress.epoch}
        self.emit("started", {**start, **environment()})

    def train(self) -> bool:
        """Run to the end; False when asked to stop before."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            while self.progress.step < self.total:
                if not self._epoch(file):
                    self._flush(file)
                    self._save()
                    return False
                self._save()
        return True

    def _epoch(self, file: TextIO) -> bool:
        """The rest of the present epoch; False when asked to stop."""
        p = self.progress
        per_epoch = len(self.streams[0])
        batches = joint(self.streams, self.seed, p.epoch, p.batch)
        for first in batches:
            if self.stop.asked:
                return False
            if self.table:
                metrics, rates, used = self._iteration(first, batches, per_epoch)
            else:
                rates = self._rates(schedules.Clock(p.step, self.total, per_epoch, p.losses))
                self.state, metrics = self.module.train_step(
                    self.state, first, rates, seed=self.seed, step=p.step
                )
                used = 1
            p.step, p.batch = p.step + 1, p.batch + used
            self.pending.append((p.step, _size(first), metrics, _first(rates)))
            self._tick(file)
            if p.step >= self.total:
                break
        self._flush(file)
        self._finish_epoch(file, whole=p.batch >= per_epoch)
        return True

    def _iteration(
        self, batch: Arrays, batches: Iterator[Arrays], per_epoch: int
    ) -> tuple[dict[str, Any], tuple[float, ...], int]:
        """Every step whose turn it is, in order; each repetition takes a new batch. Gives the
        metrics, the first step's rates, and how many batches were used."""
        done, found, used = self.progress.step, dict[str, Any](), 1
        first: tuple[float, ...] = ()
        for place, (name, step) in enumerate(self.table.items()):
            if done % step.every:
                continue
            for again in range(step.times):
                if again:
                    following = next(batches, None)
                    if following is None:  # the pass over the first source ends here
                        break
                    batch, used = following, used + 1
                runs = -(-done // step.every) * step.times + again
                total = -(-self.total // step.every) * step.times
                clock = schedules.Clock(runs, total, max(1, per_epoch), self.progress.losses)
                rates = tuple(schedules.rate(s, clock) for s in self.job["step_schedules"][name])
                first = first or rates
                key = done * self.draws_a_step + place + again * len(self.table)
                self.state, metrics = self.module.train_step(
                    self.state, batch, rates, name, seed=self.seed, step=key
                )
                found |= metrics
        return found, first, used

    def _rates(self, clock: schedules.Clock) -> float | tuple[float, ...]:
        """One rate, or one for each optimizer."""
        rates = tuple(schedules.rate(s, clock) for s in self.job["schedules"])
        return rates[0] if len(rates) == 1 else rates

    def _tick(self, file: TextIO) -> None:
        now = time.monotonic()
        if now - self.told_at >= TICK:
            self.told_at = now
            self._flush(file)
        if now - self.saved_at >= SAVE:
            self._flush(file)
            self._save()

    def _flush(self, file: TextIO) -> None:
        """Read the pending steps' metrics, which a device may still be computing."""
        p = self.progress
        every = max(1, self.total // RECORDS)
        values: dict[str, Any] = {}
        for step, size, metrics, rate in self.pending:
            self.totals.add(metrics, size)
            if step <= EVERY_STEP or step % every == 0:
                values = self.totals.shown(metrics)
                _record(file, step, p.epoch, "batch", {**values, "lr": rate})
            numbers = self.totals.scalars(metrics)
            if self.finite and not all(map(math.isfinite, numbers.values())):
                self.finite = False
                self.emit("not_finite", {"step": step, **_plain(numbers)})
        if self.pending:
            values = self.totals.shown(self.pending[-1][2])
            self.pending.clear()
            told = {"step": p.step, "total": self.total, "epoch": p.epoch}
            self.emit("step", {**told, "metrics": _plain(values)})

    def _finish_epoch(self, file: TextIO, whole: bool) -> None:
        p = self.progress
        ended = p.epoch + 1
        results = {"train": self.totals.values()}
        for name, stream in self.evaluations:
            totals = self._totals()
            results[name] = evaluate(self.module, self.state, stream, totals)
        for split, values in results.items():
            _record(file, p.step, ended, split, values)
        self.emit("epoch", {"epoch": ended, "step": p.step, "total": self.total,
                            "metrics": {k: _plain(v) for k, v in results.items()}})  # fmt: skip
        chosen = results[self.evaluations[0][0] if self.evaluations else "train"]
        decides = chosen.get(self.job["metrics"][0], math.inf)
        if whole:
            p.losses.append(decides)
            p.epoch, p.batch, self.totals = ended, 0, self._totals()
        if math.isfinite(decides) and (p.best is None or decides < p.best):
            p.best = decides
            checkpoint.save_best(self.checkpoints, p, dict(self.module.export_weights(self.state)))

    def _save(self) -> None:
        weights = dict(self.module.export_weights(self.state))
        optimizer = dict(self.module.export_optimizer(self.state))
        self.progress.totals = self.totals.saved()
        checkpoint.save(self.checkpoints, self.progress, weights, _arrays(optimizer))
        self.saved_at = time.monotonic()


def evaluate(module: Any, state: Any, stream: Stream, totals: Totals) -> dict[str, Any]:
    """The metrics over a whole source."""
    for batch in stream.batches(0, 0):
        totals.add(module.evaluate(state, batch), _size(batch))
    return totals.values()


def _stream(told: Mapping[str, Any], dtype: np.dtype[Any], number: int) -> Stream:
    arrays: Arrays = {}
    with np.load(told["file"], allow_pickle=False) as file:
        for name in file.files:
            array = file[name]
            arrays[name] = array.astype(dtype, copy=False) if array.dtype.kind == "f" else array
    return Stream(arrays, told["batch"], told["shuffle"], told["drop_last"], number)


def _size(batch: Mapping[str, NDArray[Any]]) -> int:
    return len(next(iter(batch.values())))


def _first(rates: float | tuple[float, ...]) -> float:
    return rates[0] if isinstance(rates, tuple) else rates


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity and no NaN: null."""
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in cast("list[Any]", value)]
    return value if math.isfinite(value) else None


def _record(file: TextIO, step: int, epoch: int, split: str, values: Mapping[str, Any]) -> None:
    told = {"step": step, "epoch": epoch, "split": split, **_plain(values)}
    file.write(json.dumps(told) + "\n")
    file.flush()


def _keep_records(path: Path, step: int) -> None:
    """Drop what was recorded after the checkpoint and is about to be done again."""
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines() if _complete(line, step)]
    path.write_text("".join(line + "\n" for line in lines))


def _complete(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except ValueError:
        return False  # a line cut short by a kill


def environment() -> dict[str, object]:
    """Versions of what took part, and the machine."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("torch", "jax", "optax"):
        if name in sys.modules:
            versions[name] = metadata.version(name)
    return {"versions": versions, "machine": f"{platform.system()} {platform.machine()}"}


def train(job: Job, emit: Emit, stop: Stop) -> None:
    run = Run(job, load_module(Path(job["module"])), emit, stop)
    run.begin()
    finished = run.train()
    emit("done" if finished else "stopped", {"step": run.progress.step, "total": run.total})


# --- verification ---


def trace(job: Job, emit: Emit, stop: Stop) -> None:
    """For each case of each program: outputs, metrics, gradients, then k losses, weights and
    optimizer after them.

    Each case goes to an npz file of its own, keys `output/…`, `metric/…`, `gradient/…`,
    `loss/…`, `weight/…`, and `optimizer's KIND/…`, whose kinds are of different sizes.
    """
    for program in job["programs"]:
        module = load_module(Path(program["module"]))
        for case in program["cases"]:
            with np.load(case["batch"], allow_pickle=False) as file:
                batch = {name: file[name] for name in file.files}
            state = module.init(program["seed"], job["dtype"])
            state = module.import_weights(state, read_weights(case["weights"]))
            found = trace_case(module, state, batch, program)
            np.savez(case["out"], **found)  # pyright: ignore[reportArgumentType]
            emit("case", {"out": case["out"]})
    emit("done", environment())


def trace_case(module: Any, state: Any, batch: Arrays, program: Mapping[str, Any]) -> Arrays:
    found: Arrays = {}
    if program["predicts"]:
        outputs = module.predict(state, **_under("input/", batch))
        named = cast("dict[str, Any]", outputs) if isinstance(outputs, dict) else {"": outputs}
        _put(found, "output", named)
    if not program["training"]:
        return found
    seed = program["seed"]
    fields = _under("field/", batch)
    draws = _draws(program["draws"])
    if hasattr(module, "STEPS"):
        return {**found, **trace_steps(module, state, fields, program, draws)}
    metrics, gradients = module.gradients(state, fields, seed=seed, step=0, **draws(0))
    _put(found, "metric", metrics)
    _put(found, "gradient", gradients)
    rates = program["lr"]
    lr = tuple(cast("list[float]", rates)) if isinstance(rates, list) else rates
    for step in range(program["steps"]):
        keys = {"seed": seed, "step": step, **draws(step)}
        state, metrics = module.train_step(state, fields, lr, **keys)
        _put(found, "loss", {str(step): metrics["loss"]})
    _put(found, "weight", module.export_weights(state))
    for name, value in module.export_optimizer(state).items():
        kind, _, weight = name.partition("/")
        _put(found, f"optimizer's {kind}", {weight: value})
    return found


def trace_steps(
    module: Any,
    state: Any,
    fields: Arrays,
    program: Mapping[str, Any],
    draws: Callable[[int], dict[str, list[NDArray[Any]]]],
) -> Arrays:
    """As `trace_case`, of several steps in turn; draws hold those of each step, one by one."""
    found: Arrays = {}
    metrics, gradients = module.gradients(state, fields, seed=program["seed"], step=0, **draws(0))
    _put(found, "metric", metrics)
    _put(found, "gradient", gradients)
    counts, starts, start = program["step_draws"], dict[str, int](), 0
    for name in module.STEPS:
        starts[name], start = start, start + counts[name]
    for number in range(program["steps"]):
        given = draws(number)
        for name, step in module.STEPS.items():
            if number % step.every:
                continue
            for _ in range(step.times):
                key: dict[str, Any] = {"seed": program["seed"], "step": number}
                if given:
                    start = starts[name]
                    key["draws"] = given["draws"][start : start + counts[name]]
                rates = tuple(program["step_rates"][name])
                state, metrics = module.train_step(state, fields, rates, name, **key)
            for metric, value in metrics.items():
                _put(found, "loss", {f"{number}/{metric}": value})
    _put(found, "weight", module.export_weights(state))
    for name, value in module.export_optimizer(state).items():
        kind, _, weight = name.partition("/")
        _put(found, f"optimizer's {kind}", {weight: value})
    return found


def _draws(path: str | None) -> Callable[[int], dict[str, list[NDArray[Any]]]]:
    """The argument `draws` of each step: arrays `STEP/NUMBER` of a file; none without one."""
    if path is None:
        return lambda step: {}
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}

    def of_step(step: int) -> dict[str, list[NDArray[Any]]]:
        count = sum(name.startswith(f"{step}/") for name in arrays)
        return {"draws": [arrays[f"{step}/{i}"] for i in range(count)]}

    return of_step


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _put(found: Arrays, what: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        found[f"{what}/{name}"] = np.array(value)  # a copy: the next step may reuse the buffer


def _arrays(values: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(value) for name, value in values.items()}


TASKS: dict[str, Callable[[Job, Emit, Stop], None]] = {"train": train, "trace": trace}


def main(arguments: list[str]) -> int:
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def emit(event: str, values: Mapping[str, object]) -> None:
        events.write(json.dumps({"event": event, **values}) + "\n")
        events.flush()

    stop = Stop()
    try:
        job: Job = json.loads(Path(arguments[0]).read_text())
        TASKS[job["task"]](job, emit, stop)
    except BrokenPipeError:
        return 1  # the parent is gone
    except Exception as error:
        lacks = error.name if isinstance(error, ModuleNotFoundError) else None
        told = f"{type(error).__name__}: {error}"
        emit("error", {"message": told, "lacks": lacks, "traceback": traceback.format_exc()})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
