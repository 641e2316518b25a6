"""Initial weights, their paths, and files of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dlspec.diagnostics import Failure
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    ChildSlot,
    Function,
    Init,
    LayerSlot,
    Minimize,
    Reference,
    Segment,
    Side,
    Training,
    Value,
    Weight,
    WeightSlot,
)
from dlspec.ir.inits import DISTRIBUTIONS, INIT_KINDS, MODES, TRUNCATED
from dlspec.ir.static import Apply, ParamRef, Symbol
from dlspec.ir.types import DType, TensorType
from dlspec.weights import initial_weights, leaves, read_weights, write_weights
from dlspec.weights.files import read_with_metadata
from dlspec.weights.initialisers import INITIALISERS, draw

SHAPES = [(300, 400), (64, 32, 3, 3)]


def rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "args", "variance"),
    [
        ("normal", {"std": 0.3}, lambda i, o: 0.09),
        ("uniform", {"low": -1.0, "high": 1.0}, lambda i, o: 1 / 3),
        ("glorot_uniform", {}, lambda i, o: 2 / (i + o)),
        ("glorot_normal", {}, lambda i, o: 2 / (i + o)),
        ("he_uniform", {}, lambda i, o: 2 / i),
        ("he_normal", {}, lambda i, o: 2 / i),
        ("lecun_normal", {}, lambda i, o: 1 / i),
        ("kaiming_uniform", {}, lambda i, o: 1 / (3 * i)),
        ("kaiming_uniform", {"a": 0.0}, lambda i, o: 2 / i),
        ("fan_in_uniform", {}, lambda i, o: 1 / (3 * i)),
        ("truncated_normal", {"std": 0.1}, lambda i, o: 0.01 * 0.774),
    ],
)
def test_moments(shape: tuple[int, ...], kind: str, args, variance):
    drawn = draw(kind, rng(), shape, args)
    receptive = math.prod(shape[2:])
    expected = variance(shape[1] * receptive, shape[0] * receptive)
    assert drawn.shape == shape
    np.testing.assert_allclose(drawn.var(), expected, rtol=0.05)
    assert abs(drawn.mean()) < 4 * math.sqrt(expected / drawn.size)


def test_fan_in_is_given_to_biases():
    drawn = draw("fan_in_uniform", rng(), (2000,), {"fan_in": 25.0})
    assert 0.19 < abs(drawn).max() <= 0.2


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 2, 3), (5, 5)])
def test_orthogonal(shape: tuple[int, ...]):
    matrix = draw("orthogonal", rng(), shape, {"gain": 2.0}).reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_identity_kernel_keeps_an_image():
    kernel = draw("identity", rng(), (2, 2, 3, 3))
    assert kernel.sum() == 2
    assert kernel[0, 0, 1, 1] == kernel[1, 1, 1, 1] == 1


def test_all_of_the_language_are_there():
    assert set(INIT_KINDS) <= set(INITIALISERS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_variance_scaling(mode: str, distribution: str):
    args = {"gain": 2**0.5}
    drawn = draw(f"variance_scaling_{mode}_{distribution}", rng(), (300, 100), args)
    n = {"fan_in": 100, "fan_out": 300, "fan_avg": 200}[mode]
    np.testing.assert_allclose(drawn.var(), 2 / n, rtol=0.03)
    bound = {"uniform": 3**0.5, "truncated_normal": 2 / TRUNCATED, "normal": 6}[distribution]
    assert abs(drawn).max() <= bound * (2 / n) ** 0.5


def test_fixed_values():
    for kind, args, value in [("zeros", {}, 0), ("ones", {}, 1), ("constant", {"value": 0.3}, 0.3)]:
        np.testing.assert_array_equal(draw(kind, rng(), (2, 3), args), np.full((2, 3), value))


def test_every_initialiser_takes_every_shape():
    for kind in set(INITIALISERS) - {"orthogonal", "identity"}:
        assert draw(kind, rng(), ()).shape == ()
        assert draw(kind, rng(), (3,)).shape == (3,)


def tensor(*shape: object) -> TensorType:
    return TensorType(DType.FLOAT, tuple(s if isinstance(s, Dim) else Dim.const(s) for s in shape))


def block() -> Function:
    """One weight [width, 2 * C], a buffer, and a reference that is somebody else's."""
    width, channels = Dim.symbol("width"), Dim.symbol("C")
    function = Function("Block", "block")
    function.symbols = {"width": Symbol("param", 3), "C": Symbol("dim")}
    weight = Weight("weight", tensor(width, 2 * channels), Init("normal"), True)
    moving = Weight("mean", tensor(channels), Init("zeros"), False)
    layer = LayerSlot(Segment("dense"), "dense", {}, {"weight": weight})
    function.slots = [layer, WeightSlot(Segment("mean"), moving)]
    function.references = [Reference("emb", layer)]
    return function


def model() -> Function:
    dims = {"C": Dim.symbol("D") + 1}
    function = Function("Model", "model")
    function.symbols = {"D": Symbol("param", 4), "depth": Symbol("param", 3)}
    first = ChildSlot(Segment("block", 0), block(), dims, {"width": Dim.const(7)})
    stack = ChildSlot(Segment("block", 1), block(), dims, {}, Dim.symbol("depth") - 1)
    function.slots = [first, stack, Reference("emb", first)]
    return function


PATHS = {
    f"block.{i}.{name}": shape
    for i in range(3)
    for name, shape in (("dense.weight", (7 if i == 0 else 3, 10)), ("mean", (5,)))
}


def test_paths_and_shapes():
    assert {leaf.path: leaf.shape for leaf in leaves(model())} == PATHS
    assert [leaf.trainable for leaf in leaves(model())] == [True, False] * 3


def training(networks: int) -> Training:
    function = Function("t", "train")
    function.slots = [ChildSlot(Segment(f"net{i}"), model(), {}, {}) for i in range(networks)]
    return Training(function, (), (Minimize(Value(tensor()), (), "sgd", {}, None),), (), (), {})


def test_an_only_network_has_no_segment():
    assert {leaf.path for leaf in leaves(training(1))} == set(PATHS)
    two = {f"net{i}.{path}" for i in range(2) for path in PATHS}
    assert {leaf.path for leaf in leaves(training(2))} == two


def test_weights_hang_on_seed_and_path_alone():
    """A further network leaves the numbers of the others as they are."""
    few, more, other = (initial_weights(model(), 0), initial_weights(training(2), 0),
                        initial_weights(model(), 1))  # fmt: skip
    again = initial_weights(training(1), 0)
    name = "block.0.dense.weight"
    np.testing.assert_array_equal(few[name], again[name])
    assert not np.array_equal(few[name], other[name])
    assert not np.array_equal(more["net0." + name], more["net1." + name])
    assert not np.array_equal(few["block.1.dense.weight"], few["block.2.dense.weight"])


def test_a_branch_owns_weights_too():
    function = block()
    function.symbols["C"] = Symbol("dim", 2)
    layer = function.slots.pop(0)
    condition = Apply(">", (ParamRef("width"), Dim.const(0)))
    function.body = [BranchNode(condition, True, Side([], (), (layer,)), None, ())]
    assert {leaf.path for leaf in leaves(function)} == {"dense.weight", "mean"}


def test_two_weights_of_one_path():
    function = model()
    function.slots.append(function.slots[0])
    with pytest.raises(ValueError, match="two weights"):
        initial_weights(function, 0)


def test_file_round_trip(tmp_path: Path):
    arrays = {
        "a.weight": rng().standard_normal((3, 4)).T,
        "b": np.float32(2.5).reshape(()),
        "n": np.array(3),
        "m": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
    }
    write_weights(tmp_path / "w.safetensors", arrays, {"step": "3"})
    read, told = read_with_metadata(tmp_path / "w.safetensors")
    assert told == {"step": "3"}
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
        assert read[name].shape == array.shape
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_unreadable_file(tmp_path: Path):
    (tmp_path / "w.safetensors").write_bytes(b"something else")
    for name in ("w.safetensors", "none.safetensors"):
        with pytest.raises(Failure, match="cannot read"):
            read_weights(tmp_path / name)
