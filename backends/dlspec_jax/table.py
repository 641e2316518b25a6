"""What each op is in JAX. Helpers that templates name stand in `helpers.py`.

Convolution, pooling and batch norm take and give [N, *S, C] (see `layout`).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import NextDraw, python
from dlspec.codegen.statics import is_always
from dlspec.codegen.tables import Template
from dlspec.ir.types import DType
from dlspec.ops import activations as act
from dlspec.ops import elementwise as ew
from dlspec.ops import gradient, indexing, linalg, loss, random, reduce, shape, state
from dlspec_jax.rows import activations as rows_activations
from dlspec_jax.rows import attention as rows_attention
from dlspec_jax.rows import image as rows_image
from dlspec_jax.rows import indexing as rows_indexing
from dlspec_jax.rows import maths as rows_maths
from dlspec_jax.rows import norm as rows_norm
from dlspec_jax.rows import patches as rows_patches
from dlspec_jax.rows import recurrent as rows_recurrent
from dlspec_jax.rows import windows as rows_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import StaticPrinter, Table
    from dlspec.codegen.tables import RowFunction
    from dlspec.ir.graph import OpNode

DTYPES = {
    DType.F32: "jnp.float32",
    DType.F64: "jnp.float64",
    DType.BF16: "jnp.bfloat16",
    DType.I32: "jnp.int32",
    DType.I64: "int",  # int32 unless 64-bit types are enabled
    DType.BOOL: "bool",
    DType.FLOAT: "float",
}
DERIVED = rows_norm.DERIVED


def _axes(axes: tuple[int, ...]) -> ast.expr:
    return python.constant(axes[0] if len(axes) == 1 else axes)


def _reduction(function: str) -> RowFunction:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, reduce.Reduction | reduce.BoolReduction)
        rank = node.operands[0].type.rank
        everything = len(op.axes) == rank and not op.keepdims
        keywords = {} if everything else {"axis": _axes(op.axes)}
        if op.keepdims:
            keywords["keepdims"] = python.constant(True)
        return python.call(function, *operands, **keywords)

    return lower


def _argument(function: str) -> RowFunction:
    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, reduce.ArgReduction)
        keywords = {"axis": python.constant(op.axis)}
        if op.keepdims:
            keywords["keepdims"] = python.constant(True)
        return python.call(function, *operands, **keywords)

    return lower


def _constant(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, ew.Constant)
    value = static.value(op.value)
    return python.call("jnp.array", value) if isinstance(op.value, tuple) else value


def _cast(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, ew.Cast)
    return python.call(_method(operands[0], "astype"), python.expr(DTYPES[op.dtype]))


def _method(x: ast.expr, name: str) -> ast.expr:
    return ast.Attribute(x, name, ast.Load())


def _clip(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, ew.Clip)
    return python.call("clip", *operands, static.value(op.low), static.value(op.high))


def _gelu(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, act.Gelu)
    approximate = python.constant(op.approximate == "tanh")
    return python.call("jax.nn.gelu", *operands, approximate=approximate)


def _flatten(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Flatten)
    axis = op.axis if op.axis >= 0 else op.axis + node.operands[0].type.rank
    return python.call("flatten", *operands, *([] if axis == 1 else [python.constant(axis)]))


def _reshape(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Reshape)
    dims = [static.dim(d) for d in op.shape]
    if not dims:
        return python.call(_method(operands[0], "reshape"), python.tuple_of())
    return python.call(_method(operands[0], "reshape"), *dims)


def _slices(
    starts: Sequence[object],
    stops: Sequence[object],
    steps: Sequence[object],
    extents: Sequence[object] | None,
    static: StaticPrinter,
) -> ast.expr:
    """`:, 1:3` for the axes; an axis that is whole as a bare colon."""
    parts: list[ast.expr] = []
    one, zero = python.constant(1), python.constant(0)
    for i, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        low, high, by = static.value(start), static.value(stop), static.value(step)
        whole = extents is not None and stop == extents[i]
        parts.append(
            ast.Slice(
                None if ast.dump(low) == ast.dump(zero) else low,
                None if whole else high,
                None if ast.dump(by) == ast.dump(one) else by,
            )
        )
    while len(parts) > 1 and isinstance(parts[-1], ast.Slice) and _is_whole(parts[-1]):
        parts.pop()
    return parts[0] if len(parts) == 1 else python.tuple_of(*parts)


def _is_whole(part: ast.Slice) -> bool:
    return part.lower is None and part.upper is None and part.step is None


def _slice(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Slice)
    index = _slices(op.starts, op.stops, op.steps, node.operands[0].type.shape, static)
    return ast.Subscript(operands[0], index, ast.Load())


def _unslice(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Unslice)
    index = _slices(op.starts, op.stops, op.steps, op.shape, static)
    zeros = python.call("jnp.zeros", static.shape(op.shape), _method(operands[0], "dtype"))
    place = ast.Subscript(_method(zeros, "at"), index, ast.Load())
    return python.call(_method(place, "set"), *operands)


def _pad(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Pad)
    pairs = [static.shape(pair) for pair in zip(op.low, op.high, strict=True)]
    keywords = {}
    if not is_always(op.value, 0):
        keywords["constant_values"] = static.value(op.value)
    return python.call("jnp.pad", *operands, python.tuple_of(*pairs), **keywords)


def _split(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Split)
    axis = python.constant(op.axis)
    if len(set(op.sizes)) == 1:
        return python.call("jnp.split", *operands, python.constant(len(op.sizes)), axis=axis)
    ends = [op.sizes[0]]
    for size in op.sizes[1:-1]:
        ends.append(ends[-1] + size)
    places = python.list_of(*map(static.dim, ends))
    return python.call("jnp.split", *operands, places, axis=axis)


def _arange(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Arange)
    values = [static.dim(d) for d in (op.start, op.stop, op.step)]
    if is_always(op.step, 1):
        values = values[1:2] if is_always(op.start, 0) else values[:2]
    return python.call("jnp.arange", *values)


def _normal(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, random.RandomNormal)
    drawn: ast.expr = python.call("jax.random.normal", python.name("key"), static.shape(op.shape))
    if not is_always(op.std, 1):
        drawn = ast.BinOp(static.value(op.std), ast.Mult(), drawn)
    if not is_always(op.mean, 0):
        drawn = ast.BinOp(static.value(op.mean), ast.Add(), drawn)
    return drawn


def _uniform(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, random.RandomUniform)
    keywords = {}
    if not (is_always(op.low, 0) and is_always(op.high, 1)):
        keywords = {"minval": static.value(op.low), "maxval": static.value(op.high)}
    return python.call("jax.random.uniform", python.name("key"), static.shape(op.shape), **keywords)


def _one_hot(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, indexing.OneHot)
    keywords = {} if op.dtype is DType.FLOAT else {"dtype": python.expr(DTYPES[op.dtype])}
    return python.call("jax.nn.one_hot", *operands, static.dim(op.classes), **keywords)


def _element_loss(text: str) -> RowFunction:
    """The loss of each element, reduced."""

    def lower(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        op = node.op
        assert isinstance(op, loss.ElementLoss)
        return _reduced(Template.parse(text).fill(node, operands, static), op.reduction)

    return lower


def _reduced(each: ast.expr, reduction: str) -> ast.expr:
    return each if reduction == "none" else python.call(f"jnp.{reduction}", each)


def _cross_entropy(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, loss.CrossEntropy)
    logits, labels, *rest = operands
    axis = op.axis % node.operands[0].type.rank - node.operands[0].type.rank
    keywords = {} if axis == -1 else {"axis": python.constant(axis)}
    plain_form = not rest and op.ignore is None and not op.is_smooth()
    if plain_form:
        function = "optax.softmax_cross_entropy_with_integer_labels"
        return _reduced(python.call(function, logits, labels, **keywords), op.reduction)
    for name, given in (("weight", op.weighted), ("mask", op.masked)):
        if given:
            keywords[name] = rest.pop(0)
    if op.ignore is not None:
        keywords["ignore"] = static.dim(op.ignore)
    if op.is_smooth():
        keywords["smoothing"] = static.value(op.smoothing)
    if op.reduction != "mean":
        keywords["reduction"] = python.constant(op.reduction)
    return python.call("cross_entropy", logits, labels, **keywords)


TABLE: Table = {
    # elementwise
    ew.Constant: _constant,
    ew.Neg: "x: -x",
    ew.Add: "a, b: a + b",
    ew.Sub: "a, b: a - b",
    ew.Mul: "a, b: a * b",
    ew.Div: "a, b: a / b",
    ew.FloorDiv: "a, b: a // b",
    ew.Mod: "a, b: a % b",
    ew.Pow: "a, b: a**b",
    ew.Maximum: "a, b: jnp.maximum(a, b)",
    ew.Minimum: "a, b: jnp.minimum(a, b)",
    ew.Square: "x: jnp.square(x)",
    ew.Reciprocal: "x: 1 / x",
    ew.Exp: "x: jnp.exp(x)",
    ew.Log: "x: jnp.log(x)",
    ew.Log1p: "x: jnp.log1p(x)",
    ew.Expm1: "x: jnp.expm1(x)",
    ew.Sqrt: "x: jnp.sqrt(x)",
    ew.Rsqrt: "x: lax.rsqrt(x)",
    ew.Abs: "x: absolute(x)",
    ew.Sign: "x: jnp.sign(x)",
    ew.Floor: "x: jnp.floor(x)",
    ew.Ceil: "x: jnp.ceil(x)",
    ew.Round: "x: jnp.round(x)",
    ew.Sin: "x: jnp.sin(x)",
    ew.Cos: "x: jnp.cos(x)",
    ew.Erf: "x: jax.scipy.special.erf(x)",
    ew.Clip: _clip,
    ew.Equal: "a, b: a == b",
    ew.NotEqual: "a, b: a != b",
    ew.Less: "a, b: a < b",
    ew.LessEqual: "a, b: a <= b",
    ew.Greater: "a, b: a > b",
    ew.GreaterEqual: "a, b: a >= b",
    ew.LogicalAnd: "a, b: a & b",
    ew.LogicalOr: "a, b: a | b",
    ew.LogicalXor: "a, b: a ^ b",
    ew.LogicalNot: "x: ~x",
    ew.Where: "c, a, b: jnp.where(c, a, b)",
    ew.Cast: _cast,
    ew.StopGradient: "x: lax.stop_gradient(x)",
    gradient.Watch: "x: x",
    # activations
    act.Gelu: _gelu,
    act.GeluGrad: DERIVED,
    # reductions
    reduce.Sum: _reduction("jnp.sum"),
    reduce.Mean: _reduction("jnp.mean"),
    reduce.Max: _reduction("reduce_max"),
    reduce.Min: _reduction("reduce_min"),
    reduce.Prod: _reduction("jnp.prod"),
    reduce.Norm: _reduction("norm"),
    reduce.LogSumExp: _reduction("jax.nn.logsumexp"),
    reduce.AllOf: _reduction("jnp.all"),
    reduce.AnyOf: _reduction("jnp.any"),
    reduce.ArgMax: _argument("jnp.argmax"),
    reduce.ArgMin: _argument("jnp.argmin"),
    reduce.FirstEqual: DERIVED,
    reduce.CumSum: "x: cumsum(x, axis, reverse)",
    # shape
    shape.Reshape: _reshape,
    shape.Flatten: _flatten,
    shape.Unsqueeze: "x: jnp.expand_dims(x, axes)",
    shape.Squeeze: "x: jnp.squeeze(x, axes)",
    shape.Transpose: "x: jnp.transpose(x, perm)",
    shape.BroadcastTo: "x: jnp.broadcast_to(x, shape)",
    shape.Concat: "*xs: jnp.concatenate([*xs], axis=axis)",
    shape.Stack: "*xs: jnp.stack([*xs], axis=axis)",
    shape.Split: _split,
    shape.Slice: _slice,
    shape.Unslice: _unslice,
    shape.Pad: _pad,
    shape.Flip: "x: jnp.flip(x, axes)",
    shape.Arange: _arange,
    # products
    linalg.MatMul: "a, b: a @ b",
    linalg.Linear: ("x, w: x @ w.T", "x, w, b: x @ w.T + b"),
    linalg.Einsum: "*xs: jnp.einsum(equation, *xs)",
    # images
    **rows_windows.ROWS,
    **rows_image.ROWS,
    **rows_patches.ROWS,
    # indexing
    indexing.Take: "x, i: jnp.take(x, i, axis=axis)",
    indexing.TakeAlong: "x, i: jnp.take_along_axis(x, i, axis=axis)",
    indexing.OneHot: _one_hot,
    # losses
    loss.MseLoss: _element_loss("x, t: jnp.square(x - t)"),
    loss.MaeLoss: _element_loss("x, t: absolute(x - t)"),
    loss.HuberLoss: _element_loss("x, t: huber(x, t, delta)"),
    loss.BceWithLogits: _element_loss("x, t: optax.sigmoid_binary_cross_entropy(x, t)"),
    loss.BceLoss: _element_loss("p, t: binary_cross_entropy(p, t)"),
    loss.CrossEntropy: _cross_entropy,
    loss.CrossEntropyGrad: DERIVED,
    # norm
    **rows_norm.ROWS,
    **rows_maths.ROWS,
    **rows_activations.ROWS,
    # random
    NextDraw: ": next(draws)",
    state.Read: "x: x",
    state.Update: "x: lax.stop_gradient(x)",
    random.RandomNormal: _normal,
    random.RandomUniform: _uniform,
    **rows_attention.ROWS,
    **rows_recurrent.ROWS,
    **rows_indexing.ROWS,
}
