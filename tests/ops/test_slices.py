"""Subscripts of tensors are NumPy's, on three backends."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from dlspec import codes
from dlspec.api import load
from tests.codegen.build import load as load_module

BACKENDS = ("torch", "jax", "numpy")
FORMS = [
    "x[0]",
    "x[-1, 1:]",
    "x[..., 1:-1]",
    "x[:, ::2, 1::3]",
    "x[:, [0, 2, -1]]",
    "x[:, ::-1]",
    "x[::-1, :, ::-1]",
    "x[..., ::-2]",
    "x[..., 4:1:-1]",
    "x[..., 5::-3]",
    "x[..., :-4:-1]",
    "x[..., -2::-2]",
    "x[..., -2:0:-2]",
    "x[:, 0, ::-1]",
    "x[:, [1, 0], ::-1]",
    "x[..., 3:2:-1]",
]


@pytest.mark.parametrize("form", FORMS)
def test_against_numpy(form: str) -> None:
    model = load(f"model M(x: [N, T, 6]) = {form}").model()
    x: Any = np.random.default_rng(0).standard_normal((4, 5, 6))
    wanted = eval(form, {"x": x})
    for backend in BACKENDS:
        program = load_module(model.compile(backend).source)
        found = np.asarray(program.predict(program.init(dtype="float64"), x=x))
        assert found.shape == wanted.shape and np.allclose(found, wanted), backend


def test_gradient() -> None:
    spec = load("""
      model M(x: [N, 4]) {
        w = param([4, 6], init = ones)
        return x @ w[::-1, 4:0:-2] + w[0, 0]
      }
      train t {
        data (x: [N, 4], _) from iris(batch = 3)
        minimize sum(M(x)) using sgd(0.1)
        steps 1
      }
    """)
    trainer = spec.trainer()
    x = np.array([[1.0, 2.0, 3.0, 4.0]])
    wanted = np.zeros((4, 6))
    wanted[::-1, 4:0:-2] += x.T
    wanted[0, 0] += 2
    for backend in BACKENDS:
        program = load_module(trainer.compile(backend).source)
        _, found = program.gradients(program.init(dtype="float64"), {"x": x})
        assert np.allclose(found["w"], wanted), backend


WRONG = [
    ("x[..., 9::-1]", codes.BAD_ARGUMENT, "slice 0:10 of axis 2 of [N, T, 6] ends past 6"),
    ("x[..., 2:4:-1]", codes.NEGATIVE_SIZE, "is empty"),
    ("x[:, ::0]", codes.STATIC_VALUE, "a known number other than 0"),
    ("x[:, ::N]", codes.STATIC_VALUE, "a known number other than 0"),
    ("x[0, 0, 0, 0]", codes.RANK, "4 subscripts"),
]


@pytest.mark.parametrize(("form", "code", "message"), WRONG)
def test_wrong_subscripts_are_told(form: str, code: codes.Code, message: str) -> None:
    spec = load(f"model M(x: [N, T, 6]) = {form}")
    spec.check()
    (found,) = spec.diagnostics.errors
    assert found.code is code and message in found.message


def test_the_number_of_a_negative_step_is_written_out() -> None:
    """With a positive one it would be another program."""
    source = load("model M(x: [N, 6], by = -2) = x[:, ::by]").model().compile("torch").source
    assert re.search(r"return x\.flip\(.*\)\[:, ::2\]", source)
