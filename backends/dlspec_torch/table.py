"""What each op is in torch. Signatures and semantics: the PyTorch reference, `torch` and
`torch.nn.functional`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlspec.codegen import NextDraw, Row, Table, Unsupported, python
from dlspec.codegen.statics import is_always
from dlspec.ir.types import DType
from dlspec.ops import activations as act
from dlspec.ops import elementwise as el
from dlspec.ops import indexing, linalg, loss, random, reduce, shape, state
from dlspec.ops.base import Op
from dlspec_torch.rows import activations as rows_activations
from dlspec_torch.rows import attention as rows_attention
from dlspec_torch.rows import gradient as rows_gradient
from dlspec_torch.rows import image as rows_image
from dlspec_torch.rows import indexing as rows_indexing
from dlspec_torch.rows import maths as rows_maths
from dlspec_torch.rows import norm as rows_norm
from dlspec_torch.rows import patches as rows_patches
from dlspec_torch.rows import recurrent as rows_recurrent
from dlspec_torch.rows import windows as rows_windows
from dlspec_torch.rows.windows import ONE, ZERO, padded

if TYPE_CHECKING:
    from dlspec.codegen import StaticPrinter
    from dlspec.ir.graph import OpNode, Value

Operands = Sequence[ast.expr]
RowFunction = Callable[["OpNode", Operands, "StaticPrinter"], "ast.expr | Unsupported"]


def method(x: ast.expr, name: str, *args: ast.expr, **keywords: ast.expr) -> ast.Call:
    return python.call(ast.Attribute(x, name, ast.Load()), *args, **keywords)


def arange(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    """`torch.arange(5)`, which is int64."""
    op = node.op
    assert isinstance(op, shape.Arange)
    bounds = [op.start, op.stop, op.step]
    if is_always(op.step, 1):
        bounds = bounds[1:2] if is_always(op.start, 0) else bounds[:2]
    wide = op.dtype is DType.I64
    extra = {} if wide else {"dtype": static.dtype(op.dtype)}
    return python.call("torch.arange", *map(static.dim, bounds), **extra)


def is_number(node: ast.expr) -> bool:
    """A literal number."""
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant)


def axes_of(axes: Sequence[int]) -> ast.expr:
    return python.constant(axes[0] if len(axes) == 1 else tuple(axes))


# --- elementwise ---


def extremum(name: str) -> RowFunction:
    """Numbers become tensors: `clamp` would send the whole gradient through at a tie."""

    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        a, b = operands
        if is_number(b):
            b = method(a, "new_tensor", b)
        elif is_number(a):
            a = method(b, "new_tensor", a)
        else:
            a, b = (scalar_tensor(v, x, static) for v, x in zip(node.operands, (a, b), strict=True))
        return python.call(f"torch.{name}", a, b)

    return row


def scalar_tensor(value: Value, x: ast.expr, static: StaticPrinter) -> ast.expr:
    """A scalar, which may be a Python number, as a tensor."""
    if value.type.rank:
        return x
    return python.call("torch.as_tensor", x, dtype=static.dtype(value.type.dtype))


def clip(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    bounds = {"min": node.op.low, "max": node.op.high}  # type: ignore[attr-defined]
    given = {k: static.value(v) for k, v in bounds.items() if v is not None}
    return method(operands[0], "clamp", **given)


def constant(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, el.Constant)
    value = static.value(op.value)
    if isinstance(op.value, tuple):
        return python.call("torch.tensor", value, dtype=static.dtype(op.dtype))
    if op.dtype.is_float and isinstance(value, ast.Constant) and isinstance(value.value, int):
        return python.constant(float(value.value))
    return value


def gelu(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, act.Gelu)
    extra = {} if op.approximate == "none" else {"approximate": static.value(op.approximate)}
    return python.call("F.gelu", *operands, **extra)


# --- reductions ---


def reduction(name: str) -> RowFunction:
    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        rank = node.operands[0].type.rank
        if not op.axes:  # torch takes no axes for all of them
            return operands[0]
        keep = {"keepdim": python.constant(True)} if op.keepdims else {}
        if len(op.axes) == rank and not keep and name != "logsumexp":
            return method(operands[0], name)
        return method(operands[0], name, axes_of(op.axes), **keep)

    return row


def one_by_one(name: str) -> RowFunction:
    """For methods that take a single axis."""

    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        rank = node.operands[0].type.rank
        result = operands[0]
        for axis in sorted((a % rank for a in op.axes), reverse=True):
            keep = {"keepdim": python.constant(True)} if op.keepdims else {}
            result = method(result, name, python.constant(axis), **keep)
        return result

    return row


def greatest(name: str) -> RowFunction:
    """Over one flattened axis: there the gradient goes to the first of equal elements."""

    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        rank = node.operands[0].type.rank
        axes = sorted(a % rank for a in op.axes)
        if not axes:
            return operands[0]
        rest = [a for a in range(rank) if a not in axes]
        x = operands[0]
        if rest + axes != list(range(rank)):
            x = method(x, "permute", *map(python.constant, rest + axes))
        if len(axes) > 1:
            x = method(x, "flatten", *([python.constant(len(rest))] if rest else []))
        x = ast.Attribute(method(x, name, python.constant(-1)), "values", ast.Load())
        if op.keepdims:
            for axis in axes:
                x = method(x, "unsqueeze", python.constant(axis))
        return x

    return row


def norm_of(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op: Any = node.op
    keep = {"keepdim": python.constant(True)} if op.keepdims else {}
    axes = python.constant(tuple(op.axes))
    return python.call("torch.linalg.vector_norm", operands[0], dim=axes, **keep)


def arg_of(name: str) -> RowFunction:
    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        keep = {"keepdim": python.constant(True)} if op.keepdims else {}
        return method(operands[0], name, python.constant(op.axis), **keep)

    return row


def cumsum(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, reduce.CumSum)
    axis = python.constant(op.axis)
    if not op.reverse:
        return method(operands[0], "cumsum", axis)
    return method(method(method(operands[0], "flip", axis), "cumsum", axis), "flip", axis)


# --- shape ---


def by_shape(name: str) -> RowFunction:
    """A method that takes the extents one by one."""

    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        if is_number(operands[0]):
            dtype = static.dtype(node.results[0].type.dtype)
            return python.call("torch.full", static.value(op.shape), operands[0], dtype=dtype)
        extents = list(map(static.dim, op.shape)) or [python.constant(())]
        return method(operands[0], name, *extents)

    return row


def flatten(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Flatten)
    if op.axis >= node.operands[0].type.rank:
        return method(operands[0], "unsqueeze", python.constant(op.axis))
    return method(operands[0], "flatten", python.constant(op.axis))


def unsqueeze(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Unsqueeze)
    rank = node.results[0].type.rank
    result = operands[0]
    for axis in [op.axes[0]] if len(op.axes) == 1 else sorted(a % rank for a in op.axes):
        result = method(result, "unsqueeze", python.constant(axis))
    return result


def transpose(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Transpose)
    rank = len(op.perm)
    perm = [p % rank for p in op.perm]
    moved = [i for i, p in enumerate(perm) if i != p]
    if rank == 2 and moved:
        return ast.Attribute(operands[0], "T", ast.Load())
    if len(moved) == 2:
        places = [m if m < rank - 2 else m - rank for m in moved]
        return method(operands[0], "transpose", *map(python.constant, places))
    return method(operands[0], "permute", *map(python.constant, perm))


def split(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Split)
    axis = python.constant(op.axis)
    if all(size == op.sizes[0] for size in op.sizes):
        return method(operands[0], "chunk", python.constant(len(op.sizes)), dim=axis)
    sizes = python.list_of(*map(static.dim, op.sizes))
    return method(operands[0], "split", sizes, dim=axis)


def slice_of(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Slice)
    parts: list[ast.expr] = []
    extents = node.operands[0].type.shape
    for start, stop, step, n in zip(op.starts, op.stops, op.steps, extents, strict=True):
        lower = None if start == ZERO else static.dim(start)
        upper = None if stop == n else static.dim(stop)
        parts.append(ast.Slice(lower, upper, None if step == ONE else static.dim(step)))
    while len(parts) > 1 and parts[-1].lower is parts[-1].upper is parts[-1].step is None:  # type: ignore[attr-defined]
        parts.pop()
    index = parts[0] if len(parts) == 1 else python.tuple_of(*parts)
    return ast.Subscript(operands[0], index, ast.Load())


def pad(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Pad)
    return padded(operands[0], list(zip(op.low, op.high, strict=True)), op.value, static)


# --- randomness ---


def draw(name: str) -> RowFunction:
    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        dtype = static.dtype(node.results[0].type.dtype)
        drawn = python.call(f"torch.{name}", static.value(op.shape), dtype=dtype)
        low, scale = (
            (op.mean, op.std) if name == "randn" else (op.low, _difference(op.high, op.low, static))
        )
        if not (isinstance(scale, float) and scale == 1.0):
            printed = scale if isinstance(scale, ast.expr) else static.value(scale)
            drawn = ast.BinOp(printed, ast.Mult(), drawn)
        if not is_always(low, 0.0):
            drawn = ast.BinOp(static.value(low), ast.Add(), drawn)
        return drawn

    return row


def _difference(high: Any, low: Any, static: StaticPrinter) -> float | ast.expr:
    if isinstance(high, float) and isinstance(low, float):
        return high - low
    return ast.BinOp(static.value(high), ast.Sub(), static.value(low))


# --- indexing, losses ---


def take(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, indexing.Take)
    axis = op.axis % node.operands[0].type.rank
    index = [*(ast.Slice() for _ in range(axis)), operands[1]]
    place = index[0] if len(index) == 1 else python.tuple_of(*index)
    return ast.Subscript(operands[0], place, ast.Load())


def one_hot(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, indexing.OneHot)
    classes = python.call("torch.arange", static.dim(op.classes))
    index = method(operands[0], "unsqueeze", python.constant(-1))
    return method(ast.Compare(index, [ast.Eq()], [classes]), "to", static.dtype(op.dtype))


def element_loss(name: str, **fields: str) -> RowFunction:
    """fields: torch's keywords with the op's field of each."""

    def row(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
        op: Any = node.op
        x, target = operands
        if is_number(target):
            target = python.call("torch.full_like", x, target)
        elif not node.operands[1].type.rank and node.operands[0].type.rank:
            target = method(target, "expand_as", x)
        keywords = {k: static.value(getattr(op, f)) for k, f in fields.items()}
        if op.reduction != "mean":
            keywords["reduction"] = python.constant(op.reduction)
        return python.call(f"F.{name}", x, target, **keywords)

    return row


def cross_entropy(node: OpNode, operands: Operands, static: StaticPrinter) -> ast.expr:
    op = node.op
    assert isinstance(op, loss.CrossEntropy)
    logits, labels = operands[:2]
    weight, mask = op.optional(operands)
    rank = node.operands[0].type.rank
    if rank > 2 and op.axis % rank != 1:
        logits = method(logits, "movedim", python.constant(op.axis), python.constant(1))
    keywords: dict[str, ast.expr] = {}
    if weight is not None:
        keywords["weight"] = method(weight, "detach")
    if op.is_smooth():
        keywords["label_smoothing"] = static.value(op.smoothing)
    if node.operands[1].type.dtype.value != "i64":
        labels = method(labels, "long")
    if op.ignore is None and mask is None:
        if op.reduction != "mean":
            keywords["reduction"] = python.constant(op.reduction)
        return python.call("F.cross_entropy", logits, labels, **keywords)
    ignore = python.constant(-100) if op.ignore is None else static.dim(op.ignore)
    if mask is not None:
        labels = method(labels, "masked_fill", ast.UnaryOp(ast.Invert(), mask), ignore)
    if op.ignore is not None:
        keywords["ignore_index"] = ignore
    if op.reduction != "mean":
        keywords["reduction"] = python.constant(op.reduction)
        return python.call("F.cross_entropy", logits, labels, **keywords)
    # torch's mean is nan when no label counts; ours is 0
    keywords["reduction"] = python.constant("sum")
    total = python.call("F.cross_entropy", logits, labels, **keywords)
    kept: ast.expr | None = mask
    if op.ignore is not None:
        differs = ast.Compare(operands[1], [ast.NotEq()], [ignore])
        kept = differs if mask is None else ast.BinOp(differs, ast.BitAnd(), mask)
    assert kept is not None
    if weight is None:
        count = method(method(kept, "sum"), "clamp", min=python.constant(1))
        return ast.BinOp(total, ast.Div(), count)
    chosen = ast.Subscript(operands[1], kept, ast.Load())
    weights = ast.Subscript(keywords["weight"], chosen, ast.Load())
    count = method(method(weights, "sum"), "clamp", min=python.constant(1e-37))
    return ast.BinOp(total, ast.Div(), count)


OWN_GRADIENT = rows_norm.OWN_GRADIENT
MODE = rows_norm.MODE

TABLE: dict[type[Op], Row] = {
    # leaves
    el.Constant: constant,
    shape.Arange: arange,
    random.RandomNormal: draw("randn"),
    random.RandomUniform: draw("rand"),
    NextDraw: ": next(draws)",
    # arithmetic
    el.Neg: "x: -x",
    el.Add: "a, b: a + b",
    el.Sub: "a, b: a - b",
    el.Mul: "a, b: a * b",
    el.Div: "a, b: a / b",
    el.FloorDiv: "a, b: a // b",
    el.Mod: "a, b: a % b",
    el.Pow: "a, b: a**b",
    el.Maximum: extremum("maximum"),
    el.Minimum: extremum("minimum"),
    el.Square: "x: x.square()",
    el.Reciprocal: "x: 1 / x",
    el.Exp: "x: torch.exp(x)",
    el.Log: "x: torch.log(x)",
    el.Log1p: "x: torch.log1p(x)",
    el.Expm1: "x: torch.expm1(x)",
    el.Sqrt: "x: torch.sqrt(x)",
    el.Rsqrt: "x: torch.rsqrt(x)",
    el.Abs: "x: x.abs()",
    el.Sign: "x: torch.sign(x)",
    el.Floor: "x: torch.floor(x)",
    el.Ceil: "x: torch.ceil(x)",
    el.Round: "x: torch.round(x)",
    el.Sin: "x: torch.sin(x)",
    el.Cos: "x: torch.cos(x)",
    el.Erf: "x: torch.erf(x)",
    el.Clip: clip,
    # comparison and logic
    el.Equal: "a, b: a == b",
    el.NotEqual: "a, b: a != b",
    el.Less: "a, b: a < b",
    el.LessEqual: "a, b: a <= b",
    el.Greater: "a, b: a > b",
    el.GreaterEqual: "a, b: a >= b",
    el.LogicalAnd: "a, b: a & b",
    el.LogicalOr: "a, b: a | b",
    el.LogicalXor: "a, b: a ^ b",
    el.LogicalNot: "x: ~x",
    el.Where: "c, a, b: torch.where(c, a, b)",
    el.Cast: "x: x.to(dtype)",
    el.StopGradient: "x: x.detach()",
    # activations
    act.Gelu: gelu,
    act.GeluGrad: OWN_GRADIENT,
    # reductions
    reduce.Sum: reduction("sum"),
    reduce.Mean: reduction("mean"),
    reduce.Max: greatest("max"),
    reduce.Min: greatest("min"),
    reduce.FirstEqual: OWN_GRADIENT,
    reduce.Prod: one_by_one("prod"),
    reduce.Norm: norm_of,
    reduce.LogSumExp: reduction("logsumexp"),
    reduce.ArgMax: arg_of("argmax"),
    reduce.ArgMin: arg_of("argmin"),
    reduce.AllOf: one_by_one("all"),
    reduce.AnyOf: one_by_one("any"),
    reduce.CumSum: cumsum,
    # shape
    shape.Reshape: by_shape("reshape"),
    shape.Flatten: flatten,
    shape.Unsqueeze: unsqueeze,
    shape.Squeeze: "x: x.squeeze(axes)",
    shape.Transpose: transpose,
    shape.BroadcastTo: by_shape("expand"),
    shape.Concat: "*xs: torch.cat([*xs], dim=axis)",
    shape.Stack: "*xs: torch.stack([*xs], dim=axis)",
    shape.Split: split,
    shape.Slice: slice_of,
    shape.Unslice: OWN_GRADIENT,
    shape.Pad: pad,
    shape.Flip: "x: x.flip(axes)",
    # products
    linalg.MatMul: "a, b: a @ b",
    linalg.Linear: ("x, w: F.linear(x, w)", "x, w, b: F.linear(x, w, b)"),
    linalg.Einsum: "*xs: torch.einsum(equation, *xs)",
    # pooling and normalisation
    **rows_windows.ROWS,
    **rows_image.ROWS,
    **rows_patches.ROWS,
    **rows_norm.ROWS,
    **rows_maths.ROWS,
    **rows_activations.ROWS,
    state.Read: "x: x",
    state.Update: "x: x.detach()",
    random.Dropout: "x: F.dropout(x, p, training)",
    # indexing
    indexing.Take: take,
    indexing.TakeAlong: "x, i: torch.take_along_dim(x, i, axis)",
    indexing.OneHot: one_hot,
    # losses
    loss.MseLoss: element_loss("mse_loss"),
    loss.MaeLoss: element_loss("l1_loss"),
    loss.HuberLoss: element_loss("huber_loss", delta="delta"),
    loss.BceWithLogits: element_loss("binary_cross_entropy_with_logits"),
    loss.BceLoss: element_loss("binary_cross_entropy"),
    loss.CrossEntropy: cross_entropy,
    loss.CrossEntropyGrad: OWN_GRADIENT,
    **rows_attention.ROWS,
    **rows_gradient.ROWS,
    **rows_recurrent.ROWS,
    **rows_indexing.ROWS,
}


class Dialect(NamedTuple):
    """A backend that writes torch: its name and its rows."""

    name: str
    table: Table


TORCH = Dialect("torch", TABLE)

# Ops that take a number where others take a tensor.
WITH_NUMBERS: frozenset[type[Op]] = frozenset(
    {
        *(el.Add, el.Sub, el.Mul, el.Div, el.FloorDiv, el.Mod, el.Pow, el.Maximum, el.Minimum),
        *(el.Equal, el.NotEqual, el.Less, el.LessEqual, el.Greater, el.GreaterEqual, el.Where),
        *(loss.MseLoss, loss.MaeLoss, loss.HuberLoss, loss.BceWithLogits, loss.BceLoss),
        shape.BroadcastTo,
        *rows_maths.WITH_NUMBERS,
    }
)
