"""Shared instances whose uses differ: told apart once the body that owns them has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Label
from dlspec.ir.graph import ChildSlot
from dlspec.passes.variants import Differs, unite

if TYPE_CHECKING:
    from dlspec.elaborate.scope import Scope


def unite_uses(scope: Scope) -> None:
    """Make all uses of a scope's shared instances run on one set of weights."""
    for shared in scope.instances:
        assert isinstance(shared.slot, ChildSlot)
        try:
            unite(shared.slot, shared.uses, scope.values)
        except Differs as differs:
            first = shared.uses[0].node.span
            name = f"{shared.name}.{differs.path}"
            scope.fail(
                codes.SHAPE,
                f"the shared weight `{name}` is {differs.have}, and {differs.want} here",
                span=differs.node.span if differs.node is not None else None,
                labels=(Label(first, "first used here"),) if first is not None else (),
                help="what the weights of a shared layer depend on is the same at each use",
            )
