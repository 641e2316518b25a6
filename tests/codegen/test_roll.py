"""Equal consecutive calls become a repeat: a user's block with two inputs and dropout."""

from __future__ import annotations

import re

import numpy as np
import pytest

import dlspec.api as api
from dlspec.ir.graph import CallNode, RepeatNode
from dlspec.passes.merge import merge
from dlspec.passes.roll import roll
from tests.elaborate.specs import weights

from .build import module, text_unit

BLOCK = """
block Mix(a: [N, D], b: [N, D], p = 0.1) = tanh(a + (b -> dense(D) -> dropout(p)))
"""
LOOP = "for _ in range(4) { y = (y, x) -> Mix }"
CHAIN = "y = (x, x) -> Mix -> Mix(b = x) -> Mix(b = x) -> Mix(b = x)"
REPEAT = "y = x -> repeat(4, Mix(b = x))"


def text(line: str) -> str:
    return f"{BLOCK}model Net(x: [N, 6]) {{\n  y = x\n  {line}\n  return y\n}}\n"


@pytest.mark.parametrize("line", [LOOP, CHAIN, REPEAT])
def test_a_loop_a_chain_and_a_repeat_are_one_list(line: str) -> None:
    root = merge(api.load(text(line)).model("Net").function)
    roll(root)
    (node,) = root.body
    assert isinstance(node, RepeatNode)
    assert str(node.count) == "4" and len(node.carried) == len(node.held) == 1
    assert len(root.slots) == 1
    names = [f"mix.{i}.dense" for i in range(4)]
    assert list(weights(text(line), "Net")) == names


@pytest.mark.parametrize("backend", ["torch", "jax", "numpy"])
def test_rolled_code_computes_the_same(backend: str) -> None:
    import importlib

    target = importlib.import_module(f"dlspec_{backend}").Target()
    found = []
    for line in (LOOP, REPEAT):
        made = module(target, text_unit(text(line), "Net"))
        state = made.init(0, dtype="float64")
        rng = np.random.default_rng(0)
        shapes = {k: v.shape for k, v in made.export_weights(state).items()}
        state = made.import_weights(state, {k: rng.standard_normal(s) for k, s in shapes.items()})
        found.append(made.predict(state, x=np.ones((3, 6))))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("y = (x, x) -> Mix -> Mix(b = x)", 2),  # two read better than a loop
        ("y = (x, x) -> Mix -> Mix(b = x, p = 0.2) -> Mix(b = x) -> Mix(b = x, p = 0.2)", 4),
        (
            "a = (x, x) -> Mix\n  b = (a, x) -> Mix\n  c = (b, x) -> Mix\n  y = a + c",
            3,
        ),  # a is used
        ("a = (x, x) -> Mix\n  b = (x, x) -> Mix\n  c = (x, x) -> Mix\n  y = a + b + c", 3),
        ("a = (x, x) -> Mix\n  b = (a, a) -> Mix\n  c = (b, x) -> Mix\n  y = c", 3),
        ("y = (x, x) -> Mix as a -> Mix(b = x) as b -> Mix(b = x) as c", 3),  # other names
    ],
)
def test_what_differs_stays_apart(line: str, calls: int) -> None:
    root = merge(api.load(text(line)).model("Net").function)
    roll(root)
    assert sum(isinstance(n, CallNode) for n in root.body) == calls
    assert not any(isinstance(n, RepeatNode) for n in root.body)


def test_the_printed_loop() -> None:
    import dlspec_torch

    source = dlspec_torch.Target().generate(text_unit(text(LOOP), "Net")).source
    assert "self.mix = nn.ModuleList(Mix(6) for _ in range(4))" in source
    assert re.search(r"for mix in self\.mix:\n +y = mix\(y, x\)", source)
