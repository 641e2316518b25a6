"""Files for inference: batch norm folded, the same outputs from the same checkpoint."""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dlspec_torch.table import TABLE
from dlspec_torch.target import Target

import dlspec
from dlspec.cli import main
from dlspec.codegen.unit import for_inference
from dlspec.ops.activations import Relu
from dlspec.verification.batch import random_batch
from dlspec.weights import initial_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BACKENDS = ("numpy", "torch", "jax")
FOLDED = "batch norm folded"

# After: grouped, depthwise, strided, transposed in groups, with a bias and without, dense. Before:
# a dense layer, a 1 x 1 convolution in groups.
FOLDS = """
block Conv(channels, kernel, groups = 1, bias = false) =
  conv(channels, kernel, padding = kernel // 2, groups = groups, bias = bias)
    -> batch_norm(eps = 1e-3) -> relu

block Stacked(channels) =
  repeat(2, Conv(channels, 3)) -> conv(channels, 1) -> batch_norm(scale = false)

model Net(x: [N, 4, 6, 6]) {
  y = x -> Conv(6, 3, bias = true) -> Conv(8, 3, groups = 2) -> Conv(8, 3, groups = 8)
    -> Stacked(8)
    -> conv_transpose(4, 2, stride = 2, groups = 2, bias = false)
    -> batch_norm(shift = false)
    -> relu
    -> batch_norm
    -> conv(6, 1, groups = 2, bias = false)
  return y -> global_avg_pool -> batch_norm -> dense(5) -> relu -> dense(3) -> batch_norm
}
"""

# None of these may be folded: a layer with two norms, something between, a reader of what lies
# between, padding after the norm, channels on another axis than the dense layer's, weights in use
# elsewhere.
STAYS = """
model Net(x: [N, 4, 6, 6]) {
  share both = conv(4, 1)
  a = x -> both -> batch_norm as first
  b = x -> both -> batch_norm as second
  between = (a + b) -> relu -> batch_norm as third
  read = between -> conv(4, 3, padding = 1) as inner
  c = read -> batch_norm as fourth
  padded = (c + read) -> batch_norm as fifth -> conv(2, 3, padding = 1) as outer
  return padded -> reshape([N, 2, 36]) -> dense(4) -> batch_norm as sixth
}
"""

# A layer that is called as what brings a training's weights in once was.
NAMED_FOLD = """
model Net(x: [N, 4, 6, 6]) {
  y = x -> conv(4, 3, padding = 1, bias = false) -> batch_norm -> unfold(2, stride = 2)
  return y -> fold([6, 6], 2, stride = 2)
}
"""


def module_of(source: str) -> Any:
    made = types.ModuleType("made")
    exec(compile(source, "made.py", "exec"), made.__dict__)
    return made


def trained(graph: Any) -> dict[str, NDArray[Any]]:
    """Weights as after a training: statistics and factors that are not 0 and 1."""
    rng = np.random.default_rng(1)

    def moved(name: str, array: NDArray[Any]) -> NDArray[Any]:
        if name.endswith("running_var"):
            return rng.uniform(0.5, 2, array.shape)
        if array.ndim > 1:
            return 6**0.5 * array  # so that depth does not fade the input out
        return array + rng.standard_normal(array.shape)

    return {k: moved(k, np.asarray(w)) for k, w in initial_weights(graph, 0).items()}


def outputs(module: Any, weights: dict[str, Any], inputs: dict[str, Any], dtype: str) -> Any:
    state = module.import_weights(module.init(0, dtype), weights)
    return module.predict(state, **inputs), module.export_weights(state)


def inputs_of(graph: Any, **sizes: int) -> dict[str, Any]:
    batch = random_batch(graph, sizes, 0)
    return {name.split("/")[-1]: array for name, array in batch.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("text", "folds"), [(FOLDS, 7), (STAYS, 0), (NAMED_FOLD, 1)])
def test_outputs_are_those_of_the_training_s_file(backend: str, text: str, folds: int) -> None:
    model = dlspec.load(text).model()
    weights, inputs = trained(model.graph), inputs_of(model.graph, N=3)
    made = model.compile(backend, purpose="inference")
    plain = module_of(model.compile("numpy").source)
    expected, _ = outputs(plain, weights, inputs, "float64")
    module = module_of(made.source)
    found, kept = outputs(module, weights, inputs, "float64")
    assert np.abs(expected - expected[:1]).max() > 0.01  # it depends on the input
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    again, _ = outputs(module, kept, inputs, "float64")  # what it exports is folded already
    np.testing.assert_array_equal(again, found)
    assert [why for _, why in made.eliminated].count(FOLDED) == folds
    norms = [name for name in kept if name.endswith("running_var")]
    assert len(norms) == (0 if folds else 6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_name_is_defined_once(backend: str) -> None:
    made = dlspec.load(NAMED_FOLD).model().compile(backend, purpose="inference")
    defined = re.findall(r"^(?:def|class) (\w+)", made.source, re.M)
    assert len(defined) == len(set(defined)), defined


def test_jax_has_no_gradients() -> None:
    made = dlspec.load(FOLDS).model().compile("jax", purpose="inference").source
    assert "custom_vjp" not in made
    assert "custom_vjp" in dlspec.load(FOLDS).model().compile("jax").source


# One network of two: its weights are below its own path in the training's checkpoint.
PAIR = """
model Maker(z: [N, L]) = z -> dense(4) -> batch_norm -> dropout(0.5) -> dense(2)
model Judge(x: [N, 2]) = x -> dense(1)

train pair {
  data (z: [N, 3]) from npz("z.npz", fields = ["z"], batch = 4)
  share maker = Maker()
  share judge = Judge()
  minimize mean(judge(maker(z))) over maker using sgd(0.1)
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_of_a_training(backend: str) -> None:
    trainer = dlspec.load(PAIR).trainer()
    module = module_of(trainer.compile(backend).source)
    weights = trained(trainer.graph)
    inputs = {"z": np.random.default_rng(0).standard_normal((4, 3))}
    expected, _ = outputs(module, weights, inputs, "float64")
    source = trainer.compile(backend, purpose="inference").source
    found, kept = outputs(module_of(source), weights, inputs, "float64")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert set(kept) == {"dense.0.weight", "dense.0.bias", "dense.1.weight", "dense.1.bias"}
    assert "train_step" not in source and "dropout" not in source


def test_one_class_for_each_definition() -> None:
    source = dlspec.load(FOLDS).model().compile("torch", purpose="inference").source
    classes = [line for line in source.splitlines() if line.startswith("class ")]
    assert len(classes) == 5  # Conv with a bias and without, Stacked, Net, State
    assert "BatchNorm" not in source and "Dropout" not in source


# What may not be overwritten: the input, what is read twice, what a block hands back or shares.
ALIASES = """
block Same(x: [N, C]) = x
block Both(x: [N, C]) -> (a: [N, C], b: [N, C]) {
  y = x -> dense(C)
  return y, y
}
model Net(x: [N, 4]) {
  a = x -> relu
  b = x -> Same -> relu
  y = (a + b) -> dense(4) -> relu
  c, d = y -> Both
  z = c -> relu
  return y + (d + z)
}
"""


def test_torch_overwrites_only_what_nobody_else_reads() -> None:
    model = dlspec.load(ALIASES).model()
    weights, inputs = trained(model.graph), inputs_of(model.graph, N=3)
    before = inputs["x"].copy()
    expected, _ = outputs(module_of(model.compile("numpy").source), weights, inputs, "float64")
    source = model.compile("torch", purpose="inference").source
    found, _ = outputs(module_of(source), weights, inputs, "float64")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(inputs["x"], before)
    assert source.count("inplace=True") == 1  # after the first dense layer
    assert source.count(".add_(") == 1  # a is memory of its own
    rows = {**TABLE, Relu: "x: x.clamp(min=0)"}
    other = Target(table=rows)
    other_source = other.generate(for_inference(other, model.graph, "Net", "float32")).source
    assert "inplace" not in other_source and "add_" not in other_source


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_bfloat16_is_near(backend: str) -> None:
    model = dlspec.load(FOLDS).model()
    weights, inputs = trained(model.graph), inputs_of(model.graph, N=3)
    expected, _ = outputs(module_of(model.compile("numpy").source), weights, inputs, "float64")
    made = model.compile(backend, purpose="inference", precision="bfloat16")
    module = module_of(made.source)
    found = module.predict(module.import_weights(module.init(), weights), **inputs)
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-6 < error < 0.1


def run(tmp_path: Path, *arguments: str) -> int:
    spec = tmp_path / "net.dls"
    spec.write_text(STAYS, encoding="utf-8")
    return main(["compile", str(spec), *arguments])


def test_numpy_refuses_bfloat16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--for", "inference", "--precision", "bfloat16") == 1
    told = capsys.readouterr().err
    assert "numpy cannot lower `--precision bfloat16`: it computes in float32" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--precision", "bfloat16"), "--precision bfloat16 is for --for inference"),
        (("--for", "inference", "--emit", "ir"), "--emit ir: the IR is that of the spec"),
        (("--for", "serving"), "argument --for: invalid choice: 'serving'"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    try:
        status = run(tmp_path, *arguments)
    except SystemExit as stopped:  # argparse's own
        status = stopped.code
    assert status == 2
    assert told in capsys.readouterr().err
