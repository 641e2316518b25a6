"""Layers as arguments: what they carry from the scope they were written in.

A layer given to a block may hold tensors, static values and shared instances of the caller. In
the block these become inputs, parameters and references of its own, so that nothing of the
caller's scope leaks into it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.values import (
    Adjusted,
    BuiltinLayer,
    Chosen,
    Composed,
    DefinedLayer,
    Forked,
    Group,
    Named_,
    Repeated,
    Scanned,
    Shared,
    is_layer,
)
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Value
from dlspec.ir.static import Known, ParamRef, Sequence
from dlspec.ir.types import TensorType

if TYPE_CHECKING:
    from dlspec.elaborate.scope import Scope
    from dlspec.elaborate.values import AnyValue, LayerValue


class Capture:
    """Moves values from a caller's scope into a callee's, keeping both sides in order."""

    def __init__(self, caller: Scope, callee: Scope) -> None:
        self.caller = caller
        self.callee = callee
        self.statics: dict[str, AnyValue] = {}  # hidden parameter -> the caller's value
        self.dims: dict[str, Dim] = {}  # hidden dim symbol -> the caller's dim
        self.tensors: list[tuple[Value, Value]] = []  # (hidden input, the caller's tensor)

    def fresh(self, hint: str) -> str:
        function = self.callee.function
        taken = set(function.symbols) | set(function.statics) | {v.name for v in function.inputs}
        name, k = hint, 2
        while name in taken:
            name, k = f"{hint}_{k}", k + 1
        return name

    def value(self, value: AnyValue, hint: str) -> AnyValue:
        if is_layer(value):
            return self.layer(value, hint)
        if isinstance(value, Dim):
            return self.dim(value, hint)
        if isinstance(value, Known):
            name = self.fresh(hint)
            self.statics[name] = value
            self.callee.function.statics[name] = value.value
            return Known(value.value, ParamRef(name))
        if isinstance(value, Value):
            return self.tensor(value, hint)
        if isinstance(value, Sequence):
            if not static.has_origin(value):
                return value
            items = tuple(self.value(v, f"{hint}_{i}") for i, v in enumerate(value.items))
            return Sequence(items, None, value.is_list)
        if isinstance(value, Group):
            items = tuple(self.value(v, f"{hint}_{i}") for i, v in enumerate(value.items))
            return Group(items, value.is_list, value.names)
        return value

    def dim(self, value: Dim, hint: str) -> Dim:
        if value.is_const:
            return value
        name = self.fresh(hint)
        known = self.caller.consult(value)
        if known.is_const:
            self.statics[name] = value
            symbol = self.callee.define_param(name, known.value)
            self.callee.function.statics[name] = symbol
            return symbol
        self.dims[name] = value
        return self.callee.define_dim(name, None)

    def tensor(self, value: Value, hint: str) -> Value:
        name = self.fresh(value.name or hint)
        shape: list[Dim] = []
        for axis, extent in enumerate(value.type.shape):
            if extent.is_const:
                shape.append(extent)
                continue
            symbol = f"{name}_{axis}"
            self.dims[symbol] = extent
            shape.append(self.callee.define_dim(symbol, self.caller.peek(extent)))
        inner = Value(TensorType(value.type.dtype, tuple(shape)), name, value.span)
        self.callee.function.inputs = (*self.callee.function.inputs, inner)
        self.tensors.append((inner, value))
        return inner

    def layer(self, layer: LayerValue, hint: str) -> LayerValue:
        match layer:
            case BuiltinLayer():
                args = tuple(self.value(a, f"{hint}_{i}") for i, a in enumerate(layer.args))
                words = tuple((k, self.value(v, k)) for k, v in layer.keywords)
                return BuiltinLayer(layer.builtin, args, words, layer.span, layer.places)
            case DefinedLayer():
                return replace(layer, **self.given(layer, hint))
            case Composed():
                return Composed(tuple(self.layer(s, hint) for s in layer.stages), layer.span)
            case Forked():
                return Forked(tuple(self.layer(s, hint) for s in layer.branches), layer.span)
            case Repeated():
                count: Any = self.value(layer.count, f"{hint}_count")
                return Repeated(count, self.layer(layer.layer, hint), layer.span)
            case Scanned():
                held = {k: self.value(getattr(layer, k), k) for k in ("lengths", "mask")}
                return replace(layer, layer=self.layer(layer.layer, hint), **held)
            case Named_():
                inner = self.layer(layer.layer, hint)
                return Named_(inner, layer.segment, layer.index, layer.span, layer.numbered)
            case Chosen():
                return self.layer(layer.layer, hint)
            case Shared():
                return layer
            case Adjusted():
                return replace(layer, **self.given(layer, hint))

    def given(self, layer: DefinedLayer | Adjusted, hint: str) -> dict[str, Any]:
        """The arguments of a definition, by the names of its parameters."""
        names: list[str] = []
        if isinstance(layer, DefinedLayer):
            names += [p.name for p in layer.definition.params if p.annotation is None]
        names += [f"{hint}_{i}" for i in range(len(layer.args))]
        args = tuple(self.value(a, n) for a, n in zip(layer.args, names, strict=False))
        return {"args": args, "keywords": tuple((k, self.value(v, k)) for k, v in layer.keywords)}


def detached(scope: Scope, value: AnyValue) -> AnyValue:
    """A value of a scope without that scope's symbols, for use elsewhere."""

    def inner(part: AnyValue) -> AnyValue:
        return detached(scope, part)

    match value:
        case Dim():
            return scope.consult(value)
        case Known():
            return value.value
        case Sequence():
            return Sequence(tuple(map(inner, value.items)), None, value.is_list)
        case Value():
            scope.fail(
                codes.NOT_SUPPORTED, "a shared layer that holds a tensor is not supported elsewhere"
            )
        case BuiltinLayer():
            words = tuple((k, inner(v)) for k, v in value.keywords)
            return BuiltinLayer(value.builtin, tuple(map(inner, value.args)), words, value.span)
        case DefinedLayer():
            words = tuple((k, inner(v)) for k, v in value.keywords)
            args = tuple(map(inner, value.args))
            return DefinedLayer(value.definition, value.module, args, words, value.span)
        case Composed():
            return Composed(tuple(map(inner, value.stages)), value.span)
        case Forked():
            return Forked(tuple(map(inner, value.branches)), value.span)
        case Repeated():
            return Repeated(inner(value.count), inner(value.layer), value.span)
        case Scanned():
            held = {k: inner(getattr(value, k)) for k in ("lengths", "mask")}
            return replace(value, layer=inner(value.layer), **held)
        case Named_():
            layer = inner(value.layer)
            return Named_(layer, value.segment, value.index, value.span, value.numbered)
        case Chosen():
            return inner(value.layer)
        case Adjusted():
            words = tuple((k, inner(v)) for k, v in value.keywords)
            return replace(value, args=tuple(map(inner, value.args)), keywords=words)
        case _:
            return value


def key_of(value: AnyValue, scope: Scope) -> object:
    """What makes two static arguments the same for a definition."""
    if isinstance(value, Dim):
        found = scope.consult(value)
        return ("int", found.value) if found.is_const else ("dim", str(found))
    if isinstance(value, Known):
        return (type(value.value).__name__, value.value)
    if isinstance(value, Value):
        return ("tensor", value.type.rank, value.type.dtype)
    if isinstance(value, Sequence | Group):
        return (value.is_list, tuple(key_of(v, scope) for v in value.items))
    match value:
        case BuiltinLayer():
            return (value.builtin.name, *_arguments(value, scope))
        case DefinedLayer():
            return (id(value.definition), *_arguments(value, scope))
        case Composed():
            return ("->", *(key_of(s, scope) for s in value.stages))
        case Forked():
            return ("fork", *(key_of(s, scope) for s in value.branches))
        case Repeated():
            return ("repeat", key_of(value.count, scope), key_of(value.layer, scope))
        case Scanned():
            parts = (value.lengths, value.mask, value.layer)
            flags = (value.reverse, value.final, value.both)
            return ("scan", *flags, *(key_of(p, scope) for p in parts))
        case Named_():
            return (value.segment, value.index, value.numbered, key_of(value.layer, scope))
        case Chosen():
            return key_of(value.layer, scope)
        case Shared():
            return ("shared", id(value))
        case Adjusted():
            return ("shared", id(value.shared), *_arguments(value, scope))
        case _:
            return (type(value).__name__, value)


def _arguments(layer: BuiltinLayer | DefinedLayer | Adjusted, scope: Scope) -> tuple[object, ...]:
    args = tuple(key_of(a, scope) for a in layer.args)
    words = tuple((k, key_of(v, scope)) for k, v in layer.keywords)
    return (args, words)
