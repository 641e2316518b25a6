"""`sample`: what a run writes after each epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlspec
from dlspec.interchange import dump, load
from dlspec.schemas import bind
from dlspec.training import sources
from dlspec.training.module import load_module
from dlspec.training.pictures import grid, write_sample
from dlspec.training.run import train
from dlspec.weights import initial_weights

DIGITS = """
model Digit(image: [N, 1, 8, 8]) -> [N, 10] = image -> flatten -> dense(6) -> relu -> dense(10)

train fit {
  data (image, label) from digits(batch = 64)
  share net = Digit()
  logits = net(image)
  minimize cross_entropy(logits, label) using sgd(0.1)
  evaluate on digits(split = "test", batch = 20)
  sample softmax(logits) as chances, argmax(logits)
  sample (1 - image) as negative
  epochs 2
}
"""
PAINTER = """
model Painter(z: [N, L]) = z -> dense(6) -> batch_norm -> dense(4)
model Judge(x: [N, 4]) -> [N, 1] = x -> dense(3) -> dense(1)

train paint {
  data (real: [N, 4], _) from iris(batch = 16)
  share painter = Painter()
  share judge = Judge()
  fake = normal([N, 3]) -> painter
  step critic { minimize mean(judge(real)) - mean(judge(fake)) over judge using sgd(0.01) }
  step generator { minimize -mean(judge(fake)) over painter using sgd(0.01) }
  sample fake
  steps 3
}
"""


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_samples_are_of_the_first_evaluation(tmp_path: Path, backend: str):
    unit = dlspec.load(DIGITS).trainer()
    found = train(unit, backend, run_dir=tmp_path)
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        *("argmax-1.npz", "argmax-2.npz", "chances-1.npz", "chances-2.npz"),
        *("negative-1.png", "negative-2.png"),
    ]
    chances = np.load(tmp_path / "samples" / "chances-2.npz")["arr_0"]
    assert chances.shape == (20, 10)
    w = found.weights

    image, _ = sources.load("digits", bind("digits", (), {"split": "test"}), Path())
    flat = image[:20].reshape(20, -1)
    hidden = np.maximum(flat @ w["dense.0.weight"].T + w["dense.0.bias"], 0)
    e = np.exp(hidden @ w["dense.1.weight"].T + w["dense.1.bias"])
    np.testing.assert_allclose(chances, e / e.sum(1, keepdims=True), atol=1e-5)
    with Image.open(tmp_path / "samples" / "negative-1.png") as picture:
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[:8, :8], np.rint((1 - image[0, 0]) * 255))


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_draws_are_the_same_each_time(tmp_path: Path, backend: str):
    unit = dlspec.load(PAINTER).trainer()
    found = [train(unit, backend, run_dir=tmp_path / name) for name in "ab"]
    arrays = [np.load(r.run_dir / "samples" / "fake-1.npz")["arr_0"] for r in found]
    assert arrays[0].shape == (16, 4)
    np.testing.assert_array_equal(arrays[0], arrays[1])


def test_only_the_networks_that_it_needs():
    model = dlspec.load(PAINTER).trainer().training.sampling
    assert model is not None
    assert [str(slot.segment) for slot in model.slots] == ["painter"]
    assert [value.name for value in model.inputs] == ["real"]


def test_backends_agree(tmp_path: Path):
    unit = dlspec.load(DIGITS).trainer()
    model = unit.training.sampling
    weights = initial_weights(model, 1)
    image = np.random.default_rng(0).random((5, 1, 8, 8))
    found = []
    for backend in ("numpy", "torch", "jax"):
        path = tmp_path / f"{backend}_sample.py"
        path.write_text(unit.code(backend, model))
        module = load_module(path, path.stem)
        state = module.import_weights(module.init(0, "float64"), weights)
        found.append(module.predict(state, image=image))
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_allclose(array, other[name], atol=1e-12)


def test_what_only_samples_need_is_no_part_of_a_step():
    plain = dlspec.load("".join(x for x in DIGITS.splitlines(True) if "sample" not in x)).trainer()
    assert dlspec.load(DIGITS).trainer().code("torch") == plain.code("torch")


SHOWN = """
block Centred(x: [N, 3]) = x - mean(x, axis = 1, keepdims = true)
model Net(x: [N, 4]) -> [N, 3] = x -> dense(3)
model Other(x: [N, 4]) -> [N, 3] = x -> dense(3)

train fit {
  data (x, label) from iris(batch = 16)
  share net = Net()
  MINIMIZE
  sample SAMPLE as shown
  epochs 1
}
"""
ONE = "minimize cross_entropy(net(x), label) using sgd(0.1)"
STEPS = f"step a {{ {ONE} }}"


@pytest.mark.parametrize("minimize", [ONE, STEPS])
def test_a_block_that_only_a_sample_uses(minimize: str):
    text = SHOWN.replace("MINIMIZE", minimize)
    unit = dlspec.load(text.replace("SAMPLE", "(net(x) -> Centred)")).trainer()
    assert "centred" not in [str(slot.segment) for slot in unit.training.function.slots]
    assert "class Centred" not in unit.code("torch")
    assert "Centred" in unit.code("torch", unit.training.sampling)
    for other in ("Other(x)", "(x -> dense(3))"):
        with pytest.raises(dlspec.SpecError, match="nothing trains its weights"):
            dlspec.load(text.replace("SAMPLE", other)).trainer()


def test_round_trip():
    training = dlspec.load(PAINTER).trainer().training
    again = load(dump(training))
    assert again.sampling.output_names == ("fake",)
    assert dump(again) == dump(training)


@pytest.mark.parametrize(("channels", "low"), [(1, 0.0), (3, -1.0)])
def test_pictures(tmp_path: Path, channels: int, low: float):
    images = np.random.default_rng(0).uniform(low, 1, (5, channels, 4, 6))
    path = write_sample(tmp_path, "x", images)
    with Image.open(path) as picture:
        pixels = np.asarray(picture).reshape(12, 12, channels)  # wide pictures: more rows
    np.testing.assert_array_equal(pixels, grid(images))
    fourth = (images[3].transpose(1, 2, 0) - low) / (1 - low)
    np.testing.assert_array_equal(pixels[4:8, 6:], np.rint(fourth * 255))
    assert not pixels[8:, 6:].any()


def test_texts_and_arrays(tmp_path: Path):
    path = write_sample(tmp_path, "t", np.array([[0, 1, 2], [2, 2, 7]]), ["a", "b", "c"])
    assert path.read_text() == "abc\n---\ncc\n"
    assert write_sample(tmp_path, "n", np.zeros((2, 5, 3, 3))).suffix == ".npz"
