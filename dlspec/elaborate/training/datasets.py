"""The data of a training section: fields, their types, where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate import static
from dlspec.elaborate.patterns import fits_dtype, pattern_of
from dlspec.ir.dims import Dim
from dlspec.ir.graph import DataSource, Value
from dlspec.ir.static import Sequence
from dlspec.ir.types import DType, TensorType
from dlspec.schemas import SOURCES, bind
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section
    from dlspec.elaborate.values import AnyValue


def data_verb(section: Section, statement: ast.Verb) -> None:
    clause = section.clause(statement, "from")
    fields = statement.fields or tuple(bare_field(section, arg) for arg in statement.args)
    if clause is None or len(clause.args) != 1 or not fields:
        section.fail(
            codes.TRAINING_FORM,
            "`data` needs fields and one source",
            "write: data (image, label) from mnist5k(batch = 32)",
        )
    if all(field.name == "_" for field in fields):
        section.fail(codes.TRAINING_FORM, "`data` names no field", "give one a name: data (x, _)")
    source, args = read_source(section, clause.args[0])
    seen = {value.name for value in section.function.inputs}
    for field in fields:
        if field.name in seen - {"_"}:
            with section.scope.at(field.span):
                section.fail(codes.DUPLICATE, f"there are two fields `{field.name}`")
        seen.add(field.name)
    known = list(SOURCES[source].fields(args))
    if known and len(known) != len(fields):
        names = ", ".join(f.name for f in known)
        section.fail(
            codes.BAD_DATA,
            f"{source} has {len(known)} fields ({names}), and {len(fields)} are named",
        )
    values = tuple(
        read_field(section, field, known[i] if known else None) for i, field in enumerate(fields)
    )
    made = DataSource(values, source, args, statement.span)
    same_batch(section, made)
    section.data.append(made)
    section.function.inputs = (*section.function.inputs, *values)


def same_batch(section: Section, made: DataSource) -> None:
    """Sources whose fields share their first extent have batches of one size."""
    for other in section.data:
        shared = made.batch_extent is not None and made.batch_extent == other.batch_extent
        if shared and made.args["batch"] != other.args["batch"]:
            section.fail(
                codes.BAD_DATA,
                f"the batches of `{other.source}` and `{made.source}` have one extent, "
                f"{made.batch_extent}, and are {other.args['batch']} and {made.args['batch']}",
                "give both the same `batch`, or declare a field with another extent: [M, …]",
            )


def bare_field(section: Section, arg: ast.Expr) -> ast.Field:
    if not isinstance(arg, ast.Name):
        with section.scope.at(arg.span):
            section.fail(codes.TRAINING_FORM, "a field of data is a name")
    return ast.Field(arg.span, arg.id, None)


def read_field(section: Section, field: ast.Field, known: Any) -> Value:
    """One array of a batch: its type from the source, the declaration, or both."""
    e, scope = section.evaluator, section.scope
    with scope.at(field.span):
        shape = None if known is None or known.shape is None else list(known.shape)
        dtype = None if known is None else known.dtype
        if field.annotation is None:
            if shape is None or dtype is None:
                section.fail(
                    codes.BAD_DATA,
                    f"the type of `{field.name}` is not known before the data is loaded",
                    f"declare it: data ({field.name}: [N, 4], …)",
                )
            extents = [open_extent(section, field.name, i, x) for i, x in enumerate(shape)]
            type_ = TensorType(dtype, tuple(extents))
        else:
            type_ = declared_type(section, field, shape, dtype)
    value = Value(type_, "" if field.name == "_" else field.name, field.span)
    if field.name != "_":
        e.env.names[field.name] = value
    return value


def open_extent(section: Section, name: str, axis: int, extent: object) -> Dim:
    if isinstance(extent, int):
        return Dim.const(extent)
    symbol = extent if isinstance(extent, str) else f"{name}_{axis}"
    if symbol not in section.function.symbols:
        dim = section.scope.define_dim(symbol, None)
        section.evaluator.env.names.setdefault(symbol, dim)
    return Dim.symbol(symbol)


def declared_type(
    section: Section, field: ast.Field, shape: list[Any] | None, dtype: DType | None
) -> TensorType:
    e, scope = section.evaluator, section.scope
    assert field.annotation is not None
    pattern = pattern_of(e, field.annotation)
    rank = len(pattern.axes) if shape is None else len(shape)
    axes = pattern.spread(rank)
    if pattern.rest is not None and shape is None:
        section.fail(codes.BAD_DATA, "`...` needs a source whose shape is known")
    if axes is None:
        section.fail(
            codes.BAD_DATA,
            f"`{field.name}` is declared with {len(pattern.axes)} axes, and the source "
            f"gives {rank}",
        )
    if dtype is not None:
        fits_dtype(scope, pattern, TensorType(dtype, ()), f"`{field.name}`")
    extents: list[Dim] = []
    for i, axis in enumerate(axes):
        given = None if shape is None else shape[i]
        extents.append(declared_axis(section, field, i, axis, given))
    return TensorType(dtype or pattern.dtype, tuple(extents))


def declared_axis(
    section: Section, field: ast.Field, i: int, axis: ast.Expr | None, given: Any
) -> Dim:
    e = section.evaluator
    if axis is None or (isinstance(axis, ast.Name) and axis.id == "_"):
        return open_extent(section, field.name, i, given)
    if isinstance(axis, ast.Name) and not isinstance(static.raw(e.env.names.get(axis.id)), Dim):
        if isinstance(given, int):
            e.env.names[axis.id] = Dim.const(given)
            return Dim.const(given)
        dim = section.scope.define_dim(axis.id, None)
        e.env.names[axis.id] = dim
        return dim
    wanted = static.integer(section.scope, e.evaluate(axis), "an extent")
    known = section.scope.peek(wanted)
    if isinstance(given, int) and known is not None and known != given:
        section.fail(
            codes.BAD_DATA,
            f"`{field.name}` is declared {known} on axis {i}, and the source gives {given}",
        )
    return wanted


def read_source(section: Section, expr: ast.Expr) -> tuple[str, dict[str, object]]:
    """The name of a data source and its arguments as plain values."""
    e = section.evaluator
    callee = expr.callee if isinstance(expr, ast.Call) else expr
    with section.scope.at(callee.span):
        if not isinstance(callee, ast.Name):
            section.fail(codes.BAD_DATA, "a data source is a name with arguments")
        if callee.id not in SOURCES:
            section.fail(
                codes.UNDEFINED,
                f"there is no data source `{callee.id}`",
                close_to(callee.id, SOURCES) or f"there are {', '.join(SOURCES)}",
            )
    args = expr.args if isinstance(expr, ast.Call) else ()
    words = expr.keywords if isinstance(expr, ast.Call) else ()
    positional = [plain_value(section, e.evaluate(a)) for a in args]
    keywords: dict[str, object] = {}
    for word in words:
        if word.name in keywords:
            with section.scope.at(word.span):
                section.fail(codes.BAD_ARGUMENT, f"`{word.name}` is given twice")
        if word.name == "batch" and isinstance(word.value, ast.Name) and word.value.id == "full":
            keywords["batch"] = "full"
        else:
            keywords[word.name] = plain_value(section, e.evaluate(word.value))
    with section.scope.at(expr.span):
        try:
            return callee.id, bind(callee.id, positional, keywords)
        except ValueError as error:
            known = SOURCES[callee.id].arguments
            near = (close_to(k, known) for k in keywords if k not in known)
            section.fail(codes.BAD_DATA, str(error), next(near, ""))


def plain_value(section: Section, value: AnyValue) -> object:
    """A static value as plain Python."""
    found = static.raw(value)
    if isinstance(found, Dim):
        return section.scope.known(found)
    if isinstance(found, Sequence):
        return [plain_value(section, v) for v in found.items]
    if found is None or isinstance(found, bool | float | int | str):
        return found
    static.wrong_kind(section.scope, f"a static value is needed, not {static.describe(value)}")
