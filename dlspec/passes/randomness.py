"""Randomness as inputs: the draws of random ops are handed in, so that all backends see the same.

`to_inputs` rewrites every random op into what it does with a given draw; the draw comes from
`NextDraw`, the next of a sequence in the order of execution. `draws` lists what that sequence
must hold, so that whoever verifies can make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    Node,
    OpNode,
    RepeatNode,
    ScanNode,
    Side,
    Slot,
    Value,
    functions_below,
    walk,
)
from dlspec.ir.static import ParamRef
from dlspec.ir.types import TensorType
from dlspec.ops.base import Op
from dlspec.ops.build import FunctionBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ops.base import Shapes


@dataclass(frozen=True)
class NextDraw(Op):
    """The next of the given draws. Nothing flows back into it."""

    random: ClassVar[bool] = True

    type: TensorType

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (self.type,)

    def gradient(self, b: object, operands: object, results: object, grads: object) -> tuple[()]:
        return ()


@dataclass(frozen=True)
class DrawSpec:
    """One array of the sequence. shape: known numbers. modal: drawn in training mode only."""

    op: Op
    shape: tuple[int, ...]
    modal: bool


def reaching(root: Function, test: Callable[[OpNode], bool]) -> dict[int, bool]:
    """By `id`, whether root and each function below runs an op that passes the test."""
    below = functions_below(root)
    found = {id(f): any(isinstance(n, OpNode) and test(n) for n in walk(f.body)) for f in below}
    changed = True
    while changed:  # more than one round only where definitions are recursive
        changed = False
        for f in below:
            calls = (n for n in walk(f.body) if isinstance(n, CallNode | RepeatNode))
            if not found[id(f)] and any(found[id(n.function)] for n in calls):
                found[id(f)] = changed = True
    return found


def drawing(root: Function) -> dict[int, bool]:
    """By `id`, whether root and each function below draws anything."""
    return reaching(root, lambda node: node.op.random)


def updating(root: Function) -> dict[int, bool]:
    """By `id`, whether root and each function below updates a buffer."""
    return reaching(root, lambda node: bool(node.updates))


Rewrite = Callable[[Function, OpNode], list[Node]]


def to_inputs(root: Function) -> Function:
    """A copy of root and all below it, in which random ops use given draws."""
    return rewrite(root, lambda f, node: _given(f, node) if node.op.random else [node])


def rewrite(root: Function, op: Rewrite) -> Function:
    """A copy of root and all below it with other nodes for ops. Values stay the same objects."""
    copies = {id(f): replace_function(f) for f in functions_below(root)}
    slots: dict[int, Slot] = {}
    for f in functions_below(root):
        new = copies[id(f)]
        new.body = _rewritten(new, f.body, copies, slots, op)
        new.slots = [_slot(s, copies, slots) for s in f.slots]
        new.of = None if f.of is None else copies[id(f.of)]
        for reference in new.references:
            target = _slot(reference.target, copies, slots)
            assert isinstance(target, type(reference.target))
            reference.target = target
    return copies[id(root)]


def replace_function(f: Function) -> Function:
    """A shallow copy that can be changed."""
    new = Function(f.name, f.kind, f.specialisation)
    for key, value in vars(f).items():
        setattr(new, key, list(value) if isinstance(value, list) else value)  # type: ignore[arg-type]
    return new


def _slot(slot: Slot, copies: dict[int, Function], slots: dict[int, Slot]) -> Slot:
    """Children point to the copies; all other slots stay the same objects."""
    if not isinstance(slot, ChildSlot):
        return slot
    if id(slot) not in slots:
        slots[id(slot)] = replace(slot, function=copies[id(slot.function)])
    return slots[id(slot)]


def _rewritten(
    function: Function,
    body: list[Node],
    copies: dict[int, Function],
    slots: dict[int, Slot],
    op: Rewrite,
) -> list[Node]:
    new: list[Node] = []
    for node in body:
        match node:
            case OpNode():
                new += op(function, node)
            case CallNode() | RepeatNode():
                new.append(
                    replace(
                        node,
                        function=copies[id(node.function)],
                        slot=_slot(node.slot, copies, slots),
                        refs=tuple(_slot(s, copies, slots) for s in node.refs),
                    )
                )
            case BranchNode():
                sides = [
                    None
                    if side is None
                    else Side(
                        _rewritten(function, side.body, copies, slots, op),
                        side.yields,
                        tuple(_slot(s, copies, slots) for s in side.slots),
                    )
                    for side in (node.then, node.orelse)
                ]
                new.append(replace(node, then=sides[0], orelse=sides[1]))
    return new


def _given(function: Function, node: OpNode) -> list[Node]:
    """A random op as a draw and what is done with it. A modal op does so in training only."""
    drawn = _body_of(function, node, draw=True)
    if not node.op.modal:
        return _bound(drawn, node)
    kept = _body_of(function, node, draw=False)
    results = tuple(r for r, v in zip(node.results, kept[1], strict=True) if v is not None)
    places = [i for i, v in enumerate(kept[1]) if v is not None]
    sides = [
        Side(nodes, tuple(v for i in places if (v := values[i]) is not None))
        for nodes, values in (drawn, kept)
    ]
    branch = BranchNode(ParamRef("training"), None, sides[0], sides[1], results, node.span)
    return [branch]


def _body_of(
    function: Function, node: OpNode, *, draw: bool
) -> tuple[list[Node], Sequence[Value | None]]:
    body: list[Node] = []
    b = FunctionBuilder(function, body=body)
    if not draw:
        values: Sequence[Value | None] = node.op.inference(b, node.operands)
    else:
        types = [v.type for v in node.operands], [v.type for v in node.results]
        given = b.emit(NextDraw(node.op.draws(*types)))
        values = node.op.given(b, node.operands, given)
    for new in body:
        new.span = node.span
    return body, values


def _bound(drawn: tuple[list[Node], Sequence[Value | None]], node: OpNode) -> list[Node]:
    """The nodes, so that their last results are the node's own."""
    nodes, values = drawn
    for value, result in zip(values, node.results, strict=True):
        for new in nodes:
            new.results = tuple(result if v is value else v for v in new.results)
    return nodes


def draws(root: Function, dims: Mapping[str, int]) -> list[DrawSpec]:
    """What one run of root in training mode draws, in order. dims: root's symbols."""
    return list(_draws(root, {**root.values(), **dims}))


def _draws(function: Function, dims: Mapping[str, int]) -> Iterator[DrawSpec]:
    yield from _draws_of(function.body, function, dims)


def _draws_of(
    body: Sequence[Node], function: Function, dims: Mapping[str, int]
) -> Iterator[DrawSpec]:
    for node in body:
        match node:
            case OpNode() if node.op.random:
                types = [v.type for v in node.operands], [v.type for v in node.results]
                shape = node.op.draws(*types).shape
                yield DrawSpec(node.op, tuple(d.evaluate(dims) for d in shape), node.op.modal)
            case ScanNode():
                for _ in range(node.length.evaluate(dims)):
                    yield from _draws(node.function, _inner(node, dims))
            case CallNode():
                yield from _draws(node.function, _inner(node, dims))
            case RepeatNode():
                for _ in range(node.count.evaluate(dims)):
                    yield from _draws(node.function, _inner(node, dims))
            case BranchNode():
                # `training` is true here; any other open branch was taken one way
                side = node.then if node.then is not None else node.orelse
                other = node.orelse.body if node.then is not None and node.orelse else []
                modal = node.condition == ParamRef("training") and not any(
                    True for _ in _draws_of(other, function, dims)
                )
                for spec in _draws_of(side.body if side else [], function, dims):
                    yield replace(spec, modal=spec.modal or modal)
            case OpNode():
                continue


def _inner(node: CallNode | RepeatNode, dims: Mapping[str, int]) -> dict[str, int]:
    known = node.function.values()
    return {**known, **{name: dim.evaluate(dims) for name, dim in node.dims.items()}}
