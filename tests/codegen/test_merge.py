"""One class per definition: what unifies, what becomes an argument, what splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlspec_jax import Target as Jax
from dlspec_numpy import Target as Numpy
from dlspec_torch import Target
from dlspec_torch import Target as Torch

import dlspec.api as api
from dlspec.ir.graph import BranchNode, Function, functions_below, walk
from dlspec.passes.merge import merge
from dlspec.weights import initial_weights

from .build import load, text_unit

TARGET = Target()


def merged(text: str, model: str, **static: object) -> dict[str, list[Function]]:
    root = merge(api.load(text).model(model, **static).function)
    found: dict[str, list[Function]] = {}
    for function in functions_below(root):
        found.setdefault(function.name, []).append(function)
    return found


def source(text: str, model: str, **static: object) -> str:
    return TARGET.generate(text_unit(text, model, **static)).source


def runs(text: str, model: str, *shape: int, **static: object) -> np.ndarray:
    emitted = load(source(text, model, **static))
    return emitted.predict(emitted.init(), x=np.random.default_rng(0).standard_normal(shape))


RECURSIVE = """
block Level(x: [N, D], widths) {
  if len(widths) == 0 {
    return x
  }
  inner = x -> dense(widths[0]) -> relu -> Level(widths[1:])
  return x + (inner -> dense(D))
}
model Net(x: [N, 4], widths = [8, 6, 5]) -> [N, 4] = x -> Level(widths)
"""


def test_recursion_is_one_class() -> None:
    found = merged(RECURSIVE, "Net")
    assert [len(functions) for functions in found.values()] == [1, 1]
    text = source(RECURSIVE, "Net")
    assert text.count("class Level") == 1 and "widths[1:]" in text
    assert runs(RECURSIVE, "Net", 2, 4).shape == (2, 4)
    assert runs(RECURSIVE, "Net", 2, 4, widths=[3]).shape == (2, 4)


BRANCHES = """
block Part(x: [N, D], wide, act = true) {
  y = x -> dense(wide)
  z = relu(y) if act else tanh(y) * 2.0
  return z
}
model Net(x: [N, 4]) = x -> Part(8) -> Part(6, act = false) -> Part(5)
"""


def test_a_branch_gets_both_sides() -> None:
    (part,) = merged(BRANCHES, "Net")["Part"]
    (branch,) = [n for n in walk(part.body) if isinstance(n, BranchNode)]
    assert branch.then is not None and branch.orelse is not None and branch.taken is None
    text = source(BRANCHES, "Net")
    assert "if self.act else" in text and "act=False" in text
    assert runs(BRANCHES, "Net", 2, 4).shape == (2, 5)


ONE_SIDE = """
block Part(x: [N, D], wide, act = true) {
  y = x -> dense(wide)
  return relu(y) if act else tanh(y)
}
model Net(x: [N, 4]) = x -> Part(8) -> Part(6)
"""


def test_a_branch_that_all_take_alike_is_no_if() -> None:
    text = source(ONE_SIDE, "Net")
    assert "if self" not in text and "act" not in text


LAYERS = """
block Part(x: [N, D], act) = x -> dense(D) -> act
model Net(x: [N, 4]) = x -> Part(relu) -> Part(tanh) -> Part(relu)
"""


def test_what_does_not_agree_splits_with_a_number() -> None:
    found = merged(LAYERS, "Net")
    assert [f.specialisation for f in found["Part"]] == [0, 1]
    text = source(LAYERS, "Net")
    assert "class Part(" in text and "class Part2(" in text and "class Part3(" not in text
    assert runs(LAYERS, "Net", 2, 4).shape == (2, 4)


WRAPPED = """
block Wrap(x: [N, A, B], f) = x -> f
model Net(x: [N, 3, 3]) = x -> Wrap({0}) -> Wrap({1})
"""


def test_numbers_that_differ_are_arguments() -> None:
    text = WRAPPED.format("leaky_relu(0.1)", "leaky_relu(0.3)")
    (wrap,) = merged(text, "Net")["Wrap"]
    assert wrap.statics["slope"] == 0.1
    assert "Wrap(0.1), Wrap(0.3)" in source(text, "Net")
    x = np.random.default_rng(0).standard_normal((2, 3, 3))
    np.testing.assert_allclose(runs(text, "Net", 2, 3, 3), np.where(x > 0, x, 0.03 * x), rtol=1e-6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("softmax(axis = 1)", "softmax(axis = 2)"),
        ('gelu(approximate = "none")', 'gelu(approximate = "tanh")'),
        ("sum(axis = 1, keepdims = true)", "max(axis = 1, keepdims = true)"),
    ],
)
def test_what_rules_look_at_splits(one: str, other: str) -> None:
    assert len(merged(WRAPPED.format(one, other), "Net")["Wrap"]) == 2


def test_merging_leaves_its_argument_alone() -> None:
    function = api.load(BRANCHES).model("Net").function
    before = [f.name for f in functions_below(function)]
    merge(function)
    again = merge(function)
    assert [f.name for f in functions_below(function)] == before
    assert [f.name for f in functions_below(again)].count("Part") == 1


SHAPES = """
block Heads(x: [N, T, D], heads) {
  y = x -> dense(D) -> reshape([N, T, heads, D // heads])
  return reshape(transpose(y, [0, 2, 1, 3]), [N, T, D]) / sqrt(D // heads)
}
model Net(x: [N, T, 8]) = x -> Heads(2) -> Heads(4)
"""


def test_dims_come_from_the_input_or_the_constructor() -> None:
    text = source(SHAPES, "Net")
    assert "x.shape[0]" in text or "= x.shape" in text
    assert runs(SHAPES, "Net", 2, 3, 8).shape == (2, 3, 8)
    assert text.count("class Heads") == 1


NAMES = """
block Lambda(x: [N, D], class_ = 3) = x -> dense(class_) as print
model torch(x: [N, 4]) = x -> Lambda as nn -> Lambda(5) as lambda_ -> dense(2) as F
"""


def test_names_of_the_spec_do_not_shadow() -> None:
    assert runs(NAMES, "torch", 2, 4).shape == (2, 2)


SHARED_BLOCK = """
block Net1(x: [N, D]) = x -> dense(D) -> batch_norm
model Net(x: [N, 4]) {
  share f = Net1
  y = x -> f -> relu
  return f(y) + f(x)
}
"""


def test_effects_keep_their_order() -> None:
    text = source(SHARED_BLOCK, "Net")
    body = text[text.index("class Net(") :]
    calls = [line for line in body.split("\n") if "self.f(" in line]
    assert len(calls) == 3 or "self.f(F.relu(self.f(x)))" in body
    assert runs(SHARED_BLOCK, "Net", 3, 4).shape == (3, 4)


CONV = """
block Conv(channels, kernel, stride = 1, padding = 0) =
  conv(channels, kernel, stride = stride, padding = padding, bias = false) -> relu
model Net(x: [N, 3, H, W]) = x -> ONE -> OTHER -> Conv(4, 1, stride = 2) -> global_avg_pool
"""
ONE = "Conv(8, 3)"
OTHER = "Conv(9, (1, 5), padding = (0, 2))"


@pytest.mark.parametrize(("first", "second"), [(ONE, OTHER), (OTHER, ONE)])
def test_a_number_for_all_axes_beside_one_for_each(first: str, second: str) -> None:
    text = CONV.replace("ONE", first).replace("OTHER", second)
    assert [len(functions) for functions in merged(text, "Net").values()] == [1, 1]
    emitted = source(text, "Net")
    assert "kernel: tuple[int, ...]" in emitted and "padding: tuple[int, ...] = (0, 0)" in emitted
    assert "(3, 3)" in emitted and "(1, 5), padding=(0, 2)" in emitted
    for target in (Torch(), Jax(), Numpy()):
        module = load(target.generate(text_unit(text, "Net")).source)
        state = module.import_weights(module.init(dtype="float64"), drawn(text))
        x = np.random.default_rng(0).standard_normal((2, 3, 7, 9))
        np.testing.assert_allclose(module.predict(state, x=x), by_hand(text, x), atol=1e-12)


def drawn(text: str) -> dict[str, np.ndarray]:
    return {
        k: w.astype(float) for k, w in initial_weights(api.load(text).model().function, 0).items()
    }


def by_hand(text: str, x: np.ndarray) -> np.ndarray:
    """The three convolutions by torch, whose padding is what keeps a kernel's size."""
    y = torch.as_tensor(x)
    weights = [torch.as_tensor(w) for w in drawn(text).values()]
    for weight, stride in zip(weights, (1, 1, 2), strict=True):
        padding = (0, 2) if weight.shape[3] == 5 else 0
        y = torch.relu(F.conv2d(y, weight, stride=stride, padding=padding))
    return y.mean((2, 3)).numpy()


def test_a_tuple_may_be_a_default() -> None:
    text = "block Conv(kernel = (1, 3)) = conv(4, kernel)\nmodel Net(x: [N, 3, 5, 5]) = "
    for target in (Torch(), Jax(), Numpy()):
        load(target.generate(text_unit(text + "x -> Conv -> Conv((3, 1))", "Net")).source)


def test_a_long_expression_is_its_value() -> None:
    text = """
    block round8(c) = max(8, int(c + 4) // 8 * 8)
    model Net(x: [N, 8], width = 1.0) = x -> dense(round8(32 * width)) -> dense(int(10 * width))
    """
    emitted = source(text, "Net", width=0.5)
    assert "nn.Linear(8, 16)" in emitted and "nn.Linear(16, int(10 * width))" in emitted


def test_what_is_returned_is_not_bound_before() -> None:
    text = """
    block Pick(x: [N, D], wide) = x -> dense(wide) if wide > D else x + (x -> dense(D))
    model Net(x: [N, 4]) = x -> Pick(8) -> Pick(2)
    """
    assert "return self." in source(text, "Net") and "return x\\n" not in source(text, "Net")


def test_a_repeat_of_a_layer_that_was_handed_on_has_one_class() -> None:
    text = """
    block Part(x: [N, D], width) = x + (x -> dense(width) -> relu -> dense(D))
    block Stage(part, width, depth) = part(width) -> repeat(depth - 1, part(width))
    block Body(x: [N, D], part, depths) {
      for i, depth in enumerate(depths) { x = x -> Stage(part, 4 * 2 ** i, depth) }
      return x
    }
    model Net(x: [N, 4]) -> [N, 4] = x -> Body(Part, [3, 4, 7])
    """
    found = merged(text, "Net")
    assert len(found["Stage"]) == 1 and "range(depth - 1)" in source(text, "Net")
