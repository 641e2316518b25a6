"""A cold `dlspec check` against a bare process that imports lark and pydantic.

    python benchmarks/startup.py [--rounds 15]

Both are fresh processes, interleaved in shuffled order. Prints medians, their ratio (the project's
limit is 2.5) and which of the heavy modules `check` imported (the limit is none).
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPEC = "specs/vision/resnet18.dls"
LIMIT = 2.5
BARE = """
from lark import Lark
from pydantic import BaseModel
class A(BaseModel):
    x: int
"""
HEAVY = ("numpy", "networkx", "torch", "jax")
WATCHED = f"""
import sys
from dlspec.cli import main
try:
    main(["check", {SPEC!r}])
except SystemExit:
    pass
print("heavy imports:", sorted(set({HEAVY!r}) & set(sys.modules)) or "none")
"""


def timed(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    arms = {"bare": ["-c", BARE], "check": ["-m", "dlspec", "check", SPEC]}
    times: dict[str, list[float]] = {name: [] for name in arms}
    for arguments in arms.values():
        timed(arguments)  # byte code, the cache of parser tables, the page cache
    order = list(arms)
    for _ in range(args.rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(timed(arms[name]))
    bare, check = statistics.median(times["bare"]), statistics.median(times["check"])
    print(f"bare {bare * 1e3:.0f} ms  check {check * 1e3:.0f} ms")
    print(f"ratio {check / bare:.2f} (limit {LIMIT})")
    subprocess.run([sys.executable, "-c", WATCHED], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
