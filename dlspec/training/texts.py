"""Texts as numbers: a file's, and two that Python itself ships."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlspec.training.errors import DataError
from dlspec.training.readers import read_bytes

# 0 stands for padding; other characters are left out
ALPHABET = ("", *map(chr, range(32, 127)), "\n")
MODULES = (
    *("argparse", "ast", "calendar", "configparser", "csv", "datetime", "difflib", "doctest"),
    *("enum", "fractions", "functools", "gettext", "heapq", "inspect", "locale", "mailbox"),
    *("optparse", "pathlib", "pickle", "pydoc", "random", "shutil", "statistics", "string"),
    *("tarfile", "textwrap", "threading", "traceback", "turtle", "typing", "uuid", "zipfile"),
)


def read(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"`{path}` is no text in UTF-8") from error


def encode(text: str, characters: Sequence[str]) -> NDArray[np.int64]:
    """The number of each character; those that have none are left out."""
    numbers = {character: i for i, character in enumerate(characters)}
    return np.array([numbers[c] for c in text if c in numbers], np.int64)


def windows(numbers: NDArray[np.int64], length: int) -> list[NDArray[Any]]:
    """[N, length] side by side, and what follows each place."""
    count = (len(numbers) - 1) // length
    if not count:
        raise DataError(f"the text has {len(numbers)} characters, too few for a window of {length}")
    return [numbers[i : i + count * length].reshape(count, length) for i in (0, 1)]


def python_reference() -> str:
    """The help topics of Python's reference, in order of name."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return "\n".join(topics[name] for name in sorted(topics))


def code_or_prose(length: int) -> list[NDArray[Any]]:
    """Lines of the standard library, each once: [N, length] and 0 for code, 1 for prose."""
    found: dict[str, int] = {}
    for module in MODULES:
        for line, label in _lines(_source(module)):
            text = "".join(c for c in line if c in ALPHABET).strip().strip("#\"' ")[:length]
            if len(text) >= 8:
                found.setdefault(text, label)
    tokens = np.zeros((len(found), length), np.int64)
    for row, text in zip(tokens, found, strict=True):
        row[: len(text)] = encode(text, ALPHABET)
    return [tokens, np.array(list(found.values()), np.int64)]


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).exists():
        raise DataError(f"this Python has no source of its module `{module}`")
    return Path(spec.origin).read_text(encoding="utf-8")


def _lines(source: str) -> Iterator[tuple[str, int]]:
    """Each line with 1 where it is a comment or in a docstring."""
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    first = node.body[0]
                    prose.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
            case _:
                pass
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            prose.add(token.start[0])
    for number, line in enumerate(source.splitlines(), 1):
        yield line, int(number in prose)
