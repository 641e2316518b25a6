"""Schedules in expressions: `linear(0.0, 1.0, steps = 1000) * kl`."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from dlspec.elaborate.training.optimizers import is_schedule, read_schedule
from dlspec.ir.graph import Value
from dlspec.ir.types import DType, TensorType
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator


def scheduled(e: Evaluator, call: ast.Call) -> Value | None:
    """The scalar of a schedule: an input of the training function that the host computes at each
    iteration. None where the call is another."""
    section = e.session.training
    if section is None or e.scope is not section.scope or not is_schedule(section, call):
        return None
    assert isinstance(call.callee, ast.Name)
    kind = call.callee.id
    if e.defines(kind):
        return None
    spec = read_schedule(section, call)
    inputs = {value.name: value for value in section.function.inputs}
    for name, other in section.scheduled.items():
        if other == spec:
            return inputs[name]
    names = (kind if i == 1 else f"{kind}{i}" for i in count(1))
    name = next(name for name in names if name not in inputs)
    value = Value(TensorType(DType.FLOAT, ()), name, call.span)
    section.scheduled[name] = spec
    section.function.inputs = (*section.function.inputs, value)
    return value
