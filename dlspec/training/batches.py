"""The order of examples: from the seed alone, so the same on every backend and after a resume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec.training.augment import Augment, Draws

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Stream:
    """One data source as batches. number: its place among the training's sources; batch: None
    takes all examples at once. leader: the number of an earlier source whose batches it matches:
    it gives as many examples as that one does. augment: what is done to its images."""

    arrays: Mapping[str, NDArray[Any]]
    batch: int | None
    shuffle: bool
    drop_last: bool = False
    number: int = 0
    leader: int | None = None
    augment: Augment | None = None

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
            yield self.taken(seed, epoch, chosen)

    def taken(self, seed: int, epoch: int, chosen: NDArray[np.int64]) -> Arrays:
        """Some examples, as they are in one pass."""
        found = {name: array[chosen] for name, array in self.arrays.items()}
        if self.augment is None:
            return found
        draws = _draws(self.augment, self.size, seed, self.number, epoch).of(chosen)
        return {name: self.augment(name, array, draws) for name, array in found.items()}

    def examples(self, batches: int) -> int:
        """How many examples so many batches hold, pass after pass."""
        turns, at = divmod(batches, len(self))
        return turns * min(self.size, len(self) * self.batch_size) + at * self.batch_size


def joint(streams: Sequence[Stream], seed: int, start: int = 0) -> Iterator[Arrays]:
    """Batches of several sources together, without end, from batch `start` of the run on. Each
    source goes round on its own, each pass in a new order."""
    rounds: dict[int, Iterator[Arrays]] = {}
    followers: dict[int, Iterator[tuple[int, int]]] = {}
    for stream in streams:
        if stream.leader is None:
            rounds[stream.number] = _endless(stream, seed, start)
        else:
            done = streams[stream.leader].examples(start)
            followers[stream.number] = _one_by_one(stream, seed, done)
    while True:
        merged: Arrays = {}
        sizes: dict[int, int] = {}
        for stream in streams:
            if stream.leader is None:
                batch = next(rounds[stream.number])
            else:
                places = islice(followers[stream.number], sizes[stream.leader])
                batch = _gathered(stream, seed, places)
            sizes[stream.number] = size_of(batch)
            merged |= batch
        yield merged


def size_of(batch: Arrays) -> int:
    """Examples in a batch: of its first source, where there are several."""
    return len(next(iter(batch.values())))


def _endless(stream: Stream, seed: int, start: int) -> Iterator[Arrays]:
    turn, at = divmod(start, len(stream))
    while True:
        yield from stream.batches(seed, turn, at)
        turn, at = turn + 1, 0


def _one_by_one(stream: Stream, seed: int, start: int) -> Iterator[tuple[int, int]]:
    """Pass and example, pass after pass."""
    turn, at = divmod(start, stream.size)
    while True:
        yield from ((turn, i) for i in stream.order(seed, turn)[at:].tolist())
        turn, at = turn + 1, 0


def _gathered(stream: Stream, seed: int, places: Iterable[tuple[int, int]]) -> Arrays:
    parts = [
        stream.taken(seed, turn, np.array([i for _, i in group]))
        for turn, group in groupby(places, key=lambda place: place[0])
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@lru_cache(maxsize=8)  # one for each source that is being read
def _draws(augment: Augment, size: int, seed: int, number: int, epoch: int) -> Draws:
    return augment.draws(size, [seed, number, epoch])
