"""Special forms that make layers of layers, and the weights that a definition itself owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.builtins import as_initialiser, unknown_argument
from dlspec.elaborate.values import Forked, InitValue, Repeated, is_tensor
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import Init, Value
from dlspec.ir.types import DType, TensorType

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.values import AnyValue, LayerValue

Segmented = tuple[str, bool, "int | None"]


@dataclass(frozen=True)
class Call:
    """A call of a combinator. subjects: the tensors in front, which what it makes is applied to;
    rest: its own arguments."""

    e: Evaluator
    name: str
    subjects: tuple[AnyValue, ...]
    rest: tuple[AnyValue, ...]
    keywords: dict[str, AnyValue]
    segment: Segmented | None

    @property
    def layers(self) -> tuple[LayerValue, ...]:
        return tuple(map(self.e.applier.as_layer, self.rest))

    def closed(self, layer: LayerValue) -> AnyValue:
        """The layer that was made, applied where there are subjects."""
        value = self.e.applier.label(layer, self.segment)
        return self.e.applier.apply(value, self.subjects, {}, None) if self.subjects else value


@dataclass(frozen=True)
class Combinator:
    """takes: how many arguments of its own, None: one at least; form: what is told where they are
    others; words: whether it takes keywords."""

    run: Callable[[Call], AnyValue]
    takes: int | None
    form: str
    code: codes.Code = codes.BAD_ARGUMENT
    help: str = ""
    words: bool = False


def combined(
    e: Evaluator,
    name: str,
    args: tuple[AnyValue, ...],
    keywords: dict[str, AnyValue],
    segment: Segmented | None,
) -> AnyValue:
    found = COMBINATORS[name]
    if keywords and not found.words:
        unknown_argument(e, name, next(iter(keywords)), ())
    count = next((k for k, arg in enumerate(args) if not is_tensor(arg)), len(args))
    subjects, rest = args[:count], args[count:]
    if not rest or found.takes not in (None, len(rest)):
        e.scope.fail(found.code, found.form.format(name=name), help=found.help)
    return found.run(Call(e, name, subjects, rest, keywords, segment))


def repeated(call: Call) -> AnyValue:
    e = call.e
    count = static.integer(e.scope, call.rest[0], "the count of repeat")
    return call.closed(Repeated(count, e.applier.as_layer(call.rest[1]), e.scope.span))


def forked(call: Call) -> AnyValue:
    return call.closed(Forked(call.layers, call.e.scope.span))


def scanned(call: Call) -> AnyValue:
    from dlspec.elaborate import scans

    (cell,) = call.layers
    return call.closed(scans.scanned(call.e, call.name, cell, call.keywords))


def decoded(call: Call) -> AnyValue:
    from dlspec.elaborate import decoding

    (layer,) = call.layers
    return decoding.decoded(call.e, call.name, call.subjects, layer, call.keywords, call.segment)


REPEAT = Combinator(
    repeated,
    2,
    "repeat takes a count and a layer: repeat(3, Block)",
    help='or a pattern: repeat(x, "n d -> n t d", t = 5)',
)
FORK = Combinator(forked, None, "fork needs at least one layer", code=codes.MISSING_ARGUMENT)
SCAN = Combinator(scanned, 1, "{name} takes a cell: {name}(LSTM(256))", words=True)
DECODE = Combinator(
    decoded,
    1,
    "{name} takes a network from tokens to logits: {name}(net, length = 40, …)",
    words=True,
)
COMBINATORS = {
    "repeat": REPEAT,
    "fork": FORK,
    **dict.fromkeys(("scan", "bidirectional"), SCAN),
    **dict.fromkeys(("greedy", "sample", "beam"), DECODE),
}


def own_weight(
    e: Evaluator,
    kind: str,
    args: tuple[AnyValue, ...],
    keywords: dict[str, AnyValue],
    segment: Segmented | None,
) -> Value:
    scope = e.scope
    known = ("shape", "init")
    given = dict(zip(known, args, strict=False))
    if len(args) > 2:
        scope.fail(codes.BAD_ARGUMENT, f"{kind} takes a shape and `init`")
    for name, value in keywords.items():
        if name not in known:
            unknown_argument(e, kind, name, known)
        given[name] = value
    if "shape" not in given:
        scope.fail(codes.MISSING_ARGUMENT, f"{kind} needs a shape: {kind}([D, 4])")
    shape = [
        static.integer(scope, d, "an extent")
        for d in static.items_of(scope, given["shape"], f"the shape of a {kind}")
    ]
    for extent in shape:
        scope.require(
            Relation(">=", extent, Dim.const(1)),
            f"the extent {scope.resolve(extent)} of a {kind} is not positive",
            codes.NEGATIVE_SIZE,
        )
    init = given.get("init", InitValue(Init("zeros")))
    if not isinstance(init, InitValue):
        init = as_initialiser(e, init, kind)
    name, numbered, index = segment or (kind, scope.loop > 0, None)
    path = scope.names.take(name, numbered, index, scope.span)
    type_ = TensorType(DType.FLOAT, tuple(shape))
    weight = scope.own_weight(path, type_, init.init, kind == "param", scope.span)
    return weight if kind == "param" else scope.read(weight)
