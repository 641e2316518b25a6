"""ResNet-50 inference of a file that `dlspec compile --for inference` writes, against a user's own.

    python benchmarks/inference.py [--batch 4] [--size 224] [--runs 5] [--calls 10]
                                   [--precisions float32 bfloat16] [--process-time]

Arms, interleaved in shuffled order in one process, all with the same weights: the baseline (eager,
eval, inference_mode, channels last), the generated file, and the generated file in bfloat16. The
figure of an arm is baseline / arm, of the medians of a run's calls; the last lines give the median
over the runs. bfloat16 is meant for processors that multiply it in hardware: whether this one does
is told. `--process-time` counts the process's own seconds: for one thread on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from run import HERE, ROOT, load

SPEC = "specs/vision/resnet.dls"
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}


def amx() -> bool:
    """Whether the processor multiplies tiles of bfloat16 (Linux tells)."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def compiled(folder: str, name: str, *options: str) -> ModuleType:
    """A file that the command writes."""
    path = Path(folder) / f"{name}.py"
    command = [sys.executable, "-m", "dlspec", "compile", SPEC, "--model", "ResNet50"]
    command += ["--backend", "torch", "-o", str(path), *options]
    subprocess.run(command, cwd=ROOT, check=True)
    return load(path, name)


def trained(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Running statistics that are not 0 and 1."""
    rng = np.random.default_rng(0)
    for name, array in weights.items():
        if name.endswith("running_var"):
            weights[name] = rng.uniform(0.5, 2, array.shape).astype(np.float32)
        elif name.endswith("running_mean"):
            weights[name] = 0.1 * rng.standard_normal(array.shape, dtype=np.float32)
    return weights


def arms(
    folder: str, image: np.ndarray, precisions: list[str]
) -> dict[str, Callable[[], np.ndarray]]:
    """What runs, by name; all of them give the same."""
    training = compiled(folder, "training")
    weights = trained(training.export_weights(training.init(0)))
    baseline = load(HERE / "baselines" / "resnet50_torch.py", "baseline")
    net = baseline.import_weights(baseline.init(), weights)
    found: dict[str, Callable[[], np.ndarray]] = {"baseline": lambda: baseline.predict(net, image)}
    expected = found["baseline"]()
    for precision in precisions:
        module = compiled(folder, precision, "--for", "inference", "--precision", precision)
        found[precision] = arm(module, weights, image)
        error = np.abs(found[precision]() - expected).max() / np.abs(expected).max()
        print(f"{precision}: differs from the baseline by {error:.1e} of its largest output")
        assert error < TOLERANCE[precision]
    return found


def arm(module: ModuleType, weights: Any, image: np.ndarray) -> Callable[[], np.ndarray]:
    state = module.import_weights(module.init(), weights)
    return lambda: module.predict(state, image=image)


def one_run(
    arms: dict[str, Callable[[], np.ndarray]],
    calls: int,
    shuffle: random.Random,
    clock: Callable[[], float],
) -> dict[str, float]:
    """The median time of a call of each arm."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    order = list(arms)
    for call in range(calls + 1):
        shuffle.shuffle(order)
        for name in order:
            start = clock()
            arms[name]()
            if call:  # the first is to warm up
                times[name].append(clock() - start)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--precisions", nargs="+", default=list(TOLERANCE), choices=TOLERANCE)
    parser.add_argument("--process-time", action="store_true")
    args = parser.parse_args()
    clock = time.process_time if args.process_time else time.perf_counter
    hardware = "has AMX" if amx() else "has no AMX: bfloat16 is not expected to gain"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; the processor {hardware}")
    shape = (args.batch, 3, args.size, args.size)
    image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        made = arms(folder, image, args.precisions)
    ratios: dict[str, list[float]] = {name: [] for name in made if name != "baseline"}
    for run in range(args.runs):
        took = one_run(made, args.calls, random.Random(run), clock)
        for name, found in ratios.items():
            found.append(took["baseline"] / took[name])
        print("  " + "  ".join(f"{n} {s * 1e3:.0f} ms" for n, s in took.items()), flush=True)
    for name, found in ratios.items():
        print(
            f"{name}: median of {args.runs} runs {np.median(found):.2f} times the baseline"
            f"  load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
