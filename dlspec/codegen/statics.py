"""Static values as Python expressions in chosen names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from dlspec.codegen import python
from dlspec.ir.dims import Dim
from dlspec.ir.static import Apply, Known, LayerArgument, ParamRef, Sequence, Symbol, plain
from dlspec.ir.types import DType

if TYPE_CHECKING:
    from dlspec.ir.static import Origin

_COMPARE: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
    "in": ast.In,
    "not in": ast.NotIn,
}
_BINARY: dict[str, type[ast.operator]] = {
    "+": ast.Add,
    "-": ast.Sub,
    "*": ast.Mult,
    "/": ast.Div,
    "//": ast.FloorDiv,
    "%": ast.Mod,
    "**": ast.Pow,
}
_FUNCTIONS = {"log": "math.log", "exp": "math.exp", "sqrt": "math.sqrt", "pi": "math.pi"}
_PLAIN_FUNCTIONS = frozenset({"max", "min", "abs", "len", "range", "sum", "round", "int", "float"})


def is_always(value: object, wanted: object) -> bool:
    """Whether an attribute has this value in every instance: it comes from no parameter."""
    return not isinstance(value, Known) and plain(value) == wanted  # type: ignore[arg-type]


class StaticPrinter:
    """Prints static values. lookup: the expression for a parameter or symbol name.

    dtype prints element types; a backend sets it. "derived" symbols are printed as the expression
    that they stand for.
    """

    def __init__(self, symbols: Mapping[str, Symbol], lookup: Callable[[str], ast.expr]) -> None:
        self.symbols = symbols
        self.lookup = lookup
        self.dtype: Callable[[DType], ast.expr] = lambda dtype: python.constant(dtype.value)

    def symbol(self, name: str) -> ast.expr:
        symbol = self.symbols.get(name)
        if symbol is not None and symbol.kind == "derived" and symbol.origin is not None:
            return self.origin(symbol.origin)
        return self.lookup(name)

    def dim(self, dim: Dim | int) -> ast.expr:
        dim = Dim.of(dim)
        if dim.is_const:
            return python.constant(dim.value)
        # symbols may be no identifiers; placeholders are
        symbols = sorted(dim.symbols)
        stand_ins = {s: f"_{i}" for i, s in enumerate(symbols)}
        template = python.expr(dim.render(stand_ins))
        return python.substitute(template, {stand_ins[s]: self.symbol(s) for s in symbols})

    def shape(self, dims: tuple[Dim, ...]) -> ast.Tuple:
        return python.tuple_of(*map(self.dim, dims))

    def value(self, value: object) -> ast.expr:
        """Any static value or attribute of an op."""
        match value:
            case Dim():
                return self.dim(value)
            case DType():
                return self.dtype(value)
            case Known():
                return self.origin(value.origin)
            case Sequence():
                if value.origin is not None:
                    return self.origin(value.origin)
                items = [self.value(item) for item in value.items]
                return python.list_of(*items) if value.is_list else python.tuple_of(*items)
            case LayerArgument():
                raise TypeError(f"the layer {value.text} is no value at run time")
            case tuple():
                found = cast("tuple[object, ...]", value)
                whole = self.whole(found)
                return python.tuple_of(*map(self.value, found)) if whole is None else whole
            case list():
                return python.list_of(*map(self.value, cast("list[object]", value)))
            case _:
                return python.constant(value)

    def whole(self, values: tuple[object, ...]) -> ast.expr | None:
        """`kernel` for (kernel[0], kernel[1]), where it has no more items."""
        if not values or not all(isinstance(value, Dim) for value in values):
            return None
        name, bracket, _ = str(values[0]).partition("[")
        count = sum(symbol.startswith(f"{name}[") for symbol in self.symbols)
        if not bracket or [*map(str, values)] != [f"{name}[{i}]" for i in range(count)]:
            return None
        return self.origin(ParamRef(name))

    def origin(self, origin: Origin) -> ast.expr:
        match origin:
            case ParamRef(name):
                return self.symbol(name)
            case Apply(op, args):
                return self._apply(op, args)
            case Dim():
                return self.dim(origin)
            case _:
                return python.constant(origin)

    def _apply(self, op: str, args: tuple[Origin, ...]) -> ast.expr:
        match op, [self.origin(arg) for arg in args]:
            case "if", [then, condition, orelse]:
                return ast.IfExp(condition, then, orelse)
            case "not", [x]:
                return negated(x)
            case (("and" | "or"), values):
                return ast.BoolOp(ast.And() if op == "and" else ast.Or(), values)
            case "-", [x]:
                return ast.UnaryOp(ast.USub(), x)
            case "index", [value, index]:
                return ast.Subscript(value, index, ast.Load())
            case "slice", [value, *bounds]:
                none = [
                    None if isinstance(b, ast.Constant) and b.value is None else b for b in bounds
                ]
                lower, upper, step = (none + [None] * 3)[:3]
                return ast.Subscript(value, ast.Slice(lower, upper, step), ast.Load())
            case "list", items:
                return python.list_of(*items)
            case "tuple", items:
                return python.tuple_of(*items)
            case _, [left, right] if op in _COMPARE:
                return ast.Compare(left, [_COMPARE[op]()], [right])
            case _, [left, right] if op in _BINARY:
                return ast.BinOp(left, _BINARY[op](), right)
            case "range" as function, values:
                return python.call("list", python.call(function, *values))
            case function, values:
                known = function in _PLAIN_FUNCTIONS
                name = function if known else _FUNCTIONS.get(function, f"math.{function}")
                return python.call(name, *values)


def negated(condition: ast.expr) -> ast.expr:
    """`not c`, pushed into a single comparison."""
    pairs: list[tuple[type[ast.cmpop], type[ast.cmpop]]] = [
        (ast.Eq, ast.NotEq),
        (ast.Lt, ast.GtE),
        (ast.Gt, ast.LtE),
    ]
    opposite = dict(pairs) | {b: a for a, b in pairs}
    match condition:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case ast.Compare(left=left, ops=[op], comparators=rights) if type(op) in opposite:
            return ast.Compare(left, [opposite[type(op)]()], rights)
        case ast.BoolOp(op=op, values=values):
            flipped = ast.Or() if isinstance(op, ast.And) else ast.And()
            return ast.BoolOp(flipped, [negated(v) for v in values])
        case _:
            return ast.UnaryOp(ast.Not(), condition)


def names_of(value: object, symbols: Mapping[str, Symbol]) -> Iterator[str]:
    """Parameters and dim symbols that printing `value` needs; derived ones seen through."""
    match value:
        case Dim():
            for name in sorted(value.symbols):
                yield from _through(name, symbols)
        case Known():
            yield from names_of(value.origin, symbols)
        case Sequence():
            if value.origin is not None:
                yield from names_of(value.origin, symbols)
            else:
                for item in value.items:
                    yield from names_of(item, symbols)
        case ParamRef(name):
            yield from _through(name, symbols)
        case Apply(_, args):
            for item in args:
                yield from names_of(item, symbols)
        case tuple() | list():
            for item in cast("tuple[object, ...] | list[object]", value):
                yield from names_of(item, symbols)
        case _:
            return


def _through(name: str, symbols: Mapping[str, Symbol]) -> Iterator[str]:
    symbol = symbols.get(name)
    if symbol is not None and symbol.kind == "derived" and symbol.origin is not None:
        yield from names_of(symbol.origin, symbols)
    else:
        yield name
