"""What torch refuses, `dlspec check` refuses: the error inputs of torch's operator database, each
written as a spec, give a diagnostic before any code is made."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

pytest.importorskip("expecttest", reason="torch's operator database imports it")

from dlspec.api import load

from .calls import spec_of
from .database import FUNCTIONS, F, op_db

# what torch refuses and we take: the operator, a piece of the spec, our meaning
NUMBER = "a number beside a tensor is a scalar of its type"
EMPTY = "of no channels nothing is pooled"
SHAPED = "the shape of a layer's weight is what its arguments say"
MEANT: tuple[tuple[str, str, str], ...] = (
    ("maximum", "(a0, 2)", NUMBER),
    ("maximum", "(2, a0)", NUMBER),
    ("minimum", "(a0, 2)", NUMBER),
    ("minimum", "(2, a0)", NUMBER),
    (F + "avg_pool3d", "[0, 1, 49]", "the rank of the input is how many axes are pooled"),
    (F + "conv3d", "stride = 2", 'padding "same" is that of TensorFlow, which takes a stride'),
    (F + "rms_norm", "axis = [-3, -2, -1]", SHAPED),
    (F + "rms_norm", "axis = [-2, -1]", SHAPED),
    (F + "prelu", "[2, 8, 3]", SHAPED),
    (F + "max_pool1d", "[1, 0, 10]", EMPTY),
    (F + "max_pool3d", "[1, 0, 1, 2, 10]", EMPTY),
)
UNSAID = ("a table is [count, size] by its two arguments",)  # no spec can make the mistake
# torch's labels there are floats: a second error beside the one that is meant
LABELS = {F + "multi_margin_loss": torch.int64, F + "multilabel_margin_loss": torch.bool}


def errors() -> list[tuple[str, int, Any]]:
    found: list[tuple[str, int, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op in op_db:
            if op.name in FUNCTIONS and op.error_inputs_func is not None:
                inputs = enumerate(op.error_inputs("cpu"))
                found += [(op.name, place, error) for place, error in inputs]
    return found


ERRORS = errors()


@pytest.mark.parametrize(
    ("name", "error"), [(n, e) for n, _, e in ERRORS], ids=[f"{n}-{i}" for n, i, _ in ERRORS]
)
def test_error_inputs_are_refused(name: str, error: Any) -> None:
    sample = error.sample_input
    if name in LABELS and "scalar type" not in str(error.error_regex):
        sample.args = (sample.args[0].to(LABELS[name]), *sample.args[1:])
    call = FUNCTIONS[name](sample)
    if isinstance(call, str):
        assert call in UNSAID
        return
    text = spec_of([call])
    accepted = load(text).check()
    meant = any(name == n and piece in text.splitlines()[0] for n, piece, _ in MEANT)
    assert accepted is meant, text
