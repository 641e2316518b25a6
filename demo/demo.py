"""`make demo`: LeNet-5 from its spec to three trained networks, in a few minutes.

Checks the spec, trains it on real handwritten digits with NumPy, PyTorch and JAX from the same
initial weights, proves that the three programs are equal, and draws the network. Everything it
writes is in demo/out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from dlspec.api import Spec, load
from dlspec.training.progress import Watch
from dlspec.training.run import Result, train
from dlspec.verification import verify

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "specs/vision/lenet5.dls"
OUT = ROOT / "demo/out"
BACKENDS = ("numpy", "torch", "jax")
WIDTH, HEIGHT = 22, 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, help="how long to train (default: as the spec says)")
    parser.add_argument("--backend", action="append", help="default: numpy, torch and jax")
    args = parser.parse_args()
    backends = tuple(args.backend or BACKENDS)
    # LeNet's matrices are small: a second thread of NumPy's costs more than it gives
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    began = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)

    title(f"1. The spec: {shown(SPEC)}")
    print(SPEC.read_text(encoding="utf-8").strip())
    dlspec("check", str(SPEC))

    title("2. What it is")
    dlspec("summary", str(SPEC))

    title("3. The same training on each backend, from the same initial weights")
    settings = {} if args.epochs is None else {"epochs": args.epochs}
    results: dict[str, Result] = {}
    for backend in backends:
        results[backend] = trained(load(SPEC), backend, settings)
        if results[backend].status == "interrupted":
            print(f"stopped; what was learnt is in {shown(results[backend].run_dir)}")
            return 130
    print()
    print("\n".join(curves(results)))

    title("4. Proof on numbers that the programs are equal")
    equal = True
    if len(backends) > 1:
        found = verify(load(SPEC).trainer(), backends, watch=lambda name: print(f"  {name} …"))
        print(found.text())
        equal = found.ok

    title("5. The picture")
    dlspec("draw", str(SPEC), "-o", str(OUT / "lenet5.svg"))

    title("Where to look")
    told = [(OUT / f"lenet5_{b}.py", "a program that runs on its own") for b in backends]
    told += [(results[b].run_dir, "its run: metrics.jsonl, checkpoints/") for b in backends]
    told.append((OUT / "lenet5.svg", "the picture"))
    for path, what in told:
        print(f"  {shown(path):28} {what}")
    print(f"\ndone in {time.monotonic() - began:.0f} s")
    return 0 if equal else 1


def title(text: str) -> None:
    print(f"\n{text}\n{'=' * len(text)}\n", flush=True)


def shown(path: Path) -> str:
    """A path as seen from where the user is."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def dlspec(*arguments: str) -> None:
    """The command line, as a user would type it."""
    print("$ dlspec", *(shown(Path(a)) if Path(a).is_absolute() else a for a in arguments))
    subprocess.run([sys.executable, "-m", "dlspec", *arguments], check=True)


def trained(spec: Spec, backend: str, settings: dict[str, int]) -> Result:
    """One run; the code that ran is kept beside the others."""
    result = train(
        spec.trainer(**settings),
        backend,
        run_dir=OUT / f"run-{backend}",
        watch=Watch(sys.stdout, f"lenet5 on {backend}"),
    )
    shutil.copyfile(result.run_dir / "model.py", OUT / f"lenet5_{backend}.py")
    return result


def curves(results: dict[str, Result]) -> list[str]:
    """The training loss of each run, smoothed, side by side, and the final test accuracy."""
    losses = {name: result.curve("batch") for name, result in results.items()}
    top = max(values[0] for values in losses.values())
    plots = [plot(smoothed(values), top) for values in losses.values()]
    heads = [f"{name}: training loss".ljust(WIDTH) for name in losses]
    rows = ["  ".join(heads), *("  ".join(row) for row in zip(*plots, strict=True))]
    accuracies = (f"test accuracy {r.final['test']['accuracy']:.2%}" for r in results.values())
    first = [values[:20] for values in losses.values()]
    apart = max(abs(a - b) / a for other in first for a, b in zip(first[0], other, strict=True))
    return [
        *rows,
        "  ".join(text.ljust(WIDTH) for text in accuracies),
        f"first 20 losses: at most {apart:.1e} apart (relative, float32)",
    ]


def smoothed(values: list[float]) -> list[float]:
    """One mean for each column of the plot."""
    edges = [len(values) * i // WIDTH for i in range(WIDTH + 1)]
    parts = [values[a : max(b, a + 1)] for a, b in pairwise(edges)]
    return [sum(part) / len(part) for part in parts]


def plot(values: list[float], top: float) -> list[str]:
    """Columns of eighths of a character."""
    levels = [max(1, round(8 * HEIGHT * min(value / top, 1.0))) for value in values]
    rows: list[str] = []
    for row in reversed(range(HEIGHT)):
        parts = (min(8, max(0, level - 8 * row)) for level in levels)
        rows.append("".join(" ▁▂▃▄▅▆▇█"[part] for part in parts))
    return rows


if __name__ == "__main__":
    sys.exit(main())
