"""`greedy`, `sample` and `beam`: a network writes a sequence, token by token.

Each is a scan of a cell of `std.decoding` over the positions to write. The whole text so far is
read anew at every step, in a buffer of the final length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate import static
from dlspec.elaborate.expressions import mentions_training
from dlspec.elaborate.files import Loader
from dlspec.elaborate.scans import apply_scanned
from dlspec.elaborate.values import (
    UNKNOWN,
    BuiltinLayer,
    Chosen,
    Composed,
    DefinedLayer,
    Forked,
    Group,
    Named_,
    Repeated,
    Scanned,
    Unknown,
    is_layer,
)
from dlspec.files import read_source
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import BranchNode, Function, OpNode, Value, functions_below, walk
from dlspec.ir.types import DType
from dlspec.ops.elementwise import Cast, Constant, Equal, StopGradient, Where
from dlspec.ops.random import RandomUniform
from dlspec.ops.shape import Arange, BroadcastTo, Concat, Reshape, Slice, Unsqueeze
from dlspec.resources import resources
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.scope import Scope
    from dlspec.elaborate.values import AnyValue, LayerValue

Segmented = tuple[str, bool, "int | None"]
COMMON = ("start", "length", "end", "padding")
ARGUMENTS = {
    "greedy": COMMON,
    "sample": (*COMMON, "temperature", "top_k", "top_p", "draws"),
    "beam": (*COMMON, "width"),
}
ZERO, ONE = Dim.const(0), Dim.const(1)


def decoded(
    e: Evaluator,
    name: str,
    args: tuple[AnyValue, ...],
    layer: LayerValue,
    keywords: dict[str, AnyValue],
    segment: Segmented | None,
) -> AnyValue:
    """The tokens [N, length] after the start; of `beam`, with the sum of their logarithms [N]."""
    for key in keywords:
        if key not in ARGUMENTS[name]:
            e.scope.fail(
                codes.BAD_ARGUMENT,
                f"{name} has no argument `{key}`",
                help=close_to(key, ARGUMENTS[name]) or f"it has {', '.join(ARGUMENTS[name])}",
            )
    start = started(e, name, args, layer, keywords)
    return Decoding(e, name, start, layer, keywords, segment).run()


@dataclass
class Decoding:
    """start: [N, P], what the text begins with."""

    e: Evaluator
    name: str
    start: Value
    layer: LayerValue
    keywords: dict[str, AnyValue]
    segment: Segmented | None

    def run(self) -> AnyValue:
        self.length = self.number("length", None, 1)
        batch, known = self.start.type.shape
        emit = self.e.scope.emit
        at = emit(Arange(known - 1, known - 1 + self.length, ONE, DType.I64))
        at = emit(BroadcastTo((batch, self.length)), at)
        end = static.raw(self.keywords.get("end"))
        words: dict[str, AnyValue] = {"end": Dim.const(-1)}
        if end is not None:
            words = {"end": self.number("end", None, 0)}
        if "padding" in self.keywords or end is not None:
            words["filler"] = self.number("padding", self.keywords.get("end"), 0)
        rest = emit(BroadcastTo((batch, self.length)), self.constant(0, DType.I64))
        tokens = emit(Concat(1), self.start, rest)
        over = emit(BroadcastTo((batch,)), self.constant(False, DType.BOOL))
        words |= {"net": self.layer, "tokens": tokens, "over": over}
        if self.name == "beam":
            return self.beam(at, words)
        if self.name == "sample":
            return self.scan("Sample", (at, self.draws(batch)), {**words, **self.choice()})
        return self.scan("Greedy", (at,), words)

    def constant(self, value: Any, dtype: DType) -> Value:
        return self.e.scope.emit(Constant(value, dtype))

    def number(self, key: str, default: AnyValue, least: int) -> Dim:
        """An integer argument of at least so much."""
        scope = self.e.scope
        value = self.keywords.get(key, default)
        if value is None:
            scope.fail(codes.MISSING_ARGUMENT, f"{self.name} needs `{key}`")
        found = static.integer(scope, value, f"`{key}` of {self.name}")
        scope.require(
            Relation(">=", found, Dim.const(least)),
            f"`{key}` of {self.name} is {found}, but must be {least} or more",
            codes.BAD_ARGUMENT,
        )
        return found

    def scan(
        self,
        cell: str,
        sequences: tuple[Value, ...],
        words: dict[str, AnyValue],
        final: bool = False,
    ) -> AnyValue:
        e = self.e
        definition, module = library_cell(e, cell)
        layer = DefinedLayer(definition, module, (), tuple(words.items()), e.scope.span)
        scanned = Scanned(layer, False, final, e.scope.span, decoding=self.name)
        before, e.scope.inference = e.scope.inference, True
        try:
            return apply_scanned(e, scanned, sequences, self.segment)
        finally:
            e.scope.inference = before

    # --- sample ---

    def choice(self) -> dict[str, AnyValue]:
        """What is checked of the arguments that say which tokens may be drawn."""
        scope = self.e.scope
        found = {k: self.keywords[k] for k in ("temperature", "top_p") if k in self.keywords}
        for key, most in (("temperature", float("inf")), ("top_p", 1.0)):
            number = static.number(scope, found.get(key, 1.0), f"`{key}` of sample")
            if not 0 < number <= most:
                limit = "positive" if key == "temperature" else "above 0 and at most 1"
                scope.fail(codes.BAD_ARGUMENT, f"`{key}` of sample must be {limit}")
        if static.raw(self.keywords.get("top_k")) is not None:
            found["top_k"] = self.number("top_k", None, 1)
        return found

    def draws(self, batch: Dim) -> Value:
        """[N, length], uniform in [0, 1): given, or drawn."""
        scope, given = self.e.scope, self.keywords.get("draws")
        shape = (batch, self.length)
        if static.raw(given) is None:
            return scope.emit(RandomUniform(shape))
        what = f"`draws` of sample is [N, length], not {static.describe(given)}"
        if not isinstance(given, Value) or given.type.rank != 2 or not given.type.dtype.is_float:
            scope.fail(codes.BAD_ARGUMENT, what)
        for have, want in zip(given.type.shape, shape, strict=True):
            scope.require(Relation("==", have, want), what)
        return given

    # --- beam ---

    def beam(self, at: Value, words: dict[str, AnyValue]) -> AnyValue:
        emit = self.e.scope.emit
        width = self.number("width", Dim.const(4), 1)
        batch = self.start.type.shape[0]
        whole = words["tokens"].type.shape[1]

        def beside(x: Value) -> Value:
            """[N, …] as [N, width, …]."""
            shape = (x.type.shape[0], width, *x.type.shape[1:])
            return emit(BroadcastTo(shape), emit(Unsqueeze((1,)), x))

        def widened(x: Value) -> Value:
            """A tensor that the network holds, once for each of the texts."""
            if not x.type.rank or x.type.shape[0] != batch:
                return x
            return emit(Reshape((batch * width, *x.type.shape[1:])), beside(x))

        words = {**words, "tokens": beside(words["tokens"]), "over": beside(words["over"])}
        words["net"] = with_held(self.layer, widened)
        words["score"] = self.first_alone(batch, width)
        found = self.scan("Beam", (at,), words, final=True)
        if isinstance(found, Unknown):
            return UNKNOWN
        _, tokens, score, _ = found.items
        begin, steps = whole - self.length, (ONE, ONE, ONE)
        best = emit(Slice((ZERO, ZERO, begin), (batch, ONE, whole), steps), tokens)
        best = emit(Reshape((batch, self.length)), best)
        top = emit(Slice((ZERO, ZERO), (batch, ONE), (ONE, ONE)), score)
        top = emit(StopGradient(), emit(Reshape((batch,)), top))
        return Group((best, top), False, ("tokens", "score"))

    def first_alone(self, batch: Dim, width: Dim) -> Value:
        """Scores before the first step: all texts are equal then, and one is enough."""
        emit = self.e.scope.emit
        index = emit(Arange(ZERO, width, ONE, DType.I64))
        first = emit(Equal(), index, self.constant(0, DType.I64))
        never, none = (self.constant(v, DType.FLOAT) for v in (float("-inf"), 0.0))
        return emit(BroadcastTo((batch, width)), emit(Where(), first, none, never))


def started(
    e: Evaluator,
    name: str,
    args: tuple[AnyValue, ...],
    layer: LayerValue,
    keywords: dict[str, AnyValue],
) -> Value:
    """What the texts begin with: tokens [N, P], or one token for as many as the network holds."""
    scope = e.scope
    given = [*args, *([keywords["start"]] if "start" in keywords else [])]
    if len(given) != 1:
        what = "needs one start" if not given else "has one start"
        scope.fail(
            codes.MISSING_ARGUMENT if not given else codes.BAD_ARGUMENT,
            f"{name} {what}: a token, or tokens [N, P]",
            help=f"{name}(net, start = 1, …), or prompt -> {name}(net, …)",
        )
    (start,) = given
    if isinstance(start, Value):
        if start.type.rank != 2 or not start.type.dtype.is_int:
            scope.fail(codes.BAD_ARGUMENT, f"{name} starts with integers [N, P], not {start.type}")
        message = f"{name} needs something to start with"
        scope.require(Relation(">=", start.type.shape[1], ONE), message)
        same = start.type.dtype is DType.I64
        return start if same else scope.emit(Cast(DType.I64), start)
    token = static.integer(scope, start, f"`start` of {name}")
    batch = next((v.type.shape[0] for v in held(layer) if v.type.rank), None)
    if batch is None:
        scope.fail(
            codes.BAD_ARGUMENT,
            f"how many texts {name} writes is not known: the network holds no tensor",
            help=f"start with tokens: prompt -> {name}(…)",
        )
    return scope.emit(BroadcastTo((batch, ONE)), scope.emit(Constant(token, DType.I64)))


def held(layer: LayerValue) -> Iterator[Value]:
    """The tensors that a layer holds, in order."""
    found: list[Value] = []

    def keep(value: Value) -> Value:
        found.append(value)
        return value

    with_held(layer, keep)
    yield from found


def with_held(layer: LayerValue, change: Callable[[Value], Value]) -> LayerValue:
    """The layer with other tensors in the place of those that it holds."""
    match layer:
        case BuiltinLayer() | DefinedLayer():
            words = tuple((k, _changed(v, change)) for k, v in layer.keywords)
            args = tuple(_changed(v, change) for v in layer.args)
            return replace(layer, args=args, keywords=words)
        case Composed():
            return replace(layer, stages=tuple(with_held(s, change) for s in layer.stages))
        case Forked():
            return replace(layer, branches=tuple(with_held(s, change) for s in layer.branches))
        case Named_() | Chosen() | Repeated() | Scanned():
            return replace(layer, layer=with_held(layer.layer, change))
        case _:
            return layer


def _changed(value: AnyValue, change: Callable[[Value], Value]) -> AnyValue:
    if isinstance(value, Value):
        return change(value)
    if isinstance(value, Group):
        return replace(value, items=tuple(_changed(v, change) for v in value.items))
    return with_held(value, change) if is_layer(value) else value


def one_mode(scope: Scope, trained: Function, name: str) -> None:
    """An instance that is trained and writes too must be the same in training and inference."""
    for function in functions_below(trained):
        for node in walk(function.body):
            modal = isinstance(node, OpNode) and node.op.modal
            if modal or (isinstance(node, BranchNode) and mentions_training(node.condition)):
                scope.fail(
                    codes.NOT_SUPPORTED,
                    f"`{name}` writes a sequence here and is used in training elsewhere, where it "
                    "is another function (dropout …): this is not supported yet",
                    help="write in a model of its own, which takes the same weights",
                )


def library_cell(e: Evaluator, name: str) -> tuple[ast.Definition, Any]:
    """A cell of std.decoding."""
    session = e.session
    if session.decoding is None:
        path = resources("specs") / "std" / "decoding.dls"
        loader = Loader(session.diagnostics)
        session.decoding = loader.load(read_source(str(path)), path)
    found = session.decoding.names[name]
    assert isinstance(found, ast.Definition)
    return found, session.decoding
