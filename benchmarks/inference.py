"""ResNet-50 inference of a file that `dlspec compile --for inference` writes, against a user's own.

    python benchmarks/inference.py [--batch 4] [--size 224] [--runs 5] [--calls 10]
                                   [--precisions float32 bfloat16] [--process-time]

Arms, each a process as a server's would be, all with the same weights and image, their calls in
shuffled order: the baseline (eager, eval, inference_mode, channels last), the generated file, and
that in bfloat16. The figure of an arm is baseline / arm, of the medians of a run's calls; the last
lines give the median over the runs. bfloat16 is meant for processors that multiply it in hardware:
whether this one does is told. `--process-time` counts the processor seconds of a process instead
of the clock's: for a busy machine.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from run import HERE, ROOT, load

SPEC = "specs/vision/resnet.dls"
BASELINE = HERE / "baselines" / "resnet50_torch.py"
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}


def amx() -> bool:
    """Whether the processor multiplies tiles of bfloat16 (Linux tells)."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def compiled(folder: Path, name: str, *options: str) -> Path:
    """A file that the command writes."""
    path = folder / f"{name}.py"
    command = [sys.executable, "-m", "dlspec", "compile", SPEC, "--model", "ResNet50"]
    command += ["--backend", "torch", "-o", str(path), *options]
    subprocess.run(command, cwd=ROOT, check=True)
    return path


def write_inputs(folder: Path, batch: int, size: int) -> None:
    """An image, and weights as a training leaves them: statistics that are not 0 and 1."""
    rng = np.random.default_rng(0)
    module = load(compiled(folder, "training"), "training")
    weights: dict[str, np.ndarray] = module.export_weights(module.init(0))
    for name, array in weights.items():
        if name.endswith("running_var"):
            weights[name] = rng.uniform(0.5, 2, array.shape).astype(np.float32)
        elif name.endswith("running_mean"):
            weights[name] = 0.1 * rng.standard_normal(array.shape, dtype=np.float32)
    np.savez(folder / "weights.npz", **weights)
    np.save(folder / "image.npy", rng.standard_normal((batch, 3, size, size), dtype=np.float32))


def serve(path: Path, folder: Path, clock: str) -> None:
    """An arm: writes its outputs, then times one call for each line that it reads."""
    module, now = load(path, "arm"), CLOCKS[clock]
    with np.load(folder / "weights.npz") as file:
        state = module.import_weights(module.init(), dict(file))
    image = np.load(folder / "image.npy")
    np.save(folder / f"{path.stem}.npy", module.predict(state, image=image))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = now()
        module.predict(state, image=image)
        print(now() - start, flush=True)


class Arm:
    """A process that serves."""

    def __init__(self, path: Path, folder: Path, clock: str) -> None:
        command = [sys.executable, __file__, "--serve", str(path), str(folder), clock]
        pipe = subprocess.PIPE
        self.process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.output = np.load(folder / f"{path.stem}.npy")

    def call(self) -> float:
        """The seconds that one call took."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def started(folder: Path, precisions: list[str], clock: str) -> dict[str, Arm]:
    """All arms; all of them give the same."""
    found = {"baseline": Arm(BASELINE, folder, clock)}
    expected = found["baseline"].output
    for precision in precisions:
        path = compiled(folder, precision, "--for", "inference", "--precision", precision)
        found[precision] = Arm(path, folder, clock)
        error = np.abs(found[precision].output - expected).max() / np.abs(expected).max()
        print(f"{precision}: differs from the baseline by {error:.1e} of its largest output")
        assert error < TOLERANCE[precision]
    return found


def one_run(arms: dict[str, Arm], calls: int, shuffle: random.Random) -> dict[str, float]:
    """The median time of a call of each arm."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    order = list(arms)
    for call in range(calls + 1):
        shuffle.shuffle(order)
        for name in order:
            took = arms[name].call()
            if call:  # the first is to warm up
                times[name].append(took)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def compare(folder: Path, args: argparse.Namespace) -> None:
    write_inputs(folder, args.batch, args.size)
    arms = started(folder, args.precisions, "process" if args.process_time else "wall")
    ratios: dict[str, list[float]] = {name: [] for name in args.precisions}
    for run in range(args.runs):
        took = one_run(arms, args.calls, random.Random(run))
        for name, found in ratios.items():
            found.append(took["baseline"] / took[name])
        print("  " + "  ".join(f"{n} {s * 1e3:.0f} ms" for n, s in took.items()), flush=True)
    for arm in arms.values():
        arm.close()
    for name, found in ratios.items():
        print(
            f"{name}: median of {args.runs} runs {np.median(found):.2f} times the baseline"
            f"  load {os.getloadavg()[0]:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--precisions", nargs="+", default=list(TOLERANCE), choices=TOLERANCE)
    parser.add_argument("--process-time", action="store_true")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        path, folder, clock = args.serve
        serve(Path(path), Path(folder), clock)
        return
    hardware = "has AMX" if amx() else "has no AMX: bfloat16 is not expected to gain"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; the processor {hardware}")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), args)


if __name__ == "__main__":
    main()
