"""Training sections with several steps: their order, what each trains, and that backends agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.training.module import load_module
from dlspec.training.run import train
from dlspec.verification import verify
from dlspec.verification.batch import choose_sizes, random_batch
from dlspec.weights import initial_weights

NETWORKS = """
block Gen(z: [N, L]) = z -> dense(6) -> batch_norm -> relu -> dense(4)
block Dis(x: [N, F]) -> [N, 1] = x -> dense(6) -> batch_norm -> leaky_relu(0.2) -> dense(1)
"""
GAN = f"""{NETWORKS}
train gan {{
  data (x: [N, 4], _) from iris(batch = 16)
  share G = Gen
  share D = Dis
  fake = normal([N, 3]) -> G
  step critic {{
    minimize bce_with_logits(D(x), 1) + bce_with_logits(D(stop_gradient(fake)), 0)
      over D using adam(1e-3)
    report mean(sigmoid(D(x))) as real
  }}
  step generator times 2 every 2 {{
    minimize bce_with_logits(D(fake), 1) over G using sgd(1e-2, momentum = 0.9)
  }}
  steps 12
}}
"""
TOGETHER = f"""{NETWORKS}
train both {{
  data (x: [N, 4], _) from iris(batch = 16)
  share G = Gen
  share D = Dis
  fake = x -> G
  step main {{
    minimize mse(fake, x) + 0.5 * mean(D(fake)) over G using adam(1e-3)
    minimize mean(D(x)) - mean(D(fake)) over D using adam(1e-3, beta1 = 0.5)
  }}
}}
"""


def trainer(text: str):
    return dlspec.load(text).trainer()


@pytest.mark.parametrize("text", [GAN, TOGETHER])
def test_backends_agree(text: str):
    found = verify(trainer(text), optimizers=["declared"], steps=3)
    assert found.ok, found.text()


@pytest.fixture
def module(tmp_path: Path, backend: str):
    path = tmp_path / "model.py"
    path.write_text(trainer(GAN).code(backend))
    return load_module(path)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_a_step_changes_only_what_it_trains(module, backend: str):
    state = module.init(0, "float64")
    before = {k: np.array(v) for k, v in module.export_weights(state).items()}
    batch = {"x": np.random.default_rng(0).normal(size=(8, 4))}
    state, _ = module.train_step(state, batch, (0.1,), "critic", seed=0, step=0)
    after = module.export_weights(state)
    for name, array in before.items():
        same = np.array_equal(array, after[name])
        assert same == name.startswith("G."), name  # statistics of G too


def test_times_and_every_in_a_run(tmp_path: Path):
    found = train(trainer(GAN), "numpy", run_dir=tmp_path)
    optimizer = np.asarray(0)
    from dlspec.training import checkpoint

    _, _, arrays = checkpoint.load(tmp_path / "checkpoints")
    optimizer = arrays["step/critic"]
    assert found.step == 12
    assert optimizer == 12
    assert {"critic_loss", "real", "generator_loss"} <= found.records[0].keys()


LINE = """
model Line(x: [N, 1]) -> [N, 1] = x -> dense(1, bias = false)

train line {
  data (x: [N, 1]) from npz("x.npz", fields = ["x"], batch = 1, shuffle = false)
  share net = Line()
  step main times 3 { minimize mean(net(x)) over net using sgd(1) }
  step other every 2 { minimize mean(net(x)) over net using sgd(100) }
  epochs EPOCHS
}
"""


@pytest.mark.parametrize(
    ("epochs", "main", "other", "ended"),
    [
        # batches 0 1 2, other 2; then 3 | 0 1: across the end of the pass
        (1, [0, 1, 2, 3, 0, 1], [2], [1]),
        (2, [0, 1, 2, 3, 0, 1, 2, 3, 0], [2, 0], [1, 2]),
    ],
)
def test_repetitions_go_on_into_the_next_pass(
    tmp_path: Path, epochs: int, main: list[int], other: list[int], ended: list[int]
):
    """The gradient is the batch: the weight tells which were taken."""
    values = 4.0 ** np.arange(4)
    np.savez(tmp_path / "x.npz", x=values[:, None])
    (tmp_path / "line.dls").write_text(LINE.replace("EPOCHS", str(epochs)))
    unit = dlspec.load(str(tmp_path / "line.dls")).trainer()
    found = train(unit, "numpy", run_dir=tmp_path / "run")
    ((name, start),) = initial_weights(unit.graph, 0).items()
    moved = float(np.squeeze(start - found.weights[name]))
    assert round(moved) == sum(values[main]) + 100 * sum(values[other])
    assert [r["epoch"] for r in found.records if r["split"] == "train"] == ended


EVALUATED = GAN.replace(
    "  steps 12",
    """
  report mean(fake) as level
  evaluate on iris(split = "test")
  evaluate dev on iris(split = "train")
  epochs 1""",
).replace("normal([N, 3]) -> G", "x -> G")


def test_evaluation_is_inference_on_every_backend(tmp_path: Path):
    """Losses of all steps and both reports, with running statistics, which stay as they are."""
    found = []
    for backend in ("numpy", "torch", "jax"):
        path = tmp_path / f"{backend}.py"
        path.write_text(trainer(EVALUATED).code(backend))
        made = load_module(path)
        state = made.import_weights(made.init(0, "float64"), weights := moved())
        batch = {"x": np.random.default_rng(0).normal(size=(9, 4))}
        found.append({k: float(v) for k, v in made.evaluate(state, batch).items()})
        for name, array in made.export_weights(state).items():
            np.testing.assert_array_equal(array, weights[name])
    assert list(found[0]) == ["critic_loss", "real", "generator_loss", "level"]
    assert found[0]["generator_loss"] != found[0]["critic_loss"]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-9)


def moved() -> dict[str, np.ndarray]:
    """Weights and statistics that are nobody's defaults."""
    rng = np.random.default_rng(1)
    first = initial_weights(trainer(EVALUATED).graph, 0)
    return {name: abs(rng.normal(size=array.shape)) for name, array in first.items()}


def test_a_run_with_steps_evaluates_after_each_epoch(tmp_path: Path):
    found = train(trainer(EVALUATED), "numpy", run_dir=tmp_path)
    splits = [r["split"] for r in found.records if r["split"] != "batch"]
    assert splits == ["train", "test", "dev"]
    assert {"critic_loss", "generator_loss", "real", "level"} <= found.final["dev"].keys()
    assert found.final["dev"]["real"] != found.final["test"]["real"]


def test_verify_takes_a_new_batch_for_each_repetition():
    graph = trainer(GAN).graph
    batch = random_batch(graph, choose_sizes(graph.function, {}), 0)
    assert {"field/x", "again/1/x"} == {name for name in batch if name.endswith("/x")}
    assert not np.array_equal(batch["field/x"], batch["again/1/x"])


def test_resumed_equals_uninterrupted(tmp_path: Path):
    whole = train(trainer(GAN), "numpy", run_dir=tmp_path / "whole")
    short = trainer(GAN.replace("steps 12", "steps 5"))
    train(short, "numpy", run_dir=tmp_path / "parts")
    resumed = train(trainer(GAN), "numpy", resume=tmp_path / "parts")
    assert resumed.step == whole.step
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name], name)
