"""Ranges of integer inputs, read off the graph, and data held to them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dlspec.ir.dims import Dim
from dlspec.ir.graph import CallNode, ChildSlot, Function, Segment, Value
from dlspec.ir.types import DType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.indexing import Embedding, OneHot
from dlspec.ops.loss import CrossEntropy
from dlspec.ops.shape import Reshape
from dlspec.training.errors import DataError
from dlspec.training.fields import check_fields
from dlspec.training.limits import Limit, limits

sys.path.insert(0, str(Path(__file__).parent))
from units import tensor


def function(*inputs: Value) -> tuple[Function, FunctionBuilder]:
    f = Function("F", "block", inputs=inputs)
    return f, FunctionBuilder(f)


def labels(*shape: int | str) -> Value:
    return Value(tensor(*shape, dtype=DType.I64), "label")


def test_classes_of_cross_entropy():
    label = labels("N")
    f, b = function(Value(tensor("N", 10), "logits"), label)
    b.emit(CrossEntropy(), f.inputs[0], label)
    assert limits(f)["label"].below == 10


def test_ignored_label_and_axis():
    label = labels("N", 4)
    f, b = function(Value(tensor("N", 7, 4), "logits"), label)
    b.emit(CrossEntropy(axis=1, ignore=Dim.const(-100)), f.inputs[0], label)
    assert limits(f)["label"] == Limit(7, "the logits have 7 classes", (-100,))


def test_embedding_inside_a_call_and_behind_a_reshape():
    tokens = Value(tensor("N", 6, dtype=DType.I64), "tokens")
    inner, b = function(tokens)
    flat = b.emit(Reshape((Dim.symbol("N") * 6,)), tokens)
    b.emit(Embedding(), flat, Value(tensor(50, 8), "weight"))
    outer_tokens = labels("N", 6)
    outer, _ = function(outer_tokens)
    slot = ChildSlot(Segment("net"), inner, {"N": Dim.symbol("N")}, {})
    outer.body = [CallNode(slot, inner, slot.dims, (outer_tokens,), ())]
    assert limits(outer)["label"].below == 50


def test_the_strictest_counts():
    label = labels("N")
    f, b = function(Value(tensor("N", 10), "logits"), label)
    b.emit(CrossEntropy(), f.inputs[0], label)
    b.emit(OneHot(Dim.const(4)), label)
    assert limits(f)["label"].below == 4


LIMIT = {"label": Limit(3, "the logits have 3 classes", (-1,))}


def test_data_within_its_range():
    array = np.array([0, 2, -1], np.int8)
    checked = check_fields([labels("N")], {"label": array}, {}, LIMIT)
    assert checked["label"].dtype == np.int64


@pytest.mark.parametrize("value", [3, -2])
def test_data_out_of_range(value: int):
    array = np.array([0, value])
    with pytest.raises(DataError, match=f"holds {value}, outside 0 to 2: the logits"):
        check_fields([labels("N")], {"label": array}, {}, LIMIT)


@pytest.mark.parametrize(
    ("field", "array", "message"),
    [
        (labels("N"), np.zeros(3), "is i64 in the spec, float64 in the data"),
        (labels("N"), np.zeros((3, 1), int), "has 2 axes in the data"),
        (Value(tensor("N", 2), "label"), np.zeros((4, 3)), "is 3 in the data, 2 in the spec"),
        (Value(tensor("N", "C"), "label"), np.zeros((4, 3)), "is 3 in the data, 5 in the spec"),
        (Value(tensor("N"), "label"), np.array([np.nan]), "not finite"),
        (Value(tensor("N", dtype=DType.BOOL), "label"), np.zeros(3), "is bool in the spec"),
    ],
)
def test_data_of_another_type(field: Value, array: np.ndarray, message: str):
    with pytest.raises(DataError, match=message):
        check_fields([field], {"label": array}, {"C": 5}, {})


def test_open_sizes_are_learnt_from_the_first_field():
    fields = [Value(tensor("N", "C"), "a"), Value(tensor("N", "C"), "b")]
    arrays = {"a": np.zeros((4, 3)), "b": np.zeros((4, 2))}
    with pytest.raises(DataError, match="axis 1 of `b` is 2 in the data, 3 in the spec"):
        check_fields(fields, arrays, {}, {})
