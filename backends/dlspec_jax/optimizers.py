"""Optimizers as optax chains, without the learning rate, which is an argument of the step."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops.optimizers import OPTIMIZERS, Adam, AdamW, Optimizer, Sgd

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    from dlspec.ir.graph import Minimize

# a checkpoint's slot kinds, and what optax's states call them
SLOTS = {"momentum": "trace", "exp_avg": "mu", "exp_avg_sq": "nu"}


def chain(minimize: Minimize) -> tuple[Optimizer, ast.expr]:
    """The optimizer, and the optax transformation whose result times -lr is the step.

    optax's definitions equal ours: `trace` starts at zero, `scale_by_adam` adds eps after the bias
    correction, `add_decayed_weights` adds weight_decay w to what it is given.
    """
    kind = OPTIMIZERS[minimize.optimizer]
    own = {f.name for f in fields(kind)}  # the rest is the learning rate's
    optimizer = kind(**{k: v for k, v in minimize.settings.items() if k in own})  # type: ignore[arg-type]
    parts = CHAINS[type(optimizer)](optimizer)
    if len(parts) == 1:
        return optimizer, parts[0]
    return optimizer, python.call("optax.chain", *parts)


def _decay(weight_decay: float) -> list[ast.expr]:
    if not weight_decay:
        return []
    return [python.call("optax.add_decayed_weights", python.constant(weight_decay))]


def _sgd(optimizer: Optimizer) -> list[ast.expr]:
    assert isinstance(optimizer, Sgd)
    parts = _decay(optimizer.weight_decay)
    if optimizer.momentum:
        nesterov = {"nesterov": python.constant(True)} if optimizer.nesterov else {}
        parts.append(python.call("optax.trace", python.constant(optimizer.momentum), **nesterov))
    return parts or [python.call("optax.identity")]


def _adam(optimizer: Optimizer) -> list[ast.expr]:
    assert isinstance(optimizer, Adam)
    numbers = (("b1", optimizer.beta1, 0.9), ("b2", optimizer.beta2, 0.999))
    numbers = (*numbers, ("eps", optimizer.eps, 1e-8))
    given = {name: python.constant(value) for name, value, default in numbers if value != default}
    step = python.call("optax.scale_by_adam", **given)
    decay = _decay(optimizer.weight_decay)
    return [step, *decay] if isinstance(optimizer, AdamW) else [*decay, step]


CHAINS: dict[type[Optimizer], Callable[[Optimizer], list[ast.expr]]] = {
    Sgd: _sgd,
    Adam: _adam,
    AdamW: _adam,
}
