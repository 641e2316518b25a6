"""`check` starts quickly: nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = "specs/vision/resnet18.dls"
CHECK = f"import sys; from dlspec.cli import main; assert main(['check', {SPEC!r}]) == 0"
HEAVY = ("numpy", "networkx", "torch", "jax")
BASE = "from lark import Lark\nfrom pydantic import BaseModel\nclass A(BaseModel): x: int"


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def seconds(code: str) -> float:
    began = time.perf_counter()
    run(code)
    return time.perf_counter() - began


def test_check_imports_nothing_heavy() -> None:
    told = run(f"{CHECK}; print([m for m in {HEAVY} if m in sys.modules])")
    assert told.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_check_is_as_quick_as_its_libraries() -> None:
    pairs = [(seconds(CHECK), seconds(BASE)) for _ in range(5)]
    assert min(a for a, _ in pairs) <= 2.5 * min(b for _, b in pairs)
