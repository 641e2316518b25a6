"""Ops as NumPy expressions.

Names that NumPy does not have are definitions of `dlspec_numpy.emitted`, which the file then
contains. `rng` is the generator of the run.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import StaticPrinter, Table, python
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import activations as act
from dlspec.ops import attention, elementwise, linalg, loss, random, reduce, shape, state
from dlspec_numpy.ops import CrossEntropyWithGradient, GeluWithSlope
from dlspec_numpy.rows import activations as rows_activations
from dlspec_numpy.rows import attention as rows_attention
from dlspec_numpy.rows import image as rows_image
from dlspec_numpy.rows import indexing as rows_indexing
from dlspec_numpy.rows import maths as rows_maths
from dlspec_numpy.rows import norm as rows_norm
from dlspec_numpy.rows import patches as rows_patches
from dlspec_numpy.rows import recurrent as rows_recurrent
from dlspec_numpy.rows import windows as rows_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _constant(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, elementwise.Constant)
    if isinstance(op.value, tuple):
        return python.call("np.array", static.value(op.value))
    return static.value(op.value)


def _transpose(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Transpose)
    rank = len(op.perm)
    perm = [axis % rank for axis in op.perm]
    if perm == [1, 0]:
        return ast.Attribute(operands[0], "T", ast.Load())
    if rank > 2 and perm == [*range(rank - 2), rank - 1, rank - 2]:
        return python.call("np.swapaxes", operands[0], python.expr("-1"), python.expr("-2"))
    return python.call(
        ast.Attribute(operands[0], "transpose", ast.Load()), *map(python.constant, perm)
    )


def _expand(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Unsqueeze)
    rank = node.results[0].type.rank
    places = {axis % rank for axis in op.axes}
    last = max(i for i in range(rank) if i in places or i == 0)
    trailing = all(i in places for i in range(last, rank))
    index = [python.constant(None) if i in places else ast.Slice() for i in range(rank)]
    if not trailing:
        while index and isinstance(index[-1], ast.Slice):
            index.pop()
    sliced = index[0] if len(index) == 1 else ast.Tuple(index, ast.Load())
    return ast.Subscript(operands[0], sliced, ast.Load())


def _squeeze(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Squeeze)
    return python.call("np.squeeze", operands[0], axis=_axes(op.axes))


def _axes(axes: tuple[int, ...]) -> ast.expr:
    return python.constant(axes[0] if len(axes) == 1 else axes)


def _slice_index(
    rank: int, op: shape.Slice | shape.Unslice, extents: Sequence[Dim], static: StaticPrinter
) -> ast.expr:
    slices: list[ast.expr] = []
    for start, stop, step, extent in zip(op.starts, op.stops, op.steps, extents, strict=True):
        lower = None if start == Dim.const(0) else static.dim(start)
        upper = None if stop == extent else static.dim(stop)
        by = None if step == Dim.const(1) else static.dim(step)
        slices.append(ast.Slice(lower, upper, by))
    while len(slices) > 1 and isinstance(slices[-1], ast.Slice) and slices[-1] == ast.Slice():
        slices.pop()
    return slices[0] if len(slices) == 1 else ast.Tuple(slices, ast.Load())


def _slice(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Slice)
    extents = node.operands[0].type.shape
    index = _slice_index(len(extents), op, extents, static)
    return ast.Subscript(operands[0], index, ast.Load())


def _unslice(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Unslice)
    index = _slice_index(len(op.shape), op, op.shape, static)
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    none = python.constant(None)
    slices = [
        python.call("slice", s.lower or none, s.upper or none, s.step or none)
        for s in parts
        if isinstance(s, ast.Slice)
    ]
    return python.call("unslice", operands[0], static.shape(op.shape), python.tuple_of(*slices))


def _flatten(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Flatten)
    rank = node.operands[0].type.rank
    axis = 1 if rank == op.axis == 1 else op.axis % rank  # [N] becomes [N, 1]
    kept = [] if axis == 1 else [static.dim(d) for d in node.results[0].type.shape[:axis]]
    if axis == 1 and isinstance(operands[0], ast.Name):
        kept = [python.call("len", operands[0])]
    elif axis == 1:
        kept = [static.dim(node.results[0].type.shape[0])]
    method = ast.Attribute(operands[0], "reshape", ast.Load())
    return python.call(method, *kept, static.dim(node.results[0].type.shape[-1]))


def _pad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Pad)
    pairs = python.tuple_of(
        *(
            python.tuple_of(static.dim(low), static.dim(high))
            for low, high in zip(op.low, op.high, strict=True)
        )
    )
    extra = {} if op.value == 0 else {"constant_values": static.value(op.value)}
    return python.call("np.pad", operands[0], pairs, **extra)


def _reduce(method: str) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, reduce.Reduction | reduce.BoolReduction)
        if not op.axes:
            return operands[0]
        rank = node.operands[0].type.rank
        floats = node.operands[0].type.dtype.is_float
        if op == reduce.Sum((0,)) and rank == 2 and floats:
            return python.call("sum_rows", operands[0])
        keywords = {"axis": _axes(op.axes)}
        if len({axis % rank for axis in op.axes} if rank else ()) == rank and not op.keepdims:
            keywords = {}
        if op.keepdims:
            keywords["keepdims"] = python.constant(True)
        return python.call(ast.Attribute(operands[0], method, ast.Load()), **keywords)

    return lower


def _linear(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    """A matrix as the textbook has it; with more axes a function that sees one matrix."""
    if node.operands[0].type.rank > 2:
        return python.call("linear", *operands)
    names: dict[str, ast.expr] = dict(zip("xwb", operands, strict=False))
    return python.substitute(python.expr("x @ w.T + b" if len(operands) > 2 else "x @ w.T"), names)


def _gelu(function: str) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, act.Gelu | act.GeluGrad | GeluWithSlope)
        name = function if op.approximate == "none" else f"{function}_{op.approximate}"
        return python.call(name, *operands)

    return lower


def _arg(method: str) -> Callable[..., ast.expr]:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, reduce.ArgReduction)
        extra = {"keepdims": python.constant(True)} if op.keepdims else {}
        axis = python.constant(op.axis)
        return python.call(f"np.{method}", operands[0], axis=axis, **extra)

    return lower


def _norm(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, reduce.Norm)
    extra = {"keepdims": python.constant(True)} if op.keepdims else {}
    square = python.call("np.square", operands[0])
    total = python.call(ast.Attribute(square, "sum", ast.Load()), axis=_axes(op.axes), **extra)
    return python.call("np.sqrt", total)


def _cumsum(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, reduce.CumSum)
    axis = python.constant(op.axis)
    if not op.reverse:
        return python.call("np.cumsum", operands[0], axis=axis)
    flipped = python.call("np.flip", operands[0], axis=axis)
    return python.call("np.flip", python.call("np.cumsum", flipped, axis=axis), axis=axis)


def _arange(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Arange)
    start, step = op.start == Dim.const(0), op.step == Dim.const(1)
    bounds = (
        [op.stop]
        if start and step
        else [op.start, op.stop]
        if step
        else [op.start, op.stop, op.step]
    )
    dtype = python.expr(DTYPES[op.dtype])
    return python.call("np.arange", *map(static.dim, bounds), dtype=dtype)


def _clip(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, elementwise.Clip)
    return python.call("np.clip", operands[0], static.value(op.low), static.value(op.high))


def has_row(op: Op) -> bool:
    """Whether the table has a row for this very op; else a composite one is written out."""
    if isinstance(op, loss.ClassLoss):
        usual = type(op)(axis=op.axis)
        return type(op) in TABLE and op == usual and op.axis == -1
    if isinstance(op, attention.Attention):
        return op.is_plain
    return type(op) in TABLE or "numpy" in op.rows


DTYPES = {
    DType.F32: "np.float32",
    DType.F64: "np.float64",
    DType.I64: "np.int64",
    DType.I32: "np.int32",
    DType.BOOL: "bool",
}


TABLE: Table = {
    elementwise.Constant: _constant,
    elementwise.Neg: "x: -x",
    elementwise.Add: "a, b: a + b",
    elementwise.Sub: "a, b: a - b",
    elementwise.Mul: "a, b: a * b",
    elementwise.Div: "a, b: a / b",
    elementwise.FloorDiv: "a, b: a // b",
    elementwise.Mod: "a, b: a % b",
    elementwise.Pow: "a, b: a**b",
    elementwise.Maximum: "a, b: np.maximum(a, b)",
    elementwise.Minimum: "a, b: np.minimum(a, b)",
    elementwise.Square: "x: np.square(x)",
    elementwise.Reciprocal: "x: 1 / x",
    elementwise.Exp: "x: np.exp(x)",
    elementwise.Log: "x: np.log(x)",
    elementwise.Log1p: "x: np.log1p(x)",
    elementwise.Expm1: "x: np.expm1(x)",
    elementwise.Sqrt: "x: np.sqrt(x)",
    elementwise.Rsqrt: "x: 1 / np.sqrt(x)",
    elementwise.Abs: "x: np.abs(x)",
    elementwise.Sign: "x: np.sign(x)",
    elementwise.Floor: "x: np.floor(x)",
    elementwise.Ceil: "x: np.ceil(x)",
    elementwise.Round: "x: np.round(x)",
    elementwise.Sin: "x: np.sin(x)",
    elementwise.Cos: "x: np.cos(x)",
    elementwise.Erf: "x: erf(x)",
    elementwise.Clip: _clip,
    elementwise.Equal: "a, b: a == b",
    elementwise.NotEqual: "a, b: a != b",
    elementwise.Less: "a, b: a < b",
    elementwise.LessEqual: "a, b: a <= b",
    elementwise.Greater: "a, b: a > b",
    elementwise.GreaterEqual: "a, b: a >= b",
    elementwise.LogicalAnd: "a, b: a & b",
    elementwise.LogicalOr: "a, b: a | b",
    elementwise.LogicalXor: "a, b: a ^ b",
    elementwise.LogicalNot: "x: ~x",
    elementwise.Where: "c, a, b: np.where(c, a, b)",
    elementwise.StopGradient: "x: x",
    reduce.Sum: _reduce("sum"),
    reduce.Mean: _reduce("mean"),
    reduce.Max: _reduce("max"),
    reduce.Min: _reduce("min"),
    reduce.Prod: _reduce("prod"),
    reduce.AllOf: _reduce("all"),
    reduce.AnyOf: _reduce("any"),
    reduce.Norm: _norm,
    reduce.LogSumExp: "x: log_sum_exp(x, axes, keepdims)",
    reduce.FirstEqual: "x, y: first_equal(x, y, axes)",
    reduce.ArgMax: _arg("argmax"),
    reduce.ArgMin: _arg("argmin"),
    reduce.CumSum: _cumsum,
    shape.Flatten: _flatten,
    shape.Unsqueeze: _expand,
    shape.Squeeze: _squeeze,
    shape.Transpose: _transpose,
    shape.Concat: "*xs: np.concatenate([*xs], axis=axis)",
    shape.Stack: "*xs: np.stack([*xs], axis=axis)",
    shape.Split: "x: split(x, sizes, axis)",
    shape.Slice: _slice,
    shape.Unslice: _unslice,
    shape.Pad: _pad,
    shape.Flip: "x: np.flip(x, axes)",
    shape.Arange: _arange,
    linalg.MatMul: "a, b: a @ b",
    linalg.Linear: _linear,
    linalg.Einsum: "*xs: np.einsum(equation, *xs, optimize=True)",
    **rows_windows.ROWS,
    **rows_image.ROWS,
    **rows_patches.ROWS,
    **rows_norm.ROWS,
    **rows_maths.ROWS,
    **rows_activations.ROWS,
    act.Gelu: _gelu("gelu"),
    act.GeluGrad: _gelu("gelu_grad"),
    GeluWithSlope: _gelu("gelu_with_slope"),
    loss.CrossEntropy: "x, t: cross_entropy(x, t)",
    CrossEntropyWithGradient: "x, t: cross_entropy_with_gradient(x, t)",
    loss.CrossEntropyGrad: "x, t, g: cross_entropy_grad(x, t, g)",
    state.Read: "x: x",
    state.Update: "x: x.copy()",
    random.Dropout: "x: dropout(x, p, rng)",
    **rows_attention.ROWS,
    **rows_recurrent.ROWS,
    **rows_indexing.ROWS,
}
