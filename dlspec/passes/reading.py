"""What a body reads of the weights inside an instance: functions that run on it (`Function.of`).

`getter` gives one weight by its path, `penalty` the sum over all trainable ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    RepeatNode,
    Value,
    Weight,
    WeightSlot,
    all_slots,
    functions_below,
)
from dlspec.ir.types import DType, TensorType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Abs, Add, Square
from dlspec.ops.reduce import Sum
from dlspec.passes.prepare import terms
from dlspec.passes.variants import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.ir.graph import Slot
    from dlspec.ops.base import Builder, Op

Parts = tuple[str, ...]  # of a path: ("block", "0", "dense", "weight")
TERMS: dict[str, type[Op]] = {"l1": Abs, "l2": Square}
SCALAR = TensorType(DType.FLOAT, ())


def step(function: Function, parts: Parts) -> tuple[Slot, int, Parts] | None:
    """The slot that a path begins with, its place where it is a stack, and the rest."""
    first, *rest = parts
    for slot in all_slots(function):
        if slot.segment.name != first:
            continue
        stack = isinstance(slot, ChildSlot) and slot.count is not None
        if slot.segment.index is None and not stack:
            return slot, 0, tuple(rest)
        if rest and rest[0].isdigit():
            place = int(rest[0]) - (slot.segment.index or 0)
            count = slot.count if isinstance(slot, ChildSlot) else None
            size = 1 if count is None else count.substitute(function.values()).value
            if 0 <= place < size:
                return slot, place, tuple(rest[1:])
    return None


def names_in(function: Function, parts: Parts) -> list[str]:
    """What may follow a path that ends at an instance or in the middle of a numbered name."""
    while parts:
        found = step(function, parts)
        if found is None:
            return [s.segment.name for s in all_slots(function)] if len(parts) > 1 else []
        slot, _, parts = found
        if isinstance(slot, LayerSlot):
            return list(slot.weights)
        if not isinstance(slot, ChildSlot):
            return []
        function = slot.function
    return list(dict.fromkeys(s.segment.name for s in all_slots(function)))


def type_at(slot: ChildSlot, parts: Parts) -> TensorType | None:
    """The type of the weight at a path below an instance, in the terms of the instance's owner;
    None where no weight is there."""
    found = step(slot.function, parts) if parts else None
    if found is None:
        return None
    inner, _, rest = found
    type_ = None
    match inner:
        case WeightSlot() if not rest:
            type_ = inner.weight.type
        case LayerSlot() if len(rest) == 1 and rest[0] in inner.weights:
            type_ = inner.weights[rest[0]].type
        case ChildSlot():
            type_ = type_at(inner, rest)
        case _:
            pass
    if type_ is None:
        return None
    return type_.substitute(slot.function.values()).substitute(terms(slot, slot.dims))


def written_out(function: Function, parts: Parts) -> Function:
    """The function with the stacks that a path goes into written out; itself where none is."""
    found = step(function, parts) if parts else None
    if found is None:
        return function
    slot, _, rest = found
    if not isinstance(slot, ChildSlot):
        return function
    inner = written_out(slot.function, rest)
    if inner is slot.function and slot.count is None:
        return function
    new = split(function, frozenset({slot.segment.name} if slot.count is not None else ()))
    if inner is not slot.function:
        found = step(new, parts)
        assert found is not None and isinstance(found[0], ChildSlot)
        new = split(new, frozenset(), {found[0]: inner})
    return new


def getter(owner: Function, parts: Parts) -> Function:
    """A function of an instance that gives the weight at a path."""
    new = _variant(owner, "_".join(parts))
    found = step(owner, parts)
    assert found is not None
    slot, _, rest = found
    match slot:
        case LayerSlot():
            value = _value(slot, slot.weights[rest[0]])
        case WeightSlot():
            value = _value(slot, slot.weight)
        case ChildSlot():
            inner = getter(slot.function, rest)
            value = Value(_seen(slot, inner.outputs[0].type))
            new.body.append(CallNode(slot, inner, slot.dims, (), (value,)))
        case _:
            raise TypeError("a reference belongs to somebody else")
    new.outputs = (value,)
    return new


def passes_on(function: Function) -> CallNode | None:
    """The call of another instance's function that is all a function does."""
    if function.of is None or function.inputs or len(function.body) != 1:
        return None
    node = function.body[0]
    if not isinstance(node, CallNode) or node.function.of is None or node.operands:
        return None
    return node if node.results == function.outputs else None


def gives_weight(function: Function) -> bool:
    """Whether a function of an instance does nothing but give a weight of it."""
    return function.of is not None and not function.inputs and not function.body


def penalty(owner: Function, name: str, parts: Parts = (), *, onto: bool = False) -> Function:
    """The sum of |w| or w² over all trainable weights of an instance, or of what is at a path
    below. onto: added to an input."""
    new = _variant(owner, "_".join((name, *parts)) if not onto else f"add_{name}")
    build = FunctionBuilder(new)
    total: Value | None = None
    if onto:
        total = Value(SCALAR, "total")
        new.inputs = (total,)
    for term in _terms(build, owner, name, parts, total):
        total = term
    new.outputs = (build.constant(0.0) if total is None else total,)
    return new


def _terms(
    build: FunctionBuilder, owner: Function, name: str, parts: Parts, total: Value | None
) -> Iterator[Value]:
    """The total after each of the slots."""
    found = step(owner, parts) if parts else None
    named = [s for s in all_slots(owner) if not parts or s.segment.name == parts[0]]
    for slot in named if found is None else [found[0]]:
        rest = () if found is None else found[2]
        if isinstance(slot, ChildSlot) and slot.count is not None:
            if any(map(_trained, functions_below(slot.function))):
                start = build.constant(0.0) if total is None else total
                inner = penalty(slot.function, name, onto=True)
                total = Value(SCALAR, "total")
                build.function.body.append(
                    RepeatNode(slot, inner, slot.dims, slot.count, (start,), (), (total,))
                )
                yield total
            continue
        for term in _of_slot(build, slot, name, rest):
            total = term if total is None else build.emit(Add(), total, term)
            yield total


def _of_slot(build: FunctionBuilder, slot: Slot, name: str, rest: Parts) -> Iterator[Value]:
    match slot:
        case WeightSlot():
            weights = [slot.weight]
        case LayerSlot():
            weights = [w for w in slot.weights.values() if rest in ((), (w.name,))]
        case ChildSlot():
            weights = []
            inner = penalty(slot.function, name, rest)
            if any(map(_trained, functions_below(slot.function))):
                value = Value(SCALAR)
                build.function.body.append(CallNode(slot, inner, slot.dims, (), (value,)))
                yield value
        case _:
            return
    for weight in weights:
        if weight.trainable:
            yield term(build, name, _value(slot, weight))


def term(build: Builder, name: str, value: Value) -> Value:
    """Σ |x| or Σ x²"""
    axes = tuple(range(value.type.rank))
    powers = build.emit(TERMS[name](), value)
    return build.emit(Sum(axes, False), powers) if axes else powers


def _trained(function: Function) -> bool:
    return any(
        any(w.trainable for w in s.weights.values()) if isinstance(s, LayerSlot) else
        isinstance(s, WeightSlot) and s.weight.trainable
        for s in all_slots(function)
    )  # fmt: skip


def _variant(owner: Function, name: str) -> Function:
    return Function(
        f"{owner.name}_{name}", "block", symbols=dict(owner.symbols),
        slots=[*all_slots(owner)], span=owner.span, of=owner,
    )  # fmt: skip


def _value(slot: Slot, weight: Weight) -> Value:
    return Value(weight.type, weight.name, None, (slot, weight))


def _seen(slot: ChildSlot, type_: TensorType) -> TensorType:
    return type_.substitute(terms(slot, slot.dims))
