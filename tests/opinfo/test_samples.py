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
    dtype = torch.float64 if torch.float64 in op.dtypes else torch.int64
    for sample in op.sample_inputs("cpu", dtype):
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


def test_every_operator_is_here_or_absent_for_a_reason() -> None:
    named = {op.name.removeprefix(F) for op in op_db if op.name.startswith(F)}
    here = {name.removeprefix(F) for name in FUNCTIONS if name.startswith(F)}
    assert named == here | set(ABSENT)


def test_most_samples_run() -> None:
    """After the others, whose counts it reads."""
    if len(SAMPLES) < len(FUNCTIONS):
        pytest.skip("run with the samples")
    every = SAMPLES.total(), RUN.total()
    ours = [sum(c for n, c in k.items() if n.startswith(F)) for k in (SAMPLES, RUN)]
    small = [c for n, c in SAMPLES.items() if n.startswith(F) and "max_pool" not in n]
    print(f"{len(SAMPLES)} operators: {every[1]} of {every[0]} samples run")
    print(f"of torch.nn.functional {ours[1]} of {ours[0]}, {sum(small)} of them without max_pool")
    for counts in (REASONS, NOTES):
        print(*(f"{count:6} {text}" for text, count in counts.most_common()), sep="\n")
    assert every[1] >= 0.85 * every[0]
    assert ours[1] >= 0.85 * ours[0]
