"""Every row of the table: values and gradients against torch, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dlspec_jax import Target
from dlspec_jax.table import TABLE

from dlspec.codegen import NextDraw, Unit, Unsupported
from dlspec.diagnostics import Failure
from dlspec.ir.graph import Function, Value
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.norm import BatchNorm
from dlspec.ops.random import RandomNormal, RandomUniform
from dlspec.ops.recurrent import Recurrent
from tests.ops import cases, evaluate
from tests.ops.cases import CASES, RANDOM, Case

from .build import load

SUPPORTED = [
    case
    for case in CASES
    if type(case.op) is not BatchNorm and not isinstance(TABLE.get(type(case.op)), Unsupported)
]


@pytest.fixture(autouse=True)
def _double_and_quick_to_compile() -> Any:
    wanted = {"jax_enable_x64": True, "jax_disable_most_optimizations": True}
    before = {name: jax.config.read(name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def build(case: Case) -> Function:
    """A model of one op."""
    inputs = [Value(type, f"x{i}") for i, (_, type) in enumerate(case.kinds())]
    function = Function("f", "model", inputs=tuple(inputs))
    function.outputs = FunctionBuilder(function).emit_all(case.op, *inputs)
    if isinstance(case.op, Recurrent):  # JAX saves for the gradient by itself
        function.outputs = function.outputs[:-1]
    function.requirements = []
    return function


def lowered(function: Function) -> Any:
    """The function as a Python function of arrays, without jit."""
    infer = load(Target().generate(Unit(function)).source).infer.__wrapped__

    def run(*arrays: Any) -> list[Any]:
        inputs = {f"x{i}": array for i, array in enumerate(arrays)}
        found = infer({"params": {"float": jnp.zeros(1)}}, inputs)
        return list(found.values()) if isinstance(found, dict) else [found]

    return run


@pytest.mark.parametrize("case", SUPPORTED, ids=[case.id for case in SUPPORTED])
def test_values_and_gradients(case: Case) -> None:
    tensors = case.tensors()
    leaves = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    expected = evaluate.evaluate(cases.build(case), leaves, case.sizes)
    if isinstance(case.op, Recurrent):
        expected = expected[:-1]
    places = [i for i, t in enumerate(leaves) if t.is_floating_point()]
    smooth = [i for i, t in enumerate(expected) if t.requires_grad]
    generator = torch.Generator().manual_seed(1)
    cotangents = [
        torch.randn(expected[i].shape, generator=generator, dtype=torch.float64) for i in smooth
    ]
    run = lowered(bind_sizes(build(case), case))
    arrays = [jnp.asarray(t.detach().numpy()) for t in tensors]

    @jax.jit
    def with_gradients(arrays: list[Any], cotangents: list[Any]) -> tuple[Any, Any]:
        def of_floats(*floats: Any) -> tuple[list[Any], list[Any]]:
            given = list(arrays)
            for place, value in zip(places, floats, strict=True):
                given[place] = value
            found = run(*given)
            return [found[i] for i in smooth], found

        _, pullback, found = jax.vjp(of_floats, *(arrays[i] for i in places), has_aux=True)
        return found, pullback(cotangents)

    found, gradients = with_gradients(arrays, [jnp.asarray(c.numpy()) for c in cotangents])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.detach().numpy(), rtol=1e-12, atol=1e-12)
    if not smooth or not places:
        return
    wanted = torch.autograd.grad(
        [expected[i] for i in smooth],
        [leaves[i] for i in places],
        cotangents,
        allow_unused=True,
        materialize_grads=True,
    )
    for a, b in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-10, atol=1e-11)


def bind_sizes(function: Function, case: Case) -> Function:
    """Symbols that no input tells are known numbers."""
    from dlspec.codegen.plan import input_dims
    from dlspec.ir.static import Symbol

    told = input_dims(function)
    for name, size in case.sizes.items():
        if name not in told:
            function.symbols[name] = Symbol("param", size)
    return function


@pytest.mark.parametrize("case", [c for c in RANDOM if not c.operands], ids=lambda c: c.id)
def test_draws_follow_their_distribution(case: Case) -> None:
    op = case.op
    run = lowered(
        bind_sizes(build(cases.of(type(op)(cases.d(400, 500), *list(vars(op).values())[1:]))), case)
    )
    (drawn,) = run()
    if isinstance(op, RandomNormal):
        mean, std = op.mean, op.std
    else:
        assert isinstance(op, RandomUniform)
        assert op.low <= float(drawn.min()) and float(drawn.max()) < op.high
        mean, std = (op.low + op.high) / 2, (op.high - op.low) / 12**0.5
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.02)
    assert float(drawn.std()) == pytest.approx(std, rel=0.02)


def test_every_row_is_exercised() -> None:
    tried = {type(case.op) for case in [*SUPPORTED, *RANDOM]} | {NextDraw}
    rows = {op for op, row in TABLE.items() if not isinstance(row, Unsupported)}
    assert rows <= tried


def test_a_gap_names_backend_and_op() -> None:
    gaps = [case for case in CASES if isinstance(TABLE.get(type(case.op)), Unsupported)]
    assert gaps
    with pytest.raises(Failure) as failure:
        Target().generate(Unit(build(gaps[0])))
    assert failure.value.diagnostic.code.name == "E0701"
    assert "jax" in failure.value.diagnostic.message
