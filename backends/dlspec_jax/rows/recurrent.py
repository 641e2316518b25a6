"""Recurrent layers in JAX: functions of `emitted.recurrent`, whose first argument is a layer's
tree."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops.recurrent import Gru, Lstm, Recurrent, RecurrentGrad, Rnn
from dlspec_jax.rows.norm import DERIVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op

KINDS: dict[type[Op], str] = {Lstm: "lstm", Gru: "gru", Rnn: "rnn"}


def recurrent_call(op: Recurrent, params: ast.expr, operands: Sequence[ast.expr]) -> ast.expr:
    """`lstm(params, x, h, c, mask=mask)`"""
    name = KINDS[type(op)]
    if isinstance(op, Gru) and not op.reset_after:
        name = "gru_reset_first"
    if isinstance(op, Rnn) and op.act != "tanh":
        name = f"rnn_{op.act}"
    keywords: dict[str, ast.expr] = {}
    if op.masked:
        keywords["mask"] = operands[1]
    if op.single:
        keywords["layer"] = python.constant(op.first)
    states = operands[1 + op.masked : op.inputs]
    return python.call(name, params, operands[0], *states, **keywords)


def _dictionary(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    """The call with weights that come from anywhere."""
    op = node.op
    assert isinstance(op, Recurrent)
    params = ast.Dict(list(map(python.constant, op.names)), list(operands[op.inputs :]))
    return recurrent_call(op, params, operands)


ROWS: dict[type[Op], Row] = {
    **dict.fromkeys(KINDS, _dictionary),
    RecurrentGrad: DERIVED,
}
