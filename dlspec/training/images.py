"""The image sets of the usual names: MNIST, Fashion-MNIST, CIFAR-10.

Each is read from the folder that a spec names, else from the one of `DLSPEC_DATA`.
"""

from __future__ import annotations

import io
import os
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec.codes import NO_FILE
from dlspec.training import readers
from dlspec.training.errors import DataError, missing

Part: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
"""Images [N, C, H, W] in [0, 1] and their labels."""

RECORD = 1 + 3 * 32 * 32  # of CIFAR-10's binary version: the label, then red, green, blue


def mnist(given: object, folder: Path) -> list[Part]:
    """The parts that are there, train before test."""
    help = 'give the folder, mnist("data/mnist"), or use mnist5k, which pip installs'
    base = folder_of("mnist", given, folder, "mnist10k", help)
    found = [part for name in ("train", "t10k") if (part := _idx_part(base, name, optional=True))]
    if not found:
        raise DataError(f"`{base}` has no MNIST files (t10k-images-idx3-ubyte.gz …)", code=NO_FILE)
    return found


def fashion_mnist(given: object, folder: Path) -> list[Part]:
    """Train and test: idx files in a named folder, an npz file in that of `DLSPEC_DATA`."""
    help = 'give the folder of its idx files: fashion_mnist("data/fashion")'
    base = folder_of("fashion_mnist", given, folder, "fashion_mnist5k", help)
    shared = base / "fashion_mnist5k.npz"
    if given is not None or not shared.exists():
        parts = [_idx_part(base, name) for name in ("train", "t10k")]
        return [part for part in parts if part]
    names = ("x_train", "y_train", "x_test", "y_test")
    x_train, y_train, x_test, y_test = readers.npz(shared, names)
    pairs = ((x_train, y_train), (x_test, y_test))
    return [(_scaled(x[:, None]), y.astype(np.int64)) for x, y in pairs]


def cifar10(given: object, folder: Path) -> list[Part]:
    """Train and test: the binary version in a named folder, JPEG in that of `DLSPEC_DATA`."""
    help = 'give the folder of its binary version: cifar10("data/cifar-10-batches-bin")'
    base = folder_of("cifar10", given, folder, "cifar10_7k", help)
    shared = base / "cifar10_7k.npz"
    if given is None and shared.exists():
        return _jpeg_parts(shared)
    batches = [base / f"data_batch_{i}.bin" for i in range(1, 6)]
    if not batches[0].exists() and (base / "data_batch_1").exists():
        raise DataError(
            f"`{base}` has CIFAR-10 in pickles, which may run code and are not read",
            help="take the binary version (data_batch_1.bin …)",
        )
    if not batches[0].exists():
        raise DataError(f"`{base}` has no CIFAR-10 files (data_batch_1.bin …)", code=NO_FILE)
    parts = [[_records(path) for path in batches], [_records(base / "test_batch.bin")]]
    return [
        (np.concatenate([images for images, _ in part]), np.concatenate([y for _, y in part]))
        for part in parts
    ]


def folder_of(source: str, given: object, folder: Path, shared: str, help: str) -> Path:
    if given is not None:
        return folder / str(given)
    if data := os.environ.get("DLSPEC_DATA"):
        return Path(data) / shared
    raise DataError(f"`{source}` does not know where its files are", help=help, code=NO_FILE)


def _idx_part(base: Path, name: str, optional: bool = False) -> Part | None:
    images = _either(base / f"{name}-images-idx3-ubyte")
    labels = _either(base / f"{name}-labels-idx1-ubyte")
    if optional and not (images.exists() and labels.exists()):
        return None
    return readers.idx_images(images), readers.idx_labels(labels)


def _either(path: Path) -> Path:
    """The file, or the same with .gz where that is the one there."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def _scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return (pixels / np.float32(255)).astype(np.float32, copy=False)


def _records(path: Path) -> Part:
    data = np.frombuffer(readers.read_bytes(path), np.uint8)
    if not data.size or data.size % RECORD:
        raise DataError(f"`{path}` holds {data.size} bytes, which are no records of {RECORD}")
    rows = data.reshape(-1, RECORD)
    return _scaled(rows[:, 1:].reshape(-1, 3, 32, 32)), rows[:, 0].astype(np.int64)


@lru_cache(maxsize=1)
def _jpeg_parts(path: Path) -> list[Part]:
    """JPEG streams joined in one array, with the places where each begins."""
    found: list[Part] = []
    for part in ("train", "test"):
        names = (f"{part}_jpeg", f"{part}_offsets", f"{part}_labels")
        joined, offsets, labels = readers.npz(path, names)
        images = np.stack([_jpeg(path, joined[a:b].tobytes()) for a, b in pairwise(offsets)])
        found.append((_scaled(images.transpose(0, 3, 1, 2)), labels.astype(np.int64)))
    return found


def _jpeg(path: Path, data: bytes) -> NDArray[np.uint8]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise missing("pillow", "`cifar10`") from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"), np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"`{path}` holds something that is no image") from error
