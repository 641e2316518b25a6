"""Torch's operator database as an oracle: its sample inputs through our built-ins, on three
backends in float64. A sample that is left out says in which meaning it differs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import pytest

pytest.importorskip("expecttest", reason="torch's operator database imports it")

import torch

from .calls import Batch, Call
from .database import ABSENT, FUNCTIONS, VARIANTS, F, op_db

pytestmark = pytest.mark.xdist_group("opinfo")  # one process: the last test reads the counts
BACKENDS = ("torch", "numpy", "jax")
SAMPLES: Counter[str] = Counter()
RUN: Counter[str] = Counter()
REASONS: Counter[str] = Counter()
NOTES: Counter[str] = Counter()
SIZE = 120  # calls in one file


@pytest.fixture(autouse=True)
def _double() -> Any:
    wanted = {"jax_enable_x64": True, "jax_disable_most_optimizations": True}
    before = {name: jax.config.read(name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def calls_of(name: str) -> list[tuple[Call, torch.Tensor]]:
    op = VARIANTS[name]
    made: list[tuple[Call, torch.Tensor]] = []
    for sample in op.sample_inputs("cpu", torch.float64):
        SAMPLES[op.name] += 1
        mapped = FUNCTIONS[op.name](sample)
        if isinstance(mapped, str):
            REASONS[mapped] += 1
            continue
        RUN[op.name] += 1
        NOTES.update(mapped.notes)
        wanted = op.op(sample.input, *sample.args, **sample.kwargs)
        made.append((mapped, wanted[0] if isinstance(wanted, tuple) else wanted))
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VARIANTS)
def test_samples(name: str) -> None:
    calls = calls_of(name)
    calls.sort(key=lambda pair: pair[0].text)  # calls of one form side by side
    if not calls:
        pytest.skip("no sample has a counterpart")
    for start in range(0, len(calls), SIZE):
        Batch.of(calls[start : start + SIZE]).check(BACKENDS)
