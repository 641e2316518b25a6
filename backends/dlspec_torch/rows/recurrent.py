"""Recurrent layers in torch: nn.LSTM, nn.GRU and nn.RNN."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from dlspec.codegen import Unsupported, python, unsupported_at
from dlspec.ir.static import plain
from dlspec.ops.recurrent import Gru, Lstm, Recurrent, RecurrentGrad, Rnn
from dlspec_torch.rows.norm import OWN_GRADIENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Row, StaticPrinter
    from dlspec.ir.graph import LayerSlot
    from dlspec.ops.base import Op

ONLY_LAYERS = Unsupported("is a layer of torch.nn, which owns its weights")


def layer(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    """`nn.LSTM(5, 4, 2, batch_first=True)`"""
    a: dict[str, Any] = slot.attributes
    if plain(a.get("reset_after", True)) is False:
        raise unsupported_at("torch", "a gru with reset_after = false", slot.span)
    positional = [static.dim(a["features"]), static.dim(a["hidden"])]
    layers = static.value(a["layers"])
    if python.flat(layers) != "1":
        positional.append(layers)
    keywords: dict[str, ast.expr] = {}
    if plain(a.get("act", "tanh")) != "tanh":
        keywords["nonlinearity"] = static.value(a["act"])
    if "bias_ih_l0" not in slot.weights:
        keywords["bias"] = python.constant(False)
    keywords["batch_first"] = python.constant(True)
    if "weight_ih_l0_reverse" in slot.weights:
        keywords["bidirectional"] = python.constant(True)
    if plain(a.get("projection")) is not None:
        keywords["proj_size"] = static.value(a["projection"])
    made = python.call(f"nn.{slot.layer.upper()}", *positional, **keywords)
    one = "bias_ih_l0" in slot.weights and "bias_hh_l0" not in slot.weights
    return python.call("one_bias", made) if one else made


def run(op: Recurrent, module: ast.expr, operands: Sequence[ast.expr]) -> ast.expr:
    """`self.lstm(x, (h, c))`"""
    if op.single:
        module = python.call("layer_of", module, python.constant(op.first))
    states = operands[1 + op.masked : op.inputs]
    given = [] if not states else [states[0] if len(states) == 1 else python.tuple_of(*states)]
    if op.masked:
        return python.call("where_there", module, operands[0], operands[1], *given)
    return python.call(module, operands[0], *given)


ROWS: dict[type[Op], Row] = {
    Lstm: ONLY_LAYERS,
    Gru: ONLY_LAYERS,
    Rnn: ONLY_LAYERS,
    RecurrentGrad: OWN_GRADIENT,
}
