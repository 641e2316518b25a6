"""Pictures with masks: cells that are drawn, tiles of large ones, the weights of borders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlspec.training import readers
from dlspec.training.images import folder_of

SIGMA = 5.0  # pixels, of the weights of borders
REACH = 4  # sigmas beyond which a weight is as good as 1


def nuclei(
    given: object, folder: Path, border: float
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Images in [0, 1], masks of 0 and 1, and the weights of borders: all [120, 256, 256]."""
    help = 'give the folder, nuclei("data/nuclei"), or use drawn_cells, which are made up'
    base = folder_of("nuclei", given, folder, "nuclei_dsb2018", help)
    images, packed = readers.npz(base / "nuclei120.npz", ["images", "masks_packed"])
    masks = np.unpackbits(packed, axis=-1).astype(bool)
    if border:
        weighted = np.stack([weights(components(mask), border) for mask in masks])
    else:
        weighted = np.ones(masks.shape, np.float32)
    return (images / 255).astype(np.float32), masks.astype(np.int64), weighted


def components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The connected parts of a mask [H, W], numbered from 1 on; 0 outside. Pixels are connected
    by their sides."""
    height, width = mask.shape
    places = np.arange(1, mask.size + 1).reshape(height, width)
    labels = np.where(mask, places, 0)
    while True:
        around = np.pad(labels, 1)
        sides = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
        largest = np.where(mask, np.maximum.reduce([labels, *sides]), 0)
        # what the pixel of that number has seen meanwhile: a part of n pixels takes log n rounds
        followed = np.concatenate([[0], largest.ravel()])[largest]
        if np.array_equal(followed, labels):
            return np.unique(labels, return_inverse=True)[1].reshape(height, width) + int(
                mask.all()
            )
        labels = followed


def weights(labels: NDArray[np.int64], border: float) -> NDArray[np.float32]:
    """1 + border exp(-(d1 + d2)² / 2σ²) outside of the parts, 1 within: d1 and d2 are the
    distances to the nearest and the second nearest part, σ is 5 (Ronneberger et al. 2015)."""
    nearest = np.full((2, *labels.shape), np.inf)
    margin = math.ceil(REACH * SIGMA)
    places = np.nonzero(labels)
    order = np.argsort(labels[places], kind="stable")
    ends = np.flatnonzero(np.diff(labels[places][order])) + 1
    for part in np.split(np.stack(places)[:, order], ends, axis=1):
        if not part.size:
            continue
        (top, left), (bottom, right) = part.min(axis=1), part.max(axis=1)
        box = (
            slice(max(top - margin, 0), bottom + margin + 1),
            slice(max(left - margin, 0), right + margin + 1),
        )
        far = distances(labels[box] == labels[part[0, 0], part[1, 0]])
        there = nearest[:, *box]
        nearest[:, *box] = np.sort(np.stack([*there, far]), axis=0)[:2]
    near = np.exp(-(nearest.sum(axis=0) ** 2) / (2 * SIGMA**2))
    return np.where(labels > 0, 1.0, 1 + border * near).astype(np.float32)


def distances(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each pixel to the nearest one of a mask that is not empty: along columns, then rows."""
    height, width = mask.shape
    column = np.where(mask, _squares(height)[:, :, None], np.inf).min(axis=1)
    return np.sqrt((column[:, None] + _squares(width)).min(axis=2))


def _squares(extent: int) -> NDArray[np.float64]:
    places = np.arange(extent, dtype=np.float64)
    return np.subtract.outer(places, places) ** 2


def tiles(pictures: NDArray[Any], size: int) -> NDArray[Any]:
    """[N, H, W] cut into [N * rows * columns, size, size], in order; a rest at the right and at
    the bottom is left out."""
    count, height, width = pictures.shape
    rows, columns = height // size, width // size
    cut = pictures[:, : rows * size, : columns * size]
    cut = cut.reshape(count, rows, size, columns, size).transpose(0, 1, 3, 2, 4)
    return cut.reshape(-1, size, size)


def draw_cells(
    rng: np.random.Generator, count: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures [N, 1, size, size] of bright ellipses in uneven light, with noise, and the number
    of the ellipse at each pixel [N, size, size], 0 outside. Ellipses may come close; a gap of a
    pixel stays between two."""
    images = np.empty((count, 1, size, size), np.float32)
    labels = np.zeros((count, size, size), np.int64)
    y, x = np.indices((size, size))
    for image, parts in zip(images, labels, strict=True):
        light: NDArray[np.float64] = 0.15 + 0.15 * (rng.random() * y + rng.random() * x) / size
        for number in range(1, int(rng.integers(4, 10)) + 1):
            inside = _ellipse(rng, size, y, x) & ~_grown(parts > 0)
            parts[inside] = number
            light = np.where(inside, light + rng.uniform(0.2, 0.5), light)
        noise = rng.normal(0, 0.08, light.shape)
        image[0] = np.clip(_blurred(light) + noise, 0, 1)
    return images, labels


def _ellipse(
    rng: np.random.Generator, size: int, y: NDArray[np.int64], x: NDArray[np.int64]
) -> NDArray[np.bool_]:
    middle = rng.uniform(0, size, 2)
    radii = rng.uniform(size / 16, size / 6, 2)
    angle = rng.uniform(0, math.pi)
    along = (y - middle[0]) * math.cos(angle) + (x - middle[1]) * math.sin(angle)
    across = (x - middle[1]) * math.cos(angle) - (y - middle[0]) * math.sin(angle)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 < 1


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wide = np.pad(mask, 1)
    return mask | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]


def _blurred(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of 3 x 3."""
    wide = np.pad(image, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
