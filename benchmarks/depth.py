"""The first training step of 6 and of 48 equal blocks in JAX: XLA compiles one block for both.

    python benchmarks/depth.py [--depths 6 48]

Prints seconds of the first step (compilation with it) and the ratio to the first depth.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SPEC = """
block Layer(x: [N, D]) = tanh(x + (x -> dense(4 * D) -> gelu -> dense(D)))

model Net(x: [N, 64], depth = {depth}) = x -> repeat(depth, Layer) -> dense(2)

train t {{
  data (x: [N, 64], y: [N, 2]) from npz("none.npz", fields = ["x", "y"], batch = 4)
  minimize mse(x -> Net, y) using adam(0.001)
  steps 1
}}
"""
RUN = """
import runpy, sys, time
import numpy as np
module = runpy.run_path(sys.argv[1])
state = module["init"](0)
batch = {"x": np.zeros((4, 64)), "y": np.zeros((4, 2))}
start = time.perf_counter()
_, metrics = module["train_step"](state, batch, 0.001)
float(metrics["loss"])
print(time.perf_counter() - start)
"""


def first_step(depth: int, folder: Path) -> float:
    spec, output = folder / f"{depth}.dls", folder / f"{depth}.py"
    spec.write_text(SPEC.format(depth=depth), encoding="utf-8")
    command = [sys.executable, "-m", "dlspec", "compile", str(spec), "--backend", "jax"]
    subprocess.run([*command, "-o", str(output)], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(output)], check=True, capture_output=True, text=True
    )
    return float(ran.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[6, 48])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = {depth: first_step(depth, Path(folder)) for depth in args.depths}
    base = times[args.depths[0]]
    for depth, took in times.items():
        print(f"{depth:3} blocks  {took:6.2f} s  ratio {took / base:.2f}")


if __name__ == "__main__":
    main()
