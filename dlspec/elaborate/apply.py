"""Calls: what becomes a layer, what is applied, and how arguments meet parameters."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.builtins import (
    apply_builtin,
    initialiser,
    unknown_argument,
)
from dlspec.elaborate.combinators import COMBINATORS, combined, own_weight
from dlspec.elaborate.inner import PENALTIES, total
from dlspec.elaborate.sharing import adjustable, inside
from dlspec.elaborate.values import (
    UNKNOWN,
    Adjusted,
    BuiltinLayer,
    Chosen,
    Composed,
    DefinedLayer,
    Forked,
    Group,
    InitValue,
    Named_,
    Places,
    Repeated,
    Scanned,
    Shared,
    StaticFunction,
    Statistic,
    Unknown,
    is_layer,
    is_static,
    is_tensor,
)
from dlspec.ir.graph import Node, Side, Slot, Value
from dlspec.ir.inits import INIT_KINDS
from dlspec.ir.static import Sequence
from dlspec.ops import registry
from dlspec.ops.base import Builtin
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.values import AnyValue, LayerValue

MAX_REPEAT = 20_000
Segmented = tuple[str, bool, "int | None"]


class Applier:
    """The call rules, for one evaluator."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.e = evaluator

    # --- from syntax ---

    def stage(
        self, expr: ast.Expr, subject: tuple[AnyValue, ...], segment: Segmented | None
    ) -> AnyValue:
        """An expression in layer position, applied to a subject (none: as it stands)."""
        if isinstance(expr, ast.As):
            return self.stage(expr.value, subject, self.segment_of(expr))
        if isinstance(expr, ast.Call):
            with self.e.scope.at(expr.span):
                return self.call(expr, subject, segment)
        layer = self.e.evaluate(expr)
        if isinstance(layer, Unknown):
            return UNKNOWN
        with self.e.scope.at(expr.span):
            if not subject:
                return self.label(layer, segment)
            return self.apply(self.as_layer(layer), subject, {}, segment)

    def segment_of(self, expr: ast.As) -> Segmented:
        """The segment that `as` gives."""
        scope = self.e.scope
        if expr.index is None:
            return (snake_as(expr.name), scope.loop > 0, None)
        index = static.raw(self.e.evaluate(expr.index))
        if isinstance(index, str):
            return (f"{snake_as(expr.name)}_{index}", False, None)
        with scope.at(expr.index.span):
            at = scope.known(static.integer(scope, index, "the index of a name"))
            if at < 0:
                scope.fail(codes.STATIC_VALUE, "the index of a name is negative")
        return (snake_as(expr.name), False, at)

    def label(self, value: AnyValue, segment: Segmented | None) -> AnyValue:
        """`layer as name`; a tensor may carry a name too, which only names the value."""
        if segment is None:
            return value
        scope = self.e.scope
        if is_layer(value):
            name, numbered, index = segment
            return Named_(value, name, index, scope.span, numbered)
        if isinstance(value, Value):
            if not value.name and value.weight is None:
                value.name = segment[0]
            return value
        static.wrong_kind(scope, f"`as` names a layer, not {static.describe(value)}")

    def call(
        self, expr: ast.Call, subject: tuple[AnyValue, ...], segment: Segmented | None
    ) -> AnyValue:
        scope = self.e.scope
        if isinstance(expr.callee, ast.Name):
            with scope.at(expr.callee.span):
                callee = self.e.name(expr.callee)
        else:
            callee = self.e.evaluate(expr.callee)
        args = [self.e.evaluate(arg) for arg in expr.args]
        keywords: dict[str, AnyValue] = {}
        for keyword in expr.keywords:
            if keyword.name in keywords:
                message = f"`{keyword.name}` is given twice"
                scope.fail(codes.BAD_ARGUMENT, message, span=keyword.span)
            keywords[keyword.name] = self.e.evaluate(keyword.value)
        values = (callee, *args, *keywords.values())
        if any(isinstance(v, Unknown) for v in values):
            return UNKNOWN
        return self.called(callee, (*subject, *args), keywords, segment, bool(subject), expr)

    def called(
        self,
        callee: AnyValue,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
        segment: Segmented | None,
        piped: bool,
        expr: ast.Call,
    ) -> AnyValue:
        scope = self.e.scope
        if isinstance(callee, StaticFunction):
            return self.special(callee.name, args, keywords, segment, piped, expr)
        if isinstance(callee, InitValue):
            return initialiser(self.e, callee.init.kind, args, keywords)
        if not is_layer(callee):
            self.not_callable(callee, expr.callee)
        tensors = piped or any(is_tensor(a) or isinstance(a, Statistic) for a in args)
        name = expr.callee.id if isinstance(expr.callee, ast.Name) else ""
        if isinstance(callee, BuiltinLayer) and not tensors:
            if name in static.STATIC_NAMES and args and not keywords and self.all_static(args):
                if len(args) == 1 and self.e.is_open(*args):  # sqrt(T): a scalar of the program
                    return self.apply(callee, (self.e.tensor(args[0]),), {}, segment)
                return static.call(scope, name, list(args))
            if name in INIT_KINDS and self.is_initialiser(callee.builtin, args, keywords):
                return initialiser(self.e, name, args, keywords)
        layer = self.with_arguments(callee, () if tensors else args, keywords, places_of(expr))
        if tensors or self.complete(layer):
            return self.apply(layer, args if tensors else (), {}, segment)
        if self.is_static_function(layer):
            assert isinstance(layer, DefinedLayer)
            return self.e.session.static_function(self.e, layer)
        return self.label(layer, segment)

    def not_callable(self, value: AnyValue, expr: ast.Expr) -> NoReturn:
        name = expr.id if isinstance(expr, ast.Name) else ""
        hidden = registry.own(name) is not None
        self.e.scope.fail(
            codes.NOT_CALLABLE,
            f"{static.describe(value)} cannot be called",
            span=expr.span,
            help=f"`{name}` hides the built-in here: give the binding another name"
            if hidden
            else "",
        )

    def all_static(self, args: Seq[AnyValue]) -> bool:
        return all(is_static(a) or (isinstance(a, Group) and not is_tensor(a)) for a in args)

    def is_initialiser(
        self, builtin: Builtin, args: tuple[AnyValue, ...], keywords: dict[str, AnyValue]
    ) -> bool:
        """A maker without its shape: `normal(std = 0.02)`."""
        return not any(isinstance(a, Sequence) for a in args) and "shape" not in keywords

    def with_arguments(
        self,
        layer: LayerValue,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
        places: Places,
    ) -> LayerValue:
        """The layer with more arguments given."""
        if not args and not keywords and not places.args:
            return layer
        scope = self.e.scope
        match layer:
            case BuiltinLayer() | DefinedLayer():
                pairs = self.joined(layer.keywords, keywords)
                spans = (*layer.places.args, *places.args)
                if len(args) != len(places.args):  # an application: tensors stand in front
                    spans = (*places.args, *layer.places.args)
                known = Places(spans, {**layer.places.words, **places.words})
                given = (*layer.args, *args)
                return replace(layer, args=given, keywords=pairs, span=scope.span, places=known)
            case Named_() | Chosen():
                inner = self.with_arguments(layer.layer, args, keywords, places)
                return replace(layer, layer=inner)
            case _:
                if not args and not keywords:
                    return layer
                if isinstance(layer, Shared):
                    layer = adjustable(self.e, layer)
                if isinstance(layer, Adjusted):
                    pairs = self.joined(layer.keywords, keywords)
                    known = Places(
                        (*layer.places.args, *places.args), {**layer.places.words, **places.words}
                    )
                    given = (*layer.args, *args)
                    return replace(layer, args=given, keywords=pairs, places=known)
                scope.fail(codes.BAD_ARGUMENT, "a composed layer takes no more arguments")

    def joined(
        self, old: tuple[tuple[str, AnyValue], ...], new: dict[str, AnyValue]
    ) -> tuple[tuple[str, AnyValue], ...]:
        return tuple({**dict(old), **new}.items())

    def complete(self, layer: LayerValue) -> bool:
        """Whether tensors given by keyword fill all required inputs, at least one."""
        while isinstance(layer, Named_ | Chosen):
            layer = layer.layer
        if not isinstance(layer, BuiltinLayer | DefinedLayer):
            return False
        held = {k for k, v in layer.keywords if is_tensor(v)}
        if isinstance(layer, BuiltinLayer):
            required = set(layer.builtin.tensors)
            if not required:  # arange(T), normal([N, 64]): makers of tensors
                return not self.e.session.missing_statics(layer)
            return required <= held
        required = {p.name for p in self.e.session.required_inputs(layer.definition)}
        return bool(required) and required <= held

    def is_static_function(self, layer: LayerValue) -> bool:
        return isinstance(layer, DefinedLayer) and self.e.session.maybe_static(layer)

    def as_layer(self, value: AnyValue) -> LayerValue:
        if is_layer(value):
            return value
        if isinstance(value, StaticFunction):
            builtin = registry.find(value.name)
            if builtin is not None:
                return BuiltinLayer(builtin, (), (), self.e.scope.span)
        self.e.scope.fail(codes.NOT_CALLABLE, f"{static.describe(value)} is not a layer")

    # --- special forms ---

    def special(
        self,
        name: str,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
        segment: Segmented | None,
        piped: bool,
        expr: ast.Call,
    ) -> AnyValue:
        scope = self.e.scope
        if name in static.STATIC_NAMES:
            if keywords:
                unknown_argument(self.e, name, next(iter(keywords)), ())
            if any(map(is_tensor, args)) and name not in static.FUNCTIONS:
                scope.fail(codes.STATIC_TYPE, f"`{name}` works on numbers, not on tensors")
            return static.call(scope, name, list(args))
        if name in ("param", "buffer"):
            return own_weight(self.e, name, args, keywords, segment)
        pattern = "pattern" in keywords or any(isinstance(static.raw(a), str) for a in args)
        if name == "repeat" and pattern:  # along axes, no layers
            layer = self.as_layer(StaticFunction(name))
            return self.called(layer, args, keywords, segment, piped, expr)
        if name in COMBINATORS:
            return combined(self.e, name, args, keywords, segment)
        if name in PENALTIES:
            return total(self.e, name, args, keywords)
        from dlspec.elaborate.measures import measure

        return measure(self.e, name, args, keywords)

    # --- application ---

    def apply(
        self,
        layer: LayerValue,
        args: tuple[AnyValue, ...],
        keywords: Mapping[str, AnyValue],
        segment: Segmented | None,
    ) -> AnyValue:
        match layer:
            case BuiltinLayer():
                return apply_builtin(self.e, layer, args, segment)
            case DefinedLayer():
                return self.e.session.apply_defined(self.e, layer, args, segment)
            case Named_():
                return self.apply_named(layer, args, segment)
            case Composed():
                return self.apply_composed(layer, args, segment)
            case Forked():
                return self.apply_forked(layer, args, segment)
            case Repeated():
                from dlspec.elaborate.repeats import apply_repeated

                return apply_repeated(self.e, layer, args, segment)
            case Scanned():
                from dlspec.elaborate.scans import apply_scanned

                return apply_scanned(self.e, layer, args, segment)
            case Chosen():
                return self.apply_chosen(layer, args, segment)
            case Shared():
                return self.apply_shared(layer, args)
            case Adjusted():
                inner = inside(self.e, layer.shared)
                inner = self.with_arguments(inner, layer.args, dict(layer.keywords), layer.places)
                return self.apply_shared(layer.shared, args, inner)

    def apply_named(
        self, layer: Named_, args: tuple[AnyValue, ...], segment: Segmented | None
    ) -> AnyValue:
        numbered = layer.numbered or self.e.scope.loop > 0
        own = (layer.segment, numbered and layer.index is None, layer.index)
        return self.apply(layer.layer, args, {}, segment or own)

    def apply_composed(
        self, layer: Composed, args: tuple[AnyValue, ...], segment: Segmented | None
    ) -> AnyValue:
        from dlspec.elaborate.expressions import passed_on

        if segment is not None:
            return self.e.session.apply_anonymous(self.e, layer, args, segment)
        value: AnyValue = args
        for stage in layer.stages:
            with self.e.scope.at(stage.span):
                value = self.apply(stage, passed_on(value), {}, None)
            if isinstance(value, Unknown):
                return UNKNOWN
        return value

    def apply_forked(
        self, layer: Forked, args: tuple[AnyValue, ...], segment: Segmented | None
    ) -> AnyValue:
        if segment is not None:
            return self.e.session.apply_anonymous(self.e, layer, args, segment)
        results: list[AnyValue] = []
        for branch in layer.branches:
            with self.e.scope.at(branch.span):
                results.append(self.apply(branch, args, {}, None))
        if any(isinstance(r, Unknown) for r in results):
            return UNKNOWN
        return Group(tuple(results))

    def apply_chosen(
        self, layer: Chosen, args: tuple[AnyValue, ...], segment: Segmented | None
    ) -> AnyValue:
        body: list[Node] = []
        slots: list[Slot] = []
        with self.e.scope.side(body, slots):
            value = self.apply(layer.layer, args, {}, segment)
        if isinstance(value, Unknown):
            return UNKNOWN
        side = Side(body, (), tuple(slots))
        return self.e.branch(layer.condition, layer.taken, value, side)

    # --- shared instances ---

    def apply_shared(
        self, shared: Shared, args: tuple[AnyValue, ...], inner: LayerValue | None = None
    ) -> AnyValue:
        """inner: the layer with the arguments of this use, in this scope's terms."""
        inner = inner or inside(self.e, shared)
        if isinstance(inner, BuiltinLayer):
            return apply_builtin(self.e, inner, args, None, shared)
        if isinstance(inner, DefinedLayer):
            return self.e.session.apply_defined(self.e, inner, args, None, shared)
        return self.e.session.apply_anonymous(
            self.e, inner, args, (shared.name, False, shared.index), shared
        )


def snake_as(name: str) -> str:
    """`as` names stand as they are written."""
    return name


def places_of(expr: ast.Call) -> Places:
    if not expr.args and not expr.keywords:
        return NOWHERE
    words = {k.name: k.name_span.to(k.value.span) for k in expr.keywords}
    return Places(tuple(a.span for a in expr.args), words)


NOWHERE = Places()
