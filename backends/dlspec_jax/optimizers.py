"""Optimizers as optax chains, without the learning rate, which is an argument of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codegen import python
from dlspec.codegen.optimizers import rule_function
from dlspec.ops.optimizers import (
    Adadelta,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Optimizer,
    RmsProp,
    Sgd,
    optimizer_of,
)

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    from dlspec.codegen import Statement
    from dlspec.ir.graph import Minimize

DIRECTION = "direction"


@dataclass(frozen=True)
class Chain:
    """transformation: an optax expression whose result times -lr is the step.

    names: slot kinds of checkpoints, and what the state calls them. counted: it counts steps.
    rule: a function that the transformation uses.
    """

    optimizer: Optimizer
    transformation: ast.expr
    names: dict[str, str]
    counted: bool
    rule: Statement | None = None


def chain(minimize: Minimize) -> Chain:
    """optax's transformations where their definitions equal ours; the rule written out elsewhere.

    `trace` starts at zero, `scale_by_adam` adds eps after the bias correction,
    `add_decayed_weights` adds weight_decay w to what it is given; `scale_by_rss` adds eps inside
    the root, `scale_by_amsgrad` corrects before the maximum, `scale_by_radam` adds eps after
    the correction: these are not ours.
    """
    optimizer = optimizer_of(minimize.optimizer, minimize.settings)
    kind = type(optimizer)
    other = any(minimize.settings.get(name) for name in ("amsgrad", "dampening"))
    if kind not in CHAINS or other:
        rule = rule_function(optimizer, DIRECTION, "jnp", traced=True)
        slots = python.constant(optimizer.slots)
        made = python.call("by_rule", python.name(DIRECTION), slots)
        return Chain(optimizer, made, {n: n for n in optimizer.slots}, True, rule)
    parts = CHAINS[kind](optimizer)
    made = parts[0] if len(parts) == 1 else python.call("optax.chain", *parts)
    names = {slot: NAMES[kind][slot] for slot in optimizer.slots}
    return Chain(optimizer, made, names, kind in COUNTED)


def _decay(weight_decay: float) -> list[ast.expr]:
    if not weight_decay:
        return []
    return [python.call("optax.add_decayed_weights", python.constant(weight_decay))]


def _step(function: str, *numbers: tuple[str, float, float], **more: ast.expr) -> ast.expr:
    """optax.function(…) with the numbers (name, value, default) that are not its defaults."""
    given = {name: python.constant(value) for name, value, default in numbers if value != default}
    return python.call(f"optax.{function}", **given, **more)


def _trace(momentum: float, nesterov: bool = False) -> list[ast.expr]:
    more = {"nesterov": python.constant(True)} if nesterov else {}
    return [python.call("optax.trace", python.constant(momentum), **more)] if momentum else []


def _sgd(optimizer: Any) -> list[ast.expr]:
    trace = _trace(optimizer.momentum, optimizer.nesterov)
    return [*_decay(optimizer.weight_decay), *trace] or [python.call("optax.identity")]


def _betas(optimizer: Any, beta2: float) -> tuple[tuple[str, float, float], ...]:
    return ("b1", optimizer.beta1, 0.9), ("b2", optimizer.beta2, beta2)


def _adam(optimizer: Any) -> list[ast.expr]:
    eps = ("eps", optimizer.eps, 1e-8)
    step = _step("scale_by_adam", *_betas(optimizer, 0.999), eps)
    decay = _decay(optimizer.weight_decay)
    return [step, *decay] if isinstance(optimizer, AdamW) else [*decay, step]


def _adamax(optimizer: Any) -> list[ast.expr]:
    eps = ("eps", optimizer.eps, 1e-8)
    step = _step("scale_by_adamax", *_betas(optimizer, 0.999), eps)
    return [*_decay(optimizer.weight_decay), step]


def _lion(optimizer: Any) -> list[ast.expr]:
    step = _step("scale_by_lion", *_betas(optimizer, 0.99))
    return [step, *_decay(optimizer.weight_decay)]


def _rmsprop(optimizer: Any) -> list[ast.expr]:
    function = "scale_by_stddev" if optimizer.centered else "scale_by_rms"
    numbers = ("decay", optimizer.alpha, 0.9), ("eps", optimizer.eps, 1e-8)
    step = _step(function, *numbers, eps_in_sqrt=python.constant(False))
    return [*_decay(optimizer.weight_decay), step, *_trace(optimizer.momentum)]


def _adadelta(optimizer: Any) -> list[ast.expr]:
    step = _step("scale_by_adadelta", ("rho", optimizer.rho, 0.9), ("eps", optimizer.eps, 1e-6))
    return [*_decay(optimizer.weight_decay), step]


CHAINS: dict[type[Optimizer], Callable[[Any], list[ast.expr]]] = {
    Sgd: _sgd,
    Adam: _adam,
    AdamW: _adam,
    Adamax: _adamax,
    Lion: _lion,
    RmsProp: _rmsprop,
    Adadelta: _adadelta,
}
NAMES: dict[type[Optimizer], dict[str, str]] = {
    Sgd: {"momentum": "trace"},
    Adam: {"exp_avg": "mu", "exp_avg_sq": "nu"},
    AdamW: {"exp_avg": "mu", "exp_avg_sq": "nu"},
    Adamax: {"exp_avg": "mu", "exp_inf": "nu"},
    Lion: {"exp_avg": "mu"},
    RmsProp: {"square_avg": "nu", "grad_avg": "mu", "momentum": "trace"},
    Adadelta: {"square_avg": "e_g", "acc_delta": "e_x"},
}
COUNTED = frozenset({Adam, AdamW, Adamax, Lion})
