"""Backward functions: what they save, what they leave out, and gradients of gradients."""

from __future__ import annotations

import time

from dlspec.ir.backward import Accumulate
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Init, LayerSlot, OpNode, Segment, Value, Weight
from dlspec.ir.static import Symbol
from dlspec.ir.types import DType, TensorType
from dlspec.ops.activations import Relu
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Add, Exp, Mul, StopGradient
from dlspec.ops.linalg import Linear, MatMul
from dlspec.ops.reduce import Mean
from dlspec.passes.autodiff import differentiate, vjp

N = Dim.symbol("N")


def started(width: int = 4) -> tuple[Function, FunctionBuilder, Value]:
    x = Value(TensorType(DType.FLOAT, (N, Dim.const(width))), "x")
    function = Function("F", "block", symbols={"N": Symbol("dim")}, inputs=(x,))
    return function, FunctionBuilder(function), x


def weight(function: Function, units: int, features: int) -> Value:
    kind = TensorType(DType.FLOAT, (Dim.const(units), Dim.const(features)))
    made = Weight("weight", kind, Init("zeros"), trainable=True)
    slot = LayerSlot(Segment("dense"), "dense", {}, {"weight": made})
    function.slots.append(slot)
    return Value(kind, weight=(slot, made))


def ops(nodes: list[object]) -> list[type]:
    return [type(n.op) for n in nodes if isinstance(n, OpNode)]


def test_no_gradient_of_data_and_only_what_is_read_is_saved() -> None:
    function, b, x = started()
    h = b.emit(Relu(), b.emit(Linear(), x, weight(function, 3, 4)))
    function.outputs = (b.emit(Mean((0, 1)), h),)
    backward = differentiate(function)[function]
    assert backward.grads == ()
    assert backward.saved == (x, h)  # the mask comes from relu's result
    assert ops(backward.body).count(MatMul) == 1  # dw, and no dx
    assert sum(isinstance(n, Accumulate) for n in backward.body) == 1


def test_gradient_of_an_input_that_is_asked_for() -> None:
    function, b, x = started()
    y = b.emit(Linear(), x, weight(function, 3, 4))
    function.outputs = (b.emit(Mean((0, 1)), y),)
    backward = differentiate(function, inputs=[0])[function]
    assert [position for position, _ in backward.grads] == [0]
    assert backward.grads[0][1].type == x.type
    assert ops(backward.body).count(MatMul) == 2


def test_contributions_are_summed() -> None:
    function, b, x = started()
    function.outputs = (b.emit(Add(), b.emit(Exp(), x), x),)
    backward = differentiate(function, inputs=[0])[function]
    assert ops(backward.body).count(Add) == 1


def test_stop_gradient_leaves_nothing() -> None:
    function, b, x = started()
    y = b.emit(StopGradient(), b.emit(Linear(), x, weight(function, 3, 4)))
    function.outputs = (b.emit(Mean((0, 1)), y),)
    assert function not in differentiate(function)


def test_twice() -> None:
    function, b, x = started()
    function.outputs = (b.emit(Mul(), b.emit(Exp(), x), x),)
    once = vjp(function)
    twice = vjp(once)
    assert [v.type for v in once.outputs] == [x.type]
    assert [v.type for v in twice.outputs] == [x.type, x.type]


def test_linear_time_without_recursion() -> None:
    def seconds(length: int) -> float:
        function, b, x = started()
        for _ in range(length):
            x = b.emit(Exp(), x)
        function.outputs = (x,)
        start = time.perf_counter()
        backward = differentiate(function, inputs=[0])[function]
        assert len(backward.body) == length
        return time.perf_counter() - start

    small = min(seconds(1_000) for _ in range(3))
    assert seconds(10_000) < 40 * small + 0.5
