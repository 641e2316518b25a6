"""Sizes and random numbers for a batch that a graph accepts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec import schedules
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import CallNode, Function, Reference, Slot, Training, Value, walk
from dlspec.ir.types import DType
from dlspec.training.limits import Limit, limits
from dlspec.weights.initial import stream

Arrays: TypeAlias = dict[str, NDArray[Any]]

BATCHES = (8, 16, 32, 64)  # the first that the requirements allow
IMAGE = (64, 32, 48, 96, 128, 16, 224, 256, 24, 20)  # sides tried, in order
OTHER = (12, 8, 16, 6, 10, 32, 64, 5, 7)
MAX_TRIES = 20_000


def choose_sizes(function: Function, given: Mapping[str, int]) -> dict[str, int]:
    """A value for each open size of the inputs, so that all requirements hold.

    ValueError when a given size is unknown, or nothing that was tried will do.
    """
    sizes = function.values()
    names = _open_sizes(function)
    for name in given:
        if name not in names:
            there = ", ".join(names) or "none"
            raise ValueError(f"there is no open size `{name}`; open are: {there}")
    candidates = [(given[n],) if n in given else _candidates(n, function) for n in names]
    for values in itertools.islice(itertools.product(*candidates), MAX_TRIES):
        tried = {**sizes, **dict(zip(names, values, strict=True))}
        if all(holds(r.relation, tried) for r in function.requirements):
            return tried
    needs = ", ".join(str(r.relation) for r in function.requirements)
    raise ValueError(f"no sizes found for {', '.join(names)} with {needs}; give them with --set")


def holds(relation: Relation, sizes: Mapping[str, int]) -> bool:
    """Whether a relation is true in numbers; True where it speaks of sizes not known here."""
    if not relation.symbols <= sizes.keys():
        return True
    left, right = relation.left.evaluate(sizes), relation.right.evaluate(sizes)
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[relation.op]


def _open_sizes(function: Function) -> list[str]:
    known = function.values().keys()
    found: dict[str, None] = {}
    for value in function.inputs:
        for dim in value.type.shape:
            found.update(dict.fromkeys(sorted(dim.symbols - known)))
    return list(found)


def _candidates(name: str, function: Function) -> tuple[int, ...]:
    symbol = Dim.symbol(name)
    places = [
        (axis, value.type.rank)
        for value in function.inputs
        for axis, dim in enumerate(value.type.shape)
        if symbol == dim
    ]
    if any(axis == 0 for axis, _ in places):
        return BATCHES
    return IMAGE if any(rank >= 4 and axis >= 2 for axis, rank in places) else OTHER


def random_batch(graph: Function | Training, sizes: Mapping[str, int], seed: int) -> Arrays:
    """`field/NAME` for what a training step takes, `again/NUMBER/NAME` for what its repetitions
    take, `input/NAME` for what `predict` takes; each from a stream keyed by its name. Floats are
    normal, in float64; integers within their limits.
    """
    if isinstance(graph, Function):
        return {f"input/{k}": v for k, v in _arrays(graph, sizes, seed).items()}
    fields = _arrays(graph.function, sizes, seed) | _scheduled(graph, 0)
    batch = {f"field/{name}": array for name, array in fields.items()}
    for again in range(1, 1 + sum(step.times - 1 for step in graph.steps)):
        found = _arrays(graph.function, sizes, seed, again) | _scheduled(graph, again)
        batch |= {f"again/{again}/{name}": array for name, array in found.items()}
    call = _first_call(graph)
    if call is None:
        return batch
    known = call.dims.items()
    inner = {n: d.evaluate(sizes) for n, d in known if d.symbols <= sizes.keys()}
    inputs = _arrays(call.function, {**call.function.values(), **inner}, seed)
    for value, operand in zip(call.function.inputs, call.operands, strict=True):
        same = operand.name in fields and operand in graph.function.inputs
        batch[f"input/{value.name}"] = fields[operand.name] if same else inputs[value.name]
    return batch


def _scheduled(graph: Training, step: int) -> Arrays:
    """What schedules in expressions are at some step of a run of a hundred."""
    clock = schedules.Clock(step + 10, 100, 10)
    return {n: np.asarray(schedules.rate(s, clock)) for n, s in graph.scheduled.items()}


def _first_call(training: Training) -> CallNode | None:
    """A call of the training's first network: the model that its file predicts with."""
    networks = training.networks
    for function in (training.function, *(step.slot.function for step in training.steps)):
        for node in walk(function.body):
            if isinstance(node, CallNode) and networks and _owner(node.slot) is networks[0]:
                return node
    return None


def _owner(slot: Slot) -> Slot:
    """A step calls networks that the training section hands over."""
    return slot.target if isinstance(slot, Reference) else slot


def _arrays(function: Function, sizes: Mapping[str, int], seed: int, again: int = 0) -> Arrays:
    allowed = limits(function)
    found: Arrays = {}
    for value in function.inputs:
        if value.name:
            shape = tuple(dim.evaluate(sizes) for dim in value.type.shape)
            found[value.name] = _random(value, shape, allowed.get(value.name), seed, again)
    return found


def _random(
    value: Value, shape: tuple[int, ...], limit: Limit | None, seed: int, again: int
) -> NDArray[Any]:
    rng = stream(seed, f"input {value.name} {again}" if again else f"input {value.name}")
    dtype = value.type.dtype
    if dtype is DType.BOOL:
        return rng.random(shape) < 0.7
    if dtype.is_int:
        below = limit.below if limit else 2
        return rng.integers(0, below, shape).astype(np.int64 if dtype is DType.I64 else np.int32)
    return rng.standard_normal(shape)


def moved(arrays: Arrays, seed: int) -> Arrays:
    """Each float moved by one unit in the last place, up or down."""
    found: Arrays = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            up = stream(seed, f"ulp {name}").random(array.shape) < 0.5
            array = np.nextafter(array, np.where(up, math.inf, -math.inf), dtype=array.dtype)
        found[name] = array
    return found


def has_floats(arrays: Iterable[NDArray[Any]]) -> bool:
    return any(array.dtype.kind == "f" for array in arrays)
