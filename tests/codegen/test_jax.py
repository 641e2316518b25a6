"""The JAX backend: golden files, which are run and compared with the torch files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from dlspec_jax import Target
from dlspec_torch import Target as TorchTarget

from dlspec.ir.graph import functions_below, walk
from dlspec.passes.randomness import draws

from .build import ROOT, SPECS, check_golden, golden_unit, module, text_unit, unit

TARGET = Target()
SIZES = {"N": 8, "H": 64, "W": 64}


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    """`init(dtype="float64")` switches the process."""
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", SPECS)
def test_golden(name: str) -> None:
    check_golden("jax", name, TARGET.generate(golden_unit(name)).source)


@pytest.mark.parametrize("name", SPECS)
def test_every_node_has_one_line(name: str) -> None:
    made = golden_unit(name)
    generated = TARGET.generate(made)
    root = made.model if made.training is None else made.training.function
    nodes = [n for f in functions_below(root) for n in walk(f.body)]
    found = [node for _, node, _ in generated.line_map] + [n for n, _ in generated.eliminated]
    assert Counter(map(id, found)) == Counter(map(id, nodes))
    lines = generated.source.split("\n")
    assert all(lines[number - 1].strip() for number, _, _ in generated.line_map)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("randomness", ["framework", "inputs"])
def test_formatted_and_clean(name: str, randomness: Any) -> None:
    source = TARGET.generate(golden_unit(name), randomness=randomness).source
    options = ["--isolated", "--line-length", "100", "--stdin-filename", "emitted.py", "-"]
    for command in (["format", "--check"], ["check", "--select", "E,F,W,I,B006,UP,SIM,C4,RET"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options],
            input=source.encode(),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


def functions_of(source: str) -> list[ast.FunctionDef]:
    return [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]


@pytest.mark.parametrize("name", SPECS)
def test_functions_are_short_and_names_are_used_once(name: str) -> None:
    found = functions_of(TARGET.generate(golden_unit(name)).source)
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in found}
    assert max(lengths.values()) <= 40, lengths
    assert len(lengths) == len(found)


def test_resnet18_has_one_pair_of_functions_a_definition() -> None:
    names = {f.name for f in functions_of(TARGET.generate(golden_unit("resnet18")).source)}
    blocks = {"conv_norm", "basic", "stage", "res_net18"}
    assert blocks | {f"init_{b}" for b in blocks} <= names
    assert not any(n.rstrip("0123456789") in blocks and n not in blocks for n in names)


def test_resnet34_differs_in_numbers_only() -> None:
    path = ROOT / "specs" / "vision" / "resnet18.dls"
    lines = [
        TARGET.generate(unit(path, "ResNet18", depths=depths)).source.split("\n")
        for depths in ([2, 2, 2, 2], [3, 4, 6, 3])
    ]
    changed = [(a, b) for a, b in zip(*lines, strict=True) if a != b]
    assert len(changed) == 1
    assert "init_res_net18(" in changed[0][0]


# --- against torch ---


def batch_of(made: Any, rng: np.random.Generator) -> dict[str, Any]:
    assert made.training is not None
    found: dict[str, Any] = {}
    for value in made.training.function.inputs:
        shape = [d.evaluate(SIZES) for d in value.type.shape]
        integer = value.type.dtype.is_int
        found[value.name] = rng.integers(0, 4, shape) if integer else rng.standard_normal(shape)
    return found


def gap(a: dict[str, Any], b: dict[str, Any]) -> float:
    assert a.keys() == b.keys()
    return max(float(np.max(np.abs(np.asarray(a[k]) - np.asarray(b[k])))) for k in a)


def same_start(jax_file: ModuleType, torch_file: ModuleType) -> tuple[Any, Any]:
    """States of both with the same weights, moved off their zeros and ones."""
    ours, theirs = jax_file.init(0, "float64"), torch_file.init(0, "float64")
    rng = np.random.default_rng(0)
    weights = {
        name: w + 0.05 * rng.random(w.shape)
        for name, w in torch_file.export_weights(theirs).items()
        if w.dtype.kind == "f"
    }
    return jax_file.import_weights(ours, weights), torch_file.import_weights(theirs, weights)


def compare_training(made: Any, steps: int = 5) -> None:
    jax_file = module(TARGET, made, "inputs")
    torch_file = module(TorchTarget(), made, "inputs")
    ours, theirs = same_start(jax_file, torch_file)
    rng = np.random.default_rng(1)
    batch = batch_of(made, rng)
    specs = draws(made.training.function, SIZES)
    given = [rng.integers(0, 2, d.shape) * 1.5 for d in specs]
    extra = {"draws": given} if given else {}
    ours_m, ours_g = jax_file.gradients(ours, batch, **extra)
    theirs_m, theirs_g = torch_file.gradients(theirs, batch, **extra)
    assert gap(ours_m, theirs_m) < 1e-9
    assert gap(ours_g, theirs_g) < 1e-9
    for step in range(steps):
        ours, _ = jax_file.train_step(ours, batch, 0.02, step=step, **extra)
        theirs, _ = torch_file.train_step(theirs, batch, 0.02, step=step, **extra)
    assert gap(jax_file.export_weights(ours), torch_file.export_weights(theirs)) < 1e-9
    arrays = torch_file.export_optimizer(theirs)
    assert gap({**jax_file.export_optimizer(ours), "step": 0}, {**arrays, "step": 0}) < 1e-9
    assert gap(jax_file.evaluate(ours, batch), torch_file.evaluate(theirs, batch)) < 1e-9


@pytest.mark.parametrize("name", ["lenet5", "shared"])
def test_trains_as_torch_does(name: str) -> None:
    compare_training(golden_unit(name))


BLOCKS = """
block Unit(x: [N, C, H, W], channels, norm) = x -> conv(channels, 3, padding = 1) -> norm -> relu
block Deep(x: [N, C, H, W], depth = 2) = x -> repeat(depth, Unit(C, batch_norm))
model Net(x: [N, 3, 8, 8], classes = 4) -> [N, classes] {
  share norm = batch_norm
  h = x -> Unit(6, norm) -> Deep(2) -> Unit(6, norm)
  k = softmax(concat(h, x, axis = 1), axis = 1)
  p = k -> avg_pool(3, stride = 2, padding = 1) -> dropout(0.5)
  q = transpose(p, [0, 2, 3, 1]) -> layer_mean
  return q -> dense(classes) as head
}
block layer_mean(x: [N, H, W, C]) = x -> mean(axis = [1, 2])
train t {
  data (x: [N, 3, 8, 8], y: i64[N]) from npz("x.npz", fields = "x, y", batch = 8)
  minimize cross_entropy(x -> Net, y) using OPTIMIZER
}
"""
OPTIMIZERS = [
    "sgd(0.1)",
    "sgd(0.1, momentum = 0.9, nesterov = true, weight_decay = 0.01)",
    "adam(0.01, beta1 = 0.8, eps = 1e-6, weight_decay = 0.01)",
    "adamw(0.01, weight_decay = 0.1)",
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_blocks_and_optimizers(optimizer: str) -> None:
    compare_training(text_unit(BLOCKS.replace("OPTIMIZER", optimizer), "train"), steps=3)


def test_resnet18_predicts_as_torch_does() -> None:
    made = golden_unit("resnet18")
    jax_file, torch_file = module(TARGET, made), module(TorchTarget(), made)
    ours, theirs = same_start(jax_file, torch_file)
    image = np.random.default_rng(1).standard_normal((2, 3, 33, 40))
    a, b = jax_file.predict(ours, image=image), torch_file.predict(theirs, image=image)
    assert a.dtype == np.float64 and a.shape == (2, 1000)
    np.testing.assert_allclose(a, b, rtol=1e-9)


# --- the protocol ---


def test_dropout_is_keyed_by_seed_and_step() -> None:
    made = golden_unit("shared")
    emitted = module(TARGET, made)
    state = emitted.init()
    batch = batch_of(made, np.random.default_rng(0))

    def loss(seed: int, step: int) -> float:
        return float(emitted.gradients(state, batch, seed=seed, step=step)[0]["loss"])

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0)}) == 3
    assert float(emitted.evaluate(state, batch)["loss"]) not in {loss(0, 0), loss(0, 1)}


def test_resumes_from_arrays() -> None:
    made = golden_unit("shared")
    emitted = module(TARGET, made)
    batch = batch_of(made, np.random.default_rng(0))
    state, _ = emitted.train_step(emitted.init(3), batch, 0.01, step=0)
    weights, arrays = emitted.export_weights(state), emitted.export_optimizer(state)
    assert int(arrays["step"]) == 1
    fresh = emitted.import_optimizer(emitted.import_weights(emitted.init(4), weights), arrays)
    ours = emitted.export_weights(emitted.train_step(state, batch, 0.01, step=1)[0])
    theirs = emitted.export_weights(emitted.train_step(fresh, batch, 0.01, step=1)[0])
    assert gap(ours, theirs) == 0


def test_weights_of_another_shape_are_refused() -> None:
    emitted = module(TARGET, golden_unit("lenet5"))
    state = emitted.init()
    weights = emitted.export_weights(state)
    with pytest.raises(ValueError, match=r"head\.bias is \[10\], not \[3\]"):
        emitted.import_weights(state, weights | {"head.bias": np.zeros(3)})


def test_runs_alone(tmp_path: Any) -> None:
    path = tmp_path / "lenet5.py"
    path.write_text(TARGET.generate(golden_unit("lenet5")).source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-I", str(path)], capture_output=True, text=True, check=True
    )
    losses = [float(text.split()[-1]) for text in ran.stdout.splitlines()]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert "dlspec" not in {n.split(".")[0] for n in imported(path.read_text("utf-8"))}


def imported(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_jax_is_not_imported_to_generate() -> None:
    program = "import dlspec_jax, sys; print('jax' in sys.modules, 'numpy' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "", "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["False", "False"]


MANY = """
block Layer(x: [N, D], memory: [N, D]) = tanh(x + memory + (x -> dense(D) -> dropout(0.5)))
block Two(a: [N, D], b: [N, D]) -> (a: [N, D], b: [N, D]) {
  return (a + (b -> dense(D)), tanh(b))
}
model Net(x: [N, 3], depth = 2) {
  h = x -> repeat(depth, Layer(memory = x))
  a, b = (h, x) -> repeat(depth + 10, Two)
  return (a + b) -> dense(2)
}
"""


def test_many_equal_blocks_are_scanned_with_the_same_weights() -> None:
    made = {depth: text_unit(MANY, "Net", depth=depth) for depth in (2, 14)}
    few, many = (TARGET.generate(u).source for u in made.values())
    assert few.count("repeated(") == 2 and many.count("repeated(") == 3  # one is the definition
    assert "for weights in" in few or "enumerate(" in few
    for net in made.values():
        ours, theirs = module(TARGET, net), module(TorchTarget(), net)
        weights = theirs.export_weights(theirs.init(0, dtype="float64"))
        state = ours.import_weights(ours.init(0, dtype="float64"), weights)
        assert {k: v.shape for k, v in weights.items()} == {
            k: v.shape for k, v in ours.export_weights(state).items()
        }
        x = np.random.default_rng(0).standard_normal((4, 3))
        expected = theirs.predict(
            theirs.import_weights(theirs.init(0, dtype="float64"), weights), x=x
        )
        np.testing.assert_allclose(ours.predict(state, x=x), expected, rtol=1e-12)
