"""Every row of torch's table: what it emits computes the op, and without it there is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from dlspec_torch import Target
from dlspec_torch.table import TABLE

from dlspec.codegen import Unit, Unsupported
from dlspec.diagnostics import Failure
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Value
from dlspec.ir.static import Symbol
from dlspec.ir.types import DType, TensorType
from dlspec.ops import shape
from dlspec.ops.base import Op
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Constant
from dlspec.ops.gradient import Grad
from dlspec.ops.recurrent import RecurrentGrad
from dlspec.passes.randomness import NextDraw
from tests.ops import cases_recurrent, evaluate
from tests.ops.cases import CASES, RANDOM, Case, build

from .build import load

TARGET = Target()
SUPPORTED = [c for c in CASES if not isinstance(TABLE.get(type(c.op)), Unsupported)]
ALL = [*SUPPORTED, *RANDOM]


def unit_of(case: Case) -> Unit:
    """A model that is the op alone. Sizes that no input tells become parameters."""
    function: Function = build(case)
    function.name, function.kind = "Net", "model"
    for i, value in enumerate(function.inputs):
        value.name = f"a{i}"
    if not isinstance(case.op, shape.Split):
        function.outputs = function.outputs[:1]
    bare = {str(d) for v in function.inputs for d in v.type.shape}
    for name, size in case.sizes.items():
        if name not in bare:
            function.symbols[name] = Symbol("param", size)
            function.statics[name] = Dim.symbol(name)
    return Unit(function)


@pytest.mark.parametrize("case", SUPPORTED, ids=[c.id for c in SUPPORTED])
def test_emitted_op(case: Case) -> None:
    unit = unit_of(case)
    emitted = load(TARGET.generate(unit).source)
    net = emitted.init(dtype="float64").net.train()
    tensors = case.tensors()
    expected = evaluate.evaluate(build(case), tensors, case.sizes)
    found = net(*tensors)
    outputs = found if isinstance(found, tuple) else (found,)
    for ours, theirs in zip(outputs, expected, strict=False):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours.detach().numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", TABLE, ids=[kind.__name__ for kind in TABLE])
def test_a_row_is_needed(kind: type[Op], monkeypatch: pytest.MonkeyPatch) -> None:
    row = TABLE[kind]
    unit = _unit_with(kind)
    if not isinstance(row, Unsupported):
        TARGET.generate(unit)
        monkeypatch.delitem(TABLE, kind)
    with pytest.raises(Failure) as caught:
        TARGET.generate(unit)
    assert caught.value.diagnostic.code.name == "E0701"
    assert caught.value.diagnostic.message.startswith(f"torch cannot lower {kind.__name__}")


def _unit_with(kind: type[Op]) -> Unit:
    case = next((c for c in [*CASES, *RANDOM] if type(c.op) is kind), None)
    if case is not None:
        return unit_of(case)
    if kind is RecurrentGrad:
        return Unit(cases_recurrent.gradient())
    x = Value(TensorType(DType.FLOAT, (Dim.symbol("N"),)), "x")
    function = Function("Net", "model", inputs=(x,))
    ops: dict[type[Op], Op] = {
        Constant: Constant((1.0, 2.0)),
        Grad: Grad(),
        NextDraw: NextDraw(x.type),
        shape.Arange: shape.Arange(Dim.of(0), Dim.of(5), Dim.of(1), DType.I64),
    }
    operands = (x, x) if kind is Grad else ()
    function.outputs = FunctionBuilder(function).emit_all(ops[kind], *operands)
    return Unit(function)


def test_every_op_has_a_row() -> None:
    kinds: set[Any] = {type(c.op) for c in [*CASES, *RANDOM]}
    assert kinds <= set(TABLE)


@pytest.mark.parametrize("case", RANDOM, ids=[c.id for c in RANDOM])
def test_draws_have_the_distribution(case: Case) -> None:
    emitted = load(TARGET.generate(unit_of(case)).source)
    net = emitted.init(dtype="float64").net.train()
    tensors = case.tensors()
    torch.manual_seed(0)
    drawn = torch.stack([net(*tensors) for _ in range(4000)])
    reference = tensors[0] if tensors else drawn
    if tensors:
        np.testing.assert_allclose(drawn.mean(0), reference, atol=0.12)
    elif "Normal" in case.id:
        assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05
    else:
        assert drawn.min() >= -1 and drawn.max() <= 2 and abs(drawn.mean() - 0.5) < 0.05
