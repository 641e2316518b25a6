"""Recurrent layers in NumPy: functions of `emitted.recurrent`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops.recurrent import Gru, Lstm, Recurrent, RecurrentGrad, Rnn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def keywords(op: Recurrent, operands: Sequence[ast.expr]) -> dict[str, ast.expr]:
    """What differs from the usual."""
    found: dict[str, ast.expr] = {}
    if op.held:
        found["states"] = python.tuple_of(*operands[1 + op.masked : op.inputs])
    if op.masked:
        found["mask"] = operands[1]
    if op.biases != 1:
        found["biases"] = python.constant(op.biases)
    flags = {
        "projected": isinstance(op, Lstm) and op.projected,
        "bidirectional": op.bidirectional,
    }
    found |= {name: python.constant(True) for name, flag in flags.items() if flag}
    if isinstance(op, Gru) and not op.reset_after:
        found["reset_after"] = python.constant(False)
    if isinstance(op, Rnn) and op.act != "tanh":
        found["act"] = python.constant(op.act)
    return found


def _forward(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, Recurrent)
    weights = python.list_of(*operands[op.inputs :])
    return python.call(op.name, operands[0], weights, **keywords(op, operands))


def _backward(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, RecurrentGrad)
    end = len(operands) - 1 - sum(op.present)
    forward, saved, given = operands[:end], operands[end], iter(operands[end + 1 :])
    grads = [next(given) if flag else python.constant(None) for flag in op.present]
    weights = python.list_of(*forward[op.forward.inputs :])
    arguments = (forward[0], weights, saved, python.tuple_of(*grads))
    return python.call(f"{op.forward.name}_grad", *arguments, **keywords(op.forward, forward))


ROWS: dict[type[Op], Row] = {
    Lstm: _forward,
    Gru: _forward,
    Rnn: _forward,
    RecurrentGrad: _backward,
}
