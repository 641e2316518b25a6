"""Activations in torch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.codegen.statics import is_always
from dlspec.ops import activations as act
from dlspec.ops import prelu, thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def celu(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    """The backward of F.celu rounds 1 / alpha to float32, in float64 too."""
    op = node.op
    assert isinstance(op, thresholds.Celu)
    if is_always(op.alpha, 1):
        return python.call("F.celu", *operands)
    alpha = static.value(op.alpha)
    scaled = python.call("F.elu", ast.BinOp(operands[0], ast.Div(), alpha))
    return ast.BinOp(alpha, ast.Mult(), scaled)


ROWS: dict[type[Op], Row] = {
    act.Relu: "x: F.relu(x)",
    act.Relu6: "x: F.relu6(x)",
    act.HardTanh: "x: F.hardtanh(x, low, high)",
    # the backward of F.hardsigmoid rounds 1 / 6 to float32, in float64 too
    act.HardSigmoid: "x: F.relu6(x + 3) / 6",
    act.Step: "x: (x > 0).to(x.dtype)",
    act.Sigmoid: "x: torch.sigmoid(x)",
    act.LogSigmoid: "x: F.logsigmoid(x)",
    act.Tanh: "x: torch.tanh(x)",
    act.Softplus: "x: F.softplus(x, threshold=40)",  # from there on it is x to the last bit
    act.Softsign: "x: F.softsign(x)",
    act.Elu: "x: F.elu(x, alpha)",
    act.Selu: "x: F.selu(x)",
    act.LeakyRelu: "x: F.leaky_relu(x, slope)",
    act.Silu: "x: F.silu(x)",
    act.HardSwish: "x: F.hardswish(x)",
    act.Mish: "x: F.mish(x)",
    act.Softmax: "x: torch.softmax(x, axis)",
    act.LogSoftmax: "x: torch.log_softmax(x, axis)",
    prelu.PRelu: "x, slope: F.prelu(x, slope)",
    thresholds.Celu: celu,
    thresholds.HardShrink: "x: F.hardshrink(x, bound)",
    thresholds.SoftShrink: "x: F.softshrink(x, bound)",
    thresholds.Threshold: "x: F.threshold(x, threshold, value)",
}
