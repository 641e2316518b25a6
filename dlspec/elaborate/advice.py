"""What an elaborated training section tells of its networks: losses of the wrong kind of value,
batch norms that see a single value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Label
from dlspec.ir.dims import Dim
from dlspec.ir.graph import BranchNode, CallNode, Function, Node, OpNode, RepeatNode, Value, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dlspec.diagnostics import Diagnostics
    from dlspec.ir.graph import Training
    from dlspec.source import Span


def advise(diagnostics: Diagnostics, training: Training) -> None:
    """Report what is legal but cannot be meant, and batch norm over one value."""
    from dlspec.ops.activations import LogSoftmax, Sigmoid, Softmax
    from dlspec.ops.loss import BceLoss, BceWithLogits, CrossEntropy
    from dlspec.ops.norm import BatchNorm

    one = single_batch(training)
    for place in places(Place(training.function, None, None, one)):
        for node in walk(place.function.body):
            if not isinstance(node, OpNode):
                continue
            match node.op:
                case CrossEntropy() | LogSoftmax():  # other class losses begin with the latter
                    found = source_of(place, node.operands[0], Softmax)
                    if found is not None:
                        tell_softmax(diagnostics, node, found)
                case BceLoss():
                    found = source_of(place, node.operands[0], Sigmoid)
                    if found is not None:
                        tell_sigmoid(diagnostics, node, found)
                case BceWithLogits():
                    found = source_of(place, node.operands[0], Sigmoid)
                    if found is not None:
                        tell_double_sigmoid(diagnostics, node, found)
                case BatchNorm() if one:
                    check_batch_norm(diagnostics, place, node)
                case _:
                    pass


@dataclass(frozen=True, eq=False)
class Place:
    """A function as one call reaches it. dims: its symbols as far as the batch decides them."""

    function: Function
    call: CallNode | RepeatNode | None
    outer: Place | None
    dims: Mapping[str, Dim | int]

    @property
    def chain(self) -> Iterator[Span]:
        here: Place | None = self
        while here is not None and here.call is not None:
            if here.call.span is not None:
                yield here.call.span
            here = here.outer


def places(root: Place) -> Iterator[Place]:
    """Every function below, each once for each set of dims."""
    todo, seen = [root], set[object]()
    while todo:
        place = todo.pop()
        dims = tuple(sorted((k, str(v)) for k, v in place.dims.items()))
        key = (id(place.function), dims)
        if key in seen:
            continue
        seen.add(key)
        yield place
        for node in walk(place.function.body):
            if isinstance(node, CallNode | RepeatNode):
                inner = {k: Dim.of(v).substitute(place.dims) for k, v in node.dims.items()}
                known = {k: v for k, v in inner.items() if v.is_const} if place.dims else {}
                todo.append(Place(node.function, node, place, known))


# --- losses ---


def source_of(place: Place | None, value: Value, kind: type) -> OpNode | None:
    """The op of a kind that gives a value, through calls and ops that only move elements."""
    from dlspec.ops.elementwise import Cast
    from dlspec.ops.shape import Reshape, Squeeze, Transpose, Unsqueeze

    moves = (Cast, Reshape, Squeeze, Transpose, Unsqueeze)
    while place is not None:
        node, index = producer(place.function, value)
        match node:
            case OpNode():
                if isinstance(node.op, kind):
                    return node
                if not isinstance(node.op, moves):
                    return None
                value = node.operands[0]
            case CallNode() | RepeatNode():
                place = Place(node.function, node, place, {})
                value = node.function.outputs[index]
            case BranchNode():
                side = node.orelse if node.taken is False else node.then
                if side is None:
                    return None
                value = side.yields[index]
            case None:
                if place.call is None or value not in place.function.inputs:
                    return None
                at = place.function.inputs.index(value)
                call = place.call
                given = call.operands if isinstance(call, CallNode) else (*call.carried, *call.held)
                value, place = given[at], place.outer
    return None


def producer(function: Function, value: Value) -> tuple[Node | None, int]:
    for node in walk(function.body):
        for index, result in enumerate(node.results):
            if result is value:
                return node, index
    return None, 0


def tell_softmax(diagnostics: Diagnostics, loss: OpNode, softmax: OpNode) -> None:
    from dlspec.ops.loss import CrossEntropy

    assert loss.span is not None and softmax.span is not None
    taker = "cross_entropy" if isinstance(loss.op, CrossEntropy) else "this"
    diagnostics.add(
        Diagnostic(
            codes.DOUBLE_SOFTMAX,
            f"{taker} takes logits, and gets the output of a softmax",
            loss.span,
            labels=(Label(softmax.span, "the softmax is here"),),
            notes=(f"{taker} has a softmax inside: two of them learn slowly",),
            help="leave out the softmax, and apply it to predictions only",
        )
    )


def tell_sigmoid(diagnostics: Diagnostics, loss: OpNode, sigmoid: OpNode) -> None:
    assert loss.span is not None and sigmoid.span is not None
    diagnostics.add(
        Diagnostic(
            codes.BCE_PROBABILITIES,
            "bce of a sigmoid loses digits where the sigmoid is near 0 or 1",
            loss.span,
            labels=(Label(sigmoid.span, "the sigmoid is here"),),
            help="leave out the sigmoid, and write bce_with_logits",
        )
    )


def tell_double_sigmoid(diagnostics: Diagnostics, loss: OpNode, sigmoid: OpNode) -> None:
    assert loss.span is not None and sigmoid.span is not None
    diagnostics.add(
        Diagnostic(
            codes.DOUBLE_SOFTMAX,
            "bce_with_logits takes logits, and gets the output of a sigmoid",
            loss.span,
            labels=(Label(sigmoid.span, "the sigmoid is here"),),
            notes=("bce_with_logits has a sigmoid inside: two of them learn slowly",),
            help="leave out the sigmoid, and apply it to predictions only",
        )
    )


# --- batch norm ---


def single_batch(training: Training) -> dict[str, Dim | int]:
    """The batch's symbols when a batch is one example."""
    found: dict[str, Dim | int] = {}
    for source in training.data:
        if source.args.get("batch") != 1:
            continue
        for field in source.fields:
            if field.type.rank and len(field.type.shape[0].symbols) == 1:
                found[next(iter(field.type.shape[0].symbols))] = 1
    return found


def check_batch_norm(diagnostics: Diagnostics, place: Place, node: OpNode) -> None:
    """Mean and variance are over all axes but the channels'."""
    shape = node.operands[0].type.shape
    dims: dict[str, Dim | int] = {**place.function.values(), **place.dims}
    total = Dim.const(1)
    for extent in (shape[0], *shape[2:]):
        total = total * extent.substitute(dims)
    if node.span is None or not total.is_const or total.value != 1:
        return
    labels = tuple(Label(span, "used here") for span in list(place.chain)[:4])
    diagnostics.add(
        Diagnostic(
            codes.SINGLE_VALUE_NORM,
            f"batch_norm would learn from a single value per channel: its input is "
            f"{node.operands[0].type.substitute(dims)}",
            node.span,
            labels=labels,
            notes=("the variance of one value is 0, so the output would be the shift alone",),
            help="take a larger batch",
        )
    )
