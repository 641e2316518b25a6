"""Calls: what becomes a layer, what is applied, and how arguments meet parameters."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.builtins import (
    as_initialiser,
    bind_builtin,
    initialiser,
    unknown_argument,
)
from dlspec.elaborate.capture import detached
from dlspec.elaborate.inner import PENALTIES, total
from dlspec.elaborate.names import snake
from dlspec.elaborate.scope import LayerFrame
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
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import Init, LayerSlot, Metric, Node, Reference, Side, Slot, Value
from dlspec.ir.inits import INIT_KINDS
from dlspec.ir.static import Sequence
from dlspec.ir.types import DType, TensorType
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
                    layer = self.adjustable(layer)
                if isinstance(layer, Adjusted):
                    pairs = self.joined(layer.keywords, keywords)
                    known = Places(
                        (*layer.places.args, *places.args), {**layer.places.words, **places.words}
                    )
                    given = (*layer.args, *args)
                    return replace(layer, args=given, keywords=pairs, places=known)
                scope.fail(codes.BAD_ARGUMENT, "a composed layer takes no more arguments")

    def adjustable(self, shared: Shared) -> Adjusted:
        """A shared definition, which takes other static arguments at each use."""
        inner = shared.layer
        while isinstance(inner, Named_ | Chosen):
            inner = inner.layer
        if not isinstance(inner, DefinedLayer):
            self.e.scope.fail(
                codes.BAD_ARGUMENT,
                f"`{shared.name}` takes no more arguments: it is {static.describe(inner)}",
                help="a shared block takes other static arguments at each use",
            )
        if inner.definition.kind == "cell":
            self.e.scope.fail(
                codes.BAD_ARGUMENT, f"the shared cell `{shared.name}` has its arguments already"
            )
        return Adjusted(shared, (), (), self.e.scope.span)

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
            return self.own_weight(name, args, keywords, segment)
        if name == "repeat":
            if "pattern" in keywords or any(isinstance(static.raw(a), str) for a in args):
                layer = self.as_layer(StaticFunction(name))  # along axes, no layers
                return self.called(layer, args, keywords, segment, piped, expr)
            return self.repeat_form(args, keywords, segment)
        if name == "fork":
            return self.fork_form(args, keywords, segment)
        if name in ("scan", "bidirectional"):
            return self.scan_form(name, args, keywords, segment)
        if name in ("greedy", "sample", "beam"):
            return self.decoding_form(name, args, keywords, segment)
        if name in PENALTIES:
            return total(self.e, name, args, keywords)
        from dlspec.elaborate.measures import measure

        return measure(self.e, name, args, keywords)

    def repeat_form(
        self, args: tuple[AnyValue, ...], keywords: dict[str, AnyValue], segment: Segmented | None
    ) -> AnyValue:
        scope = self.e.scope
        if keywords:
            unknown_argument(self.e, "repeat", next(iter(keywords)), ())
        tensors, rest = self.subjects(args)
        if len(rest) != 2:
            scope.fail(
                codes.BAD_ARGUMENT,
                "repeat takes a count and a layer: repeat(3, Block)",
                help='or a pattern: repeat(x, "n d -> n t d", t = 5)',
            )
        count = static.integer(scope, rest[0], "the count of repeat")
        layer = Repeated(count, self.as_layer(rest[1]), scope.span)
        value = self.label(layer, segment)
        return self.apply(value, tensors, {}, None) if tensors else value

    def fork_form(
        self, args: tuple[AnyValue, ...], keywords: dict[str, AnyValue], segment: Segmented | None
    ) -> AnyValue:
        if keywords:
            unknown_argument(self.e, "fork", next(iter(keywords)), ())
        tensors, rest = self.subjects(args)
        if not rest:
            self.e.scope.fail(codes.MISSING_ARGUMENT, "fork needs at least one layer")
        layer = Forked(tuple(map(self.as_layer, rest)), self.e.scope.span)
        value = self.label(layer, segment)
        return self.apply(value, tensors, {}, None) if tensors else value

    def scan_form(
        self,
        name: str,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
        segment: Segmented | None,
    ) -> AnyValue:
        from dlspec.elaborate.scans import scanned

        scope = self.e.scope
        tensors, rest = self.subjects(args)
        if len(rest) != 1:
            scope.fail(codes.BAD_ARGUMENT, f"{name} takes a cell: {name}(LSTM(256))")
        layer = scanned(self.e, name, self.as_layer(rest[0]), keywords)
        value = self.label(layer, segment)
        return self.apply(value, tensors, {}, None) if tensors else value

    def decoding_form(
        self,
        name: str,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
        segment: Segmented | None,
    ) -> AnyValue:
        from dlspec.elaborate.decoding import decoded

        tensors, rest = self.subjects(args)
        if len(rest) != 1:
            message = f"{name} takes a network from tokens to logits: {name}(net, length = 40, …)"
            self.e.scope.fail(codes.BAD_ARGUMENT, message)
        return decoded(self.e, name, tensors, self.as_layer(rest[0]), keywords, segment)

    def subjects(
        self, args: tuple[AnyValue, ...]
    ) -> tuple[tuple[AnyValue, ...], tuple[AnyValue, ...]]:
        count = 0
        while count < len(args) and is_tensor(args[count]):
            count += 1
        return args[:count], args[count:]

    def own_weight(
        self,
        kind: str,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
        segment: Segmented | None,
    ) -> Value:
        scope = self.e.scope
        known = ("shape", "init")
        given = dict(zip(known, args, strict=False))
        if len(args) > 2:
            scope.fail(codes.BAD_ARGUMENT, f"{kind} takes a shape and `init`")
        for name, value in keywords.items():
            if name not in known:
                unknown_argument(self.e, kind, name, known)
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
            init = as_initialiser(self.e, init, kind)
        name, numbered, index = segment or (kind, scope.loop > 0, None)
        path = scope.names.take(name, numbered, index, scope.span)
        type_ = TensorType(DType.FLOAT, tuple(shape))
        weight = scope.own_weight(path, type_, init.init, kind == "param", scope.span)
        return weight if kind == "param" else scope.read(weight)

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
                return self.apply_builtin(layer, args, segment)
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
                inner = self.inside(layer.shared)
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
        inner = inner or self.inside(shared)
        if isinstance(inner, BuiltinLayer):
            return self.apply_builtin(inner, args, None, shared)
        if isinstance(inner, DefinedLayer):
            return self.e.session.apply_defined(self.e, inner, args, None, shared)
        return self.e.session.apply_anonymous(
            self.e, inner, args, (shared.name, False, shared.index), shared
        )

    def inside(self, shared: Shared) -> LayerValue:
        """The shared layer in this scope's terms."""
        inner = shared.layer
        if shared.scope is not self.e.scope:
            with shared.scope.at(shared.span):
                inner = detached(shared.scope, inner)
        while isinstance(inner, Named_):
            inner = inner.layer
        return inner

    def shared_slot(self, shared: Shared) -> Slot | None:
        """The slot of a shared instance in this scope: its own, or a reference to the owner's."""
        scope = self.e.scope
        if shared.scope is scope or shared.slot is None:
            return shared.slot
        return self.reference(shared)

    def reference(self, shared: Shared) -> Reference:
        scope = self.e.scope
        found = scope.references.get(id(shared))
        if found is None:
            names = {r.name for r in scope.function.references}
            name = shared.name
            while name in names:
                name += "_"
            assert not isinstance(shared.slot, Reference) and shared.slot is not None
            found = Reference(name, shared.slot)
            scope.references[id(shared)] = found
            scope.lenders[id(found)] = shared
            scope.function.references.append(found)
            scope.shared_uses.append(shared)
        return found

    def shared_weight(self, shared: Shared, name: str) -> Value:
        """A weight of a shared built-in layer."""
        scope = self.e.scope
        slot = self.shared_slot(shared)
        target = slot.target if isinstance(slot, Reference) else slot
        assert slot is not None and isinstance(target, LayerSlot)
        weight = target.weights.get(name)
        if weight is None:
            close = ", ".join(target.weights)
            scope.fail(
                codes.UNDEFINED, f"`{shared.name}` has no weight `{name}`", help=f"it has {close}"
            )
        return scope.weight_value(slot, weight)

    # --- built-ins ---

    def apply_builtin(
        self,
        layer: BuiltinLayer,
        args: tuple[AnyValue, ...],
        segment: Segmented | None,
        shared: Shared | None = None,
    ) -> AnyValue:
        builtin = layer.builtin
        scope = self.e.scope
        given = (*args, *layer.args)
        tensors, statics = bind_builtin(self.e, builtin, given, dict(layer.keywords), layer.places)
        own = segment or (snake(builtin.name), scope.loop > 0, None)
        frame = LayerFrame(builtin.name, own, scope.span)
        if shared is not None:
            frame.slot = self.shared_slot(shared)
            if frame.slot is None:
                self.own_shared_slot(shared, builtin, frame)
        scope.layers.append(frame)
        try:
            result = builtin.apply(scope, tensors, statics)
        finally:
            scope.layers.pop()
        if isinstance(result, Value) and not result.type.rank:
            self.e.session.metrics[result] = Metric(builtin.name)
        return self.wrap(result, builtin)

    def own_shared_slot(self, shared: Shared, builtin: Builtin, frame: LayerFrame) -> None:
        """Make the slot of a shared built-in in the scope that owns it."""
        owner = shared.scope
        segment = owner.names.take(shared.name, shared.numbered, shared.index, shared.span)
        slot = LayerSlot(segment, builtin.name, {}, {}, shared.span)
        shared.slot = slot
        owner.function.slots.append(slot)
        frame.slot = self.shared_slot(shared)

    def wrap(self, result: Any, builtin: Builtin) -> AnyValue:
        if isinstance(result, tuple | list):
            items: tuple[Value, ...] = tuple(result)  # type: ignore[arg-type]
            return Group(items, isinstance(result, list), builtin.output_names)
        return result

    def same_type(self, a: TensorType, b: TensorType, message: str) -> None:
        scope = self.e.scope
        if a.dtype is not b.dtype:
            scope.fail(codes.DTYPE, f"{message}: {a.dtype} and {b.dtype}")
        if a.rank != b.rank:
            scope.fail(codes.RANK, f"{message}: {a} and {b}")
        for x, y in zip(a.shape, b.shape, strict=True):
            scope.require(Relation("==", x, y), f"{message}: {a} and {b}")


def snake_as(name: str) -> str:
    """`as` names stand as they are written."""
    return name


def places_of(expr: ast.Call) -> Places:
    if not expr.args and not expr.keywords:
        return NOWHERE
    words = {k.name: k.name_span.to(k.value.span) for k in expr.keywords}
    return Places(tuple(a.span for a in expr.args), words)


NOWHERE = Places()
