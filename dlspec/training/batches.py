"""The order of examples: from the seed alone, so the same on every backend and after a resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Stream:
    """One data source as batches. number: its place among the training's sources; batch: None
    takes all examples at once."""

    arrays: Mapping[str, NDArray[Any]]
    batch: int | None
    shuffle: bool
    drop_last: bool = False
    number: int = 0

    @property
    def size(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def batch_size(self) -> int:
        return self.size if self.batch is None else min(self.batch, self.size)

    def __len__(self) -> int:
        """Batches of one pass; a last, smaller one counts unless dropped."""
        whole, rest = divmod(self.size, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The examples of one pass, in order."""
        if not self.shuffle:
            return np.arange(self.size)
        key = np.random.SeedSequence([seed, self.number, epoch])
        draws = np.random.Generator(np.random.Philox(key)).random(self.size)
        return np.argsort(draws, kind="stable")

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Arrays]:
        """The batches of one pass, from batch `start` on."""
        order = self.order(seed, epoch)
        for i in range(start, len(self)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield {name: array[chosen] for name, array in self.arrays.items()}


def joint(streams: list[Stream], seed: int, epoch: int, start: int = 0) -> Iterator[Arrays]:
    """Batches of several sources together: an epoch is one pass over the first, the others go
    round, each pass in a new order."""
    first, *others = streams
    begin = epoch * len(first) + start
    rounds = [_endless(stream, seed, begin) for stream in others]
    for batch in first.batches(seed, epoch, start):
        merged = dict(batch)
        for other in rounds:
            merged.update(next(other))
        yield merged


def _endless(stream: Stream, seed: int, begin: int) -> Iterator[Arrays]:
    turn, at = divmod(begin, len(stream))
    while True:
        yield from stream.batches(seed, turn, at)
        turn, at = turn + 1, 0
