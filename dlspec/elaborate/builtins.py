"""Built-ins applied, and their arguments: tensors, static values of their kinds, initialisers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate import static
from dlspec.elaborate.callees import signature
from dlspec.elaborate.names import snake
from dlspec.elaborate.scope import LayerFrame
from dlspec.elaborate.sharing import own_shared_slot, shared_slot
from dlspec.elaborate.values import (
    BuiltinLayer,
    Group,
    InitValue,
    Named_,
    Places,
    is_tensor,
)
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Init, Metric, Value
from dlspec.ir.inits import DISTRIBUTIONS, INIT_KINDS, MODES
from dlspec.ir.static import Sequence
from dlspec.ops.base import REQUIRED, Builtin, StaticParam

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.values import AnyValue, Shared
    from dlspec.source import Span

Segmented = tuple[str, bool, "int | None"]


def initialiser(
    e: Evaluator, kind: str, args: tuple[AnyValue, ...], keywords: dict[str, AnyValue]
) -> InitValue:
    scope = e.scope
    known = INIT_KINDS[kind]
    if len(args) > len(known):
        scope.fail(codes.BAD_ARGUMENT, f"{kind} takes {len(known)} arguments, not {len(args)}")
    given = dict(zip(known, args, strict=False))
    for name, value in keywords.items():
        if name not in known:
            unknown_argument(e, kind, name, tuple(known))
        given[name] = value
    words = {k: word(e, kind, k, given.pop(k)) for k in ("mode", "distribution") if k in given}
    numbers = {k: float(static.number(scope, v, f"{kind}")) for k, v in given.items()}
    if kind == "variance_scaling":
        return variance_scaling(e, numbers.get("scale", 1.0), **words)
    defaults = ((k, d) for k, d in known.items() if isinstance(d, float))
    return InitValue(Init(kind, tuple((k, numbers.get(k, d)) for k, d in defaults)))


def word(e: Evaluator, kind: str, name: str, value: AnyValue) -> str:
    """A choice of `variance_scaling`."""
    found = static.raw(value)
    choices = MODES if name == "mode" else DISTRIBUTIONS
    if not isinstance(found, str) or found not in choices:
        offered = ", ".join(f'"{choice}"' for choice in choices)
        e.scope.fail(codes.BAD_ARGUMENT, f"`{name}` of {kind} is one of {offered}")
    return found


def variance_scaling(
    e: Evaluator, scale: float, mode: str = MODES[0], distribution: str = DISTRIBUTIONS[0]
) -> InitValue:
    if scale <= 0:
        e.scope.fail(codes.BAD_ARGUMENT, f"the scale of a variance is above 0, not {scale:g}")
    kind = f"variance_scaling_{mode}_{distribution}"
    return InitValue(Init(kind, (("gain", math.sqrt(scale)),)))


def unknown_argument(
    e: Evaluator, callee: str, name: str, known: tuple[str, ...], place: Span | None = None
) -> NoReturn:
    listed = f"{callee} takes {', '.join(known)}" if known else f"{callee} takes none"
    e.scope.fail(
        codes.BAD_ARGUMENT,
        f"{callee} has no argument `{name}`",
        span=place,
        help=close_to(name, known) or listed,
    )


def as_initialiser(e: Evaluator, value: AnyValue, callee: str) -> InitValue:
    while isinstance(value, Named_):
        value = value.layer
    if isinstance(value, InitValue):
        return value
    if isinstance(value, BuiltinLayer) and value.builtin.name in INIT_KINDS:
        return initialiser(e, value.builtin.name, value.args, dict(value.keywords))
    e.scope.fail(
        codes.BAD_ARGUMENT,
        f"`init` of {callee} needs an initialiser, not {static.describe(value)}",
        help=f"the initialisers are {', '.join(INIT_KINDS)}",
    )


def bind_builtin(
    e: Evaluator,
    builtin: Builtin,
    args: tuple[AnyValue, ...],
    keywords: dict[str, AnyValue],
    places: Places,
) -> tuple[dict[str, Any], dict[str, Any]]:
    tensors: dict[str, Any] = {}
    rest = bind_tensors(e, builtin, args, keywords, tensors, places)
    for name in builtin.optional:
        value = keywords.pop(name, None)
        place = places.words.get(name)
        found = None if static.raw(value) is None else one(e, builtin, name, value, place)
        tensors[name] = found
    statics = bind_statics(e, builtin, rest, keywords, places)
    return tensors, statics


def bind_tensors(
    e: Evaluator,
    builtin: Builtin,
    args: tuple[AnyValue, ...],
    keywords: dict[str, AnyValue],
    tensors: dict[str, Any],
    places: Places,
) -> list[AnyValue]:
    from dlspec.elaborate.expressions import flatten

    scope = e.scope
    rest = list(args)
    if builtin.tensors and builtin.tensors[0].startswith("*"):
        found, rest = variadic(e, rest)
        if not found:
            scope.fail(codes.MISSING_ARGUMENT, f"{builtin.name} needs tensors")
        tensors[builtin.tensors[0]] = found
        return rest
    like = scalar_like(builtin, args, keywords)
    for given in builtin.tensors:
        name = given.removeprefix("*")
        if name in keywords:
            value, place = keywords.pop(name), places.words.get(name)
        elif rest:
            place = places.of(len(args) - len(rest), len(args))
            value = rest.pop(0)
        else:
            scope.fail(codes.MISSING_ARGUMENT, f"{builtin.name} needs the tensor `{name}`")
        if given == name:
            tensors[name] = one(e, builtin, name, value, place, like)
            continue
        several = flatten(value) if isinstance(value, Group) and is_tensor(value) else [value]
        tensors[given] = tuple(one(e, builtin, name, v, place, like) for v in several)
    return rest


def variadic(e: Evaluator, rest: list[AnyValue]) -> tuple[tuple[Value, ...], list[AnyValue]]:
    from dlspec.elaborate.expressions import flatten

    found: list[Value] = []
    first = next((i for i, v in enumerate(rest) if is_tensor(v)), 0)  # einsum("ij,jk", a, b)
    leading, rest = rest[:first], rest[first:]
    while rest and is_tensor(rest[0]):
        found.extend(flatten(rest.pop(0)))
    return tuple(found), [*leading, *rest]


def one(
    e: Evaluator,
    builtin: Builtin,
    name: str,
    value: AnyValue,
    place: Span | None = None,
    like: Value | None = None,
) -> Value:
    scope = e.scope
    if isinstance(value, Value):
        return value
    if isinstance(static.raw(value), Dim | float) and name in builtin.scalars:
        return scope.constant(value, like)
    what = static.describe(value)
    help = ""
    if isinstance(value, Group):
        help = "take one of its tensors, or concat them"
    message = f"`{name}` of {builtin.name} needs a tensor, not {what}"
    scope.fail(codes.BAD_ARGUMENT, message, span=place, help=help)


def bind_statics(
    e: Evaluator,
    builtin: Builtin,
    rest: list[AnyValue],
    keywords: dict[str, AnyValue],
    places: Places,
) -> dict[str, Any]:
    scope = e.scope
    if builtin.statics and builtin.statics[0].name.startswith("*"):
        return variadic_statics(e, builtin, rest, keywords, places)
    names = [p.name for p in builtin.statics if not p.name.startswith("**")]
    others = next((p for p in builtin.statics if p.name.startswith("**")), None)
    named: dict[str, AnyValue] = {}
    if len(rest) > len(names):
        scope.fail(
            codes.BAD_ARGUMENT,
            f"{builtin.name} has no place for {static.describe(rest[len(names)])}",
            span=places.of(len(names), len(rest)),
            help=f"{builtin.name} takes {signature(builtin)}",
        )
    given = dict(zip(names, rest, strict=False))
    for name, value in keywords.items():
        place = places.words.get(name)
        if name not in names and others is not None:
            named[name] = static_argument(
                e, builtin, replace(others, name=name), keywords, {name: place}
            )
            continue
        if name not in names:
            known = (*builtin.tensors, *builtin.optional, *names)
            unknown_argument(e, builtin.name, name, known, place)
        if name in given:
            message = f"`{name}` of {builtin.name} is given twice"
            scope.fail(codes.BAD_ARGUMENT, message, span=place)
        given[name] = value
    spots = {n: places.of(i, len(rest)) for i, n in enumerate(names[: len(rest)])}
    spots.update(places.words)
    found = {
        p.name: static_argument(e, builtin, p, given, spots)
        for p in builtin.statics
        if p is not others
    }
    return found if others is None else {**found, others.name: named}


def variadic_statics(
    e: Evaluator,
    builtin: Builtin,
    rest: list[AnyValue],
    keywords: dict[str, AnyValue],
    places: Places,
) -> dict[str, Any]:
    """`transpose(0, 2, 1)`: any number of values for the one parameter."""
    (param,) = builtin.statics
    if keywords:
        first = next(iter(keywords))
        unknown_argument(e, builtin.name, first, builtin.tensors, places.words.get(first))
    for at, value in enumerate(rest):
        if not fits(value, (*param.kinds, "ints")):
            e.scope.fail(
                codes.BAD_ARGUMENT,
                f"{builtin.name} takes {wanted(param.kinds)}, not {static.describe(value)}",
                span=places.of(at, len(rest)),
            )
    return {param.name: tuple(rest)}


def static_argument(
    e: Evaluator,
    builtin: Builtin,
    param: StaticParam,
    given: dict[str, AnyValue],
    spots: Mapping[str, Span | None],
) -> Any:
    scope = e.scope
    if param.name not in given:
        if param.default is REQUIRED:
            scope.fail(
                codes.MISSING_ARGUMENT,
                f"{builtin.name} needs `{param.name}`",
                help=f"{builtin.name} takes {signature(builtin)}",
            )
        return lift(param.default)
    value = given[param.name]
    if "init" in param.kinds:
        if static.raw(value) is None and "none" in param.kinds:
            return None
        return as_initialiser(e, value, builtin.name).init
    if not fits(value, param.kinds):
        scope.fail(
            codes.BAD_ARGUMENT,
            f"`{param.name}` of {builtin.name} needs {wanted(param.kinds)}, "
            f"not {static.describe(value)}",
            span=spots.get(param.name),
        )
    return value


def scalar_like(
    builtin: Builtin, args: tuple[AnyValue, ...], keywords: dict[str, AnyValue]
) -> Value | None:
    """The tensor whose element type a number in another slot takes."""
    slots = [n for n in builtin.tensors if n not in keywords]
    given = {**dict(zip(slots, args, strict=False)), **keywords}
    found = [given[n] for n in builtin.tensors if isinstance(given.get(n), Value)]
    return next((given[n] for n in builtin.scalars if given.get(n) in found), None) or (
        found[0] if found else None
    )


def lift(value: Any) -> Any:
    """A default as a static value."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return Dim.const(value)
    if isinstance(value, tuple | list):
        items = tuple(map(lift, value))  # type: ignore[arg-type]
        return Sequence(items, None, isinstance(value, list))
    return value


KINDS = {
    "int": "an integer", "float": "a number", "bool": "true or false", "string": "a string",
    "none": "none", "ints": "an integer or a list of integers", "dims": "a list of sizes",
    "init": "an initialiser",
}  # fmt: skip


def wanted(kinds: tuple[str, ...]) -> str:
    return " or ".join(KINDS.get(k, k) for k in kinds)


def fits(value: AnyValue, kinds: tuple[str, ...]) -> bool:
    """Whether a value is of one of the kinds of a static parameter."""
    if "any" in kinds:
        return True
    found = static.raw(value)
    if isinstance(found, bool):
        return "bool" in kinds
    if isinstance(found, Dim):
        return bool({"int", "float", "ints"} & set(kinds))
    if isinstance(found, float):
        return "float" in kinds
    if isinstance(found, str):
        return "string" in kinds
    if found is None:
        return "none" in kinds
    if isinstance(found, Sequence):
        ints = all(isinstance(static.raw(i), Dim | Sequence) for i in found.items)
        return "dims" in kinds or ("ints" in kinds and ints)
    return False


def apply_builtin(
    e: Evaluator,
    layer: BuiltinLayer,
    args: tuple[AnyValue, ...],
    segment: Segmented | None,
    shared: Shared | None = None,
) -> AnyValue:
    builtin = layer.builtin
    scope = e.scope
    given = (*args, *layer.args)
    tensors, statics = bind_builtin(e, builtin, given, dict(layer.keywords), layer.places)
    own = segment or (snake(builtin.name), scope.loop > 0, None)
    frame = LayerFrame(builtin.name, own, scope.span)
    if shared is not None:
        frame.slot = shared_slot(e, shared)
        if frame.slot is None:
            own_shared_slot(e, shared, builtin, frame)
    scope.layers.append(frame)
    try:
        result = builtin.apply(scope, tensors, statics)
    finally:
        scope.layers.pop()
    if isinstance(result, Value) and not result.type.rank:
        e.session.metrics[result] = Metric(builtin.name)
    return wrap(result, builtin)


def wrap(result: Any, builtin: Builtin) -> AnyValue:
    if isinstance(result, tuple | list):
        items: tuple[Value, ...] = tuple(result)  # type: ignore[arg-type]
        return Group(items, isinstance(result, list), builtin.output_names)
    return result
