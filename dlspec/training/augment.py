"""Changes of the training images, from the seed: the same on every backend and after a resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draws:
    """What is done to each example of a pass. top, left: where the window begins in the padded
    image; mirrored: whether left and right are exchanged; turns: by how many quarters."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    turns: NDArray[np.int64]

    def of(self, chosen: NDArray[np.int64]) -> Draws:
        return Draws(self.top[chosen], self.left[chosen], self.mirrored[chosen], self.turns[chosen])


@dataclass(frozen=True)
class Augment:
    """crop: zeros put around an image, of which a window of its old size is taken anywhere; flip:
    one of two images is mirrored; turn: turned by any number of quarters; fields: which arrays
    these are, all treated alike."""

    fields: frozenset[str]
    crop: int = 0
    flip: bool = False
    turn: bool = False

    def draws(self, size: int, key: list[int]) -> Draws:
        """For `size` examples. key: the seed, and which source and pass it is."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([*key, 1])))
        top, left = (rng.random((2, size)) * (2 * self.crop + 1)).astype(np.int64)
        mirrored = (rng.random(size) < 0.5) & self.flip
        turns = (rng.random(size) * 4).astype(np.int64) * self.turn
        return Draws(top, left, mirrored, turns)

    def __call__(self, name: str, images: NDArray[Any], draws: Draws) -> NDArray[Any]:
        """images: [N, …, H, W], the examples that draws are for; square where they are turned."""
        if name not in self.fields:
            return images
        height, width = images.shape[-2:]
        edges = [(0, 0)] * (images.ndim - 2) + [(self.crop, self.crop)] * 2
        padded = np.pad(images, edges)
        made = np.empty_like(images)
        for i, (top, left) in enumerate(zip(draws.top, draws.left, strict=True)):
            window = padded[i, ..., top : top + height, left : left + width]
            window = window[..., ::-1] if draws.mirrored[i] else window
            made[i] = np.rot90(window, draws.turns[i], (-2, -1))
        return made
