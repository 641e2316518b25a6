"""`precision bfloat16`: networks compute in it, weights and their updates stay in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.diagnostics import Failure
from dlspec.training.module import load_module
from dlspec.verification import verify
from tests.training.by_hand import BATCHES

TEXT = """
model Net(x: [N, 4]) = x -> dense(32) -> batch_norm -> relu -> dense(3) as head
train t {
  data (x: [N, 4], y: i64[N]) from npz("a.npz", fields = ["x", "y"], batch = 6)
  share net = Net
  minimize cross_entropy(net(x), y) using sgd(0.1)
  precision bfloat16
}
"""
STEPS = TEXT.replace("minimize", "step one { minimize").replace("sgd(0.1)", "sgd(0.1) }")


def gradients(text: str, backend: str, folder: Path):
    path = folder / f"model_{len(list(folder.iterdir()))}.py"
    path.write_text(dlspec.load(text).trainer("t").code(backend))
    module = load_module(path)
    state = module.init(0)
    loss, found = module.gradients(state, BATCHES[0])
    return module, state, loss, {k: np.array(v) for k, v in found.items()}


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("text", [TEXT, STEPS])
def test_gradients_are_rounded_and_weights_are_not(tmp_path: Path, backend: str, text: str) -> None:
    module, state, losses, half = gradients(text, backend, tmp_path)
    _, _, exact, full = gradients(text.replace("bfloat16", "float32"), backend, tmp_path)
    for name, loss in losses.items():
        assert abs(float(loss) - float(exact[name])) < 0.05
    for name, gradient in full.items():
        scale = max(abs(gradient).max(), 1e-2)
        error = abs(half[name] - gradient).max() / scale
        assert error < 0.1, name  # 8 bits of mantissa
    head = next(name for name in full if name.endswith("head.weight"))
    assert abs(half[head] - full[head]).max() > 1e-6 * abs(full[head]).max()  # it was used
    if text is TEXT:
        state, _ = module.train_step(state, BATCHES[0], 0.1)
    for array in module.export_weights(state).values():
        assert array.dtype == np.float32
    if text is TEXT:
        rounded = module.export_weights(state)["head.weight"]
        assert np.any(rounded.view(np.uint32) & 0xFFFF)  # more than bfloat16 can say
        assert np.array(module.predict(state, x=BATCHES[0]["x"])).dtype == np.float32
        assert float(module.evaluate(state, BATCHES[0])["loss"]) > 0


def test_numpy_says_that_it_cannot() -> None:
    with pytest.raises(Failure, match="precision bfloat16"):
        dlspec.load(TEXT).trainer("t").code("numpy")


def test_verify_compares_float64_and_says_so() -> None:
    found = verify(dlspec.load(TEXT).trainer("t"), optimizers=["declared"], steps=2)
    assert found.ok, found.text()
    assert any("bfloat16" in note for note in found.notes)
