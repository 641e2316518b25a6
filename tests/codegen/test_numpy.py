"""The NumPy backend: golden files, which are run and compared with the torch backend's."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dlspec_torch
import numpy as np
import pytest
import torch
from dlspec_numpy import Target
from dlspec_numpy.emitted.losses import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_with_gradient,
)
from dlspec_numpy.emitted.optimizers import Adam, Sgd

import dlspec.api as api
from dlspec.ir.graph import functions_below, walk
from dlspec.passes.randomness import draws
from dlspec.weights import initial_weights

from .build import ROOT, SPECS, check_golden, golden_unit, load, unit

TARGET = Target()
TRAINED = ["lenet5", "shared"]


@pytest.mark.parametrize("name", SPECS)
def test_golden(name: str) -> None:
    check_golden("numpy", name, TARGET.generate(golden_unit(name)).source)


@pytest.mark.parametrize("name", SPECS)
def test_formatted_clean_and_short(name: str) -> None:
    source = TARGET.generate(golden_unit(name)).source
    options = ["--isolated", "--line-length", "100", "--stdin-filename", "emitted.py", "-"]
    for command in (["format", "--check"], ["check", "--select", "E,F,W,I,B,UP,SIM,C4,RET"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options],
            input=source.encode(),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout.decode()
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    assert max((n.end_lineno or 0) - n.lineno + 1 for n in functions) <= 40
    assert source == TARGET.generate(golden_unit(name)).source


@pytest.mark.parametrize("name", SPECS)
def test_every_node_has_one_line(name: str) -> None:
    made = golden_unit(name)
    generated = TARGET.generate(made)
    root = made.model if made.training is None else made.training.function
    nodes = [n for f in functions_below(root) for n in walk(f.body)]
    found = [node for _, node, _ in generated.line_map] + [n for n, _ in generated.eliminated]
    assert Counter(map(id, found)) == Counter(map(id, nodes))


@pytest.mark.parametrize("name", TRAINED)
def test_trains_as_torch(name: str) -> None:
    mine, theirs = (
        load(
            target.generate(golden_unit(name), randomness="inputs").source, f"{target.name}_{name}"
        )
        for target in (TARGET, dlspec_torch.Target())
    )
    state, other = mine.init(0, "float64"), theirs.init(0, "float64")
    other = theirs.import_weights(other, mine.export_weights(state))
    rng = np.random.default_rng(0)
    shape = (8, 1, 28, 28) if name == "lenet5" else (8, 8)
    fields = [v.name for v in golden_unit(name).training.function.inputs]  # type: ignore[union-attr]
    batch = {fields[0]: rng.standard_normal(shape), fields[1]: rng.integers(0, 3, 8)}
    specs = draws(golden_unit(name).training.function, {"N": 8})  # type: ignore[union-attr]
    masks = [(rng.random(s.shape) < 0.5) * 2.0 for s in specs]
    given = {"draws": masks} if masks else {}
    _, own = mine.gradients(state, batch, **given)
    _, expected = theirs.gradients(other, batch, **given)
    assert own.keys() == expected.keys()
    for key, value in own.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-9, atol=1e-12, err_msg=key)
    for step in range(3):
        state, _ = mine.train_step(state, batch, 0.01, step=step, **given)
        other, _ = theirs.train_step(other, batch, 0.01, step=step, **given)
    weights = theirs.export_weights(other)
    for key, value in mine.export_weights(state).items():
        np.testing.assert_allclose(value, weights[key], rtol=1e-9, atol=1e-12, err_msg=key)


def test_float32_stays_float32() -> None:
    made = load(TARGET.generate(golden_unit("lenet5")).source, "numpy_float32")
    state = made.init(0)
    batch = {"image": np.zeros((2, 1, 28, 28)), "label": np.array([1, 2])}
    state, metrics = made.train_step(state, batch, 0.1)
    assert metrics["loss"].dtype == state.weights.dtype == np.float32
    assert made.predict(state, image=batch["image"]).dtype == np.float32


def test_requirements_are_checked_at_the_entry() -> None:
    made = unit(ROOT / "tests" / "specs" / "unet.dls", "UNet", C=1)
    net = load(TARGET.generate(made).source, "numpy_unet")
    state = net.init(0)
    assert net.predict(state, image=np.zeros((1, 1, 16, 32))).shape == (1, 2, 16, 32)
    with pytest.raises(ValueError, match=r"UNet needs H % 16 == 0"):
        net.predict(state, image=np.zeros((1, 1, 24, 32)))


def test_training_named_like_its_model_has_its_own_class() -> None:
    classes = [
        n.name
        for n in ast.parse(TARGET.generate(golden_unit("shared")).source).body
        if isinstance(n, ast.ClassDef)
    ]
    assert len(classes) == len(set(classes))
    assert {"Shared", "SharedTraining"} <= set(classes)


def test_random_batch_has_known_sizes(tmp_path: Path) -> None:
    made = unit(ROOT / "specs" / "basics" / "perceptron.dls", "Perceptron", D=30)
    source = TARGET.generate(made).source
    assert "features=rng.standard_normal((4, 30))" in source
    (tmp_path / "perceptron.py").write_text(source)
    subprocess.run([sys.executable, tmp_path / "perceptron.py"], check=True, capture_output=True)


ONCE_AND_TWICE = """
model Net(x: [N, 8]) -> [N, 4] {
  share both = dense(8)
  return x -> both -> relu -> dense(8) as single -> both -> dense(4) as head
}
train t {
  data (x: [N, 8], label: i64[N]) from npz("x.npz", fields = "x, label", batch = 4)
  logits = x -> Net
  minimize cross_entropy(logits, label) using sgd(0.1)
}
"""


def test_only_gradients_with_several_parts_are_added_to_zeros(tmp_path: Path) -> None:
    path = tmp_path / "net.dls"
    path.write_text(ONCE_AND_TWICE)
    source = TARGET.generate(unit(path, "train")).source
    assert source.count("self.both.d_weight +=") == 2
    assert "out=self.single.d_weight)" in source
    assert "out=self.head.d_weight)" in source
    assert "state.grads.fill(0)" in source
    assert "fill(0)" not in TARGET.generate(golden_unit("lenet5")).source


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_joined_cross_entropy_is_both(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((*shape, 4)), rng.integers(0, 4, shape)
    loss, gradient = cross_entropy_with_gradient(logits, labels)
    np.testing.assert_allclose(loss, cross_entropy(logits, labels), rtol=1e-12)
    np.testing.assert_allclose(gradient, cross_entropy_grad(logits, labels, 1.0), atol=1e-15)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_is_torch(nesterov: bool, decay: float) -> None:
    options = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": decay}
    _compare(lambda w, g: Sgd(w, g, slice(None), **options), torch.optim.SGD, options)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_is_torch(decoupled: bool, decay: float) -> None:
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    options = {"weight_decay": decay, "decoupled": decoupled}
    _compare(lambda w, g: Adam(w, g, slice(None), **options), kind, {"weight_decay": decay})


def _compare(make: object, kind: type, options: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    weights, grads = rng.standard_normal(40_000), np.zeros(40_000)
    optimizer = make(weights, grads)  # type: ignore[operator]
    parameter = torch.nn.Parameter(torch.tensor(weights))
    reference = kind([parameter], lr=0.01, **options)
    for _ in range(5):
        grads[:] = rng.standard_normal(grads.size)
        parameter.grad = torch.tensor(grads)
        reference.step()
        optimizer.update(0.01)
    np.testing.assert_allclose(weights, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_fields_and_reports_take_no_name_of_the_protocol(tmp_path: Path) -> None:
    text = """
    model Net(x: [N, 3]) = x -> dense(2)
    train t {
      data (state: [N, 3], kept: [N, 2]) from npz("a.npz", fields = ["a", "b"], batch = 2)
      y = state -> Net
      minimize mse(y, kept) using sgd(0.1)
      report mean(y) as saved
      steps 1
    }
    """
    made = load(TARGET.generate(unit(text, "train")).source, "numpy_names")
    batch = {"state": np.ones((2, 3)), "kept": np.zeros((2, 2))}
    metrics, grads = made.gradients(made.init(0), batch)
    assert metrics.keys() == {"loss", "saved"} and grads.keys() == {"dense.weight", "dense.bias"}
    made.train_step(made.init(0), batch, 0.1)


INVERTED = """
block Inverted(x: [N, C, H, W], channels, expand, stride = 1) {
  wide = x if expand == 1 else x -> conv(expand * C, 1) as expansion -> relu6
  y = wide -> conv(channels, 3, stride = stride, padding = 1) as depthwise
  return x + y if stride == 1 and C == channels else y
}
model Net(x: [N, 3, H, W]) =
  x -> Inverted(4, 1) -> Inverted(4, 2) -> Inverted(5, 2, 2) -> global_avg_pool
"""


def test_shapes_are_not_read_from_what_only_one_side_of_a_branch_has() -> None:
    trial = api.load(INVERTED).model("Net").trial()
    assert trial is not None
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((2, 3, 6, 4)), "target": rng.standard_normal((2, 5))}
    weights = initial_weights(trial.training, 0)
    found: list[dict[str, np.ndarray]] = []
    for backend in ("numpy", "torch"):
        emitted = load(trial.code(backend))
        state = emitted.import_weights(emitted.init(0, dtype="float64"), weights)
        found.append(emitted.gradients(state, batch)[1])
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        np.testing.assert_allclose(gradient, found[1][name], atol=1e-12, err_msg=name)
