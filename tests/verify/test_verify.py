"""Verification of hand-written files that follow the protocol, right ones and wrong ones."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from dlspec.api import load
from dlspec.diagnostics import Failure
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import Function, Value
from dlspec.ir.types import DType
from dlspec.ops.random import Dropout, RandomNormal, RandomUniform
from dlspec.passes.randomness import DrawSpec
from dlspec.training.errors import RunError
from dlspec.verification import verify
from dlspec.verification.batch import choose_sizes, holds, moved, random_batch
from dlspec.verification.compare import compare
from dlspec.verification.draws import random_draws

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from units import PROTOCOL_FILE, HandUnit, digits, network, tensor

CODE = PROTOCOL_FILE.read_text()
# sums in another order: equal but for rounding
REORDERED = CODE.replace(
    'dh.T @ x,', 'np.einsum("nh,nx->hx", dh[::-1], x[::-1]),'
)  # fmt: skip


def unit(**others: str) -> HandUnit:
    return HandUnit(digits(), others={"a": CODE, "b": REORDERED, **others})


def test_equal_but_for_rounding():
    assert REORDERED != CODE
    found = verify(unit(), ["a", "b"], optimizers=["declared"])
    assert found.ok, found.text()
    assert 0 < max(pair.max_abs for pair in found.pairs) < 1e-12
    groups = {pair.group for pair in found.pairs}
    assert groups == {"output", "metric", "gradient", "loss", "weight", "optimizer's momentum"}
    assert {"gradient hidden.weight (sgd)", "weight head.bias (sgd)"} <= {
        p.what for p in found.pairs
    }
    assert found.hashes["a sgd"] == hashlib.sha256(CODE.encode()).hexdigest()
    assert 0 < found.floor["sgd", "weight"] < 1e-12
    assert "equal in float64 with N = 8" in found.text()


def test_json_contract():
    told = json.loads(json.dumps(verify(unit(), ["a", "b"], optimizers=["sgd"]).to_json()))
    assert told["ok"] is True
    assert {"a", "b", "what", "max_abs", "max_rel", "tolerance", "ok"} <= told["pairs"][0].keys()


@pytest.mark.parametrize(
    ("old", "new", "group"),
    [
        ("dh.sum(axis=0)", "dh.sum(axis=0) * (1 + 1e-6)", "gradient"),
        ("MOMENTUM * momentum[k] + grads[k]", "grads[k]", "weight"),
        ('"step": np.array(state[2])', '"step": np.array(state[2] + 1)', "optimizer's step"),
        ("return _forward(state[0], image)[2]", "return _forward(state[0], image)[2] + 1e-6",
         "output"),
        ("return dict(state[0])", 'return {"head.bias": state[0]["head.bias"]}', "weight"),
        ('"loss": loss,', '"loss": loss * np.nan,', "loss"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_found(old: str, new: str, group: str):
    assert old in CODE
    # of the files' two names for one optimizer, adam's is the one whose steps count
    found = verify(unit(b=CODE.replace(old, new)), ["a", "b"], optimizers=["adam"])
    assert not found.ok
    assert group in {pair.group for pair in found.pairs if not pair.ok}
    assert "not equal" in found.text()
    assert "different: " in found.text()


def test_three_backends_are_compared_pairwise():
    found = verify(unit(c=CODE), ["a", "b", "c"], optimizers=["sgd"])
    assert {(p.a, p.b) for p in found.pairs} == {("a", "b"), ("a", "c"), ("b", "c")}


def test_ill_conditioned_is_neither():
    """1e12 times the difference of two nearly equal numbers."""
    wild = CODE.replace(
        "def predict(state, image):\n",
        "def predict(state, image):\n    image = np.sin(1e9 * image)\n",
    )
    found = verify(unit(a=wild, b=wild), ["a", "b"], optimizers=["sgd"])
    assert all(pair.ok for pair in found.pairs)
    assert found.ill_conditioned
    assert not found.ok
    assert "ill-conditioned" in found.text()


def test_a_model_alone_compares_outputs():
    model = HandUnit(network(), others={"a": CODE, "b": CODE})
    found = verify(model, ["a", "b"])
    assert found.ok
    assert {pair.group for pair in found.pairs} == {"output"}
    assert "no gradients" in found.text()


def test_wrong_usage():
    with pytest.raises(RunError, match="at least two"):
        verify(unit(), ["a"])
    with pytest.raises(Failure, match="no open size `M`; open are: N"):
        verify(unit(), ["a", "b"], sizes={"M": 3})
    with pytest.raises(Failure, match="declared, sgd, adam, not `lion`"):
        verify(unit(), ["a", "b"], optimizers=["lion"])


def function(*shapes: tuple[object, ...]) -> Function:
    inputs = tuple(Value(tensor(*shape), f"x{i}") for i, shape in enumerate(shapes))  # pyright: ignore
    return Function("F", "model", inputs=inputs)


class Needs:
    def __init__(self, left: Dim, op: str, right: int) -> None:
        self.relation = Relation(op, left, Dim.const(right))  # pyright: ignore


def test_sizes_that_meet_the_requirements():
    f = function(("N", 3, "H", "W"))
    f.requirements = [Needs(Dim.symbol("H") % 48, "==", 0), Needs(Dim.symbol("W"), ">=", 200)]
    assert choose_sizes(f, {}) == {"N": 8, "H": 48, "W": 224}
    assert choose_sizes(f, {"N": 2, "H": 96}) == {"N": 2, "H": 96, "W": 224}
    f.requirements.append(Needs(Dim.symbol("N"), ">=", 9))  # where a batch's ninth is picked
    assert choose_sizes(f, {"W": 224}) == {"N": 16, "H": 48, "W": 224}
    f.requirements.append(Needs(Dim.symbol("H"), "<", 40))
    with pytest.raises(ValueError, match="give them with --set"):
        choose_sizes(f, {})


@pytest.mark.parametrize("op", ["==", "!=", "<", "<=", ">", ">="])
def test_holds(op: str):
    for left in range(3):
        relation = Relation(op, Dim.symbol("a"), Dim.const(1))  # pyright: ignore
        assert holds(relation, {"a": left}) == eval(f"{left} {op} 1")


def test_random_batch():
    graph = digits()
    batch = random_batch(graph, {"N": 50}, 0)
    shapes = {k: v.shape for k, v in batch.items()}
    assert shapes == {"field/image": (50, 1, 8, 8), "field/label": (50,)} | {
        "input/image": (50, 1, 8, 8)
    }
    np.testing.assert_array_equal(batch["field/image"], batch["input/image"])
    assert batch["field/label"].dtype == np.int64
    flags = Function("F", "model", inputs=(Value(tensor("N", dtype=DType.BOOL), "m"),))
    assert random_batch(flags, {"N": 4}, 0)["input/m"].dtype == bool


def test_moved_by_one_ulp():
    x = np.array([1.0, -3.0, 0.0])
    y = moved({"x": x, "n": np.array([3])}, 0)
    assert (x != y["x"]).all()
    assert (abs(x - y["x"]) <= np.spacing(abs(x))).all()
    assert y["n"] == 3


def test_errors_are_relative_to_the_group():
    """A gradient that is zero in theory is not held to itself."""
    a = {"gradient/w": np.array([1.0]), "gradient/b": np.array([1e-17])}
    b = {"gradient/w": np.array([1.0]), "gradient/b": np.array([-1e-17])}
    pair = compare(("a", "b"), (a, b), "", 1e-9)[1]
    assert (pair.max_rel, pair.ok) == (2.0, True)


@pytest.mark.parametrize("other", [np.zeros(3), np.array([math.nan, 0.0]), np.array([math.inf, 0])])
def test_what_is_never_equal(other: np.ndarray):
    (pair,) = compare(("a", "b"), ({"output/": np.zeros(2)}, {"output/": other}), "", 1e-9)
    assert not pair.ok


def test_draws_have_their_distributions():
    specs = [
        DrawSpec(Dropout(0.25), (200, 50), True),
        DrawSpec(RandomNormal((), 1.0, 2.0), (10_000,), False),
        DrawSpec(RandomUniform((), -1.0, 3.0), (10_000,), False),
    ]
    drawn = random_draws(specs, range(2), 0)
    assert list(drawn) == ["0/0", "0/1", "0/2", "1/0", "1/1", "1/2"]
    assert set(np.unique(drawn["0/0"])) == {0.0, 1 / 0.75}
    np.testing.assert_allclose(
        [drawn["0/0"].mean(), drawn["0/1"].mean(), drawn["0/1"].std(), drawn["0/2"].mean()],
        [1, 1, 2, 1],
        atol=0.1,
    )
    assert not np.array_equal(drawn["0/1"], drawn["1/1"])


@pytest.mark.parametrize("step", [False, True])
def test_a_training_without_a_model(step: bool):
    """It owns layers alone: there is nothing to predict with."""
    minimize = "minimize cross_entropy(x -> dense(3), label) using sgd(0.1)"
    text = "train fit {\n  data (x, label) from iris()\n  BODY\n}\n"
    trainer = load(text.replace("BODY", f"step a {{ {minimize} }}" if step else minimize)).trainer()
    found = verify(trainer, optimizers=["declared"], steps=2)
    assert found.ok, found.text()
    assert {pair.group for pair in found.pairs}.isdisjoint({"outputs"})
