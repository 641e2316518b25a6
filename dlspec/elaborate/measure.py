"""Counts of weights and of multiply-accumulates, function by function."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    WeightSlot,
    all_slots,
)


def count_weights(function: Function) -> tuple[int, int]:
    """Trainable parameters and buffer elements of an instance. Its weights' dims are known."""
    known = {name: Dim.const(v) for name, v in function.values().items()}
    found = [total.substitute(known) for total in weight_totals(function)]
    return found[0].value, found[1].value


_TOTALS: WeakKeyDictionary[Function, tuple[Dim, Dim]] = WeakKeyDictionary()


def weight_totals(function: Function) -> tuple[Dim, Dim]:
    """Trainable and buffer elements in the function's own symbols."""
    found = _TOTALS.get(function)
    if found is not None:
        return found
    totals = [Dim.const(0), Dim.const(0)]
    for slot in all_slots(function):
        match slot:
            case WeightSlot():
                totals[not slot.weight.trainable] += product(slot.weight.type.shape)
            case LayerSlot():
                for weight in slot.weights.values():
                    totals[not weight.trainable] += product(weight.type.shape)
            case ChildSlot():
                inner = weight_totals(slot.function)
                count = Dim.const(1) if slot.count is None else slot.count
                for i in range(2):
                    totals[i] += inward(inner[i], slot) * count
            case Reference():
                pass
    _TOTALS[function] = (totals[0], totals[1])
    return _TOTALS[function]


def inward(total: Dim, slot: ChildSlot) -> Dim:
    """A callee's total in the caller's symbols."""
    return total.substitute(call_symbols(slot.function, slot))


def call_symbols(function: Function, slot: ChildSlot) -> dict[str, Dim]:
    known = {name: Dim.const(v) for name, v in function.values().items()}
    known.update(slot.dims)
    known.update({k: v for k, v in slot.statics.items() if isinstance(v, Dim)})
    return known


def product(shape: tuple[Dim, ...]) -> Dim:
    total = Dim.const(1)
    for extent in shape:
        total = total * extent
    return total


_MACS: WeakKeyDictionary[Function, Dim] = WeakKeyDictionary()


def count_macs(function: Function) -> Dim:
    """Multiply-accumulates for a batch of one, with the known values put in."""
    known = {name: Dim.const(v) for name, v in function.values().items()}
    total = macs(function).substitute(known)
    batch = (
        function.inputs[0].type.shape[0]
        if function.inputs and function.inputs[0].type.shape
        else None
    )
    if batch is not None and len(batch.symbols) == 1:
        total = total.substitute({next(iter(batch.symbols)): 1})
    return total


def macs(function: Function) -> Dim:
    found = _MACS.get(function)
    if found is None:
        found = body_macs(function.body)
        _MACS[function] = found
    return found


def body_macs(body: list[Node]) -> Dim:
    total = Dim.const(0)
    for node in body:
        match node:
            case OpNode():
                total += node.op.macs(
                    [v.type for v in node.operands], [v.type for v in node.results]
                )
            case CallNode():
                total += called(node, node.dims)
            case RepeatNode():
                if node.runs:
                    for dims in node.runs:
                        total += called(node, dims)
                else:
                    total += called(node, node.dims) * node.count
            case BranchNode():
                side = node.orelse if node.taken is False else node.then
                total += body_macs(side.body) if side is not None else Dim.const(0)
    return total


def called(node: CallNode | RepeatNode, dims: object) -> Dim:
    slot = node.slot.target if isinstance(node.slot, Reference) else node.slot
    known = {name: Dim.const(v) for name, v in node.function.values().items()}
    if isinstance(slot, ChildSlot):
        known.update({k: v for k, v in slot.statics.items() if isinstance(v, Dim)})
    known.update(dims)  # type: ignore[arg-type]
    return macs(node.function).substitute(known)
