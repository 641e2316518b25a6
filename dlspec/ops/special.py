"""The logarithm of the gamma function and its derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Term, Unary, simple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder


@dataclass(frozen=True)
class Lgamma(Unary):
    """ln |Γ(x)|"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Digamma())


@dataclass(frozen=True)
class Digamma(Unary):
    """The derivative of ln Γ(x)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Polygamma(1))


@dataclass(frozen=True)
class Polygamma(Unary):
    """The derivative of order + 1 of ln Γ(x), order at least 1."""

    order: int = 1

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Polygamma(self.order + 1))


def _polygamma(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    order = arg.integer(b, statics["order"])
    if order < 0:
        b.fail(BAD_ARGUMENT, f"polygamma: order is {order}, but must be 0 or more")
    return b.emit(Polygamma(order) if order else Digamma(), tensors["x"])


BUILTINS = (
    simple("lgamma", Lgamma()),
    simple("digamma", Digamma()),
    Builtin(
        "polygamma",
        ("x",),
        _polygamma,
        (StaticParam("order", kinds=("int",)),),
        doc="The derivative of order + 1 of ln Γ(x).",
    ),
)
