"""Lists of tensors as inputs of blocks: the same as so many inputs, on three backends."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget

from dlspec import api
from dlspec.codegen.unit import unit_of

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
block Fuse(xs: [[N, D]]) -> [N, 4] where len(xs) > 1 {
  total = xs[0]
  for y in xs[1:] { total = total * y }
  return total + (concat(xs, axis = 1) -> dense(D))
}
block Mixed(x: [N, D], xs: [[N, D]], w = 2.0) {
  for y in xs { x = x + y * w }
  return x
}
block Two(xs: [[N, _]], x: [N, 4], ys: [i64[N]]) =
  concat(xs, axis = 1)[:, :4] * x + cast(stack(ys, axis = 1)[:, :1], "float")
block Maybe(x: [N, D], xs: [[N, D]] = none) = x if xs == none else Mixed(x, xs)
model M(x: [N, 4], i: i64[N]) {
  steps = [x, 2 * x, x * x]
  return CALL
}
"""


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def run(call: str, backend: str) -> tuple[Any, dict[str, Any]]:
    model = api.load(SPEC.replace("CALL", call)).model("M")
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(model.function, "M")).source, made.__dict__)
    state = made.init(dtype="float64")
    rng = np.random.default_rng(1)
    weights = {k: rng.standard_normal(np.shape(w)) for k, w in made.export_weights(state).items()}
    return made.predict(made.import_weights(state, weights), x=X, i=I), weights


X = np.random.default_rng(0).standard_normal((3, 4))
I = np.arange(3)  # noqa: E741
MIXED = X + 3 * (X + 2 * X + X * X)


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("call", ["Fuse(steps)", "Fuse(xs = steps)", "steps -> Fuse"])
def test_a_list_alone(call: str, backend: str) -> None:
    found, weights = run(call, backend)
    side = np.concatenate([X, 2 * X, X * X], axis=1)
    wanted = 2 * X**4 + side @ weights["fuse.dense.weight"].T + weights["fuse.dense.bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("Mixed(x, steps, 3.0)", MIXED),
        ("Mixed(x, xs = steps, w = 3.0)", MIXED),
        ("x -> Mixed(steps, w = 3)", MIXED),
        ("Mixed(x, [])", X),
        ("Mixed(x, [2 * x])", 5 * X),
        ("x -> repeat(2, Mixed(xs = [x]))", 5 * X),
        ("Two([x[:, :3], x], x, [i, i + 1])", X * X[:, [0, 1, 2, 0]] + I[:, None]),
        ("Two(x = x, ys = [i], xs = [x, x])", X * X + I[:, None]),
        ("Maybe(x)", X),
        ("Maybe(x, xs = [x])", 3 * X),
        ("Maybe(x, xs = none)", X),
    ],
)
def test_beside_others(call: str, wanted: Any, backend: str) -> None:
    np.testing.assert_allclose(run(call, backend)[0], wanted, rtol=1e-9)


def test_each_length_is_a_variant() -> None:
    model = api.load(SPEC.replace("CALL", "Mixed(Mixed(x, steps), steps[:1])")).model("M")
    calls = [node for node in model.function.body if hasattr(node, "slot")]
    assert [len(call.operands) for call in calls] == [4, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("Fuse(x)", "needs a list of tensors, not a tensor"),
        ("Fuse([x, x[:, :3]])", "`xs_1` of Fuse needs 4 on axis 1"),
        ("Fuse([x, i])", "needs floating point|`xs_1`"),
        ("Fuse([x])", "len\\(xs\\) > 1"),
        ("Fuse([x, 2])", "needs a list of tensors, not"),
        ("Fuse(steps, steps)", "no place"),
        ("x -> Mixed", "needs the list `xs`"),
        ("Mixed(x, xs = x)", "needs a list of tensors"),
        ("Mixed(x, steps, xs = steps)", "not a list of tensors"),
    ],
)
def test_refused(call: str, told: str) -> None:
    with pytest.raises(api.SpecError, match=told):
        api.load(SPEC.replace("CALL", call)).model("M")


def test_an_entry_point_has_none() -> None:
    with pytest.raises(api.SpecError, match="how many tensors the list `xs` of P has is not known"):
        api.load("model P(xs: [[N, 4]]) = xs[0]").model("P")
