"""One elaboration: memoised instantiation of definitions, and everything they share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Diagnostics, Failure, Label
from dlspec.elaborate.aliases import meant
from dlspec.elaborate.arguments import bind_arguments
from dlspec.elaborate.bodies import build, build_anonymous, camel
from dlspec.elaborate.capture import Capture, detached, key_of
from dlspec.elaborate.decoding import one_mode
from dlspec.elaborate.expressions import Env, Evaluator, flatten, rebuild
from dlspec.elaborate.files import target_names
from dlspec.elaborate.lists import with_lists
from dlspec.elaborate.moving import bare, contains_layer, move, translate, values_in
from dlspec.elaborate.names import repeated_names, snake
from dlspec.elaborate.scans import with_states
from dlspec.elaborate.scope import Names, Scope, divisibility
from dlspec.elaborate.sharing import shared_slot
from dlspec.elaborate.statements import execute
from dlspec.elaborate.static_bodies import is_static_body
from dlspec.elaborate.values import (
    UNKNOWN,
    DefinedLayer,
    Namespace,
    Shared,
    Unknown,
)
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import CallNode, ChildSlot, Function, Metric, Slot, Value
from dlspec.ops.base import REQUIRED
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.codes import Code
    from dlspec.elaborate.files import Module
    from dlspec.elaborate.values import AnyValue, BuiltinLayer, LayerValue
    from dlspec.source import Span

MAX_DEPTH = 100
MAX_STEPS = 200_000
MAX_SPECIALISATIONS = 20_000
Segmented = tuple[str, bool, "int | None"]


@dataclass(eq=False)
class Entry:
    """A specialisation in the memo. consulted: dim symbols with the values it depends on."""

    function: Function
    consulted: dict[str, int]
    result: AnyValue  # structure of the outputs; UNKNOWN when the body failed
    defaults: dict[str, AnyValue]  # defaults that depend on dims, in the callee's terms
    shared: list[Shared]
    borrowed: dict[str, tuple[Shared, Dim]]  # dim symbols that stand for sizes of the shared ones
    early: bool = True  # it failed before its inputs were there


@dataclass(eq=False)
class Prepared:
    """A call that is ready to be appended."""

    entry: Entry
    dims: dict[str, Dim]
    statics: dict[str, AnyValue]
    full: dict[str, Dim]
    operands: tuple[Value, ...]
    refs: tuple[Slot, ...]
    name: str

    @property
    def function(self) -> Function:
        return self.entry.function


@dataclass(eq=False)
class Session:
    diagnostics: Diagnostics
    memo: dict[object, list[Entry]] = field(default_factory=dict[object, list[Entry]])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    depth: int = 0
    static: dict[int, bool] = field(default_factory=dict[int, bool])
    steps: int = 0
    exhausted: Failure | None = None  # the steps are used up: nothing goes on
    constants: set[int] = field(default_factory=set[int])
    reached: set[int] = field(default_factory=set[int])
    training: Any = None  # the Section at work
    metrics: dict[Value, Metric] = field(default_factory=dict[Value, Metric])  # what made a scalar
    decoding: Module | None = None  # std.decoding, once it is needed

    def __post_init__(self) -> None:
        # definitions nest to MAX_DEPTH, and each level takes some frames of this evaluator
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 60_000))

    def report(self, failure: Failure) -> None:
        self.diagnostics.add(failure.diagnostic)

    def tick(self, scope: Scope) -> None:
        """Count a step of static code; a spec that unrolls without bound ends here."""
        self.steps += 1
        if self.steps <= MAX_STEPS:
            return
        if self.exhausted is None:
            message = f"the spec unrolls to more than {MAX_STEPS:,} steps"
            self.exhausted = Failure(scope.diagnostic(codes.LIMIT, message))
        raise self.exhausted

    def restart(self) -> None:
        """Count anew: an entry point begins."""
        self.steps = 0
        self.exhausted = None

    # --- names of files ---

    def module_value(self, module: Module, name: str, span: Span) -> AnyValue | None:
        if name in module.lost:
            return UNKNOWN
        if name in module.imported:
            other, inner = module.imported[name]
            return self.module_value(other, inner, span)
        if name in module.namespaces:
            return Namespace(module.namespaces[name])
        item = module.names.get(name)
        if isinstance(item, ast.Definition):
            return DefinedLayer(item, module, (), (), span)
        if isinstance(item, ast.Const):
            return self.const(module, item, name)
        return None

    def const(self, module: Module, item: ast.Const, name: str) -> AnyValue:
        if name in module.consts:
            return module.consts[name]
        scope = self.free_scope("const")
        e = Evaluator(self, module, scope, Env())
        if id(item) in self.constants:
            with scope.at(item.span):
                scope.fail(codes.RECURSION, f"the constant `{name}` depends on itself")
        self.constants.add(id(item))
        try:
            value = e.evaluate(item.value)
            e.bind(item.target, value)
        except Failure as failure:
            self.report(failure)
            from dlspec.elaborate.statements import unknown

            unknown(e, item.target)
        self.constants.discard(id(item))
        module.consts.update(e.env.names)
        return module.consts.get(name, UNKNOWN)

    def check_constants(self, module: Module) -> None:
        """Evaluate the constants of a file, those that nobody uses too."""
        for item in module.file.items:
            if not isinstance(item, ast.Const) or self.broken(item):
                continue
            for name, span in target_names(item.target):
                if module.names.get(name) is item:
                    self.module_value(module, name, span)

    def entry(self, scope: Scope) -> Entry:
        """A place in the memo for a function that is about to be built."""
        return Entry(scope.function, {}, UNKNOWN, {}, scope.shared_uses, scope.borrowed)

    def free_scope(self, name: str) -> Scope:
        return Scope(Function(name, "block"), Names(frozenset()), root=True)

    # --- definitions ---

    def required_inputs(self, definition: ast.Definition) -> list[ast.Param]:
        """The states of a cell are not among them: they start at zero."""
        inputs = [p for p in definition.params if p.annotation is not None and p.default is None]
        return [p for p in inputs if not (p.state and definition.kind == "cell")]

    def missing_statics(self, layer: BuiltinLayer) -> bool:
        names = [p.name for p in layer.builtin.statics if p.default is REQUIRED]
        given = {k for k, _ in layer.keywords}
        given |= {p.name for p in layer.builtin.statics[: len(layer.args)]}
        return not set(names) <= given

    def maybe_static(self, layer: DefinedLayer) -> bool:
        """Whether a definition is a static function: no inputs, and no layer in its body."""
        definition = layer.definition
        if any(p.annotation is not None for p in definition.params):
            return False
        found = self.static.get(id(definition))
        if found is None:
            found = self.static[id(definition)] = is_static_body(definition, layer.module)
        return found

    def static_function(self, e: Evaluator, layer: DefinedLayer) -> AnyValue:
        """A definition without inputs or layers, run where it is called."""
        with self.deeper(e.scope, layer.definition.name):
            bound = bind_arguments(self, e, layer, ())[1]
            env = Env()
            env.names.update(bound)
            inner = Evaluator(self, layer.module, e.scope, env)
            for param in layer.definition.params:
                if param.name not in bound and param.default is not None:
                    env.names[param.name] = inner.evaluate(param.default)
            body = layer.definition.body
            if not isinstance(body, tuple):
                return inner.evaluate(body)
            found = execute(inner, body)
            if found is None:
                e.scope.fail(codes.MIXED_DEFINITION, f"{layer.definition.name} returns nothing")
            return found.value

    def deeper(self, scope: Scope, name: str) -> Deeper:
        if self.depth >= MAX_DEPTH:
            scope.fail(
                codes.RECURSION,
                f"the recursion of {name} does not end ({MAX_DEPTH} levels)",
                help="a static argument must get smaller at each level, and an `if` must end it",
            )
        return Deeper(self)

    # --- application ---

    def apply_defined(
        self,
        e: Evaluator,
        layer: DefinedLayer,
        args: tuple[AnyValue, ...],
        segment: Segmented | None,
        shared: Shared | None = None,
    ) -> AnyValue:
        if layer.definition.kind == "cell":
            layer = with_states(e, layer, args)
        prepared = self.prepare(e, layer, args)
        if prepared is None:
            return UNKNOWN
        return self.append_call(e, prepared, segment, shared)

    def apply_anonymous(
        self,
        e: Evaluator,
        layer: LayerValue,
        args: tuple[AnyValue, ...],
        segment: Segmented,
        shared: Shared | None = None,
    ) -> AnyValue:
        prepared = self.prepare_anonymous(e, layer, args, segment[0])
        if prepared is None:
            return UNKNOWN
        return self.append_call(e, prepared, segment, shared)

    def prepare(
        self, e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]
    ) -> Prepared | None:
        """Bind, instantiate (or find) the function, check it against this call."""
        name = layer.definition.name
        layer, args = meant(e, layer, args)
        self.reached.add(id(layer.definition))
        if self.broken(layer.definition):
            return None
        layer, args = with_lists(e, layer, args)
        definition, scope = layer.definition, e.scope
        inputs, given = bind_arguments(self, e, layer, args)
        present = [v for v in inputs.values() if v is not None]
        if not present and not inputs:
            scope.fail(codes.MISSING_ARGUMENT, f"{definition.name} needs a tensor")
        key = (
            id(definition),
            scope.inference,
            tuple((k, key_of(v, scope)) for k, v in sorted(given.items())),
            tuple((k, v and (v.type.rank, v.type.dtype)) for k, v in inputs.items()),
        )
        make = lambda: build(self, e, layer, inputs, given)  # noqa: E731
        return self.settle(e, key, given, inputs, name, make)

    def broken(self, item: ast.Item) -> bool:
        """Whether a syntax error lies inside: parts of the item are missing then."""
        span = item.span
        return any(
            d.code.name.startswith("E01")
            and d.span.source is span.source
            and span.start <= d.span.start <= span.end
            for d in self.diagnostics.found
        )

    def prepare_anonymous(
        self, e: Evaluator, layer: LayerValue, args: tuple[AnyValue, ...], name: str
    ) -> Prepared | None:
        inputs: dict[str, Value | None] = {}
        for k, leaf in enumerate(leaf for a in args for leaf in flatten(a)):
            inputs[str(k)] = e.tensor(leaf)
        given = {"layer": layer}
        key = (
            "anonymous",
            e.scope.inference,
            name,
            key_of(layer, e.scope),
            tuple((v.type.rank, v.type.dtype) for v in inputs.values() if v is not None),
        )
        make = lambda: build_anonymous(self, e, layer, inputs, name)  # noqa: E731
        return self.settle(e, key, given, inputs, camel(name), make)

    def settle(
        self,
        e: Evaluator,
        key: object,
        given: dict[str, AnyValue],
        inputs: dict[str, Value | None],
        name: str,
        build: Any,
    ) -> Prepared | None:
        scope = e.scope
        entries = self.memo.setdefault(key, [])
        for entry in entries:
            if entry.early:
                return None
            prepared = self.match(e, entry, given, inputs, name)
            if all(scope.peek(prepared.dims[s]) == v for s, v in entry.consulted.items()):
                break
        else:
            if len(entries) >= MAX_SPECIALISATIONS:
                scope.fail(codes.LIMIT, f"{name} has more than {MAX_SPECIALISATIONS:,} variants")
            with self.deeper(scope, name):
                entry = build()
            entries.append(entry)
            if entry.early:
                return None
            prepared = self.match(e, entry, given, inputs, name)
        if isinstance(entry.result, Unknown):
            return None
        for symbol in entry.consulted:
            scope.consult(prepared.dims[symbol])
        self.check(e, prepared)
        return prepared

    def match(
        self,
        e: Evaluator,
        entry: Entry,
        given: dict[str, AnyValue],
        inputs: dict[str, Value | None],
        name: str,
    ) -> Prepared:
        """The callee's symbols in the caller's terms."""
        function, scope = entry.function, e.scope
        capture = Capture(scope, self.free_scope("dry"))
        capture.callee.function.statics.update(
            {k: None for k in given if not contains_layer(given[k])}
        )
        for param, value in given.items():
            if contains_layer(value):
                capture.value(value, param)
        operands = [v for v in inputs.values() if v is not None]
        operands += [outer for _, outer in capture.tensors]
        dims: dict[str, Dim] = dict(capture.dims)
        for symbol, (shared, size) in entry.borrowed.items():
            dims[symbol] = scope.borrow(shared, shared.name, size)
        for inner, outer in zip(function.inputs, operands, strict=True):
            for have, got in zip(inner.type.shape, outer.type.shape, strict=True):
                symbol = bare(have, function)
                if symbol is not None and symbol not in dims:
                    dims[symbol] = got
        statics = {k: v for k, v in given.items() if not contains_layer(v)}
        statics.update(capture.statics)
        full = dims | {k: v for k, v in statics.items() if isinstance(v, Dim)}
        for param, value in entry.defaults.items():
            moved = move(value, full)
            statics[param] = moved
            if isinstance(moved, Dim):
                full[param] = moved
        for symbol, known in function.symbols.items():
            if symbol in full or known.value is None:
                continue
            moved = translate(scope, known.origin, statics) if known.kind == "derived" else None
            full[symbol] = moved if isinstance(moved, Dim) else Dim.const(known.value)
        refs = tuple(shared_slot(e, s) for s in entry.shared)
        found = tuple(r for r in refs if r is not None)
        return Prepared(entry, dims, statics, full, tuple(operands), found, name)

    def check(self, e: Evaluator, prepared: Prepared) -> None:
        """Input types and requirements, proved, refuted or passed up."""
        function, scope = prepared.function, e.scope
        for inner, outer in zip(function.inputs, prepared.operands, strict=True):
            for axis, (have, got) in enumerate(
                zip(inner.type.shape, outer.type.shape, strict=True)
            ):
                wanted = have.substitute(prepared.full)
                if wanted == got:
                    continue
                here = inner.span is not None and inner.span is not outer.span
                scope.require(
                    Relation("==", got, wanted),
                    f"`{inner.name}` of {prepared.name} needs {scope.resolve(wanted)} on axis "
                    f"{axis}, and {outer.type.substitute(scope.values)} has {scope.resolve(got)}",
                    labels=(Label(inner.span, "declared here"),) if here and inner.span else (),
                )
        here = () if scope.root else (scope.span,)
        for r in function.requirements:
            relation = r.relation.substitute(prepared.full)
            notes = values_in(r.reason, prepared.full, scope)
            found = divisibility(r.relation)
            division = found and (
                found[0].substitute(prepared.full),
                found[1].substitute(prepared.full),
            )
            if r.code is codes.PRECONDITION and not r.chain and r.span and not scope.root:
                reason = f"{r.reason} for {prepared.name}"
                labels = (Label(r.span, "stated here"),)
                scope.require(
                    relation, reason, r.code, labels=labels, notes=notes, division=division
                )
                continue
            scope.require(
                relation, r.reason, r.code, span=r.span, notes=notes, chain=(*r.chain, *here),
                division=division,
            )  # fmt: skip

    def append_call(
        self,
        e: Evaluator,
        prepared: Prepared,
        segment: Segmented | None,
        shared: Shared | None,
    ) -> AnyValue:
        scope, function = e.scope, prepared.function
        if shared is None:
            slot = self.child(e, prepared, segment)
            scope.slots.append(slot)
        else:
            slot = self.shared_child(e, prepared, shared)
        results = tuple(self.result(v, prepared.full, scope) for v in function.outputs)
        node = CallNode(
            slot, function, prepared.dims, prepared.operands, results, prepared.refs, scope.span
        )
        scope.append(node)
        if shared is not None:
            shared.used(node, self.sizes(e, prepared, shared))
        return self.structure(prepared, results)

    def structure(self, prepared: Prepared, results: tuple[Value, ...]) -> AnyValue:
        return rebuild(prepared.entry.result, list(results))

    def child(
        self,
        e: Evaluator,
        prepared: Prepared,
        segment: Segmented | None,
        count: Dim | None = None,
    ) -> ChildSlot:
        scope = e.scope
        name, numbered, index = segment or (snake(prepared.name), scope.loop > 0, None)
        path = scope.names.take(name, numbered or count is not None, index, scope.span)
        return ChildSlot(
            path, prepared.function, prepared.dims, prepared.statics, count, scope.span
        )

    def shared_child(self, e: Evaluator, prepared: Prepared, shared: Shared) -> Slot:
        scope = e.scope
        if shared.slot is None:
            owner = shared.scope
            path = owner.names.take(shared.name, shared.numbered, shared.index, shared.span)
            dims, statics = self.sizes(e, prepared, shared), prepared.statics
            if owner is not scope:
                statics = {k: detached(scope, v) for k, v in statics.items()}
            shared.slot = ChildSlot(path, prepared.function, dims, statics, None, shared.span)
            shared.function, shared.inference = prepared.function, scope.inference
            owner.function.slots.append(shared.slot)
            owner.instances.append(shared)
        elif shared.function is not prepared.function:
            self.same_weights(e, prepared, shared)
            if shared.inference != scope.inference:
                trained = prepared.function if shared.inference else shared.function
                assert trained is not None
                one_mode(scope, trained, shared.name)
        slot = shared_slot(e, shared)
        assert slot is not None
        return slot

    def sizes(self, e: Evaluator, prepared: Prepared, shared: Shared) -> dict[str, Dim]:
        """The dims of a call of a shared instance in the terms of the scope that owns it."""
        if shared.scope is e.scope:
            return prepared.dims
        if shared.slot is not None and shared.function is prepared.function:
            return {}  # they are those of the first use
        return {k: e.scope.consult(v) for k, v in prepared.dims.items()}

    def same_weights(self, e: Evaluator, prepared: Prepared, shared: Shared) -> None:
        assert shared.function is not None
        if shared.function.name != prepared.function.name:
            e.scope.fail(codes.SHAPE, f"`{shared.name}` would be two different definitions")

    def result(self, value: Value, full: dict[str, Dim], scope: Scope) -> Value:
        return Value(value.type.substitute(full), "", scope.span)

    # --- building ---

    def repeats(self, definition: ast.Definition) -> frozenset[str]:
        found = _REPEATED.get(id(definition))
        if found is None or found[0] is not definition:
            found = (definition, repeated_names(definition.body))
            _REPEATED[id(definition)] = found
        return found[1]

    # --- the rest ---

    def check_type(
        self, e: Evaluator, annotation: ast.Expr, value: AnyValue, code: Code, what: str
    ) -> None:
        from dlspec.elaborate.patterns import check_value

        check_value(e, annotation, value, code, what)

    def verb(self, e: Evaluator, statement: ast.Verb) -> None:
        if self.training is None or self.training.evaluator is not e:
            e.scope.fail(
                codes.TRAINING_FORM,
                f"`{statement.name}` stands in training sections only",
            )
        from dlspec.elaborate.training import read_verb

        read_verb(self.training, statement)


class Deeper:
    """One level further down in definitions."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __enter__(self) -> None:
        self.session.depth += 1

    def __exit__(self, *_: object) -> None:
        self.session.depth -= 1


_REPEATED: dict[int, tuple[ast.Definition, frozenset[str]]] = {}
