"""The draws of random ops, made here and handed to every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec.ir.graph import Training
from dlspec.ir.static import Known
from dlspec.ops.base import Op
from dlspec.ops.random import Dropout, RandomNormal, RandomUniform
from dlspec.passes.randomness import DrawSpec
from dlspec.training.unit import Graph
from dlspec.weights.initial import stream

Sample: TypeAlias = Callable[[Any, np.random.Generator, tuple[int, ...]], NDArray[Any]]


def random_draws(
    specs: Sequence[DrawSpec], steps: Iterable[int], seed: int
) -> dict[str, NDArray[Any]]:
    """{`STEP/NUMBER`: array}, in the order in which one run draws."""
    return {
        f"{step}/{i}": SAMPLES[type(spec.op)](spec.op, stream(seed, f"draw {step} {i}"), spec.shape)
        for step in steps
        for i, spec in enumerate(specs)
    }


def repetitions(graph: Graph) -> int:
    """How often the step that runs most often runs in one iteration."""
    steps = graph.steps if isinstance(graph, Training) else ()
    return max((step.times for step in steps), default=1)


def _mask(op: Dropout, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    p = _number(op.p)
    kept = rng.random(shape) >= p
    return kept / (1.0 - p) if p < 1 else np.zeros(shape)


def _normal(op: RandomNormal, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return _number(op.mean) + _number(op.std) * rng.standard_normal(shape)


def _uniform(op: RandomUniform, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    low = _number(op.low)
    return low + (_number(op.high) - low) * rng.random(shape)


def _number(value: float | Known) -> float:
    number = value.value if isinstance(value, Known) else value
    assert isinstance(number, int | float)
    return float(number)


SAMPLES: dict[type[Op], Sample] = {
    Dropout: _mask,
    RandomNormal: _normal,
    RandomUniform: _uniform,
}
