"""Pictures with masks: cells that are drawn, folders, the weights of borders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlspec
from dlspec import schemas
from dlspec.resources import resources
from dlspec.training import segmentation, sources
from dlspec.training.errors import DataError
from dlspec.training.module import load_module
from dlspec.training.run import train


def load(source: str, where: Path = Path(), **args: object) -> list[np.ndarray]:
    return sources.load(source, schemas.bind(source, (), args), where)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_components_against_a_flood(rng: np.random.Generator):
    for mask in (*(rng.random((20, 13, 17)) < 0.6), np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        found = segmentation.components(mask)
        assert found.max() == len(np.unique(found[mask]))  # numbered without a gap
        np.testing.assert_array_equal(found > 0, mask)
        for number in range(1, found.max() + 1):
            part = found == number
            assert flooded(mask, tuple(np.argwhere(part)[0])) == {
                (y, x) for y, x in np.argwhere(part)
            }


def flooded(mask: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    seen, todo = set(), [start]
    while todo:
        y, x = todo.pop()
        inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
        if inside and mask[y, x] and (y, x) not in seen:
            seen.add((y, x))
            todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return seen


def test_distances(rng: np.random.Generator):
    mask = rng.random((9, 14)) < 0.1
    places = np.argwhere(mask)
    grid = np.stack(np.mgrid[:9, :14], axis=-1)
    expected = np.sqrt(((grid[:, :, None] - places) ** 2).sum(-1)).min(-1)
    np.testing.assert_allclose(segmentation.distances(mask), expected)


def test_weights_are_the_papers():
    """Between two nuclei, by the formula over all pixels; where only one is near, 1."""
    labels = np.zeros((40, 64), np.int64)
    labels[10:20, 5:12], labels[12:22, 15:20], labels[30:34, 55:60] = 1, 2, 3
    grid = np.stack(np.mgrid[:40, :64], axis=-1)
    far = [
        np.sqrt(((grid[:, :, None] - np.argwhere(labels == k)) ** 2).sum(-1)).min(-1)
        for k in (1, 2, 3)
    ]
    first, second, _ = np.sort(np.stack(far), axis=0)
    expected = np.where(labels > 0, 1, 1 + 10 * np.exp(-((first + second) ** 2) / 50))
    found = segmentation.weights(labels, 10)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert found[15, 13] > 6
    assert found[0, 63] == 1
    np.testing.assert_array_equal(segmentation.weights(np.zeros((3, 3), np.int64), 10), 1)


def test_tiles_are_cut_in_order():
    pictures = np.arange(2 * 5 * 6).reshape(2, 5, 6)
    found = segmentation.tiles(pictures, 2)
    assert found.shape == (12, 2, 2)
    np.testing.assert_array_equal(found[1], pictures[0, :2, 2:4])
    np.testing.assert_array_equal(found[6], pictures[1, :2, :2])


def test_drawn_cells():
    image, mask, weight = load("drawn_cells", size=32, count=10, split="all", border=10)
    assert [array.shape for array in (image, mask, weight)] == [
        (10, 1, 32, 32),
        (10, 32, 32),
        (10, 32, 32),
    ]
    assert image.min() >= 0
    assert image.max() <= 1
    assert 0.05 < mask.mean() < 0.7
    assert image[:, 0][mask == 1].mean() > image[:, 0][mask == 0].mean() + 0.2
    assert weight.max() > 5  # cells that are close
    assert (weight[mask == 1] == 1).all()
    plain = load("drawn_cells", size=32, count=10, split="all")
    np.testing.assert_array_equal(plain[0], image)
    np.testing.assert_array_equal(plain[2], 1)
    assert len(load("drawn_cells", size=32, count=10, split="test")[0]) == 2


def nuclei(folder: Path) -> None:
    """Five images; each has two nuclei, three pixels apart, in its first quarter."""
    masks = np.zeros((5, 32, 32), np.uint8)
    masks[:, 2:6, 2:6] = masks[:, 2:6, 8:12] = 1
    images = (masks * 200 + np.arange(5)[:, None, None]).astype(np.uint8)
    packed = np.packbits(masks, axis=-1)
    np.savez(folder / "nuclei120.npz", images=images, masks_packed=packed)


def test_nuclei_of_the_last_images_are_the_test_part(tmp_path: Path):
    nuclei(tmp_path)
    image, mask, weight = load("nuclei", tmp_path, folder=".", size=16, split="test", border=10)
    assert [array.shape for array in (image, mask, weight)] == [
        (4, 1, 16, 16),
        (4, 16, 16),
        (4, 16, 16),
    ]
    assert image[0, 0, 3, 3] == np.float32(204 / 255)
    assert mask.sum(axis=(1, 2)).tolist() == [32, 0, 0, 0]
    assert weight[0, 3, 6] == pytest.approx(1 + 10 * np.exp(-(3**2) / 50), rel=1e-5)
    assert len(load("nuclei", tmp_path, folder=".", size=32)[0]) == 4
    with pytest.raises(DataError, match="the images of `nuclei` are of 32 x 32"):
        load("nuclei", tmp_path, folder=".", size=33)


def test_nuclei_without_a_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DLSPEC_DATA", raising=False)
    with pytest.raises(DataError, match="does not know where its files are") as told:
        load("nuclei")
    assert "drawn_cells" in (told.value.help or "")


def pairs(folder: Path, black_and_white: bool) -> None:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for i in range(3):
        image = np.full((6, 8, 3), 100 * i, np.uint8)
        mask = np.zeros((6, 8), np.uint8)
        mask[:3] = 255 if black_and_white else i
        Image.fromarray(image).save(folder / "images" / f"{i}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")


@pytest.mark.parametrize("black_and_white", [True, False])
def test_segmentation_folder(tmp_path: Path, black_and_white: bool):
    pairs(tmp_path, black_and_white)
    args = {"images": "images", "masks": "masks", "size": 4, "split": "all"}
    kinds = 2 if black_and_white else 3
    image, mask = load("segmentation_folder", tmp_path, **args, kinds=kinds)
    assert image.shape == (3, 3, 4, 4)
    assert image[2].mean() == pytest.approx(200 / 255, abs=0.01)
    assert mask[:, 0, 0].tolist() == ([1, 1, 1] if black_and_white else [0, 1, 2])
    assert not mask[:, 3].any()


def test_segmentation_folder_tells_what_is_missing(tmp_path: Path):
    pairs(tmp_path, black_and_white=True)
    args = {"images": "images", "masks": "masks", "size": 4}
    with pytest.raises(DataError, match="hold 255, outside 0 to 2"):
        load("segmentation_folder", tmp_path, **args, kinds=3)
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(DataError, match=r"has no mask `1`, the image 1.jpg is there"):
        load("segmentation_folder", tmp_path, **args)
    with pytest.raises(DataError, match="no such folder"):
        load("segmentation_folder", tmp_path, **{**args, "masks": "mask"})


CELLS = """
from std.image use Overlay

model Net(x: [N, 1, H, W]) -> [N, 2, H, W] = x -> conv(2, 3, padding = 1)

train fit {
  data (image, mask, weight) from drawn_cells(size = 12, count = 20, border = 5, batch = 8)
  logits = Net(image)
  each = cross_entropy(logits, mask, axis = 1, reduction = "none")
  minimize mean(weight * each) using adam(0.1)
  evaluate on drawn_cells(size = 12, count = 20, split = "test", border = 5)
  sample Overlay(image, cast(mask, "float"), color = [0, 1, 0]) as overlay
  epochs 20
}
"""


def test_training_with_weights_and_an_overlay(tmp_path: Path):
    result = train(dlspec.load(CELLS).trainer(), run_dir=tmp_path)
    assert result.curve("test")[-1] < 0.7 * result.curve("test")[0]
    image, mask, _ = load("drawn_cells", size=12, count=20, split="test", border=5)
    with Image.open(tmp_path / "samples" / "overlay-20.png") as picture:
        first = np.asarray(picture)[:12, :12] / 255
    grey, green = image[0, 0], mask[0] == 1
    np.testing.assert_allclose(first[..., 0], np.where(green, grey / 2, grey), atol=0.003)
    np.testing.assert_allclose(first[..., 1], np.where(green, grey / 2 + 0.5, grey), atol=0.003)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("channels", [1, 3])
def test_overlay(tmp_path: Path, backend: str, channels: int, rng: np.random.Generator):
    spec = dlspec.load(
        "from std.image use Overlay\n"
        "model Show(x: [N, C, H, W], mask: [N, H, W]) -> [N, 3, H, W] =\n"
        "  x -> Overlay(mask, color = [1, 0.5, 0], opacity = 0.25)\n"
    )
    path = tmp_path / f"{backend}.py"
    path.write_text(spec.model("Show", C=channels).code(backend))
    module = load_module(path, f"overlay_{backend}")
    x, mask = rng.random((2, channels, 3, 4)), rng.integers(0, 2, (2, 3, 4)).astype(float)
    found = module.predict(module.init(0, "float64"), x=x, mask=mask)
    color = np.array([1, 0.5, 0])[:, None, None]
    expected = np.where(mask[:, None] == 1, 0.75 * x + 0.25 * color, x)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_a_height_that_a_unet_cannot_halve_is_told(tmp_path: Path, backend: str):
    spec = dlspec.load(resources("specs") / "vision" / "unet.dls")
    path = tmp_path / f"{backend}.py"
    path.write_text(spec.model("UNet", widths=[1, 1, 2], C=1).code(backend))
    module = load_module(path, f"halved_{backend}")
    state = module.init(0, "float32")
    for shape, told in (((6, 8), "H % 4 == 0"), ((8, 6), "W % 4 == 0")):
        with pytest.raises(ValueError, match=f"UNet needs {told}; {told[0]} is 6"):
            module.predict(state, image=np.zeros((1, 1, *shape), np.float32))
