"""Limits on gradients, sums over batches, averaged weights: equal to torch by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dlspec
from dlspec.training.module import load_module
from dlspec.training.run import train
from dlspec.verification import verify
from dlspec.weights import read_weights
from tests.training.by_hand import BACKENDS, BATCHES, agree, batch_tensors, run, tensors

NET = "model Net(x: [N, 4]) = x -> dense(5) -> tanh -> dense(3) as head\n"


def section(*settings: str, using: str = "sgd(0.1, momentum = 0.9)", net: str = NET) -> str:
    lines = "\n  ".join(settings)
    return f"""{net}
train t {{
  data (x: [N, 4], y: i64[N]) from npz("a.npz", fields = ["x", "y"], batch = 6)
  share net = Net
  minimize cross_entropy(net(x), y) using {using}
  {lines}
}}
"""


def logits(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    x = torch.tanh(F.linear(x, w["dense.weight"], w["dense.bias"]))
    return F.linear(x, w["head.weight"], w["head.bias"])


def by_hand(
    first: dict[str, np.ndarray], batches: int, norm: float | None, decay: float
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights and averages after an update every so many batches."""
    weights = tensors(first)
    averages = {name: w.detach().clone() for name, w in weights.items()}
    optimizer = torch.optim.SGD(weights.values(), 0.1, momentum=0.9)
    for i, batch in enumerate(BATCHES):
        x, y = batch_tensors(batch)
        (F.cross_entropy(logits(weights, x), y) / batches).backward()
        if (i + 1) % batches:
            continue
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(weights.values(), norm)
        else:
            torch.nn.utils.clip_grad_value_(weights.values(), 0.02)
        optimizer.step()
        optimizer.zero_grad()
        for name, average in averages.items():
            average.mul_(decay).add_(weights[name].detach(), alpha=1 - decay)
    return weights, averages


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_of_them_together(tmp_path: Path, backend: str) -> None:
    text = section("clip_norm 0.05", "accumulate 2", "ema 0.9")
    module, state, first = run(text, backend, tmp_path, 0.1)
    weights, averages = by_hand(first, 2, 0.05, 0.9)
    agree(module.export_weights(state), weights)
    agree(module.export_optimizer(state), {f"ema/{n}": a for n, a in averages.items()})
    x, y = batch_tensors(BATCHES[0])
    agree({"y": module.predict(state, x=BATCHES[0]["x"])}, {"y": logits(averages, x)})
    loss = float(module.evaluate(state, BATCHES[0])["loss"])
    assert abs(loss - F.cross_entropy(logits(averages, x), y).item()) < 1e-11
    # between two updates everything survives a checkpoint
    state, _ = module.train_step(state, BATCHES[1], 0.1, step=4)
    saved = module.export_weights(state), module.export_optimizer(state)
    fresh = module.import_weights(module.init(1, "float64"), saved[0])
    fresh = module.import_optimizer(fresh, saved[1])
    state, _ = module.train_step(state, BATCHES[2], 0.1, step=5)
    fresh, _ = module.train_step(fresh, BATCHES[2], 0.1, step=5)
    agree(module.export_weights(fresh), module.export_weights(state), 0)
    agree(module.export_optimizer(fresh), module.export_optimizer(state), 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_gradient_is_cut(tmp_path: Path, backend: str) -> None:
    module, state, first = run(section("clip_value 0.02"), backend, tmp_path, 0.1)
    agree(module.export_weights(state), by_hand(first, 1, None, 0.9)[0])


def test_a_norm_below_the_limit_is_left_alone(tmp_path: Path) -> None:
    free, limited = (
        run(section(*settings), "numpy", tmp_path, 0.1)
        for settings in ((), ("clip_norm 1e3",))
    )  # fmt: skip
    agree(free[0].export_weights(free[1]), limited[0].export_weights(limited[1]), 0)


NORMED = NET.replace("tanh", "batch_norm -> tanh")
STEPS = f"""{NORMED}
train t {{
  data (x, y) from iris(batch = 8)
  share a = Net
  share b = Net
  step one {{ minimize cross_entropy(a(x), y) over a.head using adam(0.01) using sgd(0.1) }}
  step two {{ minimize cross_entropy(a(x) + b(x), y) over b using sgd(0.1) }}
  clip_norm 0.1
  ema 0.9
}}
"""
PARTS = section(
    "clip_norm 0.1", "accumulate 2", "ema 0.99", net=NORMED,
    using="adam(0.01)",
).replace("y) using", "y) over net.head using adamw(0.02) over net.dense using")  # fmt: skip


TURNS = f"""{NET}
train t {{
  data (x: [N, 4], y: i64[N]) from npz("a.npz", fields = ["x", "y"], batch = 6)
  share a = Net
  share b = Net
  step one {{ minimize cross_entropy(a(x), y) over a using sgd(0.1, momentum = 0.9) }}
  step two {{ minimize cross_entropy(b(x), y) over b using sgd(0.1, momentum = 0.9) }}
  clip_norm 0.05
  accumulate 2
  ema 0.9
}}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_step_adds_up_its_own_gradients(tmp_path: Path, backend: str) -> None:
    module, state, first = run(TURNS, backend, tmp_path, (), [])
    nets = {n: {k.removeprefix(f"{n}."): w for k, w in first.items() if k[0] == n} for n in "ab"}
    state, _ = module.train_step(state, BATCHES[0], (0.1,), "one", step=0)
    for number, batch in enumerate(BATCHES):  # "one" is a batch ahead
        state, _ = module.train_step(state, batch, (0.1,), "two", step=number)
        if number + 1 < len(BATCHES):
            state, _ = module.train_step(state, BATCHES[number + 1], (0.1,), "one", step=number)
        saved = module.export_weights(state), module.export_optimizer(state)
        state = module.import_weights(module.init(1, "float64"), saved[0])
        state = module.import_optimizer(state, saved[1])
    for name, start in nets.items():
        weights, averages = by_hand(start, 2, 0.05, 0.9)
        agree(saved[0], {f"{name}.{k}": w for k, w in weights.items()})
        agree(saved[1], {f"ema/{name}.{k}": w for k, w in averages.items()})
    assert saved[1]["taken/one"] == 0


@pytest.mark.parametrize("text", [STEPS.replace("ema", "accumulate 2\n  ema"), PARTS])
def test_backends_agree(text: str) -> None:
    found = verify(dlspec.load(text).trainer("t"), optimizers=["declared"], steps=3)
    assert found.ok, found.text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_moves_the_averages_of_what_it_trains(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "model.py"
    path.write_text(dlspec.load(STEPS).trainer("t").code(backend))
    module = load_module(path)
    state = module.init(0, "float64")
    first = {name: np.array(w) for name, w in module.export_weights(state).items()}
    state, _ = module.train_step(state, BATCHES[0], (0.1,), "two", step=0)
    weights, saved = module.export_weights(state), module.export_optimizer(state)
    for name, start in first.items():
        if "running" not in name:
            expected = 0.9 * start + 0.1 * np.array(weights[name])
            np.testing.assert_allclose(saved[f"ema/{name}"], expected, atol=1e-14, err_msg=name)
        if name.startswith("a.") and "running" not in name:
            assert np.array_equal(saved[f"ema/{name}"], start), name
    assert not np.array_equal(saved["ema/b.head.weight"], first["b.head.weight"])
    again = module.import_weights(module.init(1, "float64"), weights)
    again = module.import_optimizer(again, saved)
    agree(module.export_optimizer(again), saved, 0)


def test_the_best_weights_are_the_evaluated_ones(tmp_path: Path) -> None:
    text = section("ema 0.5", "epochs 1").replace(
        'npz("a.npz", fields = ["x", "y"], batch = 6)', "iris(batch = 50)"
    )
    found = train(dlspec.load(text).trainer("t"), "numpy", run_dir=tmp_path)
    best = read_weights(tmp_path / "checkpoints" / "best.safetensors")
    assert not np.array_equal(best["head.weight"], found.weights["head.weight"])
