"""Samples on disk: grids of pictures, lines of text, or arrays."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 64  # pictures of a grid


def write_sample(
    folder: Path, name: str, array: NDArray[Any], characters: Sequence[str] = ()
) -> Path:
    """NAME.png for floats [N, 1 or 3, H, W], NAME.txt for numbers of characters [N, T], else
    NAME.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.dtype.kind == "f" and array.size:
        path = folder / f"{name}.png"
        path.write_bytes(png(grid(array)))
    elif characters and array.ndim == 2 and array.dtype.kind in "iu":
        path = folder / f"{name}.txt"
        told = np.array([*characters, ""], dtype=object)
        lines = ["".join(told[np.minimum(row, len(characters))]) for row in array]
        path.write_text("\n---\n".join(lines) + "\n", encoding="utf-8")
    else:
        path = folder / f"{name}.npz"
        np.savez(path, array)
    return path


def grid(images: NDArray[Any]) -> NDArray[np.uint8]:
    """The first 64 pictures in rows, about as wide as high, as [H, W, 1 or 3]. From 0 to 1, or from
    -1 where there are values below 0."""
    chosen = np.nan_to_num(images[:MOST].astype(np.float64))
    if chosen.min() < 0:
        chosen = (chosen + 1) / 2
    count, channels, height, width = chosen.shape
    columns = min(count, math.ceil(math.sqrt(count * height / width)))
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, channels, height, width))
    sheet[:count] = chosen.clip(0, 1)
    tiles = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    whole = tiles.reshape(rows * height, columns * width, channels)
    return np.rint(whole * 255).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of [H, W, 1 or 3] (ISO/IEC 15948)."""
    height, width, channels = pixels.shape
    rows = np.concatenate(  # each row begins with its filter: none
        [np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1
    )
    kind = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
