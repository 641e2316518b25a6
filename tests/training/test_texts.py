"""Texts and made-up strings as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlspec import schemas
from dlspec.api import load as load_spec
from dlspec.training import sources, texts
from dlspec.training.errors import DataError
from dlspec.training.run import train


def load(source: str, where: Path = Path(), **args: Any) -> Any:
    return sources.load(source, schemas.bind(source, (), args), where)


def test_windows_of_a_file(tmp_path: Path) -> None:
    text = "héllo wörld\n" * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    args = schemas.bind("text", (), {"file": "a.txt", "length": 7})
    characters = sources.vocabulary("text", args, tmp_path)
    assert list(characters) == sorted(set(text))
    train = sources.load("text", args, tmp_path)
    test = sources.load("text", {**args, "split": "test"}, tmp_path)
    both = [np.concatenate(pair) for pair in zip(train, test, strict=True)]
    assert both[0].shape == (34, 7) and len(test[0]) == 3
    read = ["".join(characters[i] for i in rows.ravel()) for rows in both]
    assert read == [text[: 34 * 7], text[1 : 34 * 7 + 1]]


def test_a_text_that_is_too_short_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short", encoding="utf-8")
    with pytest.raises(DataError, match="too few for a window of 9"):
        load("text", tmp_path, file="a.txt", length=9)
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DataError, match="no text in UTF-8"):
        load("text", tmp_path, file="b.txt", length=1)
    for bad in (0, "four"):
        with pytest.raises(ValueError, match="`length` is a positive number"):
            schemas.bind("text", (), {"file": "a.txt", "length": bad})


def test_the_reference_is_in_the_alphabet() -> None:
    tokens, following = load("python_reference", length=64, split="all")
    assert tokens.shape == following.shape and len(tokens) > 5000
    np.testing.assert_array_equal(tokens.ravel()[1:], following.ravel()[:-1])
    assert tokens.min() >= 1 and tokens.max() < schemas.ASCII == len(texts.ALPHABET)


def test_code_and_prose() -> None:
    source = '"""A module."""\n# about x\nx = 1  # one\n\ndef f():\n    """What\n    it is."""\n'
    found = dict(texts._lines(source))  # pyright: ignore[reportPrivateUsage]
    assert found['"""A module."""'] == found["# about x"] == found['    it is."""'] == 1
    assert found["x = 1  # one"] == found["def f():"] == 0
    tokens, label = load("code_or_prose", length=24, split="all")
    assert tokens.shape == (len(label), 24) and 0.2 < label.mean() < 0.5
    assert len(np.unique(tokens, axis=0)) == len(tokens)


def test_reversed_digits_differ_and_are_reversed() -> None:
    source, target = load("reversed_digits", length=5, count=300, split="all")
    assert source.shape == (300, 5) and target.shape == (300, 6)
    assert (target[:, 0] == 10).all()
    np.testing.assert_array_equal(target[:, 1:], source[:, ::-1])
    assert len(np.unique(source, axis=0)) == 300
    with pytest.raises(DataError, match="there are not 300 strings"):
        load("reversed_digits", length=2, count=300)


def test_a_run_keeps_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcabd" * 30, encoding="utf-8")
    (tmp_path / "a.dls").write_text(
        """model M(x: i64[N, T]) -> [N, T, 4] = x -> embedding(4, 4)
train t {
  data (tokens, next) from text("a.txt", length = 4)
  minimize cross_entropy(M(tokens), next) using sgd(0.1)
  steps 1
}
"""
    )
    train(load_spec(str(tmp_path / "a.dls")).trainer(), "numpy", run_dir=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "vocabulary.json").read_text())
    assert kept == {"characters": ["a", "b", "c", "d"]}
