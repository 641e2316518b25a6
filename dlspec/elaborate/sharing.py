"""Shared instances: their slots in the scope that owns them, and references in others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.capture import detached
from dlspec.elaborate.values import Adjusted, Chosen, DefinedLayer, Named_, Shared
from dlspec.ir.graph import LayerSlot, Reference, Slot, Value

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.scope import LayerFrame
    from dlspec.elaborate.values import LayerValue
    from dlspec.ops.base import Builtin


def inside(e: Evaluator, shared: Shared) -> LayerValue:
    """The shared layer in this scope's terms."""
    inner = shared.layer
    if shared.scope is not e.scope:
        with shared.scope.at(shared.span):
            inner = detached(shared.scope, inner)
    while isinstance(inner, Named_):
        inner = inner.layer
    return inner


def shared_slot(e: Evaluator, shared: Shared) -> Slot | None:
    """The slot of a shared instance in this scope: its own, or a reference to the owner's."""
    scope = e.scope
    if shared.scope is scope or shared.slot is None:
        return shared.slot
    return reference(e, shared)


def reference(e: Evaluator, shared: Shared) -> Reference:
    scope = e.scope
    found = scope.references.get(id(shared))
    if found is None:
        names = {r.name for r in scope.function.references}
        name = shared.name
        while name in names:
            name += "_"
        assert not isinstance(shared.slot, Reference) and shared.slot is not None
        found = Reference(name, shared.slot)
        scope.references[id(shared)] = found
        scope.lenders[id(found)] = shared
        scope.function.references.append(found)
        scope.shared_uses.append(shared)
    return found


def shared_weight(e: Evaluator, shared: Shared, name: str) -> Value:
    """A weight of a shared built-in layer."""
    scope = e.scope
    slot = shared_slot(e, shared)
    target = slot.target if isinstance(slot, Reference) else slot
    assert slot is not None and isinstance(target, LayerSlot)
    weight = target.weights.get(name)
    if weight is None:
        close = ", ".join(target.weights)
        scope.fail(
            codes.UNDEFINED, f"`{shared.name}` has no weight `{name}`", help=f"it has {close}"
        )
    return scope.weight_value(slot, weight)


def own_shared_slot(e: Evaluator, shared: Shared, builtin: Builtin, frame: LayerFrame) -> None:
    """Make the slot of a shared built-in in the scope that owns it."""
    owner = shared.scope
    segment = owner.names.take(shared.name, shared.numbered, shared.index, shared.span)
    slot = LayerSlot(segment, builtin.name, {}, {}, shared.span)
    shared.slot = slot
    owner.function.slots.append(slot)
    frame.slot = shared_slot(e, shared)


def adjustable(e: Evaluator, shared: Shared) -> Adjusted:
    """A shared definition, which takes other static arguments at each use."""
    inner = shared.layer
    while isinstance(inner, Named_ | Chosen):
        inner = inner.layer
    if not isinstance(inner, DefinedLayer):
        e.scope.fail(
            codes.BAD_ARGUMENT,
            f"`{shared.name}` takes no more arguments: it is {static.describe(inner)}",
            help="a shared block takes other static arguments at each use",
        )
    if inner.definition.kind == "cell":
        e.scope.fail(
            codes.BAD_ARGUMENT, f"the shared cell `{shared.name}` has its arguments already"
        )
    return Adjusted(shared, (), (), e.scope.span)
