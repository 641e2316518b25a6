"""The run of a training section in this process: batches, steps, epochs, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dlspec import schedules
from dlspec.training import checkpoint, devices
from dlspec.training.augment import Augment
from dlspec.training.batches import Stream, joint, size_of
from dlspec.training.checkpoint import Progress
from dlspec.training.module import Emit, Job, Stop, environment, load_module
from dlspec.training.sampling import Sampler
from dlspec.training.totals import Saved, Totals
from dlspec.weights.files import read_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]
TICK = 0.1  # seconds between two events about steps
SAVE = 300.0  # seconds after which a long epoch is saved in between
EVERY_STEP = 200  # first steps whose metrics are all recorded; later ones are thinned
RECORDS = 2000


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
        self.streams = read_streams(self.job["streams"], dtype)
        self.evaluations = [
            (name, read_streams(told, dtype)) for name, told in self.job["evaluations"]
        ]
        per_epoch = len(self.streams[0])
        if not per_epoch:
            raise ValueError("drop_last leaves no batch: the source is smaller than one")
        self.table = getattr(self.module, "STEPS", {})
        self.draws_a_step = len(self.table) * max((s.times for s in self.table.values()), default=1)
        steps = self.job["steps"]
        self.total = int(steps) if steps is not None else self._iterations(per_epoch)
        self.totals = self._totals()
        self.batches: Iterator[Arrays] = iter(())

    def _totals(self, saved: Saved | None = None) -> Totals:
        return Totals(self.job["metrics"], self.job["whole"], saved)

    def _iterations(self, per_epoch: int) -> int:
        """How many iterations the epochs have: repetitions take batches too."""
        done, taken = 0, 0
        while taken < per_epoch * int(self.job["epochs"]):
            taken += 1 + sum(s.times - 1 for s in self.table.values() if done % s.every == 0)
            done += 1
        return done

    def begin(self) -> None:
        """Fresh weights, or the checkpoint's."""
        devices.check(self.job["device"])
        state = self.module.init(self.seed, self.job["dtype"])
        if self.job["resume"]:
            self.progress, weights, optimizer = checkpoint.load(self.checkpoints)
            self.totals = self._totals(self.progress.totals)
            state = self.module.import_weights(state, weights)
            self.state = self.module.import_optimizer(state, optimizer)
            _keep_records(self.folder / "metrics.jsonl", self.progress.step)
        else:
            self.state = self.module.import_weights(state, read_weights(self.job["weights"]))
            if self.job["optimizer"] is not None:
                arrays = read_weights(self.job["optimizer"])
                self.state = self.module.import_optimizer(self.state, arrays)
        self.batches = joint(self.streams, self.seed, self.progress.batch)
        start = {"step": self.progress.step, "total": self.total, "epoch": self.progress.epoch}
        self.emit("started", {**start, **environment()})

    def train(self) -> bool:
        """Run to the end; False when asked to stop before."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            while self.progress.step < self.total and not self.progress.ended:
                if not self._epoch(file):
                    self._flush(file)
                    self._save()
                    return False
                self._save()
        return True

    def _epoch(self, file: TextIO) -> bool:
        """The rest of the present epoch; False when asked to stop. An iteration is not cut where
        a pass ends: its last batches are the next pass's."""
        p, per_epoch = self.progress, len(self.streams[0])
        while p.step < self.total and p.batch // per_epoch <= p.epoch:
            if self.stop.asked:
                return False
            batch = self._next()
            metrics, rate = self._iteration(batch) if self.table else self._single(batch)
            p.step += 1
            self.pending.append((p.step, size_of(batch), metrics, rate))
            self._tick(file)
        self._flush(file)
        self._finish_epoch(file, p.batch // per_epoch)
        return True

    def _next(self) -> Arrays:
        self.progress.batch += 1
        return next(self.batches) | self._scheduled()

    def _scheduled(self) -> Arrays:
        """The schedules that stand in expressions, at the present iteration."""
        clock = self._clock(self.progress.step, self.total)
        return {
            name: np.asarray(schedules.rate(spec, clock))
            for name, spec in self.job["scheduled"].items()
        }

    def _clock(self, done: int, total: int) -> schedules.Clock:
        """For what has been run `done` times of `total`."""
        p, per_epoch = self.progress, len(self.streams[0])
        return schedules.Clock(done, total, per_epoch, p.losses, (p.batch - 1) // per_epoch)

    def _single(self, batch: Arrays) -> tuple[dict[str, Any], float]:
        """A training step of a section without steps."""
        done = self.progress.step
        clock = self._clock(done, self.total)
        rates = tuple(schedules.rate(s, clock) for s in self.job["schedules"])
        lr = rates[0] if len(rates) == 1 else rates
        self.state, metrics = self.module.train_step(
            self.state, batch, lr, seed=self.seed, step=done
        )
        return metrics, rates[0]

    def _iteration(self, batch: Arrays) -> tuple[dict[str, Any], float]:
        """Every step whose turn it is, in order; each repetition takes a new batch. Gives the
        metrics and the first rate."""
        done, found = self.progress.step, dict[str, Any]()
        first: float | None = None
        for place, (name, step) in enumerate(self.table.items()):
            if done % step.every:
                continue
            for again in range(step.times):
                if again:
                    batch = self._next()
                runs = -(-done // step.every) * step.times + again
                clock = self._clock(runs, -(-self.total // step.every) * step.times)
                rates = tuple(schedules.rate(s, clock) for s in self.job["step_schedules"][name])
                first = rates[0] if first is None else first
                key = done * self.draws_a_step + place + again * len(self.table)
                self.state, metrics = self.module.train_step(
                    self.state, batch, rates, name, seed=self.seed, step=key
                )
                found |= metrics
        return found, first or 0.0

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

    def _finish_epoch(self, file: TextIO, passes: int) -> None:
        """The results of an epoch, or of the part that a run of so many steps ends with. passes:
        over the first source so far."""
        p = self.progress
        ended = max(passes, p.epoch + 1)
        results = {"train": self.totals.values()}
        for name, streams in self.evaluations:
            results[name] = evaluate(
                self.module, self.state, streams, self._totals(), self._scheduled()
            )
        self._sample(ended)
        for split, values in results.items():
            _record(file, p.step, ended, split, values)
        self.emit("epoch", {"epoch": ended, "step": p.step, "total": self.total,
                            "metrics": {k: _plain(v) for k, v in results.items()}})  # fmt: skip
        chosen = results[self.evaluations[0][0] if self.evaluations else "train"]
        if passes > p.epoch:
            p.losses.append(chosen.get(self.job["metrics"][0], math.inf))
            p.epoch, self.totals = passes, self._totals()
        if self.job["decides"] is not None:
            self._judge(results, **self.job["decides"])

    def _judge(
        self,
        results: Mapping[str, Mapping[str, Any]],
        metric: str,
        split: str,
        larger: bool,
        patience: int | None,
    ) -> None:
        """Keep the best weights; end the run when they have been waited for long enough."""
        p, value = self.progress, results[split].get(metric, math.nan)
        better = p.best is None or (value > p.best if larger else value < p.best)
        if math.isfinite(value) and better:
            p.best, p.waited = value, 0
            checkpoint.save_best(self.checkpoints, p, self._evaluated(), metric)
            return
        p.waited += 1
        if patience is not None and p.waited >= patience:
            p.ended = True
            told = {"metric": metric, "split": split, "epochs": p.waited, "best": p.best}
            self.emit("early_stop", {"step": p.step, **told})

    def _evaluated(self) -> Arrays:
        """The weights that were evaluated: with `ema`, averages where there are any."""
        optimizer = self.module.export_optimizer(self.state)
        averages = {k.removeprefix("ema/"): a for k, a in optimizer.items() if k[:4] == "ema/"}
        return {**self.module.export_weights(self.state), **_arrays(averages)}

    def _sample(self, epoch: int) -> None:
        """Of the first batch of the first evaluation, else of the training data."""
        if self.job["sampling"] is None:
            return
        streams = self.evaluations[0][1] if self.evaluations else self.streams
        batch = next(joint([replace(stream, shuffle=False, augment=None) for stream in streams], 0))
        sampler = Sampler(
            self.job["sampling"], self.folder / "samples", self.seed, self.job["dtype"]
        )
        weights = self._evaluated()
        sampler.write(epoch, weights, batch | self._scheduled())

    def _save(self) -> None:
        weights = dict(self.module.export_weights(self.state))
        optimizer = dict(self.module.export_optimizer(self.state))
        self.progress.totals = self.totals.saved()
        checkpoint.save(self.checkpoints, self.progress, weights, _arrays(optimizer))
        self.saved_at = time.monotonic()


def evaluate(
    module: Any, state: Any, streams: Sequence[Stream], totals: Totals, scheduled: Arrays
) -> dict[str, Any]:
    """The metrics over the whole of a first source."""
    for batch in islice(joint(streams, 0), len(streams[0])):
        totals.add(module.evaluate(state, batch | scheduled), size_of(batch))
    return totals.values()


def read_streams(told: Sequence[Mapping[str, Any]], dtype: np.dtype[Any]) -> list[Stream]:
    """The sources that `run` wrote for this process, in order."""
    return [_stream(stream, dtype, number) for number, stream in enumerate(told)]


def _stream(told: Mapping[str, Any], dtype: np.dtype[Any], number: int) -> Stream:
    arrays: Arrays = {}
    with np.load(told["file"], allow_pickle=False) as file:
        for name in file.files:
            array = file[name]
            arrays[name] = array.astype(dtype, copy=False) if array.dtype.kind == "f" else array
    changes = told["augment"]
    augment = None
    if changes:
        augment = Augment(frozenset(changes["fields"]), changes["crop"], changes["flip"])
    return Stream(
        arrays,
        told["batch"],
        told["shuffle"],
        told["drop_last"],
        number,
        told["leader"],
        augment,
    )


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


def train(job: Job, emit: Emit, stop: Stop) -> None:
    run = Run(job, load_module(Path(job["module"])), emit, stop)
    run.begin()
    finished = run.train()
    emit("done" if finished else "stopped", {"step": run.progress.step, "total": run.total})


def _arrays(values: Mapping[str, Any]) -> Arrays:
    # torch's tensors may be on another device
    host = {name: v.cpu() if hasattr(v, "cpu") else v for name, v in values.items()}
    return {name: np.asarray(value) for name, value in host.items()}
