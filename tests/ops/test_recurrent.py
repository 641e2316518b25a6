"""The ops of recurrent layers: shapes, costs, NumPy's gradients by differences, what is refused.

`tests/recurrence` has the layers against torch's. RecurrentGrad takes what its forward saved, so
that it is run after it, and not on random operands.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dlspec_numpy.emitted import recurrent as emitted

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Value
from dlspec.ir.types import DType, TensorType
from dlspec.ops.build import BuildError, FunctionBuilder
from dlspec.ops.recurrent import Gru, Lstm, Recurrent, Rnn
from tests.ops.cases_recurrent import OPS

N, T, D, HIDDEN, OUTPUT = 2, 4, 3, 5, 2


def operands_of(op: Recurrent) -> list[Value]:
    hidden = Dim.const(HIDDEN)
    output = Dim.const(OUTPUT) if getattr(op, "projected", False) else hidden
    batch, steps, features = (Dim.parse(name) for name in ("N", "T", "D"))
    types = [TensorType(DType.FLOAT, (batch, steps, features))]
    if op.masked:
        types.append(TensorType(DType.BOOL, (batch, steps)))
    if op.held:
        count = Dim.const(op.layers * op.directions)
        sizes = op.sizes(hidden, output)
        types += [TensorType(DType.FLOAT, (count, batch, size)) for size in sizes]
    weights = op.weights(hidden, output, features)
    types += [TensorType(DType.FLOAT, shape) for _, shape in weights]
    return [Value(type) for type in types]


def arrays(values: list[Value], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = []
    for value in values:
        shape = [d.evaluate({"N": N, "T": T, "D": D}) for d in value.type.shape]
        if value.type.dtype is DType.BOOL:
            found.append(rng.random(shape) < 0.6)
        else:
            found.append(rng.standard_normal(shape))
    return found


def call(op: Recurrent, operands: list[np.ndarray], *before: Any, suffix: str = "") -> Any:
    flags: dict[str, Any] = {"biases": op.biases, "bidirectional": op.bidirectional}
    for name in ("projected", "reset_after", "act"):
        if hasattr(op, name):
            flags[name] = getattr(op, name)
    if op.masked:
        flags["mask"] = operands[1]
    if op.held:
        flags["states"] = tuple(operands[1 + op.masked : op.inputs])
    weights = operands[op.inputs :]
    return getattr(emitted, op.name + suffix)(operands[0], weights, *before, **flags)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_results_have_the_types_of_the_rule(op: Recurrent):
    function = Function("f", "block", inputs=tuple(operands_of(op)))
    results = FunctionBuilder(function).emit_all(op, *function.inputs)
    types = [v.type for v in function.inputs], [v.type for v in results]
    sizes = {"N": N, "T": T, "D": D}
    for result, array in zip(results, call(op, arrays([*function.inputs])), strict=True):
        assert array.shape == tuple(d.evaluate(sizes) for d in result.type.shape)
    assert op.flops(*types).evaluate(sizes) == 2 * op.macs(*types).evaluate(sizes) > 0


@pytest.mark.parametrize("op", OPS, ids=str)
def test_gradient_by_differences(op: Recurrent):
    values = operands_of(op)
    operands = arrays(values)
    *results, saved = call(op, operands)
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(r.shape) for r in results]
    found = list(call(op, operands, saved, tuple(cotangents), suffix="_grad"))
    if op.masked:
        found.insert(1, None)
    for place, (operand, gradient) in enumerate(zip(operands, found, strict=True)):
        if gradient is None:
            continue
        assert gradient.shape == operand.shape
        v, sides = rng.standard_normal(operand.shape), []
        for step in (1e-5, -1e-5):
            moved = [*operands]
            moved[place] = operand + step * v
            ys = call(op, moved)[:-1]
            sides.append(sum(float((y * c).sum()) for y, c in zip(ys, cotangents, strict=True)))
        slope = (sides[0] - sides[1]) / 2e-5
        assert abs(slope - float((gradient * v).sum())) < 1e-6 * max(1.0, abs(slope))


@pytest.mark.parametrize("op", OPS, ids=str)
def test_gradients_that_are_not_given_are_zero(op: Recurrent):
    operands = arrays(operands_of(op))
    *results, saved = call(op, operands)
    none = tuple(None if k else np.ones_like(r) for k, r in enumerate(results))
    zero = tuple(np.zeros_like(r) if k else np.ones_like(r) for k, r in enumerate(results))
    one, other = (call(op, operands, saved, g, suffix="_grad") for g in (none, zero))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_the_gradient_s_types_are_the_operands(op: Recurrent):
    function = Function("f", "block", inputs=tuple(operands_of(op)))
    b = FunctionBuilder(function)
    results = b.emit_all(op, *function.inputs)
    grads = [Value(results[0].type), *(None for _ in results[1:])]
    found = op.gradient(b, function.inputs, results, grads)
    for operand, gradient in zip(function.inputs, found, strict=True):
        assert gradient is None or gradient.type == operand.type
        assert (gradient is None) == (operand.type.dtype is DType.BOOL)
    assert op.gradient(b, function.inputs, results, [None] * len(results)) == [None] * len(found)


WRONG: list[tuple[Recurrent, int, str, tuple[str, ...], str]] = [
    (Lstm(), 0, "f", ("N", "D"), "the input is [N, T, D], and this is [N, D]"),
    (Lstm(), 1, "f", ("20", "D + 1"), "the weight weight_ih_l0 is [20, D + 1]"),
    (Gru(), 2, "f", ("16", "5"), "the weight weight_hh_l0 is [16, 5]"),
    (Rnn(), 3, "f", ("6",), "the weight bias_ih_l0 is [6]"),
    (Lstm(held=True), 2, "f", ("2", "N", "5"), "the state `c` is [2, N, 5]"),
    (Gru(held=True), 1, "f", ("N", "5"), "the state `h` is [N, 5]"),
    (Rnn(masked=True), 1, "f", ("N", "T"), "the mask is bool[N, T], and this is"),
    (Rnn(masked=True), 1, "b", ("N",), "the mask is bool[N, T], and this is"),
    (Rnn(masked=True), 1, "b", ("N", "T + 1"), "the mask is bool[N, T], and this is"),
]


@pytest.mark.parametrize(("op", "place", "kind", "shape", "message"), WRONG)
def test_operands_that_do_not_fit(
    op: Recurrent, place: int, kind: str, shape: tuple[str, ...], message: str
):
    values = operands_of(op)
    dtype = DType.BOOL if kind == "b" else DType.FLOAT
    values[place] = Value(TensorType(dtype, tuple(Dim.parse(d) for d in shape)))
    function = Function("f", "block", inputs=tuple(values))
    with pytest.raises(BuildError) as error:
        FunctionBuilder(function).emit_all(op, *function.inputs)
    assert message in error.value.message


def test_one_layer_of_a_network_has_its_own_names():
    one = replace(Lstm(layers=3), layers=1, first=2, single=True)
    assert one.names == ["weight_ih_l2", "weight_hh_l2", "bias_ih_l2"]
