"""Cropped and mirrored training images: what is drawn, and that all runs draw the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dlspec.api import load
from dlspec.diagnostics import Failure
from dlspec.training.augment import Augment
from dlspec.training.batches import Stream, joint
from dlspec.training.run import train

IMAGES = np.arange(1, 12 * 2 * 4 * 5 + 1, dtype=np.float32).reshape(12, 2, 4, 5)
LABELS = np.arange(12)
BOTH = Augment(frozenset({"image"}), crop=2, flip=True)


def stream(augment: Augment | None = BOTH, number: int = 0, leader: int | None = None) -> Stream:
    arrays = {"image": IMAGES, "label": LABELS} if not number else {"picture": IMAGES[:7]}
    if augment and number:
        augment = replace(augment, fields=frozenset({"picture"}))
    return Stream(arrays, 5, True, number=number, leader=leader, augment=augment)


def windows(image: np.ndarray, crop: int) -> list[np.ndarray]:
    """All that may become of an image."""
    padded = np.pad(image, ((0, 0), (crop, crop), (crop, crop)))
    _, height, width = image.shape
    cut = [
        padded[:, y : y + height, x : x + width]
        for y in range(2 * crop + 1)
        for x in range(2 * crop + 1)
    ]
    return [*cut, *(window[:, :, ::-1] for window in cut)]


def test_each_image_is_one_of_its_windows():
    for batch in stream().batches(0, 0):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            assert any(np.array_equal(image, w) for w in windows(IMAGES[label], 2))


def test_every_window_is_drawn_and_half_are_mirrored():
    draws = BOTH.draws(4000, [0])
    for places in (draws.top, draws.left):
        assert (np.bincount(places, minlength=5) > 700).all()
        assert places.max() == 4
    assert abs(draws.mirrored.mean() - 0.5) < 0.03


def test_flip_alone_and_crop_alone():
    flipped = replace(BOTH, crop=0).draws(100, [0])
    assert not flipped.top.any()
    assert flipped.mirrored.any()
    assert not replace(BOTH, flip=False).draws(100, [0]).mirrored.any()


def test_maps_over_an_image_go_with_it():
    both = Augment(frozenset({"image", "mask"}), crop=1, flip=True)
    arrays = {"image": IMAGES, "mask": IMAGES[:, 0].astype(np.int64)}
    for batch in Stream(arrays, 4, True, augment=both).batches(3, 1):
        np.testing.assert_array_equal(batch["image"][:, 0], batch["mask"])


def test_draws_hang_on_seed_and_pass():
    first = stream().taken(0, 0, LABELS)["image"]
    np.testing.assert_array_equal(first, stream().taken(0, 0, LABELS)["image"])
    for seed, epoch in ((1, 0), (0, 1)):
        assert not np.array_equal(first, stream().taken(seed, epoch, LABELS)["image"])


@pytest.mark.parametrize("start", [0, 1, 4, 7])
def test_resumed_streams_see_the_same(start: int):
    both = [stream(), stream(number=1, leader=0)]
    whole = list(islice(joint(both, 0), 9))
    begun = list(islice(joint(both, 0, start), 9 - start))
    for one, other in zip(begun, whole[start:], strict=True):
        for name in ("image", "label", "picture"):
            np.testing.assert_array_equal(one[name], other[name])


SPEC = """
model Tiny(image: [N, 1, 8, 8]) -> [N, 10] = image -> flatten -> dense(10)

train digits(crop = 1, flip = true) {
  data (image, label) from digits(batch = 256, crop = crop, flip = flip)
  minimize cross_entropy(Tiny(image), label) using sgd(0.1)
  evaluate on digits(split = "test")
  sample image
  epochs 2
}
"""


def test_a_run_takes_what_the_source_says(tmp_path: Path):
    pytest.importorskip("sklearn")
    spec = load(SPEC)
    changed = train(spec.trainer(), run_dir=tmp_path / "changed").curve("batch")
    plain = train(spec.trainer(crop=0, flip=False), run_dir=tmp_path / "plain").curve("batch")
    assert abs(np.subtract(changed, plain)).max() > 1e-2


def test_turned_with_its_mask():
    turned = Augment(frozenset({"image", "mask"}), turn=True)
    draws = turned.draws(60, [0])
    image = np.random.default_rng(0).random((1, 3, 5, 5)).repeat(60, axis=0)
    mask = image[:, 0].copy()
    found = turned("image", image, draws)
    np.testing.assert_array_equal(turned("mask", mask, draws), found[:, 0])
    seen = {next(k for k in range(4) if (np.rot90(image[0], k, (1, 2)) == f).all()) for f in found}
    assert seen == {0, 1, 2, 3}


def test_only_square_images_are_turned(tmp_path: Path):
    for name, shape in (("images", (4, 2, 3)), ("labels", (4,))):
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        (tmp_path / name).write_bytes(head + bytes(int(np.prod(shape))))
    (tmp_path / "net.dls").write_text(
        "model Net(x: [N, C, H, W]) -> [N, 2] = x -> global_avg_pool -> dense(2)\n"
        "train fit {\n"
        '  data (x, label) from idx("images", "labels", turn = true)\n'
        "  minimize cross_entropy(Net(x), label) using sgd(0.1)\n"
        "  epochs 1\n}\n"
    )
    with pytest.raises(Failure, match="square images, `x` is 2 x 3"):
        train(load(tmp_path / "net.dls").trainer(), run_dir=tmp_path / "run")
