"""Rows of the conformance table: what a spec says, and an independent reference for it.

A reference takes the inputs by name, and the layer's weights as `p`, as torch tensors in float64.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]
Maker = Callable[[np.random.Generator, tuple[int, ...]], Array]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.random(shape) + 0.5


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Within (0, 1)."""
    return rng.random(shape) * 0.8 + 0.1


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.sign(rng.standard_normal(shape))


def flags(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.random(shape) < 0.5


def hot(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """0 or 1."""
    return flags(rng, shape).astype(float)


def shares(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Probabilities along the last axis."""
    found = rng.random(shape)
    return found / found.sum(-1, keepdims=True)


def below(bound: int, first: int = 0) -> Maker:
    return lambda rng, shape: rng.integers(first, bound, shape)


@dataclass(frozen=True)
class Input:
    """type: as the spec says it, `N` the batch. learned: it takes a gradient."""

    type: str
    maker: Maker = normal
    learned: bool = True

    @property
    def is_float(self) -> bool:
        return self.type.startswith("[")

    def shape(self, batch: int) -> tuple[int, ...]:
        inside = self.type[self.type.index("[") + 1 : -1]
        parts = [part.strip() for part in inside.split(",") if part.strip()]
        return tuple(batch if part == "N" else int(part) for part in parts)


@dataclass(frozen=True)
class Row:
    """batches: the sizes of N it is run with. smooth: its gradient is that of its values, not one
    that is meant otherwise. still: training computes the same. tolerance: that of
    the reference in float64. note: in what it differs from
    torch."""

    text: str
    reference: Callable[..., Any]
    batches: tuple[int, ...] = (3, 1, 0)
    smooth: bool = True
    still: bool = True
    tolerance: float = 1e-10
    note: str = ""

    def inputs(self, table: Table) -> list[str]:
        return [
            name
            for name in table.inputs
            if re.search(rf'(?<![\w".]){name}(?![\w"(])(?! = )', self.text)
        ]

    def wanted(self, table: Table, tensors: dict[str, Tensor], weights: Sequence[Tensor]) -> Any:
        """A lambda takes what it names, a function the inputs in order."""
        if getattr(self.reference, "__name__", "") != "<lambda>":
            return self.reference(*(tensors[n] for n in self.inputs(table)))
        given: dict[str, Any] = {"p": weights, **tensors}
        names = inspect.signature(self.reference).parameters
        if "_" not in names:
            given = {name: given[name] for name in names}
        return self.reference(**given)


@dataclass(frozen=True)
class Table:
    """Rows over the same inputs. uses: lines that the spec begins with."""

    name: str
    inputs: dict[str, Input]
    rows: Sequence[Row]
    uses: str = ""

    def tensors(self, batch: int) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        return {name: x.maker(rng, x.shape(batch)) for name, x in self.inputs.items()}


def rows(*forms: tuple[Any, ...]) -> tuple[Row, ...]:
    """Rows of (what a spec says, the reference, and whatever else by name)."""
    return tuple(Row(form[0], form[1], **(form[2] if len(form) > 2 else {})) for form in forms)


def double(value: Array) -> Tensor:
    return torch.as_tensor(value.astype(float) if value.dtype.kind == "f" else value)
