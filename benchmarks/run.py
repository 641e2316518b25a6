"""A training step of generated code against a competent user's, interleaved in one process.

    python benchmarks/run.py [--networks lenet5 mlp gpt lstm resnet18 unet dcgan]
                             [--backends numpy torch jax] [--optimizers sgd adam] [--runs 5] [--cpu]

For each network and backend a process of its own compiles the spec, loads both arms and times
single steps in shuffled order. A run is `--steps` steps of each arm; its figure is the ratio
baseline / generated (above 1: the generated code is faster) of the medians and of the 20th
percentiles. The last line of a pair gives the median over the runs.

On a machine that others use too, `--cpu` counts the seconds of the processor, not those of the
clock; run it on one thread: `OMP_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset
-c 0`.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

Batch = dict[str, np.ndarray]


def images(size: int) -> Batch:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((size, 1, 28, 28), dtype=np.float32)
    return {"image": image, "label": rng.integers(0, 10, size)}


def labelled(*shape: int, classes: int, dense: bool = False) -> Callable[[int], Batch]:
    """Images [C, H, W] with a label each, or one for every pixel."""

    def batch(size: int) -> Batch:
        rng = np.random.default_rng(0)
        image = rng.standard_normal((size, *shape), dtype=np.float32)
        labels = (size, *shape[1:]) if dense else size
        return {"image": image, "label": rng.integers(0, classes, labels)}

    return batch


def real_images(size: int) -> Batch:
    return {"real": np.random.default_rng(0).uniform(-1, 1, (size, 3, 64, 64)).astype(np.float32)}


def flat_images(batch: Batch) -> Batch:
    return batch | {"image": batch["image"].reshape(-1, 784)}


def text(length: int) -> Callable[[int], Batch]:
    def batch(size: int) -> Batch:
        tokens = np.random.default_rng(0).integers(0, 256, (size, length + 1))
        return {"tokens": tokens[:, :-1].copy(), "next": tokens[:, 1:].copy()}

    return batch


@dataclass(frozen=True)
class Network:
    """spec: a path; batch: of a size; baseline_batch: what the hand-written code takes;
    optimizers: those that its baselines have; one alone is that of the spec.
    backends: those with a baseline."""

    spec: str
    batch: Callable[[int], Batch]
    size: int
    steps: int  # of each arm in a run
    optimizers: tuple[str, ...] = ("sgd", "adam")
    baseline_batch: Callable[[Batch], Batch] = dict
    backends: tuple[str, ...] = ("numpy", "torch", "jax")


NETWORKS = {
    "lenet5": Network("specs/vision/lenet5.dls", images, 64, 100),
    "mlp": Network("specs/basics/mlp.dls", images, 64, 100, baseline_batch=flat_images),
    "gpt": Network("benchmarks/specs/gpt.dls", text(256), 4, 5, ("adamw",)),
    "lstm": Network("benchmarks/specs/lstm.dls", text(64), 32, 20, ("adam",)),
    "resnet18": Network(
        "benchmarks/specs/resnet18.dls", labelled(3, 32, 32, classes=10), 32, 5, ("sgd",)
    ),
    "unet": Network(
        "benchmarks/specs/unet.dls",
        labelled(3, 128, 128, classes=2, dense=True),
        4,
        5,
        ("adam",),
        backends=("torch", "jax"),
    ),
    "dcgan": Network(
        "benchmarks/specs/dcgan.dls", real_images, 32, 5, ("adam",), backends=("torch", "jax")
    ),
}
WARM_UP = 0.2  # of the steps: compilation, allocators, thread pools


def load(path: Path, name: str) -> ModuleType:
    """The Python file as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OPTIMIZERS = {
    "sgd": "sgd(0.001, momentum = 0.9)",
    "adam": "adam(0.001)",
    "adamw": "adamw(0.001)",
}


def compile_spec(network: Network, backend: str, optimizer: str, folder: str) -> Path:
    """The generated file, written by the command that users have.

    From the spec with the optimizer of the run, and without its `report` lines: the baselines
    compute the loss and nothing else.
    """
    spec = network.spec
    output = Path(folder) / f"generated_{backend}.py"
    source = Path(folder) / Path(spec).name
    lines = (ROOT / spec).read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(x for x in lines if not x.lstrip().startswith("report "))
    if len(network.optimizers) > 1:
        text, found = re.subn(r" using .*", f" using {OPTIMIZERS[optimizer]}", text)
        assert found == 1
    source.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "dlspec", "compile", str(source), "--backend", backend]
    subprocess.run([*command, "-o", str(output)], cwd=ROOT, check=True)
    return output


class Arm:
    """One trainer and the times of its steps."""

    def __init__(
        self,
        module: ModuleType,
        state: Any,
        batch: Batch,
        lr: float,
        clock: Callable[[], float],
    ):
        self.module, self.state, self.batch, self.lr = module, state, batch, lr
        self.clock = clock
        self.times: list[float] = []

    def step(self) -> None:
        start = self.clock()
        for loss in self.update():
            assert np.isfinite(float(loss)), "the loss is not finite"
        if jax := sys.modules.get("jax"):
            jax.block_until_ready(self.state)
        self.times.append(self.clock() - start)

    def update(self) -> Iterator[Any]:
        """One step, or one of each of several; gives the losses."""
        for name in getattr(self.module, "STEPS", (None,)):
            lr = (self.lr,) if name is None else ((self.lr,), name)
            self.state, metrics = self.module.train_step(self.state, self.batch, *lr)
            yield metrics["loss" if name is None else f"{name}_loss"]


def measure(network: str, backend: str, optimizer: str, args: argparse.Namespace) -> None:
    """Prints the figures of one pair; runs in a process of its own."""
    chosen = NETWORKS[network]
    baseline = load(HERE / "baselines" / f"{network}_{backend}.py", "baseline")
    if args.generated:
        generated = load(Path(args.generated), "generated")
    else:
        with tempfile.TemporaryDirectory() as folder:
            generated = load(compile_spec(chosen, backend, optimizer, folder), "generated")
    lr = 0.001
    batch = chosen.batch(args.batch or chosen.size)
    rest = (lr, time.process_time if args.cpu else time.perf_counter)
    arms = {
        "baseline": Arm(baseline, baseline.init(0, optimizer), chosen.baseline_batch(batch), *rest),
        "generated": Arm(generated, generated.init(0), batch, *rest),
    }
    steps = args.steps or chosen.steps
    ratios = [one_run(arms, steps, random.Random(run)) for run in range(args.runs)]
    medians, twentieths = np.median([r[0] for r in ratios]), np.median([r[1] for r in ratios])
    print(
        f"{network:7} {backend:6} {optimizer:5} median of {args.runs} runs: {medians:.2f}"
        f"  p20 {twentieths:.2f}"
        f"  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def one_run(arms: dict[str, Arm], steps: int, shuffle: random.Random) -> tuple[float, float]:
    """Ratios of medians and of 20th percentiles over `steps` steps of each arm."""
    for arm in arms.values():
        for _ in range(max(2, int(WARM_UP * steps))):
            arm.step()
        arm.times.clear()
    order = list(arms)
    for _ in range(steps):
        shuffle.shuffle(order)
        for name in order:
            arms[name].step()
    median = {name: float(np.median(arm.times)) for name, arm in arms.items()}
    twentieth = {name: float(np.percentile(arm.times, 20)) for name, arm in arms.items()}
    ratios = (
        median["baseline"] / median["generated"],
        twentieth["baseline"] / twentieth["generated"],
    )
    took = "  ".join(f"{name} {seconds * 1e3:7.3f} ms" for name, seconds in median.items())
    print(f"  {took}  ratio {ratios[0]:.2f}  p20 {ratios[1]:.2f}", flush=True)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--backends", nargs="+", default=["numpy", "torch", "jax"])
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS), choices=OPTIMIZERS)
    parser.add_argument("--batch", type=int, help="the network's own otherwise")
    parser.add_argument("--steps", type=int, help="of each arm in a run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="seconds of the processor")
    parser.add_argument("--generated", help="a generated file, instead of compiling the spec")
    parser.add_argument("--pair", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pair:
        measure(*args.pair, args)
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; ratio = baseline / generated")
    for network in args.networks:
        optimizers = [o for o in args.optimizers if o in NETWORKS[network].optimizers]
        backends = [b for b in args.backends if b in NETWORKS[network].backends]
        for backend, optimizer in itertools.product(backends, optimizers):
            print(f"{network} {backend} {optimizer}", flush=True)
            pair = ["--pair", network, backend, optimizer]
            subprocess.run([sys.executable, __file__, *sys.argv[1:], *pair], check=True)


if __name__ == "__main__":
    main()
