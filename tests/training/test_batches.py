"""Order of examples, and learning-rate schedules."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from dlspec.schedules import SCHEDULES, Clock, rate
from dlspec.training.batches import Stream, joint


def stream(size: int = 10, batch: int | None = 4, **more) -> Stream:
    return Stream({"x": np.arange(size)}, batch, **{"shuffle": True, **more})


def seen(batches) -> list[list[int]]:
    return [b["x"].tolist() for b in batches]


def test_a_pass_is_all_examples_once():
    batches = seen(stream().batches(seed=0, epoch=0))
    assert [len(b) for b in batches] == [4, 4, 2]
    assert sorted(x for b in batches for x in b) == list(range(10))


def test_order_hangs_on_seed_epoch_and_source():
    first = stream().order(0, 0).tolist()
    assert first == stream().order(0, 0).tolist()
    others = [stream().order(1, 0), stream().order(0, 1), stream(number=1).order(0, 0)]
    assert all(o.tolist() != first for o in others)


def test_the_order_is_pinned():
    """A resumed run of an older version sees the same order."""
    assert stream().order(0, 0).tolist() == ORDER


ORDER = [0, 8, 9, 3, 7, 5, 1, 2, 6, 4]


def test_batch_sizes():
    assert [len(stream(batch=b)) for b in (1, 4, 10, 64, None)] == [10, 3, 1, 1, 1]
    assert len(stream(drop_last=True)) == 2
    assert seen(stream(shuffle=False, batch=None).batches(0, 0)) == [list(range(10))]


@pytest.mark.parametrize("start", [0, 1, 3, 5, 8])
def test_joint_streams_resume_anywhere(start: int):
    a = stream(12, 4)
    b = Stream({"y": np.arange(7)}, 2, shuffle=True, number=1)
    whole = list(islice(joint([a, b], 0), 12))
    begun = list(islice(joint([a, b], 0, start), 12 - start))
    assert [listed(x) for x in begun] == [listed(x) for x in whole[start:]]


def test_each_stream_goes_round_in_a_new_order():
    a = stream(12, 4)
    b = Stream({"y": np.arange(6)}, 3, shuffle=True, number=1)
    found = [listed(x) for x in islice(joint([a, b], 0), 6)]
    passes = [joined(part, "x") for part in (found[:3], found[3:])]
    assert all(sorted(p) == list(range(12)) for p in passes)
    assert passes[0] != passes[1]
    rounds = [joined(found[i : i + 2], "y") for i in (0, 2, 4)]
    assert all(sorted(r) == list(range(6)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 3


@pytest.mark.parametrize("start", [0, 1, 3, 5, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_follower_gives_as_many_examples_as_its_leader(start: int, drop_last: bool):
    a = stream(10, 4, drop_last=drop_last)
    b = Stream({"y": np.arange(7)}, 4, shuffle=True, number=1, leader=0)
    whole = [listed(x) for x in islice(joint([a, b], 0), 12)]
    assert all(len(x["x"]) == len(x["y"]) for x in whole)
    taken = joined(whole, "y")
    rounds = [taken[i : i + 7] for i in range(0, len(taken) - 6, 7)]
    assert all(sorted(r) == list(range(7)) for r in rounds)
    assert [listed(x) for x in islice(joint([a, b], 0, start), 12 - start)] == whole[start:]


def joined(batches: list[dict[str, list[int]]], name: str) -> list[int]:
    return [x for batch in batches for x in batch[name]]


def listed(batch: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: array.tolist() for name, array in batch.items()}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "constant", "rate": 0.1}, [0.1] * 5),
        ({"kind": "step_decay", "rate": 1.0, "factor": 0.5, "every": 2}, [1, 1, 0.5, 0.25, 0.125]),
        ({"kind": "exponential", "rate": 1.0, "factor": 0.5}, [1, 0.5, 0.25, 1 / 16, 2**-6]),
        ({"kind": "cosine", "rate": 1.0}, [1, 0.853553390593, 0.5, 0, 0]),
        ({"kind": "cosine", "rate": 1.0, "warmup": 20, "end": 0.1}, [0.05, 0.55, 1, 0.1, 0.1]),
        ({"kind": "linear", "rate": 1.0, "end": 0.0, "steps": 20}, [1, 0.5, 0, 0, 0]),
        ({"kind": "linear_warmup", "rate": 1.0, "warmup": 20}, [0.05, 0.55, 1, 1, 1]),
        (
            {"kind": "linear_warmup", "rate": 1.0, "warmup": 20, "steps": 40},
            [0.05, 0.55, 1, 0, 0],
        ),
    ],
)
def test_schedules(schedule: dict[str, object], expected: list[float]):
    """At steps 0, 10, 20, the end and far past it; 10 steps an epoch, 40 in all."""
    found = [rate(schedule, Clock(step, 40, 10)) for step in (0, 10, 20, 40, 60)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_noam_peaks_after_the_warmup():
    rates = [
        rate({"kind": "noam", "width": 512, "warmup": 100}, Clock(s, 0, 0)) for s in range(300)
    ]
    assert int(np.argmax(rates)) == 99
    np.testing.assert_allclose(rates[99], (512 * 100) ** -0.5)


def test_every_schedule_is_documented():
    assert all(s.doc and s.parameters for s in SCHEDULES.values())
