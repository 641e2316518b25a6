"""The numbers of emitted files that `verify` compares: each case of each program, run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dlspec.training.module import Emit, Job, Stop, environment, load_module
from dlspec.weights.files import read_weights

Arrays: TypeAlias = dict[str, NDArray[Any]]


def trace(job: Job, emit: Emit, stop: Stop) -> None:
    """For each case of each program: outputs, metrics, gradients, then k losses, weights and
    optimizer after them.

    Each case goes to an npz file of its own, keys `output/…`, `metric/…`, `gradient/…`,
    `loss/…`, `weight/…`, and `optimizer's KIND/…`, whose kinds are of different sizes.
    """
    for program in job["programs"]:
        module = load_module(Path(program["module"]))
        for case in program["cases"]:
            with np.load(case["batch"], allow_pickle=False) as file:
                batch = {name: file[name] for name in file.files}
            state = module.init(program["seed"], job["dtype"])
            state = module.import_weights(state, read_weights(case["weights"]))
            found = trace_case(module, state, batch, program)
            np.savez(case["out"], **found)  # pyright: ignore[reportArgumentType]
            emit("case", {"out": case["out"]})
    emit("done", environment())


def trace_case(module: Any, state: Any, batch: Arrays, program: Mapping[str, Any]) -> Arrays:
    found: Arrays = {}
    if program["predicts"]:
        outputs = module.predict(state, **_under("input/", batch))
        named = cast("dict[str, Any]", outputs) if isinstance(outputs, dict) else {"": outputs}
        _put(found, "output", named)
    if not program["training"]:
        return found
    seed = program["seed"]
    fields = _under("field/", batch)
    draws = _draws(program["draws"])
    if hasattr(module, "STEPS"):
        return {**found, **trace_steps(module, state, batch, program, draws)}
    metrics, gradients = module.gradients(state, fields, seed=seed, step=0, **draws(0))
    _put(found, "metric", metrics)
    _put(found, "gradient", gradients)
    rates = program["lr"]
    lr = tuple(cast("list[float]", rates)) if isinstance(rates, list) else rates
    for step in range(program["steps"]):
        keys = {"seed": seed, "step": step, **draws(step)}
        state, metrics = module.train_step(state, fields, lr, **keys)
        _put(found, "loss", {str(step): metrics["loss"]})
    _put(found, "weight", module.export_weights(state))
    for name, value in module.export_optimizer(state).items():
        kind, _, weight = name.partition("/")
        _put(found, f"optimizer's {kind}", {weight: value})
    return found


def trace_steps(
    module: Any,
    state: Any,
    batches: Arrays,
    program: Mapping[str, Any],
    draws: Callable[[int], dict[str, list[NDArray[Any]]]],
) -> Arrays:
    """As `trace_case`, of several steps in turn; each repetition takes a batch of its own,
    `again/NUMBER/NAME`. draws hold those of each step, one by one, for every repetition."""
    found: Arrays = {}
    fields = _under("field/", batches)
    metrics, gradients = module.gradients(state, fields, seed=program["seed"], step=0, **draws(0))
    _put(found, "metric", metrics)
    _put(found, "gradient", gradients)
    counts, starts, start = program["step_draws"], dict[str, int](), 0
    for name in module.STEPS:
        starts[name], start = start, start + counts[name]
    most = max(step.times for step in module.STEPS.values())
    for number in range(program["steps"]):
        batch, taken = _under("field/", batches), 0
        for name, step in module.STEPS.items():
            if number % step.every:
                continue
            for again in range(step.times):
                if again:
                    taken += 1
                    batch = _under(f"again/{taken}/", batches)
                given = draws(number * most + again)
                key: dict[str, Any] = {"seed": program["seed"], "step": number}
                if given:
                    start = starts[name]
                    key["draws"] = given["draws"][start : start + counts[name]]
                rates = tuple(program["step_rates"][name])
                state, metrics = module.train_step(state, batch, rates, name, **key)
            for metric, value in metrics.items():
                _put(found, "loss", {f"{number}/{metric}": value})
    _put(found, "weight", module.export_weights(state))
    for name, value in module.export_optimizer(state).items():
        kind, _, weight = name.partition("/")
        _put(found, f"optimizer's {kind}", {weight: value})
    return found


def _draws(path: str | None) -> Callable[[int], dict[str, list[NDArray[Any]]]]:
    """The argument `draws` of each step: arrays `STEP/NUMBER` of a file; none without one."""
    if path is None:
        return lambda step: {}
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}

    def of_step(step: int) -> dict[str, list[NDArray[Any]]]:
        count = sum(name.startswith(f"{step}/") for name in arrays)
        return {"draws": [arrays[f"{step}/{i}"] for i in range(count)]}

    return of_step


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _put(found: Arrays, what: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        found[f"{what}/{name}"] = np.array(value)  # a copy: the next step may reuse the buffer
