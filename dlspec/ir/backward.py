"""Backward functions: what `dlspec.passes.autodiff` derives from a function.

The forward function stays as it is and additionally hands on what its backward reads (`saved`);
a call inside hands on the callee's bundle. The backward's body is a list of nodes in SSA order:
ordinary ops, and one structural node for each call, repeat and branch of the forward, in reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.ir.graph import BranchNode, CallNode, OpNode, RepeatNode
from dlspec.ir.static import ParamRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dlspec.ir.graph import Function, Side, Value


@dataclass(eq=False, slots=True)
class Accumulate:
    """The gradient buffer of a trainable weight grows by `grad`. weight: a value of the forward."""

    weight: Value
    grad: Value


@dataclass(eq=False, slots=True)
class CallBackward:
    """One backward run of the callee, with the bundle its forward run saved.

    seeds: gradients of the outputs listed in `backward.seeds`; results: gradients of the inputs
    listed in `backward.grads`, None where nobody reads it.
    """

    call: CallNode
    backward: Backward
    seeds: tuple[Value, ...]
    results: tuple[Value | None, ...]


@dataclass(eq=False, slots=True)
class RepeatBackward:
    """The runs of a repeat backwards, last first, each with its own bundle.

    seeds: gradients of the last run's outputs. Each run's input gradients at `carried` (pairs of
    positions: input in `backward.grads`, output in `backward.seeds`; output None for an input
    whose output needs no gradient) seed the run before; those of held inputs are summed.
    results: as for a call.
    """

    repeat: RepeatNode
    backward: Backward
    seeds: tuple[Value, ...]
    results: tuple[Value | None, ...]


@dataclass(eq=False, slots=True)
class BackwardSide:
    """body and the values it yields for the branch's results; saved: forward values it reads."""

    body: list[BackwardNode]
    yields: tuple[Value, ...]
    saved: tuple[Value, ...] = ()


@dataclass(eq=False, slots=True)
class BranchBackward:
    """The same condition backwards. results: gradients of values from outside the branch.

    A side's `saved` are values that only that side of the forward has; the forward's branch hands
    them on in a bundle of its own.
    """

    branch: BranchNode
    then: BackwardSide | None
    orelse: BackwardSide | None
    results: tuple[Value, ...]

    def sides(self) -> Iterator[tuple[BackwardSide, Side]]:
        for mine, theirs in ((self.then, self.branch.then), (self.orelse, self.branch.orelse)):
            if mine is not None and theirs is not None:
                yield mine, theirs


BackwardNode = OpNode | Accumulate | CallBackward | RepeatBackward | BranchBackward


@dataclass(eq=False)
class Backward:
    """The backward of one function, the same for all its call sites.

    seeds: (output position, its gradient), a call gives one for each; grads: (input position, its
    gradient). saved: values of the forward that the body reads, in the forward's order, without
    weights. bundles: calls, repeats and branches whose bundles the body reads, in order.
    of: the forward value that a gradient belongs to.
    """

    function: Function
    seeds: tuple[tuple[int, Value], ...] = ()
    grads: tuple[tuple[int, Value], ...] = ()
    saved: tuple[Value, ...] = ()
    body: list[BackwardNode] = field(default_factory=list["BackwardNode"])
    of: dict[Value, Value] = field(default_factory=dict["Value", "Value"])

    @property
    def bundles(self) -> tuple[CallNode | RepeatNode | BranchNode, ...]:
        return tuple(n for n in map(bundle_of, reversed(self.body)) if n is not None)


def training_side(node: BranchNode) -> Side | None:
    """The side that surely runs in training; None where it depends on the instance."""
    if node.then is None or node.orelse is None:
        return node.then or node.orelse
    return node.then if node.condition == ParamRef("training") else None


def bundle_of(node: BackwardNode) -> CallNode | RepeatNode | BranchNode | None:
    """The forward node whose bundle a backward node reads."""
    match node:
        case CallBackward():
            return node.call
        case RepeatBackward():
            return node.repeat
        case BranchBackward():
            return node.branch
        case _:
            return None


def reads(node: BackwardNode) -> Sequence[Value]:
    """The values a node reads; for a branch, those of its sides too."""
    match node:
        case OpNode():
            return node.operands
        case Accumulate():
            return (node.grad,)
        case CallBackward() | RepeatBackward():
            return node.seeds
        case BranchBackward():
            found: list[Value] = []
            for side, _ in node.sides():
                found.extend(side.yields)
                for inner in side.body:
                    found.extend(reads(inner))
            return found


def writes(node: BackwardNode) -> Sequence[Value]:
    """The values a node defines outside of itself."""
    match node:
        case Accumulate():
            return ()
        case CallBackward() | RepeatBackward():
            return [v for v in node.results if v is not None]
        case OpNode() | BranchBackward():
            return node.results
