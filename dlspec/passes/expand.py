"""Gradients for tensors of a body, written out: forward values are kept, backward nodes follow.

For a backend that differentiates by IR. What `Grad` passes through is differentiated once, into
ordinary nodes, which can then be differentiated again: second derivatives, and gradients of a
loss with a gradient in it. A function on the way gets two others that run on its instances:
`traced` gives what its gradient reads besides its outputs, `pullback` makes of that and the
outputs' gradients those of the inputs. So nothing is computed, drawn or updated twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.graph import BranchNode, Function, OpNode, functions_below
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.gradient import Watch
from dlspec.passes.autodiff import differentiate
from dlspec.passes.paths import gradients, path
from dlspec.passes.prepare import Copier, Copies, Methods
from dlspec.passes.tapes import Tapes, filled, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.ir.graph import Node


def expand(root: Function) -> Methods:
    """Write out every `Grad` of root and all below it, in place."""
    methods = Methods()
    for function in functions_below(root):
        while (found := next(gradients(function.body), None)) is not None:
            _write(function, found[0], found[1], methods)
    return methods


def _write(function: Function, node: OpNode, before: Sequence[Node], methods: Methods) -> None:
    y, x = node.operands
    copies = Copies(methods, node.span)
    copier = Copier(copies, function, function.values(), None)
    for inner in path(before, x, y):
        _replace(function.body, inner, copier.node(inner))
    body = path(next(gradients(function.body))[1], x, y)
    part = Function("part", "block", symbols=function.symbols, inputs=(x,), body=body, outputs=(y,))
    new: list[Node] = []
    build = FunctionBuilder(function, body=new)
    backwards = differentiate(part, (0,), (0,), pure=True)
    backward = backwards.get(part)
    if backward is None or not backward.grads:
        found = filled(build, 0.0, x.type)
    else:
        tapes = Tapes(part, backwards, methods, copies)
        same = {backward.seeds[0][1]: filled(build, 1.0, y.type)}
        inside = [n for n in body if isinstance(n, BranchNode)]
        new += tapes.constants(inside, backward.body, same)
        new += tapes.nodes(backward.body, same)
        (found,) = some([backward.grads[0][1]], same)
    new.append(OpNode(Watch(), (found,), node.results))
    for made in new:
        made.span = node.span
    _replace(function.body, node, new)


def _replace(body: list[Node], old: Node, new: Sequence[Node]) -> bool:
    for position, node in enumerate(body):
        if node is old:
            body[position : position + 1] = new
            return True
        if isinstance(node, BranchNode) and any(
            _replace(side.body, old, new) for side in (node.then, node.orelse) if side is not None
        ):
            return True
    return False
