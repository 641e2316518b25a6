"""A worker process and its events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from dlspec.codes import MISSING_EXTRA
from dlspec.training.errors import RunError, fail

Event: TypeAlias = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[2]  # where `dlspec` is imported from


class WorkerError(RuntimeError):
    """An emitted file failed. details: its traceback, or what it wrote to standard error."""

    def __init__(self, message: str, details: str) -> None:
        super().__init__(message)
        self.details = details


def events(
    job: dict[str, Any], folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Event]:
    """Run a job in a process of its own and yield its events as they come.

    SIGINT and SIGTERM are handed to the worker, which stops after its step; a second one kills
    it. Raises WorkerError when it fails. folder: for the job's own files;
    variables: of its environment.
    """
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    command = [sys.executable, "-P", "-u", "-m", "dlspec.training.worker", str(path)]
    log = folder / "stderr.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=_environment(job["dtype"]) | dict(variables or {}),
            start_new_session=True,  # the terminal's Ctrl-C reaches it through us alone
        )
    try:
        with _handing_on(process):
            yield from _read(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _read(process: subprocess.Popen[str], log: Path) -> Iterator[Event]:
    assert process.stdout
    for line in process.stdout:
        event: Event = json.loads(line)
        if event["event"] == "error":
            _raise(event)
        yield event
    code = process.wait()
    if code:
        tail = log.read_text(errors="replace")[-4000:]
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        raise WorkerError(f"the process that ran the emitted file ended with {how}", tail)


def _raise(event: Event) -> None:
    if event.get("usage"):
        raise RunError(event["message"])
    lacks = event["lacks"]
    if lacks in ("torch", "jax", "jaxlib", "optax"):
        extra = "torch" if lacks == "torch" else "jax"
        fail(MISSING_EXTRA, f"`{lacks}` is not installed: pip install 'dlspec[{extra}]'", None)
    raise WorkerError(event["message"], event["traceback"])


def _environment(dtype: str) -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # threads of torch that wait must not spin: on a busy machine that costs four times as much
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if dtype == "float64":
        environment["JAX_ENABLE_X64"] = "1"
    return environment


@contextmanager
def _handing_on(process: subprocess.Popen[str]) -> Generator[None]:
    """While inside, this process's SIGINT and SIGTERM go to the worker instead."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = 0

    def hand_on(number: int, frame: object) -> None:
        nonlocal asked
        asked += 1
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT if asked == 1 else signal.SIGKILL)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before: list[Callable[..., Any] | int | None] = [signal.signal(n, hand_on) for n in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
