"""A file's own `init` draws from the distribution that an initialiser means, in every framework."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget

from dlspec import api
from dlspec.codegen.unit import unit_of
from dlspec.ir.inits import INIT_KINDS
from dlspec.weights import initial_weights

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
block Own(x: [N, D], units) -> [N, units] {
  own = param([units, D], init = KIND)
  return x @ transpose(own)
}
model M(x: [N, 64]) = x -> dense(128, init = KIND) -> Own(32)
"""
WRITTEN = (
    *INIT_KINDS,
    "constant(0.3)",
    "normal(std = 0.02)",
    "normal(mean = 1, std = 0.5)",
    "truncated_normal(std = 0.02)",
    "uniform(-0.1, 0.3)",
    "glorot_uniform(gain = 2)",
    "glorot_normal(gain = 2)",
    "orthogonal(gain = 2)",
    'variance_scaling(2, mode = "fan_out", distribution = "normal")',
    'variance_scaling(0.5, mode = "fan_avg", distribution = "uniform")',
    'variance_scaling(3, mode = "fan_out")',
)


def figures(array: np.ndarray) -> np.ndarray:
    """Mean, deviation, and the half of the values that lies nearest to the mean."""
    flat = np.sort(np.abs(array - array.mean()).ravel())
    return np.array([array.mean(), array.std(), flat[len(flat) // 2], flat[-1]])


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("kind", WRITTEN)
def test_the_same_distribution(kind: str, backend: str) -> None:
    model = api.load(SPEC.replace("KIND", kind)).model("M")
    unit = unit_of(model.function, "M")
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit).source, made.__dict__)
    found = made.export_weights(made.init(seed=3))
    wanted = initial_weights(model.function, 0)
    assert found.keys() == wanted.keys()
    for name in (n for n in wanted if "bias" not in n):
        mine, ours = figures(np.asarray(found[name], float)), figures(wanted[name])
        tolerance = 6 * max(ours[1], 1e-7) / np.sqrt(wanted[name].size)
        np.testing.assert_allclose(mine[:3], ours[:3], atol=tolerance, err_msg=name)
        np.testing.assert_allclose(mine[3], ours[3], rtol=0.4, atol=1e-6, err_msg=name)
        if "orthogonal" in kind or kind == "identity":
            gram = np.asarray(found[name], float)
            gram = gram.T @ gram if len(gram) > gram.shape[1] else gram @ gram.T
            ideal = wanted[name]
            ideal = ideal.T @ ideal if len(ideal) > ideal.shape[1] else ideal @ ideal.T
            np.testing.assert_allclose(gram, ideal, atol=1e-5)


def test_one_seed_one_draw() -> None:
    function = api.load(SPEC.replace("KIND", "normal")).model("M").function
    first, again, other = (initial_weights(function, seed) for seed in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert any((first[name] != other[name]).any() for name in first)


KERNELS = """
model M(x: [N, 4, 8, 8]) {
  x = x -> conv(8, 3, padding = 1, init = orthogonal) -> conv(6, 3, init = identity)
  return x -> conv(6, 2, init = orthogonal(gain = 2)) -> conv(6, 3, init = glorot_normal)
}
"""


def emitted(text: str, backend: str) -> ModuleType:
    model = api.load(text).model("M")
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(model.function, "M")).source, made.__dict__)
    return made


@pytest.mark.parametrize("backend", TARGETS)
def test_kernels(backend: str) -> None:
    made = emitted(KERNELS, backend)
    found = made.export_weights(made.init(seed=3))
    wanted = initial_weights(api.load(KERNELS).model("M").function, 0)
    for name in ("conv.0.weight", "conv.2.weight"):
        rows = [np.asarray(a[name], float).reshape(len(a[name]), -1) for a in (found, wanted)]
        np.testing.assert_allclose(rows[0] @ rows[0].T, rows[1] @ rows[1].T, atol=1e-5)
    np.testing.assert_array_equal(found["conv.1.weight"], wanted["conv.1.weight"])


@pytest.mark.parametrize("init", ["", ", init = uniform(1, 2)"])
@pytest.mark.parametrize("backend", TARGETS)
def test_the_row_of_the_padding_is_zero(backend: str, init: str) -> None:
    text = f"""
    block Words(x: i64[N, T], pad) = x -> embedding(6, 5, padding_index = pad{init})
    model M(x: i64[N, T]) = concat(x -> Words(2), x -> Words(0))
    """
    made = emitted(text, backend)
    found = made.export_weights(made.init(seed=3))
    drawn = initial_weights(api.load(text).model("M").function, 0)
    for weights in (found, drawn):
        for block, row in (("words.0", 2), ("words.1", 0)):
            table = np.asarray(weights[f"{block}.embedding.weight"])
            assert not table[row].any()
            assert np.delete(table, row, 0).all()
