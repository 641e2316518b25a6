"""Files of data read whole: idx, npz, csv, folders of images. DataError tells what is wrong."""

from __future__ import annotations

import gzip
import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dlspec.codes import NO_FILE
from dlspec.training.errors import DataError, missing

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read `{path}`: {reason}", code=NO_FILE) from error


def idx(path: Path) -> NDArray[Any]:
    """An idx file of unsigned bytes, gzip or not: yann.lecun.com/exdb/mnist."""
    data = read_bytes(path)
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise DataError(f"`{path}` is a broken gzip file: {error}") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise DataError(f"`{path}` is not an idx file of unsigned bytes")
    rank = data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise DataError(f"`{path}` ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    body = np.frombuffer(data, np.uint8, offset=start)
    if body.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"`{path}` holds {body.size} values, its header says {shape}")
    return body.reshape(shape)


def idx_images(path: Path) -> NDArray[Any]:
    """[N, 1, H, W] in [0, 1]."""
    images = idx(path)
    if images.ndim != 3:
        raise DataError(f"`{path}` has {images.ndim} axes, images have 3")
    return (images[:, None] / 255).astype(np.float32)


def idx_labels(path: Path) -> NDArray[Any]:
    labels = idx(path)
    if labels.ndim != 1:
        raise DataError(f"`{path}` has {labels.ndim} axes, labels have 1")
    return labels.astype(np.int64)


def npz(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """The arrays `names`; no pickled objects."""
    read_bytes(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                if name not in file.files:
                    there = ", ".join(f"`{n}`" for n in file.files)
                    raise DataError(f"`{path}` has no array `{name}`; it has {there}")
            arrays = [cast("NDArray[Any]", file[name]) for name in names]
    except (ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"`{path}` is not an npz file of plain arrays") from error
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0 or array.dtype.kind not in "fiub":
            raise DataError(f"`{name}` of `{path}` is no array of numbers with a first axis")
    return arrays


def csv(path: Path, target: str | None, task: str) -> list[NDArray[Any]]:
    """[features] or [features, target]: a header, then rows of numbers. With task
    "classification" the target may be any text; classes are numbered in sorted order."""
    import csv as module

    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    rows = [row for row in module.reader(text.splitlines()) if row]
    if len(rows) < 2:
        raise DataError(f"`{path}` needs a header and at least one row")
    header, *body = rows
    header = [name.strip() for name in header]
    for number, row in enumerate(body, 1):
        if len(row) != len(header):
            message = f"row {number} of `{path}` has {len(row)} columns, the header {len(header)}"
            raise DataError(message)
    if target is None:
        return [_numbers(path, header, body, range(len(header)))]
    if target not in header:
        names = ", ".join(f"`{n}`" for n in header)
        raise DataError(f"`{path}` has no column `{target}`; it has {names}")
    at = header.index(target)
    others = [i for i in range(len(header)) if i != at]
    features = _numbers(path, header, body, others)
    if task == "regression":
        return [features, _numbers(path, header, body, [at])]
    if task != "classification":
        raise DataError(f'`task` is "regression" or "classification", not {task!r}')
    return [features, _classes([row[at].strip() for row in body])]


def _numbers(
    path: Path, header: list[str], body: list[list[str]], columns: Sequence[int]
) -> NDArray[np.float64]:
    values = np.empty((len(body), len(columns)))
    for r, row in enumerate(body):
        for c, column in enumerate(columns):
            try:
                values[r, c] = float(row[column])
            except ValueError:
                where = f"row {r + 1}, column `{header[column]}` of `{path}`"
                raise DataError(f"{where} is {row[column]!r}, not a number") from None
    return values


def _classes(texts: list[str]) -> NDArray[np.int64]:
    try:
        order = sorted(set(texts), key=float)  # "10" after "9"
    except ValueError:
        order = sorted(set(texts))
    numbered = {text: i for i, text in enumerate(order)}
    return np.array([numbered[text] for text in texts], np.int64)


def image_folder(folder: Path, size: int, channels: int) -> list[NDArray[Any]]:
    """[N, channels, size, size] in [0, 1] and labels: one folder a class, in order of name."""
    _check_images(folder, channels, "image_folder")
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [(path, label) for label, place in enumerate(classes) for path in _images_of(place)]
    if not found:
        raise DataError(f"`{folder}` has no images in folders, one a class")
    images = np.stack([_image(path, size, channels) for path, _ in found])
    return [images, np.array([label for _, label in found], np.int64)]


def segmentation_folder(
    images: Path, masks: Path, size: int, channels: int, kinds: int
) -> list[NDArray[Any]]:
    """[N, channels, size, size] in [0, 1] and classes [N, size, size], in order of name. Masks
    hold numbers of classes; of two kinds they may be black and white."""
    for folder in (images, masks):
        _check_images(folder, channels, "segmentation_folder")
    found = _images_of(images)
    if not found:
        raise DataError(f"`{images}` has no images")
    named = {path.stem: path for path in _images_of(masks)}
    for path in found:
        if path.stem not in named:
            raise DataError(f"`{masks}` has no mask `{path.stem}`, the image {path.name} is there")
    numbers = np.stack([_mask(named[path.stem], size) for path in found])
    largest = int(numbers.max())
    if kinds == 2 and largest > 1:
        numbers = (numbers > 127).astype(np.int64)
    elif largest >= kinds:
        raise DataError(f"the masks in `{masks}` hold {largest}, outside 0 to {kinds - 1}")
    return [np.stack([_image(path, size, channels) for path in found]), numbers]


def _check_images(folder: Path, channels: int, source: str) -> None:
    if importlib.util.find_spec("PIL") is None:
        raise missing("pillow", f"`{source}`")
    if channels not in (1, 3):
        raise DataError(f"`channels` is 1 or 3, not {channels}")
    if not folder.is_dir():
        raise DataError(f"cannot read `{folder}`: no such folder", code=NO_FILE)


def _images_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)


def _image(path: Path, size: int, channels: int) -> NDArray[np.float32]:
    from PIL import Image

    pixels = _pixels(path, "L" if channels == 1 else "RGB", size, Image.Resampling.BILINEAR)
    shaped = pixels.reshape(size, size, channels).transpose(2, 0, 1)
    return (shaped / 255).astype(np.float32)


def _mask(path: Path, size: int) -> NDArray[np.int64]:
    from PIL import Image

    return _pixels(path, None, size, Image.Resampling.NEAREST).astype(np.int64)


def _pixels(path: Path, mode: str | None, size: int, resampling: Any) -> NDArray[np.uint8]:
    """mode: None keeps the numbers of a palette, and makes anything else grey."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            kept = mode or ("P" if image.mode == "P" else "L")
            return np.asarray(image.convert(kept).resize((size, size), resampling))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"cannot read `{path}` as an image", code=NO_FILE) from error
