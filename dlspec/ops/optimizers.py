"""Optimizers, with torch's definitions, and their update of one weight as IR.

A weight's update takes the weight w, its gradient g, the optimizer's slots (arrays of w's shape
that start at zero), the learning rate, and scalars that the host computes from the number of the
step; it gives the new weight and the new slots.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Value
from dlspec.ir.static import Apply, Known, Origin, ParamRef
from dlspec.ir.types import DType, TensorType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Sqrt, Term

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Optimizer:
    """Settings are fields. slots: their kinds, as in checkpoints (torch's names).

    scalars: (name, Python expression over the settings and `step`, which counts from 1).
    """

    name: ClassVar[str]

    @property
    def slots(self) -> tuple[str, ...]:
        return ()

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return ()

    def problems(self) -> list[str]:
        """What is wrong with the settings, in words."""
        return []

    def settings(self) -> dict[str, float | bool]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def update(self, g: Term, w: Term, lr: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        """New weight, then new slots. rest: slots and scalars by name."""
        raise NotImplementedError

    def setting(self, like: Term, name: str) -> Term:
        """A setting as a constant that remembers its name."""
        return like.static(Known(getattr(self, name), ParamRef(name)))

    def one_minus(self, like: Term, name: str) -> Term:
        origin: Origin = Apply("-", (Dim.const(1), ParamRef(name)))
        return like.static(Known(1.0 - getattr(self, name), origin))

    def function(self, shape: tuple[Dim, ...] = (Dim.symbol("n"),)) -> Function:
        """The update as a function: inputs weight, grad, the slots, lr, the scalars; outputs the
        new weight and slots."""
        scalars = [name for name, _ in self.scalars]
        arrays = ["weight", "grad", *self.slots]
        values = {name: Value(TensorType(DType.FLOAT, shape), name) for name in arrays}
        values |= {n: Value(TensorType(DType.FLOAT, ()), n) for n in ["lr", *scalars]}
        function = Function(self.name, "block", inputs=tuple(values.values()))
        b = FunctionBuilder(function)
        terms = {name: Term(b, value) for name, value in values.items()}
        results = self.update(terms["grad"], terms["weight"], terms["lr"], terms)
        function.outputs = tuple(term.value for term in results)
        function.output_names = ("weight", *self.slots)
        return function


def _outside(name: str, value: float, below_one: bool = True) -> list[str]:
    if value < 0 or (below_one and value >= 1):
        span = "at least 0 and below 1" if below_one else "0 or more"
        return [f"{name} is {value}, but must be {span}"]
    return []


@dataclass(frozen=True)
class Sgd(Optimizer):
    """g += weight_decay w; with momentum: v = momentum v + g, g = v (nesterov: g + momentum v);
    w -= lr g (Sutskever et al. 2013, as in torch)."""

    name: ClassVar[str] = "sgd"

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def problems(self) -> list[str]:
        found = _outside("momentum", self.momentum)
        found += _outside("weight_decay", self.weight_decay, False)
        if self.nesterov and not self.momentum:
            found.append("nesterov needs a momentum above 0")
        return found

    def update(self, g: Term, w: Term, lr: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        if self.weight_decay:
            g = g + self.setting(w, "weight_decay") * w
        if not self.momentum:
            return (w - lr * g,)
        v = self.setting(w, "momentum") * rest["momentum"] + g
        step = g + self.setting(w, "momentum") * v if self.nesterov else v
        return w - lr * step, v


@dataclass(frozen=True)
class Adam(Optimizer):
    """g += weight_decay w; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g²;
    w -= lr / c1 m / (√v / √c2 + eps), c_i = 1 - beta_i^step (Kingma and Ba 2015, as in torch)."""

    name: ClassVar[str] = "adam"

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return (
            ("correction1", "1 - beta1**step"),
            ("correction2", "(1 - beta2**step) ** 0.5"),
        )

    def problems(self) -> list[str]:
        return [
            *_outside("beta1", self.beta1),
            *_outside("beta2", self.beta2),
            *_outside("eps", self.eps, False),
            *_outside("weight_decay", self.weight_decay, False),
        ]

    def decayed(self, g: Term, w: Term, lr: Term) -> tuple[Term, Term]:
        """(g, w) with the weight decay in them."""
        if self.weight_decay:
            g = g + self.setting(w, "weight_decay") * w
        return g, w

    def update(self, g: Term, w: Term, lr: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        g, w = self.decayed(g, w, lr)
        m = self.setting(w, "beta1") * rest["exp_avg"] + self.one_minus(w, "beta1") * g
        v = self.setting(w, "beta2") * rest["exp_avg_sq"] + self.one_minus(w, "beta2") * g.square()
        root = v.apply(Sqrt()) / rest["correction2"] + self.setting(w, "eps")
        return w - lr / rest["correction1"] * m / root, m, v


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr weight_decay w before the step, which does not
    see the decay (Loshchilov and Hutter 2019)."""

    name: ClassVar[str] = "adamw"

    weight_decay: float = 0.01

    def decayed(self, g: Term, w: Term, lr: Term) -> tuple[Term, Term]:
        if self.weight_decay:
            w = w - lr * self.setting(w, "weight_decay") * w
        return g, w


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (Sgd, Adam, AdamW)}
