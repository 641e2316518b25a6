"""Weights on disk: safetensors, canonical names and torch's layouts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dlspec.codes import NO_FILE
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span


def write_weights(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed."""
    target = Path(path)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # reshape: ascontiguousarray makes a scalar a vector
    shaped = {name: array.reshape(arrays[name].shape) for name, array in contiguous.items()}
    # empty metadata without arrays would make a header that safetensors cannot read
    data = save(shaped, metadata=dict(metadata) if metadata else None)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_weights(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays of a safetensors file; raises Failure (E0601) when it cannot be read."""
    return read_with_metadata(path)[0]


def read_with_metadata(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays and the file's own string metadata."""
    try:
        with cast("Any", safe_open(str(path), framework="numpy")) as file:
            arrays: dict[str, NDArray[Any]] = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
            told: dict[str, str] = file.metadata() or {}
            return arrays, told
    except (OSError, SafetensorError, TypeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error).lower()
        span = Span(Source(str(path), ""), 0, 0)
        raise Failure(Diagnostic(NO_FILE, f"cannot read `{path}`: {reason}", span)) from error
