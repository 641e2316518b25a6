"""One elaboration: memoised instantiation of definitions, and everything they share."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Failure, Label
from dlspec.elaborate import static
from dlspec.elaborate.capture import Capture, detached, key_of
from dlspec.elaborate.expressions import Env, Evaluator, flatten
from dlspec.elaborate.files import target_names
from dlspec.elaborate.names import children, repeated_names, snake
from dlspec.elaborate.patterns import bind_input, check_output, fresh_inputs, is_literal
from dlspec.elaborate.scope import Names, Scope, divisibility, origin_of
from dlspec.elaborate.statements import execute, last_stage
from dlspec.elaborate.values import (
    UNKNOWN,
    Composed,
    DefinedLayer,
    Forked,
    Group,
    InitValue,
    Named_,
    Namespace,
    Repeated,
    Shared,
    Unknown,
    is_layer,
    is_tensor,
)
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import CallNode, ChildSlot, Function, Reference, Slot, Value
from dlspec.ir.static import Apply, Known, LayerArgument, ParamRef, Sequence
from dlspec.ops import registry
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
    training: Any = None  # the TrainingBuilder at work

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

    def free_scope(self, name: str) -> Scope:
        return Scope(Function(name, "block"), Names(frozenset()), root=True)

    # --- definitions ---

    def required_inputs(self, definition: ast.Definition) -> list[ast.Param]:
        return [p for p in definition.params if p.annotation is not None and p.default is None]

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
            bound = self.bind_arguments(e, layer, ())[1]
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

    def bind_arguments(
        self, e: Evaluator, layer: DefinedLayer, args: tuple[AnyValue, ...]
    ) -> tuple[dict[str, Value | None], dict[str, AnyValue]]:
        """Tensor inputs and static arguments by name. Point-free: inputs under "0", "1", …"""
        scope, definition = e.scope, layer.definition
        if definition.kind == "cell":
            scope.fail(
                codes.NOT_SUPPORTED, "cells are not supported yet", span=definition.name_span
            )
        rest = [*args, *layer.args]
        words = dict(layer.keywords)
        inputs: dict[str, Value | None] = {}
        declared = [p for p in definition.params if p.annotation is not None]
        if declared:
            self.bind_inputs(e, layer, declared, rest, words, inputs)
        else:
            leaves: list[Value] = []
            while rest and is_tensor(rest[0]):
                leaves.extend(flatten(rest.pop(0)))
            inputs = {str(k): leaf for k, leaf in enumerate(leaves)}
        names = [p.name for p in definition.params if p.annotation is None]
        if len(rest) > len(names):
            scope.fail(
                codes.BAD_ARGUMENT,
                f"{definition.name} has no place for {static.describe(rest[len(names)])}",
                span=layer.places.of(len(names), len(rest)),
                help=takes(definition),
            )
        given = dict(zip(names, rest, strict=False))
        for name, value in words.items():
            if name not in names:
                known = tuple(p.name for p in definition.params)
                place = layer.places.words.get(name)
                e.applier.unknown_argument(definition.name, name, known, place)
            if name in given:
                message = f"`{name}` of {definition.name} is given twice"
                scope.fail(codes.BAD_ARGUMENT, message, span=layer.places.words.get(name))
            given[name] = value
        for param in definition.params:
            if param.annotation is None and param.name not in given and param.default is None:
                message = f"{definition.name} needs `{param.name}`"
                scope.fail(codes.MISSING_ARGUMENT, message, help=takes(definition))
        return inputs, given

    def bind_inputs(
        self,
        e: Evaluator,
        layer: DefinedLayer,
        declared: list[ast.Param],
        rest: list[AnyValue],
        words: dict[str, AnyValue],
        inputs: dict[str, Value | None],
    ) -> None:
        scope, definition = e.scope, layer.definition
        count = len(rest)
        for param in declared:
            value: AnyValue = None
            place = layer.places.words.get(param.name)
            if param.name in words:
                value = words.pop(param.name)
            elif param.default is None:
                if not rest:
                    scope.fail(
                        codes.MISSING_ARGUMENT,
                        f"{definition.name} needs the tensor `{param.name}`",
                    )
                place = layer.places.of(count - len(rest), count)
                value = rest.pop(0)
            else:
                value = Evaluator(self, e.module, scope, Env()).evaluate(param.default)
            if static.raw(value) is None:
                if param.default is None:
                    scope.fail(codes.BAD_ARGUMENT, f"`{param.name}` of {definition.name} is none")
                inputs[param.name] = None
                continue
            if isinstance(value, Group | Sequence) or is_layer(value):
                scope.fail(
                    codes.BAD_ARGUMENT,
                    f"`{param.name}` of {definition.name} needs a tensor, "
                    f"not {static.describe(value)}",
                    span=place,
                )
            with scope.at(place or scope.span):
                inputs[param.name] = e.tensor(value)

    # --- application ---

    def apply_defined(
        self,
        e: Evaluator,
        layer: DefinedLayer,
        args: tuple[AnyValue, ...],
        segment: Segmented | None,
        shared: Shared | None = None,
    ) -> AnyValue:
        prepared = self.prepare(e, layer, args)
        if prepared is None:
            return UNKNOWN
        return self.append_call(e, prepared, segment, shared)

    def apply_anonymous(
        self,
        e: Evaluator,
        layer: Composed | Forked,
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
        definition, scope = layer.definition, e.scope
        self.reached.add(id(definition))
        if self.broken(definition):
            return None
        inputs, given = self.bind_arguments(e, layer, args)
        present = [v for v in inputs.values() if v is not None]
        if not present and not inputs:
            scope.fail(codes.MISSING_ARGUMENT, f"{definition.name} needs a tensor")
        key = (
            id(definition),
            tuple((k, key_of(v, scope)) for k, v in sorted(given.items())),
            tuple((k, v and (v.type.rank, v.type.dtype)) for k, v in inputs.items()),
        )
        build = lambda: self.build(e, layer, inputs, given)  # noqa: E731
        return self.settle(e, key, given, inputs, definition.name, build)

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
            name,
            key_of(layer, e.scope),
            tuple((v.type.rank, v.type.dtype) for v in inputs.values() if v is not None),
        )
        build = lambda: self.build_anonymous(e, layer, inputs, name)  # noqa: E731
        return self.settle(e, key, given, inputs, camel(name), build)

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
        refs = tuple(e.applier.shared_slot(s) for s in entry.shared)
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
        scope.append(
            CallNode(
                slot, function, prepared.dims, prepared.operands, results, prepared.refs, scope.span
            )
        )
        return self.structure(prepared, results)

    def structure(self, prepared: Prepared, results: tuple[Value, ...]) -> AnyValue:
        result = prepared.entry.result
        if isinstance(result, Group):
            return Group(results, result.is_list, result.names)
        return results[0]

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
            dims, statics = prepared.dims, prepared.statics
            if owner is not scope:
                dims = {k: scope.consult(v) for k, v in dims.items()}
                statics = {k: detached(scope, v) for k, v in statics.items()}
            shared.slot = ChildSlot(path, prepared.function, dims, statics, None, shared.span)
            shared.function = prepared.function
            owner.function.slots.append(shared.slot)
        elif shared.function is not prepared.function:
            self.same_weights(e, prepared, shared)
        slot = e.applier.shared_slot(shared)
        assert slot is not None
        return slot

    def same_weights(self, e: Evaluator, prepared: Prepared, shared: Shared) -> None:
        assert shared.function is not None
        if shared.function.name != prepared.function.name:
            e.scope.fail(codes.SHAPE, f"`{shared.name}` would be two different definitions")

    def result(self, value: Value, full: dict[str, Dim], scope: Scope) -> Value:
        return Value(value.type.substitute(full), "", scope.span)

    # --- building ---

    def build(
        self,
        caller: Evaluator,
        layer: DefinedLayer,
        inputs: dict[str, Value | None],
        given: dict[str, AnyValue],
    ) -> Entry:
        definition = layer.definition
        kind = "model" if definition.kind == "model" else "block"
        function = Function(definition.name, kind, doc=definition.doc, span=definition.name_span)
        function.specialisation = self.counts.get(definition.name, 0)
        self.counts[definition.name] = function.specialisation + 1
        names = Names(self.repeats(definition))
        scope = Scope(function, names, chain=caller.scope.calls)
        e = Evaluator(self, layer.module, scope, Env())
        entry = Entry(function, {}, UNKNOWN, {}, scope.shared_uses)
        errors = self.diagnostics.told
        try:
            with scope.at(definition.name_span):
                self.enter(caller, e, definition, inputs, given, entry)
                entry.early = False
                entry.result = self.run_body(e, definition, entry)
        except Failure as failure:
            self.report(failure)
        entry.consulted = {s: scope.candidates[s] for s in sorted(scope.consulted)}
        if self.diagnostics.told > errors:
            entry.result = UNKNOWN
        return entry

    def repeats(self, definition: ast.Definition) -> frozenset[str]:
        found = _REPEATED.get(id(definition))
        if found is None or found[0] is not definition:
            found = (definition, repeated_names(definition.body))
            _REPEATED[id(definition)] = found
        return found[1]

    def enter(
        self,
        caller: Evaluator,
        e: Evaluator,
        definition: ast.Definition,
        inputs: dict[str, Value | None],
        given: dict[str, AnyValue],
        entry: Entry,
    ) -> None:
        """Bind parameters and inputs in the new scope, in the language's order."""
        scope, env = e.scope, e.env
        layers: list[str] = []
        for param in definition.params:
            if param.annotation is not None:
                continue
            if is_literal(param.default):
                entry.function.defaults[param.name] = e.evaluate(param.default)
            if param.name in given:
                if contains_layer(given[param.name]):
                    layers.append(param.name)
                else:
                    env.names[param.name] = enter_static(
                        scope, param.name, given[param.name], caller.scope
                    )
            elif param.name in entry.function.defaults:
                value = entry.function.defaults[param.name]
                env.names[param.name] = enter_static(scope, param.name, value)
        bind_input(e, caller.scope, definition, inputs)
        capture = Capture(caller.scope, scope)
        for name in layers:
            env.names[name] = capture.value(given[name], name)
            entry.function.statics[name] = LayerArgument(name, key_of(given[name], caller.scope))
        for param in definition.params:
            if param.annotation is None and param.name not in env.names and param.default:
                env.names[param.name] = self.enter_default(e, param, entry)
        for condition in definition.where:
            self.precondition(e, condition)

    def enter_default(self, e: Evaluator, param: ast.Param, entry: Entry) -> AnyValue:
        """A default that depends on dims or other parameters."""
        assert param.default is not None
        value = e.evaluate(param.default)
        if isinstance(value, Dim) and not value.is_const:
            known = e.scope.peek(value)
            if known is None:
                return value
            e.scope.consult(value)
            entry.defaults[param.name] = value
            symbol = e.scope.define_param(param.name, known)
            entry.function.statics[param.name] = symbol
            return symbol
        if is_layer(value) or isinstance(value, InitValue | Group):
            return value
        entry.function.defaults[param.name] = value
        return enter_static(e.scope, param.name, value)

    def precondition(self, e: Evaluator, condition: ast.Expr) -> None:
        """`where …`: the caller must prove it, the body may use it."""
        for part in conjuncts(condition):
            with e.scope.at(part.span):
                relation = relation_of(e, part)
                if relation is None:
                    if not static.truth(e.scope, e.evaluate(part)):
                        e.scope.fail(
                            codes.PRECONDITION, f"the precondition `{part.span.text}` fails"
                        )
                    continue
                e.scope.require(
                    relation,
                    f"the precondition `{part.span.text}` does not hold",
                    codes.PRECONDITION,
                )
                e.scope.assume(relation)

    def run_body(self, e: Evaluator, definition: ast.Definition, entry: Entry) -> AnyValue:
        body = definition.body
        if isinstance(body, tuple):
            found = execute(e, body)
            if found is None:
                e.scope.fail(codes.MIXED_DEFINITION, f"{definition.name} returns nothing")
            value, place = found.value, found.span
        else:
            value, place = e.evaluate(body), last_stage(body)
        if isinstance(value, Unknown):
            return UNKNOWN
        if not any(p.annotation is not None for p in definition.params):
            with e.scope.at(place):
                layer = e.applier.as_layer(value)
                value = e.applier.apply(strip(layer), e.scope.function.inputs, {}, None)
        with e.scope.at(place):
            return self.finish(e, definition, value, entry.function)

    def finish(
        self, e: Evaluator, definition: ast.Definition | None, value: AnyValue, function: Function
    ) -> AnyValue:
        """Outputs of the function, checked against the declared type."""
        if isinstance(value, Unknown):
            return UNKNOWN
        if not is_tensor(value):
            e.scope.fail(
                codes.MIXED_DEFINITION,
                f"{function.name} must return a tensor, not {static.describe(value)}",
                help="apply the layer to an input: x -> …" if is_layer(value) else "",
            )
        leaves = [e.tensor(leaf) for leaf in flatten(value)]
        if isinstance(value, Group) and any(isinstance(i, Group | Sequence) for i in value.items):
            e.scope.fail(codes.NOT_SUPPORTED, "nested outputs are not supported yet")
        if definition is not None and definition.output is not None:
            value = check_output(e, definition.output, value, leaves)
        function.outputs = tuple(leaves)
        function.output_names = value.names if isinstance(value, Group) else ()
        return value

    def build_anonymous(
        self,
        caller: Evaluator,
        layer: LayerValue,
        inputs: dict[str, Value | None],
        name: str,
    ) -> Entry:
        function = Function(camel(name), "layer", span=layer.span)
        function.specialisation = self.counts.get(function.name, 0)
        self.counts[function.name] = function.specialisation + 1
        scope = Scope(function, Names(repeated_stages(layer)), chain=caller.scope.calls)
        e = Evaluator(self, caller.module, scope, Env())
        entry = Entry(function, {}, UNKNOWN, {}, scope.shared_uses)
        errors = self.diagnostics.told
        try:
            with scope.at(layer.span):
                fresh_inputs(scope, caller.scope, [v for v in inputs.values() if v is not None])
                entry.early = False
                own = function.inputs
                inner = Capture(caller.scope, scope).layer(layer, "layer")
                value = e.applier.apply(inner, own, {}, None)
                entry.result = self.finish(e, None, value, function)
        except Failure as failure:
            self.report(failure)
        entry.consulted = {s: scope.candidates[s] for s in sorted(scope.consulted)}
        if self.diagnostics.told > errors:
            entry.result = UNKNOWN
        return entry

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
        self.training.verb(statement)

    def measure(
        self,
        e: Evaluator,
        name: str,
        args: tuple[AnyValue, ...],
        keywords: dict[str, AnyValue],
    ) -> AnyValue:
        """`params(Model(…))`, `macs(Model(…), H = 224)` in tests; keywords size open dims."""
        from dlspec.elaborate.entry import open_function, split_sizes
        from dlspec.summary import summarise

        if len(args) != 1 or not is_layer(args[0]):
            e.scope.fail(codes.BAD_ARGUMENT, f"{name} takes one model: {name}(Model(classes = 10))")
        layer = strip(args[0])
        if not isinstance(layer, DefinedLayer):
            e.scope.fail(codes.BAD_ARGUMENT, f"{name} takes a model or a block with typed inputs")
        given = {k: e.scope.known(static.integer(e.scope, v, k)) for k, v in keywords.items()}
        rest, sizes = split_sizes(layer.definition, given)
        for unknown in rest:
            e.scope.fail(
                codes.BAD_ARGUMENT, f"{layer.definition.name} has no open dim `{unknown}`"
            )
        found = open_function(self, layer, sizes)
        if found is None:
            return UNKNOWN
        summary = summarise(found.function)
        return summary.params if name == "params" else summary.macs


class Deeper:
    """One level further down in definitions."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __enter__(self) -> None:
        self.session.depth += 1

    def __exit__(self, *_: object) -> None:
        self.session.depth -= 1


_REPEATED: dict[int, tuple[ast.Definition, frozenset[str]]] = {}


def takes(definition: ast.Definition) -> str:
    names = ", ".join(p.name for p in definition.params)
    return f"{definition.name} takes {names or 'nothing'}"


def strip(layer: AnyValue) -> AnyValue:
    while isinstance(layer, Named_):
        layer = layer.layer
    return layer


def contains_layer(value: AnyValue) -> bool:
    """Whether a static argument carries more than static values."""
    if isinstance(value, Group):
        return True
    return is_layer(value) or isinstance(value, InitValue | Value)


def enter_static(scope: Scope, name: str, value: AnyValue, caller: Scope | None = None) -> AnyValue:
    """A static argument as a parameter of the definition; its symbols are the caller's."""
    caller = caller or scope
    statics = scope.function.statics
    if isinstance(value, Dim):
        statics[name] = scope.define_param(name, caller.known(value))
        return statics[name]
    if isinstance(value, Sequence):
        entered = enter_items(scope, ParamRef(name), value, caller)
        statics[name] = entered
        return entered
    if isinstance(value, InitValue) or is_layer(value):
        return value
    plain = static.raw(value)
    statics[name] = plain
    return Known(plain, ParamRef(name))


def enter_items(scope: Scope, origin: Any, value: Sequence, caller: Scope) -> Sequence:
    items: list[Any] = []
    for i, item in enumerate(value.items):
        where = Apply("index", (origin, Dim.const(i)))
        if isinstance(item, Dim):
            items.append(scope.derive(where, caller.known(item)))
        elif isinstance(item, Sequence):
            items.append(enter_items(scope, where, item, caller))
        else:
            items.append(Known(static.raw(item), where))
    return Sequence(tuple(items), origin, value.is_list)


WORD = re.compile(r"[A-Za-z_]\w*")


def values_in(message: str, full: dict[str, Dim], scope: Scope) -> tuple[str, ...]:
    """The values that the symbols of a callee's message have at a call."""
    found: list[str] = []
    for word in dict.fromkeys(WORD.findall(message)):
        if word in full:
            value = scope.resolve(full[word])
            if str(value) != word:
                found.append(f"{word} = {value}")
    return (f"here {', '.join(found)}",) if found else ()


def move(value: AnyValue, full: dict[str, Dim]) -> AnyValue:
    return value.substitute(full) if isinstance(value, Dim) else value


def translate(scope: Scope, origin: Any, statics: dict[str, AnyValue]) -> AnyValue:
    """A callee's derived value in the caller's terms, where its arguments have some."""
    if isinstance(origin, ParamRef):
        return statics.get(origin.name, UNKNOWN)
    if isinstance(origin, Dim):
        known = {s: statics[s] for s in origin.symbols if isinstance(statics.get(s), Dim)}
        return origin.substitute(known) if len(known) == len(origin.symbols) else UNKNOWN
    if not isinstance(origin, Apply):
        return origin
    args = [translate(scope, a, statics) for a in origin.args]
    if any(isinstance(a, Unknown) for a in args):
        return UNKNOWN
    if origin.op == "index" and isinstance(args[0], Sequence) and isinstance(args[1], Dim):
        at = scope.peek(args[1])
        return UNKNOWN if at is None else args[0].items[at]
    if origin.op in static.STATIC_NAMES:
        return static.call(scope, origin.op, args)
    if origin.op in static.ARITHMETIC or origin.op == "**":
        return static.binary(scope, origin.op, args[0], args[1])
    return UNKNOWN


def bare(dim: Dim, function: Function) -> str | None:
    """The dim symbol that an extent is, if it is nothing else."""
    if len(dim.symbols) != 1:
        return None
    (name,) = dim.symbols
    known = function.symbols.get(name)
    if known is None or known.kind != "dim" or dim != Dim.symbol(name):
        return None
    return name


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def repeated_stages(layer: LayerValue) -> frozenset[str]:
    seen: set[str] = set()
    twice: set[str] = set()
    todo: list[Any] = [layer]
    while todo:
        item = todo.pop()
        if isinstance(item, Composed):
            todo.extend(item.stages)
        elif isinstance(item, Forked):
            todo.extend(item.branches)
        else:
            name = default_segment(item)
            (twice if name in seen else seen).add(name)
    return frozenset(twice)


def default_segment(layer: LayerValue) -> str:
    if isinstance(layer, Named_):
        return layer.segment
    if isinstance(layer, DefinedLayer):
        return snake(layer.definition.name)
    if isinstance(layer, Repeated):
        return default_segment(layer.layer)
    return getattr(getattr(layer, "builtin", None), "name", "repeat")


def conjuncts(expr: ast.Expr) -> list[ast.Expr]:
    if isinstance(expr, ast.Binary) and expr.op == "and":
        return [*conjuncts(expr.left), *conjuncts(expr.right)]
    return [expr]


def relation_of(e: Evaluator, expr: ast.Expr) -> Relation | None:
    """A comparison of integers as a relation; None for any other condition."""
    if not isinstance(expr, ast.Binary) or expr.op not in static.COMPARISONS:
        return None
    left, right = e.evaluate(expr.left), e.evaluate(expr.right)
    if isinstance(left, Dim) and isinstance(right, Dim):
        return Relation(expr.op, left, right)  # type: ignore[arg-type]
    return None


def is_static_body(
    definition: ast.Definition, module: Module, seen: frozenset[int] = frozenset()
) -> bool:
    """Whether a body has no layer in it, by its text."""
    params = {p.name for p in definition.params}
    seen |= {id(definition)}
    body = definition.body
    todo: list[object] = list(body) if isinstance(body, tuple) else [body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Pipe | ast.As):
            return False
        if isinstance(node, ast.Call):
            if not isinstance(node.callee, ast.Name) or not node.args:
                return False
            name = node.callee.id
            if name not in static.STATIC_NAMES and not calls_static(name, module, seen):
                return False
            todo.extend(node.args)
            continue
        if isinstance(node, ast.Name) and node.id not in params and registry.find(node.id):
            return False
        if isinstance(node, ast.Name) and isinstance(module.names.get(node.id), ast.Definition):
            return False
        todo.extend(children(node))
    return True


def calls_static(name: str, module: Module, seen: frozenset[int]) -> bool:
    if name in module.imported:
        module, name = module.imported[name]
    item = module.names.get(name)
    if not isinstance(item, ast.Definition):
        return False
    if any(p.annotation is not None for p in item.params):
        return False
    return id(item) in seen or is_static_body(item, module, seen)


__all__ = ["Diagnostic", "Entry", "Prepared", "Reference", "Session", "origin_of"]
