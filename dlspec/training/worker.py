"""The process that runs an emitted file: `python -m dlspec.training.worker JOB.json`.

It knows the protocol of emitted files and numpy, no framework. Events leave on standard output,
one JSON object a line; whatever the file itself prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from dlspec.training.errors import RunError
from dlspec.training.loop import train
from dlspec.training.module import Emit, Job, Stop
from dlspec.training.trace import trace

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
    except RunError as error:
        emit("error", {"message": str(error), "usage": True})
        return 1
    except Exception as error:
        lacks = error.name if isinstance(error, ModuleNotFoundError) else None
        told = f"{type(error).__name__}: {error}"
        emit("error", {"message": told, "lacks": lacks, "traceback": traceback.format_exc()})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
