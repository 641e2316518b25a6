"""Every row of NumPy's table: the loss and the gradients of a program around one op, in float64
against torch's autograd; and without the row the program is another, or an error."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from dlspec_numpy import Target
from dlspec_numpy.emitted.tensors import erf, gelu, gelu_tanh, scatter_add
from dlspec_numpy.joins import JOINS
from dlspec_numpy.ops import (
    AttentionGradOfWeights,
    AttentionWithWeights,
    CrossEntropyWithGradient,
    GeluWithSlope,
)
from dlspec_numpy.table import TABLE

from dlspec.codegen import Unit, Unsupported
from dlspec.codegen.unit import merged_training
from dlspec.diagnostics import Failure
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    DataSource,
    Function,
    Init,
    Minimize,
    Segment,
    Training,
    Value,
    Weight,
    WeightSlot,
)
from dlspec.ir.static import Symbol
from dlspec.ir.types import DType
from dlspec.ops import elementwise, reduce
from dlspec.ops.activations import Gelu
from dlspec.ops.attention import Attention
from dlspec.ops.base import Op
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.loss import CrossEntropy
from dlspec.ops.pool import MaxPoolGrad, MaxPoolSelect
from dlspec.ops.recurrent import Recurrent, RecurrentGrad
from dlspec.ops.shape import Arange
from tests.ops import cases, cases_recurrent, evaluate
from tests.ops.cases import CASES, RANDOM, Case

from .build import load, text_unit
from .test_torch_ops import unit_of

TARGET = Target()
# MaxPoolGrad and MaxPoolSelect are given the pooled values, and the cases' are made up.
USUAL = [
    c
    for c in CASES
    if not isinstance(TABLE.get(type(c.op)), Unsupported)
    and not isinstance(c.op, MaxPoolGrad | MaxPoolSelect)
]


def program(case: Case) -> Training:
    """A section whose float operands are weights; its loss is Σ op(…) · cotangent."""
    function = Function("Section", "train")
    function.symbols = {name: Symbol("param", size) for name, size in case.sizes.items()}
    operands = [Value(type, f"x{i}") for i, (_, type) in enumerate(case.kinds())]
    for value in operands:
        if value.type.dtype.is_float:
            weight = Weight(value.name, value.type, Init("zeros"), trainable=True)
            slot = WeightSlot(Segment(value.name), weight)
            value.weight = slot, weight
            function.slots.append(slot)
    function.inputs = tuple(v for v in operands if v.weight is None)
    builder = FunctionBuilder(function)
    loss = builder.constant(0.0)
    results = builder.emit_all(case.op, *operands)
    for i in smooth(case):
        cotangent = Value(results[i].type, f"g{i}")
        function.inputs = (*function.inputs, cotangent)
        product = builder.emit(elementwise.Mul(), results[i], cotangent)
        axes = tuple(range(product.type.rank))
        part = builder.emit(reduce.Sum(axes, False), product) if axes else product
        loss = builder.emit(elementwise.Add(), loss, part)
    function.outputs, function.output_names = (loss,), ("loss",)
    data = DataSource(function.inputs, "npz", {"batch": Dim.of(1)})
    minimize = Minimize(loss, (), "sgd", {"lr": 0.1}, None)
    return Training(function, (data,), (minimize,), (), (), {})


def smooth(case: Case) -> list[int]:
    """The results that the loss is made of: floats, of modal ops the output alone, of
    recurrent layers not what they save."""
    results = cases.build(case).outputs
    found = [i for i, v in enumerate(results) if v.type.dtype is DType.FLOAT]
    if isinstance(case.op, Recurrent):
        return found[:-1]
    return found[:1] if case.op.modal else found


def emitted(case: Case) -> str:
    training = merged_training(program(case))
    return TARGET.generate(Unit(training.function, training, "Section")).source


@pytest.mark.parametrize("case", USUAL, ids=[c.id for c in USUAL])
def test_loss_and_gradients(case: Case) -> None:
    tensors = case.tensors()
    leaves = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    expected = evaluate.evaluate(cases.build(case), leaves, case.sizes)
    generator = torch.Generator().manual_seed(1)
    cotangents = {
        i: torch.randn(expected[i].shape, generator=generator, dtype=torch.float64)
        for i in smooth(case)
    }
    loss = sum(((expected[i] * g).sum() for i, g in cotangents.items()), torch.tensor(0.0))
    names = {f"x{i}": t for i, t in enumerate(leaves)}
    batch = {k: t.numpy() for k, t in names.items() if not t.is_floating_point()}
    batch |= {f"g{i}": g.numpy() for i, g in cotangents.items()}
    weights = {k: t for k, t in names.items() if t.is_floating_point()}
    floats = [t for t in leaves if t.is_floating_point()]
    wanted = []
    if loss.requires_grad:
        wanted = torch.autograd.grad(loss, floats, allow_unused=True, materialize_grads=True)
    if not any(g.any() for g in wanted):
        return check_forward(case, expected)
    module = load(emitted(case))
    state = module.import_weights(
        module.init(dtype="float64"), {k: t.detach().numpy() for k, t in weights.items()}
    )
    metrics, gradients = module.gradients(state, batch)
    np.testing.assert_allclose(metrics["loss"], loss.item(), rtol=1e-10, atol=1e-11)
    for name, gradient in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(
            gradients[name], gradient.numpy(), rtol=1e-9, atol=1e-10, err_msg=name
        )


def check_forward(case: Case, expected: list[torch.Tensor]) -> None:
    """What has no gradient: the op as a model of its own."""
    network = load(TARGET.generate(unit_of(case)).source).init(dtype="float64").network
    found = network(*(t.detach().numpy() for t in case.tensors()))
    for ours, theirs in zip(
        found if isinstance(found, tuple) else (found,), expected, strict=False
    ):
        if isinstance(ours, np.ndarray | np.generic):  # a Python number has no fixed type
            assert str(theirs.dtype).endswith(str(ours.dtype))
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12)


JOINED: dict[type[Op], type[Op]] = {  # ops that a pass makes, from these
    CrossEntropyWithGradient: CrossEntropy,
    GeluWithSlope: Gelu,
    AttentionWithWeights: Attention,
    AttentionGradOfWeights: Attention,
}
KINDS = list(TABLE)


@pytest.mark.parametrize("kind", JOINS, ids=[kind.__name__ for kind in JOINS])
def test_the_forward_keeps_what_its_gradient_needs(kind: type[Op]) -> None:
    case = next(c for c in USUAL if type(c.op) is kind)
    source = emitted(case)
    assert "_with_" in source
    assert not re.search(r"\b(gelu|cross_entropy|attention)_grad\(", source)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_a_row_is_needed(kind: type[Op], monkeypatch: pytest.MonkeyPatch) -> None:
    unit = _unit_with(kind)
    before = TARGET.generate(unit).source
    monkeypatch.delitem(TABLE, kind)
    try:
        after = TARGET.generate(unit).source
    except Failure as failure:
        assert failure.diagnostic.message.startswith(f"numpy cannot lower {kind.__name__}")
    else:
        assert after != before  # written out in other ops


def _unit_with(kind: type[Op]) -> Unit:
    if kind is RecurrentGrad:
        return Unit(cases_recurrent.gradient())
    case = next((c for c in [*CASES, *RANDOM] if type(c.op) is JOINED.get(kind, kind)), None)
    if case is None:
        function = Function("Net", "model")
        function.outputs = FunctionBuilder(function).emit_all(OTHERS[kind])
        return Unit(function)
    backward = kind in JOINED or type(case.op).__name__.endswith("Grad")
    if case.op.modal or backward:
        training = merged_training(program(case))
        return Unit(training.function, training, "Section")
    return unit_of(case)


OTHERS: dict[type[Op], Op] = {
    elementwise.Constant: elementwise.Constant((1.0, 2.0)),
    Arange: Arange(Dim.of(0), Dim.of(5), Dim.of(1), DType.I64),
}


def test_erf_and_gelu_in_single_precision() -> None:
    x = torch.linspace(-8, 8, 50_001)
    assert np.abs(erf(x.numpy()) - torch.erf(x.double()).numpy()).max() < 6e-7
    for approximate, ours in (("none", gelu), ("tanh", gelu_tanh)):
        theirs = torch.nn.functional.gelu(x.double(), approximate=approximate).numpy()
        found = ours(x.numpy())
        assert found.dtype == np.float32 and np.abs(found - theirs).max() < 3e-6


def test_sizes_in_a_formula_do_not_promote() -> None:
    """np.sqrt(8) is a np.float64, and that times a float32 array would be float64."""
    text = """
    block Scale(x: [N, D], heads) = x * sqrt(D // heads) / sqrt(D) + x
    model Net(x: [N, 8], heads = 2) = x -> Scale(heads) -> dense(3) -> Scale(1)
    """
    made = load(TARGET.generate(text_unit(text, "Net")).source)
    assert made.predict(made.init(), x=np.ones((2, 8))).dtype == np.float32


def test_wide_rows_of_one_index_are_summed() -> None:
    rng = np.random.default_rng(0)
    indices, g = rng.integers(0, 5, (4, 6)), rng.standard_normal((4, 6, 3, 8))
    expected = np.zeros((7, 3, 8))
    np.add.at(expected, indices, g)
    np.testing.assert_allclose(scatter_add(indices, g, 0, 7), expected, rtol=1e-12)
    np.testing.assert_array_equal(scatter_add(indices[:0], g[:0], 0, 7), np.zeros((7, 3, 8)))
