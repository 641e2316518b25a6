"""What a person sees while a run goes on: a bar on a terminal, a line an epoch otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO, cast

WIDTH = 24


class Watch:
    """Shows the events of one run on a stream. title: what is running, "lenet5 on torch"."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self.stream = stream
        self.title = title
        self.bar = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.begun = time.monotonic()
        self.first = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "started":
                self.begun = time.monotonic()
                self.first = event["step"]
                at = f" from step {self.first}" if self.first else ""
                self._line(f"{self.title}: {event['total']} steps{at}")
            case "phase":
                self._line(f"phase {event['phase']}")
            case "step":
                self._draw(event)
            case "epoch":
                splits = "  ".join(f"{k}: {values(v)}" for k, v in event["metrics"].items())
                self._line(f"  epoch {event['epoch']}  {splits}")
                for line in matrices(event["metrics"]):
                    self._line(f"    {line}")
            case "not_finite":
                self._line(f"  the loss is not finite from step {event['step']} on")
            case "early_stop":
                best = "nan" if event["best"] is None else f"{event['best']:.4f}"
                self._line(
                    f"  no better {event['metric']} than {best} of {event['split']} for "
                    f"{event['epochs']} epochs: ended at step {event['step']}"
                )
            case "stopped":
                self._line(f"  stopped after step {event['step']} of {event['total']}")
            case _:
                self._clear()

    def _draw(self, event: Mapping[str, Any]) -> None:
        if not self.bar:
            return
        step, total = event["step"], event["total"]
        done = WIDTH * step // max(1, total)
        spent = time.monotonic() - self.begun
        left = spent / max(1, step - self.first) * (total - step)
        text = f"  {'━' * done}{'─' * (WIDTH - done)} {step}/{total}  {clock(left)} left  "
        self.stream.write(f"\r\x1b[2K{text}{values(event['metrics'])}")
        self.stream.flush()

    def _line(self, text: str) -> None:
        self._clear()
        self.stream.write(text + "\n")
        self.stream.flush()

    def _clear(self) -> None:
        if self.bar:
            self.stream.write("\r\x1b[2K")


def values(metrics: Mapping[str, Any]) -> str:
    """`loss 0.1234  accuracy 0.9800  recall [0.5000 1.0000]`; matrices are told apart."""
    return "  ".join(f"{k} {_text(v)}" for k, v in metrics.items() if not _is_matrix(v))


def matrices(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the matrices among the metrics, each under its name."""
    for split, metrics in splits.items():
        for name, value in metrics.items():
            if _is_matrix(value):
                yield f"{split} {name}"
                width = max(len(f"{cell:g}") for row in value for cell in row)
                yield from ("  " + " ".join(f"{c:{width}g}" for c in row) for row in value)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], list)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{' '.join(map(_text, cast('list[Any]', value)))}]"
    return "nan" if value is None else f"{value:.4f}"


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
