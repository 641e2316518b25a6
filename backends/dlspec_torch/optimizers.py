"""Optimizers as torch.optim has them; the rule written out where it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.codegen import Text, blank
from dlspec.codegen.optimizers import rule_function
from dlspec.ops.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Optimizer,
    RAdam,
    RmsProp,
    Sgd,
    optimizer_of,
)

if TYPE_CHECKING:
    from dlspec.codegen import Statement
    from dlspec.ir.graph import Minimize


@dataclass(frozen=True)
class Native:
    """A class of torch.optim whose definition and defaults are ours. counts: it counts steps."""

    name: str
    fused: bool = False
    counts: bool = True


NATIVE: dict[type[Optimizer], Native] = {
    Sgd: Native("SGD", fused=True, counts=False),
    Adam: Native("Adam", fused=True),
    AdamW: Native("AdamW", fused=True),
    RAdam: Native("RAdam"),
    Adamax: Native("Adamax"),
    RmsProp: Native("RMSprop"),
    Adagrad: Native("Adagrad", fused=True),
    Adadelta: Native("Adadelta"),
}
TORCH_NAMES = {"momentum": "momentum_buffer"}

RULE = '''class Rule(torch.optim.Optimizer):
    """An optimizer that moves weights by -lr times their `direction`."""

    def __init__(self, params: Iterator[nn.Parameter], slots: tuple[str, ...]) -> None:
        super().__init__(params, {"lr": 0.0})
        self.slots = slots

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.update(weight, group["lr"])

    def update(self, weight: Tensor, lr: float) -> None:
        state = self.state[weight]
        if not state:
            state.update({name: torch.zeros_like(weight) for name in ("step", *self.slots)})
            state["step"] = torch.tensor(0.0)
        state["step"] += 1
        slots = [state[name] for name in self.slots]
        step, *new = direction(weight, weight.grad, *slots, state["step"].item())
        state.update(zip(self.slots, new, strict=True))
        weight.sub_(step, alpha=lr)'''


@dataclass(frozen=True)
class Made:
    """arguments: after the parameters. slots: torch's name of each slot, with ours."""

    callee: str
    arguments: tuple[str, ...]
    slots: dict[str, str]
    counts: bool
    definitions: tuple[Statement, ...] = ()


def made(minimize: Minimize) -> Made:
    optimizer = optimizer_of(minimize.optimizer, minimize.settings)
    native = NATIVE.get(type(optimizer))
    # torch counts no steps of sgd, but its dampening spares the first
    if native is None or minimize.settings.get("dampening"):
        return _ruled(optimizer)
    settings = optimizer.settings()
    arguments = ["lr=0.0"]
    if "beta1" in settings:
        betas = (settings.pop("beta1"), settings.pop("beta2"))
        if betas != (0.9, 0.999):
            arguments.append(f"betas={betas!r}")
    defaults = type(optimizer)().settings()
    for name, value in settings.items():
        if value != defaults[name]:
            arguments.append(f"{name}={value!r}")
    if native.fused:
        arguments.append("fused=True")
    slots = {TORCH_NAMES.get(name, name): name for name in optimizer.slots}
    return Made(f"torch.optim.{native.name}", tuple(arguments), slots, native.counts)


def _ruled(optimizer: Optimizer) -> Made:
    rule = rule_function(optimizer, "direction", "torch", annotated=True)
    slots = {name: name for name in optimizer.slots}
    definitions = (*blank(2), rule, *blank(2), Text(RULE))
    return Made("Rule", (repr(optimizer.slots),), slots, True, definitions)
