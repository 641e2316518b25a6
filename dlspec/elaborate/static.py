"""Static code: operators and functions on numbers, strings and lists, with their origins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from dlspec import codes
from dlspec.elaborate.scope import Scope, origin_of
from dlspec.elaborate.values import Group, is_layer, is_tensor
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation, Truth
from dlspec.ir.static import Apply, Known, Origin, ParamRef, Sequence, StaticValue

if TYPE_CHECKING:
    from dlspec.elaborate.values import AnyValue

MAX_LENGTH = 100_000
MAX_BITS = 256

FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
COMPARISONS = frozenset(FLIPPED)
PRECEDENCE = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "**": 8}


def render(origin: Origin, level: int = 0) -> str:
    """An origin as the spec would write it."""
    if isinstance(origin, ParamRef):
        return origin.name
    if isinstance(origin, bool):
        return "true" if origin else "false"
    if origin is None:
        return "none"
    if isinstance(origin, str):
        return '"' + origin.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if not isinstance(origin, Apply):
        return str(origin)
    return _render_apply(origin, level)


def _render_apply(origin: Apply, level: int) -> str:
    op, args = origin.op, origin.args
    if op == "index":
        return f"{render(args[0], 9)}[{render(args[1])}]"
    if op == "slice":
        start, stop = ("" if a is None else render(a) for a in args[1:3])
        return f"{render(args[0], 9)}[{start}:{stop}]"
    if op in ("list", "tuple"):
        inner = ", ".join(map(render, args))
        return f"[{inner}]" if op == "list" else f"({inner})"
    if op == "if":
        text = f"{render(args[0], 1)} if {render(args[1], 1)} else {render(args[2])}"
        return f"({text})" if level else text
    if op in PRECEDENCE or op in COMPARISONS:
        own = PRECEDENCE.get(op, 4)
        if len(args) == 1:
            text = f"not {render(args[0], own)}" if op == "not" else f"{op}{render(args[0], 7)}"
        else:
            text = f"{render(args[0], own)} {op} {render(args[1], own + 1)}"
        return f"({text})" if own < level else text
    return f"{op}({', '.join(map(render, args))})"


def describe(value: AnyValue) -> str:
    """The kind of a value in plain words."""
    from dlspec.elaborate import values as v
    from dlspec.ir.graph import Value

    raw = value.value if isinstance(value, Known) else value
    if isinstance(raw, bool):
        return "a boolean"
    if isinstance(raw, Dim):
        return "an integer"
    if isinstance(raw, float):
        return "a number"
    if isinstance(raw, str):
        return "a string"
    if raw is None:
        return "none"
    if isinstance(raw, Value):
        return f"a tensor {raw.type}"
    if isinstance(raw, Sequence):
        return "a list" if raw.is_list else "a tuple"
    if isinstance(raw, Group):
        return "a list of tensors" if raw.is_list else "a tuple of tensors"
    if is_layer(raw):
        return "a layer"
    if isinstance(raw, v.Inner):
        return "a part of a network"
    if isinstance(raw, v.InitValue):
        return "an initialiser"
    if isinstance(raw, v.Namespace):
        return "a module"
    if isinstance(raw, v.Statistic):
        return "a metric, which `report` alone can take"
    return "a function"


def wrong_kind(scope: Scope, message: str, help: str = "") -> NoReturn:
    scope.fail(codes.STATIC_TYPE, message, help=help)


def has_origin(value: AnyValue) -> bool:
    if isinstance(value, Dim):
        return not value.is_const
    if isinstance(value, Known):
        return True
    return isinstance(value, Sequence) and (
        value.origin is not None or any(map(has_origin, value.items))
    )


def raw(value: AnyValue) -> Any:
    return value.value if isinstance(value, Known) else value


def number(scope: Scope, value: AnyValue, what: str) -> int | float:
    """A number with a value known now."""
    found = raw(value)
    if isinstance(found, Dim):
        return scope.known(found)
    if isinstance(found, bool) or not isinstance(found, float | int):
        wrong_kind(scope, f"{what} needs a number, not {describe(value)}")
    return found


def made(scope: Scope, result: Any, origin: Origin, tracked: bool) -> StaticValue:
    """A result with its origin, where one of its arguments had one."""
    if isinstance(result, bool) or result is None or isinstance(result, str):
        return Known(result, origin) if tracked else result
    if isinstance(result, int):
        if result.bit_length() > MAX_BITS:
            scope.fail(codes.LIMIT, "the number is too large")
        return scope.derive(origin, result) if tracked else Dim.const(result)
    return Known(result, origin) if tracked else result


def truth(scope: Scope, value: AnyValue) -> bool:
    """The value of a static condition."""
    found = raw(value)
    if isinstance(found, bool):
        return found
    if is_tensor(value):
        wrong_kind(
            scope,
            "a condition must be static, and this is a tensor",
            "choose by data with where(condition, a, b)",
        )
    wrong_kind(scope, f"a condition must be a boolean, not {describe(value)}")


def compare(scope: Scope, op: str, left: AnyValue, right: AnyValue) -> StaticValue:
    """A static comparison; on dims it is decided, or an error that suggests `where`."""
    origin = Apply(op, (origin_of(left), origin_of(right)))
    tracked = has_origin(left) or has_origin(right)
    a, b = raw(left), raw(right)
    if isinstance(a, Dim) and isinstance(b, Dim):
        relation = Relation(op, a, b)  # type: ignore[arg-type]
        answer = scope.decide(relation)
        if answer is Truth.UNKNOWN:
            scope.fail(
                codes.UNDECIDED,
                f"whether {scope.resolve(a)} {op} {scope.resolve(b)} is open here",
                help=f"state it: where {scope.resolve(a)} {op} {scope.resolve(b)}",
            )
        result = answer is Truth.PROVED
    else:
        result = _compare_plain(scope, op, left, right)
    return Known(result, origin) if tracked else result


def _compare_plain(scope: Scope, op: str, left: AnyValue, right: AnyValue) -> bool:
    a, b = _plain(scope, left), _plain(scope, right)
    if op in ("==", "!="):
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        equal = a == b and (numbers or type(a) is type(b))
        return equal == (op == "==")
    if isinstance(a, str) != isinstance(b, str) or not isinstance(a, int | float | str):
        wrong_kind(scope, f"{describe(left)} cannot be compared with {describe(right)}")
    try:
        return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]
    except TypeError:
        wrong_kind(scope, f"{describe(left)} cannot be compared with {describe(right)}")


def _plain(scope: Scope, value: AnyValue) -> Any:
    found = raw(value)
    if isinstance(found, Dim):
        return scope.known(found)
    if isinstance(found, Sequence):
        return [_plain(scope, item) for item in found.items]
    if is_layer(found) or isinstance(found, Group):
        return id(found)
    return found


def binary(scope: Scope, op: str, left: AnyValue, right: AnyValue) -> StaticValue | Group:
    """An arithmetic operator on static values."""
    a, b = raw(left), raw(right)
    if isinstance(a, Sequence | Group) or isinstance(b, Sequence | Group):
        return _join(scope, op, left, right)
    if isinstance(a, str) and isinstance(b, str) and op == "+":
        origin = Apply("+", (origin_of(left), origin_of(right)))
        return made(scope, a + b, origin, has_origin(left) or has_origin(right))
    for side in (left, right):
        found = raw(side)
        if isinstance(found, bool) or not isinstance(found, Dim | float | int):
            wrong_kind(scope, f"`{op}` needs numbers, not {describe(side)}")
    if isinstance(a, Dim) and isinstance(b, Dim):
        if op in ("+", "-", "*"):
            return ARITHMETIC[op](a, b)
        if op in ("//", "%"):
            _not_zero(scope, b)
            return a // b if op == "//" else a % b
    return _calculate(scope, op, left, right)


def _not_zero(scope: Scope, divisor: Dim) -> None:
    value = scope.peek(divisor)
    if value == 0:
        scope.fail(codes.STATIC_VALUE, "division by zero")


def _calculate(scope: Scope, op: str, left: AnyValue, right: AnyValue) -> StaticValue:
    x, y = number(scope, left, f"`{op}`"), number(scope, right, f"`{op}`")
    origin = Apply(op, (origin_of(left), origin_of(right)))
    try:
        if op == "**":
            if isinstance(x, int) and isinstance(y, int) and abs(y) * x.bit_length() > MAX_BITS:
                scope.fail(codes.LIMIT, "the number is too large")
            result: Any = x**y
        else:
            result = ARITHMETIC[op](x, y)
    except ZeroDivisionError:
        scope.fail(codes.STATIC_VALUE, "division by zero")
    except (OverflowError, ValueError):
        scope.fail(codes.STATIC_VALUE, f"{x} {op} {y} has no value")
    if isinstance(result, complex):
        scope.fail(codes.STATIC_VALUE, f"{x} {op} {y} is not a real number")
    if op == "//" and (isinstance(x, float) or isinstance(y, float)):
        origin = Apply("int", (origin,))  # Python's `//` of floats is a float
    return made(scope, result, origin, has_origin(left) or has_origin(right))


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "//": lambda x, y: math.floor(x // y),  # an integer, of floats too
    "%": lambda x, y: x % y,
}


def _join(scope: Scope, op: str, left: AnyValue, right: AnyValue) -> Sequence | Group:
    """`list + list`, `list * int`."""
    if isinstance(right, Dim) and op == "*" and isinstance(left, Sequence):
        count = scope.known(right)
        if count * len(left.items) > MAX_LENGTH:
            scope.fail(codes.LIMIT, "the list is too long")
        return Sequence(left.items * count, None, left.is_list)
    if (
        op != "+"
        or not isinstance(left, Sequence | Group)
        or not isinstance(right, Sequence | Group)
    ):
        wrong_kind(scope, f"`{op}` does not work on {describe(left)} and {describe(right)}")
    items: tuple[AnyValue, ...] = (*left.items, *right.items)
    if len(items) > MAX_LENGTH:
        scope.fail(codes.LIMIT, "the list is too long")
    return sequence(items, left.is_list)


def sequence(items: tuple[AnyValue, ...], is_list: bool) -> Sequence | Group:
    """A static sequence when all items are static, else a group."""
    from dlspec.elaborate.values import is_static

    if all(map(is_static, items)):
        return Sequence(items, None, is_list)
    return Group(items, is_list)


def negate(scope: Scope, value: AnyValue) -> StaticValue:
    found = raw(value)
    if isinstance(found, Dim):
        return -found
    return made(
        scope, -number(scope, value, "`-`"), Apply("-", (origin_of(value),)), has_origin(value)
    )


# --- functions ---


def call(scope: Scope, name: str, args: list[AnyValue]) -> AnyValue:
    """A function of static code applied to static values."""
    if name in MATHS:
        return _maths(scope, name, args)
    return FUNCTIONS[name](scope, args)


MATHS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "sin": math.sin, "cos": math.cos,
    "tanh": math.tanh, "floor": math.floor, "ceil": math.ceil, "round": round, "abs": abs,
    "log2": math.log2, "int": int, "float": float,
}  # fmt: skip


def _maths(scope: Scope, name: str, args: list[AnyValue]) -> StaticValue:
    _count(scope, name, args, 1)
    x = number(scope, args[0], name)
    try:
        result = MATHS[name](x)
    except (ValueError, OverflowError):
        scope.fail(codes.STATIC_VALUE, f"{name}({x}) has no value")
    return made(scope, result, Apply(name, (origin_of(args[0]),)), has_origin(args[0]))


def _count(scope: Scope, name: str, args: list[AnyValue], *wanted: int) -> None:
    if len(args) not in wanted:
        many = " or ".join(map(str, wanted))
        scope.fail(codes.BAD_ARGUMENT, f"{name} takes {many} arguments, not {len(args)}")


def items_of(scope: Scope, value: AnyValue, what: str) -> tuple[AnyValue, ...]:
    if isinstance(value, Sequence | Group):
        return value.items
    wrong_kind(scope, f"{what} needs a list, not {describe(value)}")


def _extreme(name: str, pick: Callable[..., Any]) -> Callable[[Scope, list[AnyValue]], StaticValue]:
    def run(scope: Scope, args: list[AnyValue]) -> StaticValue:
        values = list(items_of(scope, args[0], name)) if len(args) == 1 else args
        if not values:
            scope.fail(codes.STATIC_VALUE, f"{name} of nothing")
        result = pick(number(scope, v, name) for v in values)
        origin = Apply(name, tuple(map(origin_of, args)))
        return made(scope, result, origin, any(map(has_origin, args)))

    return run


def _len(scope: Scope, args: list[AnyValue]) -> StaticValue:
    _count(scope, "len", args, 1)
    size = len(items_of(scope, args[0], "len"))
    tracked = isinstance(args[0], Sequence) and args[0].origin is not None
    return made(scope, size, Apply("len", (origin_of(args[0]),)), tracked)


def _range(scope: Scope, args: list[AnyValue]) -> Sequence:
    _count(scope, "range", args, 1, 2, 3)
    bounds = [scope.known(integer(scope, a, "range")) for a in args]
    if len(bounds) == 3 and bounds[2] == 0:
        scope.fail(codes.STATIC_VALUE, "the step of range is zero")
    found = range(*bounds)
    if len(found) > MAX_LENGTH:
        scope.fail(codes.LIMIT, f"range has {len(found):,} items, at most {MAX_LENGTH:,}")
    return Sequence(tuple(map(Dim.const, found)))


def integer(scope: Scope, value: AnyValue, what: str) -> Dim:
    found = raw(value)
    if isinstance(found, Dim):
        return found
    wrong_kind(scope, f"{what} needs an integer, not {describe(value)}")


def _zip(scope: Scope, args: list[AnyValue]) -> Sequence | Group:
    lists = [items_of(scope, a, "zip") for a in args]
    if len({len(x) for x in lists}) > 1:
        sizes = " and ".join(str(len(x)) for x in lists)
        scope.fail(codes.STATIC_VALUE, f"zip needs lists of one length, not {sizes}")
    return sequence(tuple(sequence(row, False) for row in zip(*lists, strict=True)), True)


def _reversed(scope: Scope, args: list[AnyValue]) -> Sequence | Group:
    _count(scope, "reversed", args, 1)
    return sequence(items_of(scope, args[0], "reversed")[::-1], True)


def _enumerate(scope: Scope, args: list[AnyValue]) -> Sequence | Group:
    _count(scope, "enumerate", args, 1)
    rows = enumerate(items_of(scope, args[0], "enumerate"))
    return sequence(tuple(sequence((Dim.const(i), x), False) for i, x in rows), True)


FUNCTIONS: dict[str, Callable[[Scope, list[AnyValue]], Any]] = {
    "max": _extreme("max", max),
    "min": _extreme("min", min),
    "len": _len,
    "range": _range,
    "zip": _zip,
    "reversed": _reversed,
    "enumerate": _enumerate,
}

STATIC_NAMES = frozenset(FUNCTIONS) | frozenset(MATHS)
