"""Two ops, each with a row a backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dlspec.ir.graph import Value
from dlspec.ir.static import Known
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Sigmoid
from dlspec.ops.base import Builtin, LayerBuilder, StaticParam
from dlspec.ops.elementwise import Binary, Term, Unary


@dataclass(frozen=True)
class MySwish(Unary):
    """x σ(beta x) (Ramachandran et al. 2017)."""

    rows: ClassVar[Mapping[str, Any]] = {
        "numpy": "x: x * sigmoid(beta * x)",
        "torch": "x: x * torch.sigmoid(beta * x)",
        "jax": "x: x * jax.nn.sigmoid(beta * x)",
    }

    beta: float | Known = 1.0

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        beta = x.static(self.beta)
        s = (x * beta).apply(Sigmoid())
        return g * (s + beta * y * (1.0 - s))


@dataclass(frozen=True)
class MyGate(Binary):
    """x σ(gate), broadcast."""

    rows: ClassVar[Mapping[str, Any]] = {
        "numpy": "x, gate: x * sigmoid(gate)",
        "torch": "x, gate: x * torch.sigmoid(gate)",
        "jax": "x, gate: x * jax.nn.sigmoid(gate)",
    }

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        s = y.apply(Sigmoid())
        return g * s, g * z * (1.0 - s)


def my_swish(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(MySwish(arg.number(b, statics["beta"])), tensors["x"])


def my_gate(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(MyGate(), tensors["x"], tensors["gate"])


MY_SWISH = Builtin(
    "my_swish",
    ("x",),
    my_swish,
    (StaticParam("beta", 1.0, arg.NUMBER),),
    doc="x σ(beta x).",
)
MY_GATE = Builtin("my_gate", ("x", "gate"), my_gate, doc="x σ(gate).")
