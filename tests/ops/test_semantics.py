"""Where frameworks disagree: what dlspec's ops say. Values, gradients at kinks, window rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dlspec.codes import SINGLE_VALUE_NORM
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, OpNode, Value
from dlspec.ops import activations, conv, elementwise, loss, norm, pool, reduce
from dlspec.ops.base import Op
from dlspec.ops.build import BuildError, FunctionBuilder
from dlspec.ops.composite import Tape
from dlspec.ops.random import Dropout, RandomNormal, RandomUniform

from . import evaluate
from .cases import Case, build, d, of, pairs
from .layers import Layers, apply


def run(case: Case, *tensors: Any) -> list[torch.Tensor]:
    return evaluate.evaluate(build(case), [floats(t) for t in tensors], case.sizes)


def floats(value: Any) -> torch.Tensor:
    tensor = torch.as_tensor(value)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def slope(case: Case, *tensors: Any) -> list[list[float]]:
    """The gradients of the sum of an op's first result, as lists."""
    function = Function("f", "block", inputs=tuple(case.values()))
    tape = Tape(FunctionBuilder(function))
    results = tape.emit_all(case.op, *function.inputs)
    cotangent = Value(results[0].type)
    inputs = function.inputs
    function.inputs = (*inputs, cotangent)
    found = case.op.gradient(tape, inputs, results, [cotangent, *[None] * (len(results) - 1)])
    function.outputs = tuple(v for v in found if v is not None)
    given = [floats(t) for t in tensors]
    size = [extent.evaluate(case.sizes) for extent in results[0].type.shape]
    ones = torch.ones(size, dtype=torch.float64)
    return [t.tolist() for t in evaluate.evaluate(function, [*given, ones], case.sizes)]


@pytest.mark.parametrize(
    ("op", "x", "expected"),
    [
        (activations.Relu(), [-1.0, 0.0, 2.0], [0.0, 0.0, 1.0]),
        (activations.Relu6(), [0.0, 3.0, 6.0], [0.0, 1.0, 0.0]),
        (activations.HardTanh(), [-1.0, 0.5, 1.0], [0.0, 1.0, 0.0]),
        (activations.LeakyRelu(0.2), [-1.0, 0.0, 1.0], [0.2, 0.2, 1.0]),
        (elementwise.Abs(), [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (elementwise.Clip(0.0, 1.0), [-0.5, 0.0, 0.5, 1.0, 1.5], [0.0, 1.0, 1.0, 1.0, 0.0]),
        (reduce.Norm((0,)), [0.0, 0.0], [0.0, 0.0]),
        (reduce.Max((0,)), [1.0, 3.0, 3.0], [0.0, 1.0, 0.0]),
        (reduce.Min((0,)), [1.0, 1.0, 3.0], [1.0, 0.0, 0.0]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Op) else "",
)
def test_gradient_at_kinks(op: Op, x: list[float], expected: list[float]) -> None:
    assert slope(of(op, f"f[{len(x)}]"), x) == [expected]


def test_equal_elements_share_the_gradient_of_maximum() -> None:
    for op in (elementwise.Maximum(), elementwise.Minimum()):
        assert slope(of(op, "f[1]", "f[1]"), [2.0], [2.0]) == [[0.5], [0.5]]


def test_pooling_gives_the_gradient_to_the_first() -> None:
    op = pool.MaxPool(d(2, 2), d(2, 2), pairs((0, 0), (0, 0)))
    assert slope(of(op, "f[1,1,2,2]"), [[[[0.0, 1.0], [1.0, 1.0]]]]) == [
        [[[[0.0, 1.0], [0.0, 0.0]]]]
    ]


def test_std_at_zero_has_gradient_zero() -> None:
    b = Layers()
    x = b.input(3)
    y = apply(b, "std", x)
    function = Function("g", "block", body=list(b.body))
    tape = Tape(FunctionBuilder(function))
    tape.steps = [(n.op, n.operands, n.results) for n in b.body if isinstance(n, OpNode)]
    g = Value(y.type)
    (dx,) = tape.pullback([y], [g], [x])
    assert dx is not None
    function.inputs, function.outputs = (x, g), (dx,)
    found = evaluate.evaluate(function, [floats([2.0, 2.0, 2.0]), floats(1.0)])
    assert found[0].tolist() == [0.0, 0.0, 0.0]


def test_batch_norm_normalises_by_the_biased_and_stores_the_unbiased_variance() -> None:
    case = of(norm.BatchNorm(scale=False, shift=False), "f[4,1]", "f[1]", "p[1]")
    y, mean, var, *_ = run(case, [[0.0], [1.0], [2.0], [3.0]], [0.0], [1.0])
    assert var.item() == pytest.approx(1.0 + 0.1 * (5 / 3 - 1))
    assert mean.item() == pytest.approx(0.15)
    assert y[3].item() == pytest.approx(1.5 / (1.25 + 1e-5) ** 0.5)


def test_batch_norm_over_one_value_is_refused() -> None:
    for x in ("f[1,C]", "f[1,C,1,1]"):
        with pytest.raises(BuildError) as caught:
            build(of(norm.BatchNorm(scale=False, shift=False), x, "f[C]", "p[C]"))
        assert caught.value.code is SINGLE_VALUE_NORM


def test_batch_norm_in_inference_uses_the_running_statistics() -> None:
    function = Function(
        "f",
        "block",
        inputs=tuple(
            of(norm.BatchNorm(scale=False, shift=False), "f[2,1]", "f[1]", "p[1]").values()
        ),
    )
    op = norm.BatchNorm(0.0, scale=False, shift=False)
    found = op.inference(FunctionBuilder(function), function.inputs)
    assert found[0] is not None and found[3] is None
    function.outputs = (found[0],)
    y = evaluate.evaluate(function, [floats([[3.0], [5.0]]), floats([1.0]), floats([4.0])])
    assert y[0].flatten().tolist() == [1.0, 2.0]


def test_cross_entropy_of_nothing_is_zero() -> None:
    case = of(loss.CrossEntropy(ignore=Dim.of(2)), "f[2,3]", "i3[2]")
    function = Function("f", "block", inputs=tuple(case.values()))
    op: Any = case.op
    function.outputs = tuple(op.expand(FunctionBuilder(function), function.inputs))
    x = floats([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    assert evaluate.evaluate(function, [x, torch.tensor([2, 2])])[0].item() == 0.0
    grad = of(loss.CrossEntropyGrad(ignore=Dim.of(2)), "f[2,3]", "i3[2]", "f[]")
    function = Function("f", "block", inputs=tuple(grad.values()))
    op = grad.op
    function.outputs = tuple(op.expand(FunctionBuilder(function), function.inputs))
    found = evaluate.evaluate(function, [x, torch.tensor([2, 2]), floats(1.0)])
    assert not found[0].any()


def test_binary_cross_entropy_at_zero_is_a_hundred() -> None:
    case = of(loss.BceLoss(), "u[1]", "u[1]")
    function = Function("f", "block", inputs=tuple(case.values()))
    op: Any = case.op
    function.outputs = tuple(op.expand(FunctionBuilder(function), function.inputs))
    assert evaluate.evaluate(function, [floats([0.0]), floats([1.0])])[0].item() == 100.0


def test_padding_same_is_tensorflows() -> None:
    """The ramp 1 … 8 under a kernel of three ones with stride 2: extra padding at the end."""
    x = torch.arange(1.0, 9.0).reshape(1, 1, 8)
    w = torch.ones(1, 1, 3)
    same = of(conv.Conv(d(2), "same", d(1)), "f[1,1,8]", "f[1,1,3]")
    assert run(same, x, w)[0].flatten().tolist() == [6.0, 12.0, 18.0, 15.0]
    torchs = of(conv.Conv(d(2), pairs((1, 1)), d(1)), "f[1,1,8]", "f[1,1,3]")
    assert run(torchs, x, w)[0].flatten().tolist() == [3.0, 9.0, 15.0, 21.0]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_same_as_pairs(kernel: int, stride: int) -> None:
    """What backends pad: known sizes and a symbolic one agree with TensorFlow's formula."""
    for dilation in (1, 2):
        convolution = conv.Conv(d(stride), "same", d(dilation))
        pooling = pool.MaxPool(d(kernel), d(stride), "same")
        (symbolic,) = convolution.pairs(d("T"), d(kernel))
        for n in range(1, 12):
            reach = dilation * (kernel - 1) + 1
            total = max(0, (-(-n // stride) - 1) * stride + reach - n)
            expected = (total // 2, total - total // 2)
            assert convolution.pairs(d(n), d(kernel)) == (d(*expected),)
            assert tuple(side.evaluate({"T": n}) for side in symbolic) == expected
            if dilation == 1:
                assert pooling.pairs(d(n)) == (d(*expected),)


@pytest.mark.parametrize("size", [(5, 5), (6, 7), (7, 8), (9, 4)])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 1), (3, 1, 0)]
)
@pytest.mark.parametrize("ceil", [False, True])
def test_pools_are_torchs(
    size: tuple[int, int], kernel: int, stride: int, pad: int, ceil: bool
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    setting = (d(kernel, kernel), d(stride, stride), pairs((pad, pad), (pad, pad)), ceil)
    text = f"f[2,3,{size[0]},{size[1]}]"
    mine = run(of(pool.MaxPool(*setting), text), x)[0]
    torch.testing.assert_close(mine, F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil))
    for counted in (True, False):
        mine = run(of(pool.AvgPool(*setting, counted), text), x)[0]
        theirs = F.avg_pool2d(x, kernel, stride, pad, ceil, counted)
        torch.testing.assert_close(mine, theirs)


def test_gelu_is_exact_unless_asked() -> None:
    assert activations.Gelu().approximate == "none"


def test_draws_can_be_given() -> None:
    case = of(Dropout(0.5), "f[2]")
    function = Function("f", "block", inputs=tuple(case.values()))
    b = FunctionBuilder(function)
    results = b.emit_all(case.op, *function.inputs)
    draw = Value(case.op.draws([function.inputs[0].type], [v.type for v in results]))
    function.body.clear()
    function.inputs = (*function.inputs, draw)
    function.outputs = tuple(case.op.given(b, function.inputs[:1], draw))
    y, mask = evaluate.evaluate(function, [floats([3.0, 4.0]), floats([2.0, 0.0])])
    assert (y.tolist(), mask.tolist()) == ([6.0, 0.0], [2.0, 0.0])
    for op in (RandomNormal(d(2)), RandomUniform(d(2))):
        (made,) = b.emit_all(op)
        assert op.given(b, (), made) == (made,)


def test_dropout_scales_back_its_gradient_and_vanishes_in_inference() -> None:
    function = Function("f", "block", inputs=tuple(of(Dropout(0.5), "f[2]").values()))
    b = FunctionBuilder(function)
    x = function.inputs[0]
    results = b.emit_all(Dropout(0.5), x)
    g = Value(results[0].type)
    (dx,) = Dropout(0.5).gradient(b, (x,), results, (g, None))
    assert dx is not None
    assert function.body[-1].operands == (g, results[1])  # type: ignore[union-attr]
    assert Dropout(0.5).inference(b, (x,)) == (x, None)
