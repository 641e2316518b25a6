"""Types as patterns: binding the dims of inputs, checking outputs and annotated bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Label, close_to
from dlspec.elaborate import static
from dlspec.elaborate.values import Group
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import Value
from dlspec.ir.types import DType, TensorType
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dlspec.codes import Code
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.scope import Scope
    from dlspec.elaborate.values import AnyValue

DTYPES = {"f32": DType.F32, "f64": DType.F64, "bf16": DType.BF16, "i64": DType.I64,
          "i32": DType.I32, "bool": DType.BOOL, "float": DType.FLOAT}  # fmt: skip

AXES = {0: (), 1: ("N",), 2: ("N", "D"), 3: ("N", "T", "D"), 4: ("N", "C", "H", "W"),
        5: ("N", "C", "D", "H", "W")}  # fmt: skip


class Pattern:
    """A written type: element type, and one expression an axis (an ellipsis for any rest)."""

    def __init__(self, dtype: DType, axes: tuple[ast.Expr, ...], span: ast.Expr) -> None:
        self.dtype = dtype
        self.axes = axes
        self.expr = span

    @property
    def rest(self) -> int | None:
        """Where `...` stands."""
        found = [i for i, a in enumerate(self.axes) if isinstance(a, ast.EllipsisExpr)]
        return found[0] if found else None

    def spread(self, rank: int) -> list[ast.Expr | None] | None:
        """One expression an axis for a rank; None where `...` covers it. None: does not fit."""
        at = self.rest
        if at is None:
            return list(self.axes) if len(self.axes) == rank else None
        extra = rank - (len(self.axes) - 1)
        if extra < 0:
            return None
        return [*self.axes[:at], *[None] * extra, *self.axes[at + 1 :]]


def pattern_of(e: Evaluator, expr: ast.Expr) -> Pattern:
    """The meaning of a type expression."""
    scope = e.scope
    with scope.at(expr.span):
        if isinstance(expr, ast.ListExpr):
            return checked(scope, Pattern(DType.FLOAT, expr.items, expr))
        if isinstance(expr, ast.Subscript) and isinstance(expr.value, ast.Name):
            name = expr.value.id
            if name not in DTYPES:
                close = close_to(name, DTYPES) or f"the types are {', '.join(DTYPES)}"
                scope.fail(codes.DTYPE, f"`{name}` is not an element type", help=close)
            axes = tuple(item for item in expr.items if not isinstance(item, ast.Slice))
            if len(axes) != len(expr.items):
                scope.fail(codes.STATIC_TYPE, "a type has no slices")
            return checked(scope, Pattern(DTYPES[name], axes, expr))
        scope.fail(
            codes.STATIC_TYPE,
            f"`{expr.span.text}` is not a tensor type",
            help="write the extents in brackets: [N, C, H, W], or i64[N]",
        )


def checked(scope: Scope, pattern: Pattern) -> Pattern:
    if sum(isinstance(a, ast.EllipsisExpr) for a in pattern.axes) > 1:
        scope.fail(codes.STATIC_TYPE, "a type has at most one `...`")
    return pattern


def is_literal(expr: ast.Expr | None) -> bool:
    """A default that needs no name to evaluate."""
    if isinstance(expr, ast.Literal_):
        return True
    if isinstance(expr, ast.Unary):
        return is_literal(expr.operand)
    return isinstance(expr, ast.ListExpr | ast.TupleExpr) and all(map(is_literal, expr.items))


def bind_input(
    e: Evaluator,
    caller: Scope,
    definition: ast.Definition,
    inputs: dict[str, Value | None],
) -> None:
    """Make the inputs of the function: bare names bind first, then expressions are evaluated."""
    declared = [p for p in definition.params if p.annotation is not None]
    if not declared:
        fresh_inputs(e.scope, caller, [v for v in inputs.values() if v is not None])
        return
    shapes: dict[str, list[Dim | ast.Expr]] = {}
    for param in declared:
        actual = inputs.get(param.name)
        assert param.annotation is not None
        if actual is None:
            e.env.names[param.name] = None
            continue
        pattern = pattern_of(e, param.annotation)
        declared_at = (Label(param.annotation.span, "declared here"),)
        what = f"`{param.name}` of {definition.name}"
        fits_dtype(caller, pattern, actual.type, what, declared_at)
        axes = pattern.spread(actual.type.rank)
        if axes is None:
            caller.fail(
                codes.RANK,
                f"{what} needs {count_axes(pattern)} {param.annotation.span.text}, and "
                f"{resolved(caller, actual.type)} has {actual.type.rank}",
                labels=declared_at,
            )
        shapes[param.name] = [
            bind_axis(e, caller, param.name, i, axis, actual) for i, axis in enumerate(axes)
        ]
    finish_inputs(e, declared, inputs, shapes)


def bind_axis(
    e: Evaluator, caller: Scope, name: str, i: int, axis: ast.Expr | None, actual: Value
) -> Dim | ast.Expr:
    scope = e.scope
    known = caller.peek(actual.type.shape[i])
    if axis is None or (isinstance(axis, ast.Name) and axis.id == "_"):
        return scope.define_dim(f"{name}_{i}", known)
    if not isinstance(axis, ast.Name):
        return axis
    bound = e.env.names.get(axis.id)
    if isinstance(static.raw(bound), Dim):
        return static.raw(bound)
    if axis.id in scope.function.symbols:
        return Dim.symbol(axis.id)
    constant = static.raw(e.session.module_value(e.module, axis.id, axis.span))
    if isinstance(constant, Dim):
        return constant
    symbol = scope.define_dim(axis.id, known)
    scope.declared.add(axis.id)
    if axis.id not in e.env.names:
        e.env.names[axis.id] = symbol
    return symbol


def count_axes(pattern: Pattern) -> str:
    least = len(pattern.axes) - (pattern.rest is not None)
    return (
        f"{'at least ' if pattern.rest is not None else ''}{least} ax{'i' if least == 1 else 'e'}s"
    )


def finish_inputs(
    e: Evaluator,
    declared: Sequence[ast.Param],
    inputs: dict[str, Value | None],
    shapes: dict[str, list[Dim | ast.Expr]],
) -> None:
    made: list[Value] = []
    for param in declared:
        actual = inputs.get(param.name)
        if actual is None:
            continue
        shape = tuple(
            d if isinstance(d, Dim) else static.integer(e.scope, e.evaluate(d), "an extent")
            for d in shapes[param.name]
        )
        value = Value(TensorType(actual.type.dtype, shape), param.name, param.span)
        e.env.names[param.name] = value
        made.append(value)
    e.scope.function.inputs = tuple(made)


def fresh_inputs(scope: Scope, caller: Scope, actuals: Sequence[Value]) -> None:
    """Inputs of a definition that declares none: every extent is open."""
    function = scope.function
    made: list[Value] = []
    for k, actual in enumerate(actuals):
        name = "x" if len(actuals) == 1 else f"x{k}"
        rank = actual.type.rank
        letters = AXES.get(rank) or tuple(f"D{i}" for i in range(rank))
        shape: list[Dim] = []
        for letter, extent in zip(letters, actual.type.shape, strict=True):
            symbol = letter if len(actuals) == 1 else f"{letter}{k}"
            while symbol in function.symbols or symbol in function.statics:
                symbol += "_"
            shape.append(scope.define_dim(symbol, caller.peek(extent)))
        made.append(Value(TensorType(actual.type.dtype, tuple(shape)), name, actual.span))
    function.inputs = tuple(made)


def resolved(scope: Scope, type_: TensorType) -> TensorType:
    return type_.substitute(scope.values)


def fits_dtype(
    scope: Scope,
    pattern: Pattern,
    actual: TensorType,
    what: str,
    labels: tuple[Label, ...] = (),
) -> None:
    want, got = pattern.dtype, actual.dtype
    if want is got or (want.is_float and got.is_float and DType.FLOAT in (want, got)):
        return
    message = f"{what} needs {label(want)}, and this is {label(got)}"
    scope.fail(codes.DTYPE, message, labels=labels)


def same_type(scope: Scope, a: TensorType, b: TensorType, message: str) -> None:
    if a.dtype is not b.dtype:
        scope.fail(codes.DTYPE, f"{message}: {a.dtype} and {b.dtype}")
    if a.rank != b.rank:
        scope.fail(codes.RANK, f"{message}: {a} and {b}")
    for x, y in zip(a.shape, b.shape, strict=True):
        scope.require(Relation("==", x, y), f"{message}: {a} and {b}")


def label(dtype: DType) -> str:
    return "floating point" if dtype is DType.FLOAT else dtype.value


def check_value(e: Evaluator, annotation: ast.Expr, value: AnyValue, code: Code, what: str) -> None:
    """A value against a written type; names not seen before bind."""
    if not isinstance(value, Value):
        static.wrong_kind(e.scope, f"{what} has a tensor type, and is {static.describe(value)}")
    pattern = pattern_of(e, annotation)
    here = (Label(annotation.span, "declared here"),)
    fits_dtype(e.scope, pattern, value.type, what, here)
    axes = pattern.spread(value.type.rank)
    got = resolved(e.scope, value.type)
    if axes is None:
        e.scope.fail(code, f"{what} is declared {annotation.span.text}, and is {got}", labels=here)
    for axis, extent in zip(axes, value.type.shape, strict=True):
        if axis is None or (isinstance(axis, ast.Name) and axis.id == "_"):
            continue
        if isinstance(axis, ast.Name) and is_free(e, axis.id):
            e.env.names[axis.id] = extent
            e.env.measured.add(axis.id)
            continue
        wanted = static.integer(e.scope, e.evaluate(axis), "an extent")
        e.scope.require(
            Relation("==", extent, wanted),
            f"{what} is declared {annotation.span.text}, and is {got}",
            code,
            labels=here,
        )


def is_free(e: Evaluator, name: str) -> bool:
    from dlspec.elaborate.expressions import MISSING

    return (
        e.env.find(name) is MISSING and e.session.module_value(e.module, name, e.scope.span) is None
    )


def check_output(
    e: Evaluator, output: ast.Expr | tuple[ast.Field, ...], value: AnyValue
) -> AnyValue:
    """The declared output type; gives the outputs their names. One that is several tensors may
    have a name and no type."""
    scope = e.scope
    items: tuple[AnyValue, ...] = value.items if isinstance(value, Group) else (value,)
    if not isinstance(output, tuple):
        if isinstance(value, Group):
            scope.fail(
                codes.OUTPUT_TYPE,
                f"one output is declared, and {len(items)} are returned",
                labels=(Label(output.span, "declared here"),),
            )
        check_value(e, output, value, codes.OUTPUT_TYPE, "the output")
        return value
    if len(output) != len(items):
        span = output[0].span.to(output[-1].span)
        scope.fail(
            codes.OUTPUT_TYPE,
            f"{count(output)} declared, and {len(items)} returned",
            labels=(Label(span, "declared here"),),
        )
    for field, item in zip(output, items, strict=True):
        if field.annotation is not None:
            check_value(e, field.annotation, item, codes.OUTPUT_TYPE, f"`{field.name}`")
    return Group(items, False, tuple(f.name for f in output))


def count(fields: Iterable[object]) -> str:
    n = len(list(fields))
    return "1 output is" if n == 1 else f"{n} outputs are"
