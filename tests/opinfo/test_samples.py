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
from .database import ABSENT, FUNCTIONS, VARIANTS, F, mapped, op_db

BACKENDS = ("torch", "numpy", "jax")
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
    for sample, call in mapped(name):
        if isinstance(call, Call):
            wanted = op.op(sample.input, *sample.args, **sample.kwargs)
            made.append((call, wanted[0] if isinstance(wanted, tuple) else wanted))
    return sorted(made, key=lambda pair: pair[0].text)  # calls of one form side by side


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if "max_pool" in n else n for n in VARIANTS]
)
def test_samples(name: str) -> None:
    calls = calls_of(name)
    if not calls:
        pytest.skip("no sample has a counterpart")
    for start in range(0, len(calls), SIZE):
        Batch.of(calls[start : start + SIZE]).check(BACKENDS)


def test_every_operator_is_here_or_absent_for_a_reason() -> None:
    named = {op.name.removeprefix(F) for op in op_db if op.name.startswith(F)}
    here = {name.removeprefix(F) for name in FUNCTIONS if name.startswith(F)}
    assert named == here | set(ABSENT)


@pytest.mark.filterwarnings("ignore")
def test_most_samples_run() -> None:
    """Of the operators that have a counterpart. The tests above run what is counted here."""
    every: Counter[str] = Counter()
    run: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for name, op in VARIANTS.items():
        for _, call in mapped(name):
            every[op.name] += 1
            if isinstance(call, Call):
                run[op.name] += 1
                notes.update(call.notes)
            else:
                reasons[call] += 1
    print(f"{len(every)} operators: {run.total()} of {every.total()} samples run")
    functional = [n for n in every if n.startswith(F)]
    without = [n for n in functional if "max_pool" not in n]  # half of all samples are theirs
    for names, least in ((functional, 0.85), (without, 0.75)):
        share = sum(run[n] for n in names), sum(every[n] for n in names)
        print(f"{len(names)} of torch.nn.functional: {share[0]} of {share[1]}")
        assert share[0] >= least * share[1]
    for counts in (reasons, notes):
        print(*(f"{count:6} {text}" for text, count in counts.most_common()), sep="\n")
