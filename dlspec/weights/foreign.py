"""Weights of other programs: files of other kinds, and names that are not ours.

A map is a TOML file. Under `[names]` a foreign name, or the start of one, stands before ours;
`{i}` is any one segment, the same on both sides. `ignore` lists what is not wanted.

    ignore = ["fc", "num_batches_tracked"]
    [names]
    "layer{i}.{j}.conv1" = "stage.{i}.block.{j}.conv.0"
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dlspec.weights.files import read_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]
TORCH = (".pt", ".pth", ".bin", ".ckpt")


class LoadError(Exception):
    """A file that is not what was asked for; the message says which name is wrong."""


@dataclass(frozen=True)
class NameMap:
    """rules: patterns of foreign names with what they become; ignore: parts of foreign names."""

    rules: tuple[tuple[re.Pattern[str], str], ...] = ()
    ignore: tuple[str, ...] = ()

    def ours(self, name: str) -> str | None:
        """Our name of a foreign one, by the first rule that fits; None for what is ignored."""
        if any(f".{part}." in f".{name}." for part in self.ignore):
            return None
        for pattern, replacement in self.rules:
            if found := pattern.match(name):
                rest = name[found.end() :].lstrip(".")
                start = replacement.format(**found.groupdict())
                return ".".join(filter(None, (start, rest)))
        return name


def read_map(path: Path) -> NameMap:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"cannot read `{path}`: {reason(error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise LoadError(f"`{path}` is no TOML: {error}") from error
    if other := sorted(found.keys() - {"names", "ignore"}):
        raise LoadError(f"`{path}` has `{other[0]}`; a map has `names` and `ignore`")
    names, ignore = found.get("names", {}), found.get("ignore", [])
    if not isinstance(names, dict) or not isinstance(ignore, list):
        raise LoadError(f"`{path}`: `names` is a table, and `ignore` a list")
    rules = cast("dict[str, object]", names)
    texts = cast("list[object]", ignore)
    if not all(isinstance(text, str) for text in (*rules.values(), *texts)):
        raise LoadError(f"`{path}`: names are texts")
    made = tuple(rule(path, foreign, str(ours)) for foreign, ours in rules.items())
    return NameMap(made, tuple(map(str, texts)))


def rule(path: Path, foreign: str, ours: str) -> tuple[re.Pattern[str], str]:
    """A pattern for the start of a name, up to the end of a segment."""
    pattern, known = "", set[str]()
    for part in re.split(r"(\{\w+\})", foreign):
        if not re.fullmatch(r"\{\w+\}", part):
            pattern += re.escape(part)
        elif part in known:
            pattern += f"(?P={part[1:-1]})"
        else:
            known.add(part)
            pattern += f"(?P<{part[1:-1]}>[^.]+)"
    wanted = set(re.findall(r"\{\w*\}", ours))
    if not wanted <= known or re.search(r"[{}]", re.sub(r"\{\w+\}", "", ours + foreign)):
        raise LoadError(f"`{path}`: `{ours}` does not go with `{foreign}`")
    try:
        return re.compile(rf"{pattern}(?=\.|$)"), ours
    except re.error as error:
        raise LoadError(f"`{path}`: `{foreign}`: {error}") from error


def read_any(path: Path) -> Arrays:
    """safetensors, npz, or torch's own files, of which only tensors are read."""
    if not path.is_file():
        raise LoadError(f"there is no file `{path}`")
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise LoadError(f"cannot read `{path}`: {reason(error)}") from error
    return read_torch(path) if path.suffix in TORCH else read_weights(path)


def read_torch(path: Path) -> Arrays:
    """By a process of its own: the core does not load torch."""
    if find_spec("torch") is None:
        raise ModuleNotFoundError("torch", name="torch")
    with tempfile.TemporaryDirectory(prefix="dlspec-") as folder:
        output = Path(folder) / "tensors.npz"
        command = [sys.executable, "-m", "dlspec_torch.checkpoint", str(path), str(output)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            told = ran.stderr.strip().splitlines()[-1:] or ["torch cannot"]
            raise LoadError(f"cannot read `{path}`: {told[0]}")
        with np.load(output, allow_pickle=False) as file:
            found = {str(name): file[str(i)] for i, name in enumerate(file["names"])}
    if not found:
        raise LoadError(f"`{path}` has no tensors by name")
    return found


def fitted(wanted: Mapping[str, NDArray[Any]], found: Arrays, names: NameMap) -> Arrays:
    """The arrays of a file under our names, each as large as what it stands for."""
    renamed: Arrays = {}
    for foreign, array in found.items():
        ours = names.ours(foreign)
        if ours is None:
            continue
        if ours in renamed:
            raise LoadError(f"two arrays of the file are `{ours}`, the second is `{foreign}`")
        if ours not in wanted:
            told = f"`{foreign}`" if ours == foreign else f"`{foreign}` (here `{ours}`)"
            raise LoadError(f"the file has {told}, and the network has not{some(wanted)}")
        if array.shape != wanted[ours].shape:
            sizes = f"{list(array.shape)} in the file and {list(wanted[ours].shape)} in the network"
            raise LoadError(f"`{ours}` is {sizes}")
        renamed[ours] = array.astype(wanted[ours].dtype)
    if missing := [name for name in wanted if name not in renamed]:
        raise LoadError(f"the file lacks {listed(missing)}{some(found, 'it has')}")
    return renamed


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def some(names: Mapping[str, object], verb: str = "it has") -> str:
    return f"; {verb} {listed(list(names))}" if names else ""


def reason(error: Exception) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else str(error)
