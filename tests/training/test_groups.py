"""Optimizers for parts of a network: equal to torch by hand, and nothing else moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dlspec
from dlspec.verification import verify
from tests.training.by_hand import BACKENDS, BATCHES, agree, batch_tensors, run, tensors

NET = """
block Trunk(x: [N, D], hidden) = x -> dense(hidden) -> tanh
block Layer(x: [N, D]) = x -> dense(D) -> tanh
model Net(x: [N, 4]) = x -> Trunk(5) as encoder -> repeat(2, Layer) -> dense(3) as head
"""


def section(minimize: str, model: str = NET) -> str:
    return f"""{model}
train t {{
  data (x: [N, 4], y: i64[N]) from npz("a.npz", fields = ["x", "y"], batch = 6)
  share net = Net
  minimize cross_entropy(net(x), y) {minimize}
}}
"""


def forward(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for name in ("encoder.dense", "layer.0.dense", "layer.1.dense"):
        x = torch.tanh(F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]))
    return F.linear(x, w["head.weight"], w["head.bias"])


def by_hand(weights: dict[str, torch.Tensor], optimizers: Sequence[torch.optim.Optimizer]) -> None:
    for batch in BATCHES:
        x, y = batch_tensors(batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        F.cross_entropy(forward(weights, x), y).backward()
        for optimizer in optimizers:
            optimizer.step()


def under(weights: dict[str, torch.Tensor], *starts: str) -> list[torch.Tensor]:
    return [w for name, w in weights.items() if name.startswith(starts)]


ADAM_TWICE = "over net.head using adam(0.01) over net.encoder, net.layer[1] using adam(0.002)"
TWO_KINDS = "over net.head.weight using adam(0.01) using sgd(0.1, momentum = 0.9)"


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_rates_are_torchs_parameter_groups(tmp_path: Path, backend: str) -> None:
    text = section(ADAM_TWICE)
    module, state, first = run(text, backend, tmp_path, (0.01, 0.002))
    weights = tensors(first)
    groups = [
        {"params": under(weights, "head"), "lr": 0.01},
        {"params": under(weights, "encoder", "layer.1"), "lr": 0.002},
    ]
    by_hand(weights, [torch.optim.Adam(groups)])
    found = module.export_weights(state)
    agree(found, weights)
    assert np.array_equal(
        found["layer.0.dense.weight"], first["layer.0.dense.weight"]
    )  # in no group
    assert not np.array_equal(found["layer.1.dense.weight"], first["layer.1.dense.weight"])
    _, gradients = module.gradients(state, BATCHES[0])
    assert sorted({name.partition(".")[0] for name in gradients}) == ["encoder", "head", "layer"]
    assert "layer.0.dense.weight" not in gradients


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_kinds_and_the_rest(tmp_path: Path, backend: str) -> None:
    module, state, first = run(section(TWO_KINDS), backend, tmp_path, (0.01, 0.1))
    weights = tensors(first)
    rest = [w for name, w in weights.items() if name != "head.weight"]
    by_hand(
        weights,
        [torch.optim.Adam([weights["head.weight"]], 0.01), torch.optim.SGD(rest, 0.1, 0.9)],
    )
    agree(module.export_weights(state), weights)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("minimize", "rates"),
    [
        (ADAM_TWICE, (0.01, 0.02)),
        (TWO_KINDS, (0.01, 0.02)),
        ("over net.head using adam", 0.01),
    ],
)
def test_optimizers_survive_a_checkpoint(
    tmp_path: Path, backend: str, minimize: str, rates: float | tuple[float, float]
) -> None:
    text = section(minimize)
    module, state, _ = run(text, backend, tmp_path, rates)
    saved = module.export_weights(state), module.export_optimizer(state)
    fresh = module.import_weights(module.init(1, "float64"), saved[0])
    fresh = module.import_optimizer(fresh, saved[1])
    state, _ = module.train_step(state, BATCHES[0], rates, step=4)
    fresh, _ = module.train_step(fresh, BATCHES[0], rates, step=4)
    agree(module.export_weights(fresh), module.export_weights(state), 0)
    agree(module.export_optimizer(fresh), module.export_optimizer(state), 0)


def test_torch_makes_one_optimizer_where_it_can() -> None:
    code = dlspec.load(section(ADAM_TWICE)).trainer("t").code("torch")
    assert code.count("torch.optim.Adam(") == 1
    assert 'net.get_submodule("layer.0").requires_grad_(False)' in code
    assert "optimizers" not in code


NORMED = """
block Trunk(x: [N, D], hidden) = x -> dense(hidden) -> batch_norm -> tanh
model Net(x: [N, 4]) = x -> Trunk(5) as encoder -> dense(5) -> batch_norm -> dense(3) as head
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_statistics_of_what_is_not_trained_stay(tmp_path: Path, backend: str) -> None:
    text = section("over net.head, net.batch_norm using sgd(0.1)", NORMED)
    module, state, first = run(text, backend, tmp_path, 0.1)
    found = module.export_weights(state)
    for name, array in found.items():
        moved = name.startswith(("head", "batch_norm"))
        assert np.array_equal(array, first[name]) == (not moved), name


STACKED = """
block Layer(x: [N, D]) = x -> dense(D) -> tanh
model Net(x: [N, 4]) = x -> dense(5) -> repeat(12, Layer) -> dense(3) as head
"""
STEPS = f"""{NORMED}
train t {{
  data (x: [N, 4], y: i64[N]) from npz("a.npz", fields = ["x", "y"], batch = 6)
  share net = Net
  share other = Net
  step one {{
    minimize cross_entropy(net(x), y) over net.head using adam(0.01) over net.encoder using sgd(0.1)
    minimize cross_entropy(other(x) + net(x), y) over other.head, net.batch_norm using adam(0.01)
  }}
  step two {{ minimize cross_entropy(other(x), y) over other using sgd(0.1) }}
}}
"""


@pytest.mark.parametrize(
    "text",
    [
        section(TWO_KINDS),
        section(
            "over net.head, net.batch_norm using lamb over net.dense.weight using lamb(0.01)",
            NORMED,
        ),
        section("over net.layer[3].dense using adam using adamw(weight_decay = 0.1)", STACKED),
        section("over net.head using adam using adamw(weight_decay = 0.1)", STACKED),
        STEPS,
    ],
)
def test_backends_agree(text: str) -> None:
    found = verify(dlspec.load(text).trainer("t"), optimizers=["declared"], steps=3)
    assert found.ok, found.text()
