"""Gradients for tensors of a body, written out: forward values are kept, backward nodes follow.

For a backend that differentiates by IR. What `Grad` passes through is differentiated once, into
ordinary nodes, which can then be differentiated again: second derivatives, and gradients of a
loss with a gradient in it. A function on the way gets two others that run on its instances:
`traced` gives what its gradient reads besides its outputs, `pullback` makes of that and the
outputs' gradients those of the inputs. So nothing is computed, drawn or updated twice.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dlspec.ir.graph import BranchNode, CallNode, Function, OpNode, Value, functions_below, walk
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.gradient import Watch
from dlspec.passes.autodiff import differentiate
from dlspec.passes.paths import gradients, path, reads, replace
from dlspec.passes.prepare import Copier, Copies, Methods
from dlspec.passes.recurrences import unfold
from dlspec.passes.tapes import Tapes, filled, interface, some

if TYPE_CHECKING:
    from collections.abc import Container

    from dlspec.ir.graph import Node


def expand(root: Function) -> Methods:
    """Write out every `Grad` of root and all below it, in place."""
    unfold(root)
    methods = Methods.below(root)
    for function in functions_below(root):
        while (found := next(gradients(function.body), None)) is not None:
            _write(function, found[0], methods)
            uses = Counter(v for node in walk(function.body) for v in _operands(node))
            uses.update(function.outputs)
            _drop(function.body, uses)
    methods.settle(functions_below(root))
    return methods


def _operands(node: Node) -> list[Value]:
    """What a node reads itself; the sides of a branch are walked."""
    if isinstance(node, OpNode):
        return [*node.operands, *(v for pair in node.updates for v in pair)]
    if isinstance(node, BranchNode):
        return [v for s in (node.then, node.orelse) if s is not None for v in s.yields]
    return reads(node)


def _write(function: Function, node: OpNode, methods: Methods) -> None:
    y, *xs = node.operands
    inputs = range(len(xs))
    kept = {**methods.traced}
    part, copies = _prepared(function, node, methods, kept)
    backwards = differentiate(part, (0,), inputs, pure=True)
    told = ((interface(backwards[f]), t.interface) for f, t in kept.items() if f in backwards)
    if any(here != there for here, there in told):  # other outputs matter, or other inputs
        kept.clear()
        part, copies = _prepared(function, node, methods, kept)
        backwards = differentiate(part, (0,), inputs, pure=True)
    new: list[Node] = []
    build = FunctionBuilder(function, body=new)
    backward = backwards.get(part)
    found: dict[int, Value] = {}
    if backward is not None and backward.grads:
        tapes = Tapes(part, backwards, methods, copies, kept)
        same = {backward.seeds[0][1]: filled(build, 1.0, y.type)}
        inside = [n for n in part.body if isinstance(n, BranchNode)]
        new += tapes.constants(inside, backward.body, same)
        new += tapes.nodes(backward.body, same)
        found = {i: same.get(g, g) for i, g in backward.grads}
    named: dict[Value, Value] = {}
    for i, result in enumerate(node.results):
        value = found.get(i) or filled(build, 0.0, result.type)
        if value in named:
            new.append(OpNode(Watch(), (named[value],), (result,)))
        else:
            _name(value, result, new)
        named[value] = result
    for made in new:
        made.span = node.span
    replace(function.body, node, new)


def _name(found: Value, result: Value, nodes: list[Node]) -> None:
    """Make result stand where nodes give found; another name for it where they do not."""
    makers = [n for n in nodes if found in n.results]
    if not makers:
        nodes.append(OpNode(Watch(), (found,), (result,)))
        return
    here = {found: result}
    for node in makers:
        node.results = some(node.results, here)
    for node in walk(nodes):
        if isinstance(node, OpNode | CallNode):
            node.operands = some(node.operands, here)
        elif isinstance(node, BranchNode):
            for side in (node.then, node.orelse):
                if side is not None:
                    side.yields = some(side.yields, here)


def _drop(nodes: list[Node], uses: Counter[Value]) -> None:
    """Leave out ops that nobody reads: y, where only its gradient was wanted."""
    for node in reversed([*nodes]):
        if isinstance(node, BranchNode):
            for side in (node.then, node.orelse):
                _drop(side.body if side is not None else [], uses)
            continue
        wanted = any(uses[v] for v in node.results)
        if isinstance(node, OpNode) and not (wanted or node.op.random or node.updates):
            uses.subtract(node.operands)
            nodes.remove(node)


def _prepared(
    function: Function, node: OpNode, methods: Methods, kept: Container[Function]
) -> tuple[Function, Copies]:
    """What lies between x and y as a function, in the form that can be differentiated."""
    y, *xs = node.operands
    copies = Copies(methods, node.span, kept)
    copier = Copier(copies, function, function.values(), None)
    for inner in path(next(gradients(function.body))[1], xs, y):
        replace(function.body, inner, copier.node(inner))
    body = path(next(gradients(function.body))[1], xs, y)
    symbols, inputs = function.symbols, tuple(xs)
    return Function(
        "part", "block", symbols=symbols, inputs=inputs, body=body, outputs=(y,)
    ), copies
