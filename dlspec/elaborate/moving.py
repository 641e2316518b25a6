"""Static values on their way between the scopes of a caller and a callee."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dlspec.elaborate import static
from dlspec.elaborate.values import UNKNOWN, Group, InitValue, Unknown, is_layer
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Value
from dlspec.ir.static import Apply, Known, ParamRef, Sequence

if TYPE_CHECKING:
    from dlspec.elaborate.scope import Scope
    from dlspec.elaborate.values import AnyValue
    from dlspec.ir.graph import Function


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
