"""Time of check and compile for chains of distinct layers; the output is run.

    python benchmarks/scaling.py [--sizes 1000 10000] [--backends numpy torch jax]

No two layers have the same shape (up to 10,100 of them). Prints seconds and microseconds a layer:
the latter stays about constant where time grows linearly.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import runpy, sys
import numpy as np
sys.setrecursionlimit(1000)
module = runpy.run_path(sys.argv[1])
y = module["predict"](module["init"](0), x=np.ones((2, 1), np.float32))
print(y.shape)
"""


def chain(size: int) -> str:
    """A model of `size` dense layers, no two of the same shape.

    Widths walk 0..100 in steps that grow each round: modulo a prime, no (from, to) comes twice.
    """
    head = [f'"""A chain of {size} distinct layers."""', "", "model Chain(x: [N, 1]) {", "  h0 = x"]
    layers: list[str] = []
    width = 0
    for i in range(size):
        width = (width + 1 + i // 101) % 101
        layers.append(f"  h{i + 1} = h{i} -> dense({width + 1}) -> relu")
    return "\n".join([*head, *layers, f"  return h{size}", "}", ""])


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def report(what: str, size: int, took: float) -> None:
    print(
        f"{size:6} layers  {what:15} {took:7.2f} s  {took / size * 1e6:8.0f} us/layer", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--backends", nargs="+", default=["numpy", "torch", "jax"])
    parser.add_argument("--no-run", action="store_true", help="only check and compile")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            spec = Path(folder) / f"chain{size}.dls"
            spec.write_text(chain(size), encoding="utf-8")
            report("check", size, seconds(["-m", "dlspec", "check", str(spec)]))
            for backend in args.backends:
                output = Path(folder) / f"chain{size}_{backend}.py"
                command = ["-m", "dlspec", "compile", str(spec), "--backend", backend]
                report(f"compile {backend}", size, seconds([*command, "-o", str(output)]))
                if not args.no_run:
                    report(f"run {backend}", size, seconds(["-c", RUN, str(output)]))


if __name__ == "__main__":
    main()
