"""`grad(y, x)` as two ops of one body.

`Grad` stands where the gradient is wanted. `Watch` stands where x is made, and all that reads x
reads its result: so "through x" is a place in the graph, which automatic differentiation can
find. Both are meaningful only together with the body around them; see `dlspec.passes.paths`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import DTYPE
from dlspec.ir.dims import Dim
from dlspec.ops.base import Applied, Builtin, Op

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Watch(Op):
    """x itself: the place that a gradient of the same body is taken at."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return grads

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return Dim.const(0)


@dataclass(frozen=True)
class Grad(Op):
    """∂(Σ y)/∂x, of x's shape, for each x. Operands: y, and the results of `Watch`es, none of which
    is computed from another.

    It has no rule of its own: a backend differentiates what lies between, or
    `dlspec.passes.expand` writes it out.
    """

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        for position, operand in enumerate(operands):
            name = "x" if position else "y"
            if not operand.dtype.is_float:
                shapes.fail(
                    DTYPE,
                    f"`{name}` of grad is {operand}: only floats have gradients",
                )
        return tuple(operands[1:])


def _grad(b: LayerBuilder, t: Mapping[str, Any], s: Mapping[str, Any]) -> Applied:
    found = b.emit_all(Grad(), t["y"], *t["*x"])
    return found[0] if len(found) == 1 else found


BUILTINS = (
    Builtin(
        "grad",
        ("y", "*x"),
        _grad,
        doc="The gradient of y (of its sum) for x, a tensor that y is computed from; of several "
        "at once, a tuple.",
    ),
)
