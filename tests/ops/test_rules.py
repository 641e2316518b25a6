"""Every op: shape rule against what comes out, gradient and second gradient against torch's
autograd and against central differences, all in float64."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

import dlspec.ops
from dlspec.ir.graph import Function, Value
from dlspec.ops.base import Op
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.composite import Composite, Tape
from dlspec.ops.gradient import Grad
from dlspec.ops.recurrent import Recurrent, RecurrentGrad

from . import cases, evaluate
from .cases import CASES, RANDOM, Case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

ids = [case.id for case in CASES]


def run(case: Case, tensors: Sequence[Tensor]) -> list[Tensor]:
    return evaluate.evaluate(cases.build(case), tensors, case.sizes)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_shape_rule(case: Case) -> None:
    run(case, case.tensors())  # compares every type


def differentiable(case: Case) -> bool:
    outputs = cases.build(case).outputs
    floats = [v for v in case.values() if v.type.dtype.is_float]
    return bool(floats) and any(v.type.dtype.is_float for v in outputs)


SMOOTH = [case for case in CASES if differentiable(case)]
smooth_ids = [case.id for case in SMOOTH]


def gradients(case: Case, order: int) -> tuple[Function, list[int]]:
    """A function from operands and cotangents to the gradients of the given order, and which of
    its inputs so far the outputs belong to.

    Order 1: inputs are the operands, then a cotangent for each output. Order 2: further, a
    cotangent for each gradient; outputs are the gradients of operands and cotangents.
    """
    function = Function("f", "block", inputs=tuple(case.values()))
    tape = Tape(FunctionBuilder(function))
    operands = function.inputs
    results = tape.emit_all(case.op, *operands)
    cotangents = [Value(v.type) if v.type.dtype.is_float else None for v in results]
    if type(case.op).__name__ == "BatchNorm":  # the running statistics take no gradient
        cotangents[1] = cotangents[2] = None
    if isinstance(case.op, Recurrent):  # what it saves is for its gradient alone
        cotangents[-1] = None
    given = [v for v in cotangents if v is not None]
    function.inputs = (*operands, *given)
    found: Sequence[Value | None]
    found = case.op.gradient(tape, operands, results, cotangents)
    if order == 2:
        seconds = [Value(v.type) if v is not None else None for v in found]
        sources = function.inputs
        function.inputs = (*sources, *(v for v in seconds if v is not None))
        present = [v for v in found if v is not None]
        found = tape.pullback(present, [v for v in seconds if v is not None], sources)
    places = [i for i, v in enumerate(found) if v is not None]
    function.outputs = tuple(v for v in found if v is not None)
    for i, v in zip(places, function.outputs, strict=True):
        assert v.type.shape == function.inputs[i].type.shape or case_equal(case, v, i, function)
    return function, places


def case_equal(case: Case, value: Value, place: int, function: Function) -> bool:
    other = function.inputs[place].type.shape
    return [n.evaluate(case.sizes) for n in value.type.shape] == [
        n.evaluate(case.sizes) for n in other
    ]


def inputs_of(case: Case, function: Function) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    tensors = case.tensors()
    for value in function.inputs[len(tensors) :]:
        size = [extent.evaluate(case.sizes) for extent in value.type.shape]
        tensors.append(torch.randn(size, generator=generator, dtype=torch.float64))
    return tensors


def autograd(outputs: Sequence[Tensor], inputs: Sequence[Tensor], g: Sequence[Tensor]) -> Any:
    pairs = [(y, c) for y, c in zip(outputs, g, strict=True) if y.requires_grad]
    if not pairs:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(
        [y for y, _ in pairs],
        inputs,
        [c for _, c in pairs],
        create_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return list(found)


def close(mine: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    scale = max(1.0, float(theirs.abs().max()) if theirs.numel() else 1.0)
    torch.testing.assert_close(mine, theirs, rtol=0.0, atol=tolerance * scale)


@pytest.mark.parametrize("case", SMOOTH, ids=smooth_ids)
def test_gradient(case: Case) -> None:
    function, places = gradients(case, 1)
    tensors = inputs_of(case, function)
    mine = dict(zip(places, evaluate.evaluate(function, tensors, case.sizes), strict=True))
    count = len(case.operands)
    leaves = [t.clone().requires_grad_(t.is_floating_point()) for t in tensors[:count]]
    outputs = [y for y in run(case, leaves) if y.is_floating_point()]
    outputs = tracked(case, outputs)
    floats = [i for i, leaf in enumerate(leaves) if leaf.requires_grad]
    theirs = autograd(outputs, [leaves[i] for i in floats], tensors[count:])
    for i, expected in zip(floats, theirs, strict=True):
        if i in untouched(case):
            assert i not in mine
            continue
        close(mine.get(i, torch.zeros_like(expected)), expected.detach())


def tracked(case: Case, outputs: list[Tensor]) -> list[Tensor]:
    """Those that a gradient may come to."""
    if type(case.op).__name__ == "BatchNorm":
        return [outputs[0], *outputs[3:]]
    return outputs[:-1] if isinstance(case.op, Recurrent) else outputs


def untouched(case: Case) -> set[int]:
    """Operands that by definition take no gradient, though the formula would give one."""
    name = type(case.op).__name__
    if name in ("CrossEntropy", "CrossEntropyGrad") and case.op.weighted:  # type: ignore[attr-defined]
        return {2}
    if name in ("BatchNorm",):
        return {1, 2}
    return set()


FLAT = ("StopGradient", "Read", "Update", "Cast", "Floor", "Ceil", "Round", "Step")


@pytest.mark.parametrize("case", SMOOTH, ids=smooth_ids)
def test_gradient_by_differences(case: Case) -> None:
    if type(case.op).__name__ in FLAT:
        pytest.skip("flat, or not what it says")
    if getattr(case.op, "padding", None) is not None and type(case.op).__name__ == "Embedding":
        pytest.skip("the row of the padding takes no gradient by definition")
    function, places = gradients(case, 1)
    tensors = inputs_of(case, function)
    found = evaluate.evaluate(function, tensors, case.sizes)
    count = len(case.operands)

    def outputs(values: Sequence[Tensor]) -> list[Tensor]:
        return tracked(case, [y for y in run(case, values) if y.is_floating_point()])

    check_differences(outputs, tensors[:count], tensors[count:], places, found)


def check_differences(
    outputs: Any,
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    places: Sequence[int],
    found: Sequence[Tensor],
    step: float = 1e-5,
    tolerance: float = 2e-7,
) -> None:
    """<cotangents, df/dx v> against <gradient, v> for a random direction v of each input."""
    generator = torch.Generator().manual_seed(3)
    for place, gradient in zip(places, found, strict=True):
        x = inputs[place]
        v = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        sides: list[Any] = []
        for sign in (1.0, -1.0):
            moved = [*inputs[:place], x + sign * step * v, *inputs[place + 1 :]]
            ys = [y.detach() for y in outputs(moved)]
            sides.append(sum(float((y * c).sum()) for y, c in zip(ys, cotangents, strict=True)))
        slope = (sides[0] - sides[1]) / (2 * step)
        mine = float((gradient.detach() * v).sum())
        assert abs(slope - mine) <= tolerance * max(1.0, abs(slope)), (place, slope, mine)


@pytest.mark.parametrize("case", SMOOTH, ids=smooth_ids)
def test_second_gradient(case: Case) -> None:
    """The gradient's own gradient, by differences and, where torch has it, by torch."""
    if isinstance(case.op, Recurrent):
        pytest.skip("the gradient of a recurrent layer has none of its own")
    first, first_places = gradients(case, 1)
    if not first_places:
        pytest.skip("the gradient is zero")
    function, places = gradients(case, 2)
    tensors = inputs_of(case, function)
    found = evaluate.evaluate(function, tensors, case.sizes)
    split = len(first.inputs)

    def outputs(values: Sequence[Tensor]) -> list[Tensor]:
        return evaluate.evaluate(first, values, case.sizes)

    seen = dict(zip(places, found, strict=True))
    floats = [i for i, t in enumerate(tensors[:split]) if t.is_floating_point()]
    touched = [i for i in floats if i not in untouched(case)]
    gradient = [seen.get(i, torch.zeros_like(tensors[i])) for i in touched]
    check_differences(outputs, tensors[:split], tensors[split:], touched, gradient)
    leaves = [t.clone().requires_grad_(t.is_floating_point()) for t in tensors[:split]]
    theirs = autograd(outputs(leaves), [leaves[i] for i in touched], tensors[split:])
    for mine, expected in zip(gradient, theirs, strict=True):
        close(mine, expected.detach(), 1e-9)


COMPOSITE = [case for case in CASES if isinstance(case.op, Composite)]


@pytest.mark.parametrize("case", COMPOSITE, ids=[case.id for case in COMPOSITE])
def test_expansion(case: Case) -> None:
    """A composite op is what its expansion says."""
    function = Function("f", "block", inputs=tuple(case.values()))
    assert isinstance(case.op, Composite)
    function.outputs = tuple(case.op.expand(FunctionBuilder(function), function.inputs))
    tensors = case.tensors()
    mine = evaluate.evaluate(function, tensors, case.sizes)
    for one, other in zip(mine, run(case, tensors), strict=True):
        close(one, other.detach())


def concrete_ops() -> set[type[Op]]:
    for module in pkgutil.iter_modules(dlspec.ops.__path__):
        importlib.import_module(f"dlspec.ops.{module.name}")
    found: set[type[Op]] = set()
    stack: list[type[Op]] = [Op]
    while stack:
        kind = stack.pop()
        below = kind.__subclasses__()
        stack += below
        if not below and kind.__module__.startswith("dlspec.ops."):
            found.add(kind)
    return found


def test_every_op_has_a_case() -> None:
    tried = {type(case.op) for case in CASES + RANDOM}
    # what a recurrent layer saves is an operand of its gradient, which no row could make up
    # and `Grad` means nothing without the body around it
    assert concrete_ops() <= tried | {RecurrentGrad, Grad}


def test_every_op_has_a_docstring() -> None:
    for kind in concrete_ops():
        assert kind.__doc__ and not kind.__doc__.startswith(kind.__name__ + "("), kind


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_costs_evaluate(case: Case) -> None:
    function = cases.build(case)
    types = [v.type for v in function.inputs], [v.type for v in function.outputs]
    assert case.op.flops(*types).evaluate(case.sizes) >= 0
    assert case.op.macs(*types).evaluate(case.sizes) >= 0
