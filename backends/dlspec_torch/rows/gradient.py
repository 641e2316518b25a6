"""Gradients in torch: x becomes a node of autograd's graph, `gradient` asks that for dy/dx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import Line, deriving
from dlspec.ir.graph import OpNode, functions_below, walk
from dlspec.ops.attention import Attention
from dlspec.ops.gradient import Grad, Watch

if TYPE_CHECKING:
    from dlspec.codegen import Statement
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import Function
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    Watch: "x: x.view_as(x).requires_grad_()",
    Grad: ("y, x: gradient(y, x)", "y, *xs: joint_gradient(y, *xs)"),
}


def decorators(function: Function) -> list[Statement]:
    """What a body that takes gradients needs around it, whatever its caller does."""
    if not _takes(function):
        return []
    found: list[Statement] = [Line("@torch.enable_grad()")]
    if any(_attends(f) for f in functions_below(function)):
        # torch's fused kernels have no second derivative
        found.append(Line("@torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)"))
    return found


def _takes(function: Function) -> bool:
    return any(isinstance(n, OpNode) and isinstance(n.op, Grad) for n in walk(function.body))


def _attends(function: Function) -> bool:
    return any(isinstance(n, OpNode) and isinstance(n.op, Attention) for n in walk(function.body))


def takes_gradients(*roots: Function) -> bool:
    """Whether one of the roots, or what is below it, takes a gradient."""
    return any(deriving(root)[id(root)] for root in roots)
