"""Weights inside shared networks: `net.encode.weight`, `l2(net)`.

A path is followed while names are given; where it ends at a weight, it is a tensor. What gives it
is a function that runs on the instance, and is built once all uses of the instance are known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from dlspec import codes
from dlspec.diagnostics import Label, close_to
from dlspec.elaborate.sharing import shared_slot, shared_weight
from dlspec.elaborate.values import Adjusted, Chosen, Inner, Named_, Shared
from dlspec.ir.graph import CallNode, ChildSlot, Function, LayerSlot, Reference, Value
from dlspec.ir.types import TensorType
from dlspec.ops.elementwise import Add
from dlspec.passes.reading import (
    SCALAR,
    TERMS,
    getter,
    names_in,
    penalty,
    step,
    term,
    type_at,
    written_out,
)  # fmt: skip
from dlspec.passes.variants import Differs, unite

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.scope import Scope
    from dlspec.elaborate.values import AnyValue
    from dlspec.passes.reading import Parts


@dataclass(frozen=True, eq=False)
class Read:
    """A call that reads weights, until its function can be built. name: of a penalty, or ""."""

    node: CallNode
    path: Parts
    name: str = ""


def below(e: Evaluator, value: Shared | Inner, name: str) -> AnyValue:
    """`net.encode`, `net.encode.weight`, `net.layers[0]`"""
    shared, path = (value, ()) if isinstance(value, Shared) else (value.shared, value.path)
    slot = made_slot(e, shared, ".".join((*path, name)))
    if not isinstance(slot, ChildSlot):
        return shared_weight(e, shared, name)
    path = (*path, name)
    # what only other arguments make is there too
    others = (replace(slot, function=u.node.function, dims=u.dims) for u in shared.uses)
    known = [slot, *(s for s in others if s.function is not slot.function)]
    type_ = next((t for s in known if (t := type_at(s, path)) is not None), None)
    if type_ is not None:
        return call(e, shared, path, type_)
    if not any(is_there(s, path) for s in known):
        missing(e, shared, slot, path)
    return Inner(shared, path)


def made_slot(e: Evaluator, shared: Shared, name: str) -> object:
    """What a shared instance is, once it has been used."""
    if shared.slot is None:
        what = f"`{shared.name}.{name}`" if name else f"the weights of `{shared.name}`"
        e.scope.fail(
            codes.BAD_ARGUMENT,
            f"{what} before the first use of `{shared.name}`",
            help=f"apply `{shared.name}` first: its weights are made where its input is known",
        )
    return shared.slot.target if isinstance(shared.slot, Reference) else shared.slot


def is_there(slot: ChildSlot, path: Parts) -> bool:
    """Whether a path leads to an instance, or to numbered ones."""
    function, rest = slot.function, path
    while rest:
        found = step(function, rest)
        if found is None:
            return rest[0] in names_in(function, ()) and len(rest) == 1
        inner, _, rest = found
        if isinstance(inner, LayerSlot):
            return not rest
        if not isinstance(inner, ChildSlot):
            return False
        function = inner.function
    return True


def missing(e: Evaluator, shared: Shared, slot: ChildSlot, path: Parts) -> NoReturn:
    above, name = path[:-1], path[-1]
    names = names_in(slot.function, above)
    whole = ".".join((shared.name, *above))
    help = close_to(name, names) or (f"there are {', '.join(names)}" if names else "")
    e.scope.fail(codes.UNDEFINED, f"there is no `{name}` in `{whole}`", help=help)


def call(e: Evaluator, shared: Shared, path: Parts, type_: TensorType, name: str = "") -> Value:
    """The node that reads; its function is built later."""
    scope, slot = e.scope, shared_slot(e, shared)
    assert slot is not None
    if shared.scope is not scope:
        shape = tuple(scope.borrow(shared, shared.name, d) for d in type_.shape)
        type_ = TensorType(type_.dtype, shape)
    result = Value(type_, "", scope.span)
    later = Function("later", "block", outputs=(Value(type_),))
    node = CallNode(slot, later, {}, (), (result,), (), scope.span)
    scope.append(node)
    shared.reads.append(Read(node, path, name))
    return result


def total(e: Evaluator, name: str, args: tuple[AnyValue, ...], words: dict[str, AnyValue]) -> Value:
    """`l2(net)`: Σ w² over all trainable weights of a shared network, or of a part; `l1`: Σ |w|."""
    form = f"{name} takes a shared network, a part of one or a tensor: {name}(net.encoder)"
    if len(args) != 1 or words:
        e.scope.fail(codes.BAD_ARGUMENT, form)
    value = args[0]
    while isinstance(value, Named_ | Chosen | Adjusted):
        value = value.shared if isinstance(value, Adjusted) else value.layer
    if isinstance(value, Value):
        return term(e.scope, name, value)
    if not isinstance(value, Shared | Inner):
        e.scope.fail(codes.BAD_ARGUMENT, form, help="share net = …; then its weights are one set")
    shared, path = (value, ()) if isinstance(value, Shared) else (value.shared, value.path)
    slot = made_slot(e, shared, "")
    if isinstance(slot, ChildSlot):
        return call(e, shared, path, SCALAR, name)
    assert isinstance(slot, LayerSlot)
    terms = [
        term(e.scope, name, shared_weight(e, shared, w.name))
        for w in slot.weights.values()
        if w.trainable
    ]
    if not terms:
        e.scope.fail(codes.NOTHING_TO_LEARN, f"`{shared.name}` has no trainable weight")
    found = terms[0]
    for other in terms[1:]:
        found = e.scope.emit(Add(), found, other)
    return found


def settle(scope: Scope) -> None:
    """Build what reads and runs a scope's shared instances, now that all their uses are known."""
    for shared in scope.instances:
        slot = shared.slot
        assert isinstance(slot, ChildSlot)
        for read in shared.reads:
            new = written_out(slot.function, read.path)
            for use in shared.uses:
                if use.node.function is slot.function:
                    use.node.function = new
            slot.function = new
        try:
            unite(slot, shared.uses, scope.values)
        except Differs as differs:
            refuse(scope, shared, differs)
        made: dict[tuple[Parts, str], Function] = {}
        for read in shared.reads:
            key = (read.path, read.name)
            if written_out(slot.function, read.path) is not slot.function:
                scope.fail(
                    codes.BAD_ARGUMENT,
                    f"`{shared.name}.{'.'.join(read.path)}` is in a `repeat` that the first use of "
                    f"`{shared.name}` does not have",
                    span=read.node.span,
                    help="let the use that has it come first",
                )
            if key not in made:
                make = penalty(slot.function, read.name, read.path) if read.name else None
                made[key] = make or getter(slot.function, read.path)
            read.node.function = made[key]
            read.node.dims = slot.dims if shared.scope is scope else {}


def refuse(scope: Scope, shared: Shared, differs: Differs) -> NoReturn:
    first = shared.uses[0].node.span
    name = f"{shared.name}.{differs.path}"
    scope.fail(
        codes.SHAPE,
        f"the shared weight `{name}` is {differs.have}, and {differs.want} here",
        span=differs.node.span if differs.node is not None else None,
        labels=(Label(first, "first used here"),) if first is not None else (),
        help="what the weights of a shared layer depend on is the same at each use",
    )


PENALTIES = frozenset(TERMS)
