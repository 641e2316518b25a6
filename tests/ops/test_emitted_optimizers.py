"""Every optimizer in the files of every backend, against torch.optim or a reference."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget

import dlspec.api as api
from dlspec.codegen.unit import unit_of
from dlspec.ops.optimizers import Optimizer

from .optimizer_references import CASES

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
model M(x: [N, 4]) -> [N, 3] = x -> dense(5) -> tanh -> dense(3)

train t {
  data (x: [N, 4], y: [N, 3]) from npz("unused.npz", fields = ["x", "y"])
  minimize mse(M(x), y) using OPTIMIZER
}
"""


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def written(optimizer: Optimizer) -> str:
    words = [f"{k} = {str(v).lower()}" for k, v in optimizer.settings().items()]
    return f"{optimizer.name}({', '.join(['lr = 0.1', *words])})"


@cache
def emitted(backend: str, optimizer: Optimizer) -> ModuleType:
    spec = SPEC.replace("OPTIMIZER", written(optimizer))
    trainer = api.load(spec).trainer(None)
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(trainer.training, "train")).source, made.__dict__)
    return made


def batch(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {"x": rng.standard_normal((6, 4)), "y": rng.standard_normal((6, 3))}


def started(made: ModuleType) -> Any:
    state = made.init(dtype="float64")
    rng = np.random.default_rng(7)
    names = made.export_weights(state)
    drawn = {n: rng.standard_normal(a.shape) for n, a in sorted(names.items())}
    return made.import_weights(state, drawn)


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(("mine", "theirs", "settings"), CASES, ids=lambda v: str(v)[:60])
def test_twenty_steps(backend: str, mine: Optimizer, theirs: Any, settings: Any) -> None:
    made = emitted(backend, mine)
    state = started(made)
    start = made.export_weights(state)
    weights = {n: torch.tensor(np.array(a), requires_grad=True) for n, a in start.items()}
    optimizer = theirs(list(weights.values()), lr=0.1, **settings)
    for step in range(20):
        rate = 0.1 / (1 + step)
        optimizer.param_groups[0]["lr"] = rate
        _, grads = made.gradients(state, batch(step))
        for name, weight in weights.items():
            weight.grad = torch.tensor(np.array(grads[name]))
        optimizer.step()
        state, _ = made.train_step(state, batch(step), rate)
        for name, found in made.export_weights(state).items():
            wanted = weights[name].detach().numpy()
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("mine", [case[0] for case in CASES], ids=lambda v: str(v)[:60])
def test_a_run_goes_on_in_another_backend(mine: Optimizer) -> None:
    first = emitted("numpy", mine)
    state = started(first)
    for step in range(3):
        state, _ = first.train_step(state, batch(step), 0.05)
    for backend in TARGETS:
        made = emitted(backend, mine)
        other = made.import_weights(made.init(dtype="float64"), first.export_weights(state))
        other = made.import_optimizer(other, first.export_optimizer(state))
        again = made.export_optimizer(other)
        for name, array in first.export_optimizer(state).items():
            if name != "step" or mine.scalars:
                np.testing.assert_array_equal(again[name], array, err_msg=name)
        other, _ = made.train_step(other, batch(3), 0.02)
        expected = first.import_optimizer(
            first.import_weights(first.init(dtype="float64"), first.export_weights(state)),
            first.export_optimizer(state),
        )
        expected, _ = first.train_step(expected, batch(3), 0.02)
        found, wanted = made.export_weights(other), first.export_weights(expected)
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("mine", {c[0].name: c[0] for c in CASES}.values(), ids=lambda v: v.name)
def test_single_precision_stays(backend: str, mine: Optimizer) -> None:
    jax.config.update("jax_enable_x64", False)
    made = emitted(backend, mine)
    state = made.init()
    for step in range(2):
        state, metrics = made.train_step(state, batch(step), 0.01)
    arrays = {**made.export_weights(state), **made.export_optimizer(state)}
    kinds = {n: np.asarray(a).dtype for n, a in arrays.items() if n != "step"}
    assert set(kinds.values()) == {np.dtype("float32")}, kinds
    assert np.isfinite(float(metrics["loss"]))
