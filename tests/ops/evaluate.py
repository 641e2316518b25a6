"""Runs a function's IR with torch, one entry for each op class; independent of our backends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec.ir.dims import Dim
from dlspec.ir.graph import OpNode
from dlspec.ir.static import plain
from dlspec.ir.types import DType
from dlspec.ops import activations as act
from dlspec.ops import attention, conv, indexing, linalg, loss, norm, ordering, pool, reduce, shape
from dlspec.ops import elementwise as ew
from dlspec.ops.gradient import Watch

from . import cases_recurrent, evaluate_image, evaluate_index, evaluate_maths, evaluate_patches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dlspec.ir.graph import Function, Value
    from dlspec.ops.base import Op

DTYPES = {
    DType.FLOAT: torch.float64,
    DType.F64: torch.float64,
    DType.F32: torch.float32,
    DType.BF16: torch.bfloat16,
    DType.I64: torch.int64,
    DType.I32: torch.int32,
    DType.BOOL: torch.bool,
}


class Context:
    """The values of the dims in attributes."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        self.dims = dims

    def number(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self.number(item) for item in value]
        return value.evaluate(self.dims) if isinstance(value, Dim) else plain(value)

    def pairs(self, op: Any, x: Sequence[int], kernel: Sequence[int]) -> list[list[int]]:
        """The padding of a window as numbers; "same" by TensorFlow's rule."""
        if op.padding != "same":
            return self.number(op.padding)
        stride = self.number(op.stride)
        ones = (Dim.const(1),) * len(kernel)
        dilation = self.number(getattr(op, "dilation", ()) or ones)
        found = []
        for n, k, s, d in zip(x, kernel, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            found.append([total // 2, total - total // 2])
        return found


def padded(x: Tensor, pairs: Sequence[Sequence[int]], value: float = 0.0) -> Tensor:
    """x with pairs (before, after) on its last axes."""
    flat = [side for pair in reversed(list(pairs)) for side in pair]
    return F.pad(x, flat, value=value)


def convolve(c: Context, op: Any, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    pairs = c.pairs(op, x.shape[2:], w.shape[2:])
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    stride, dilation = c.number(op.stride), c.number(op.dilation)
    return function(padded(x, pairs), w, bias, stride, 0, dilation, c.number(op.groups))


def transposed(function: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> Tensor:
    """The transpose of a linear function at a point of x's shape, applied to g, differentiable."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(function(x), x, g, create_graph=True)
    return found


def conv_input_grad(c: Context, op: Any, dy: Tensor, w: Tensor) -> Tensor:
    size = (dy.shape[0], c.number(op.channels), *c.number(op.size))
    return transposed(lambda x: convolve(c, op, x, w), dy.new_zeros(size), dy)


def conv_weight_grad(c: Context, op: Any, x: Tensor, dy: Tensor) -> Tensor:
    size = (dy.shape[1], x.shape[1] // c.number(op.groups), *c.number(op.kernel))
    return transposed(lambda w: convolve(c, op, x, w), x.new_zeros(size), dy)


def windows(c: Context, op: Any, x: Tensor, value: float) -> tuple[Tensor, tuple[int, ...]]:
    """All windows as [N, C, *P, K], K elements in row-major order."""
    kernel, stride = c.number(op.kernel), c.number(op.stride)
    pairs = c.pairs(op, x.shape[2:], kernel)
    spread = c.number(op.spread())
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, spread, strict=True)]
    if op.ceil:  # torch's rule, as in its own shape function
        more = []
        for n, k, s, (low, high) in zip(x.shape[2:], spans, stride, pairs, strict=True):
            out = -(-(n + low + high - k) // s) + 1
            out -= (out - 1) * s >= n + low
            more.append([low, max(high, (out - 1) * s + k - n - low)])
        pairs = more
    x = padded(x, pairs, value)
    for i, (k, s, d) in enumerate(zip(spans, stride, spread, strict=True)):
        x = x.unfold(2 + i, k, s)[..., ::d]
    spatial = x.shape[2 : 2 + len(kernel)]
    return x.reshape(*x.shape[:2], *spatial, -1), spatial


def max_pool(c: Context, op: Any, x: Tensor) -> Tensor:
    return windows(c, op, x, -torch.inf)[0].amax(-1)


def max_pool_select(c: Context, op: Any, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """v at the first maximum of each window of x."""
    best = windows(c, op, x, -torch.inf)[0].argmax(-1, keepdim=True)
    return windows(c, op, v, 0.0)[0].gather(-1, best).squeeze(-1)


def max_pool_grad(c: Context, op: Any, x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
    return transposed(lambda v: max_pool_select(c, op, x, y, v), x, dy)


def avg_pool(c: Context, op: Any, x: Tensor) -> Tensor:
    total = windows(c, op, x, 0.0)[0].sum(-1)
    ones = torch.ones_like(x)
    if op.count_padding:
        # what hangs over the end does not count, padding does
        pairs = c.pairs(op, x.shape[2:], c.number(op.kernel))
        ones = padded(ones, pairs, 1.0)
        bare = pool.AvgPool(op.kernel, op.stride, ((Dim.const(0),) * 2,) * len(op.kernel), op.ceil)
        count = windows(c, bare, ones, 0.0)[0].sum(-1)
        count = count[tuple(slice(n) for n in total.shape)]
    else:
        count = windows(c, op, ones, 0.0)[0].sum(-1)
    return total / count


def avg_pool_grad(c: Context, op: Any, dy: Tensor) -> Tensor:
    x = dy.new_zeros((*dy.shape[:2], *c.number(op.size)))
    return transposed(lambda v: avg_pool(c, op, v), x, dy)


def slices(c: Context, op: Any) -> tuple[slice, ...]:
    parts = (c.number(op.starts), c.number(op.stops), c.number(op.steps))
    return tuple(slice(*triple) for triple in zip(*parts, strict=True))


def unslice(c: Context, op: Any, x: Tensor) -> Tensor:
    return transposed(lambda v: v[slices(c, op)], x.new_zeros(c.number(op.shape)), x)


def first_equal(c: Context, op: Any, x: Tensor, y: Tensor) -> Tensor:
    axes = [axis % x.ndim for axis in op.axes]
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    order = rest + axes
    same = (x == y).permute(order)
    flat = same.reshape(*same.shape[: len(rest)], -1)
    first = flat & (flat.cumsum(-1) == 1)
    return first.reshape(same.shape).permute([order.index(i) for i in range(x.ndim)])


def product(c: Context, op: Any, x: Tensor) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in op.axes), reverse=True):
        x = x.prod(axis, keepdim=op.keepdims)
    return x


def scatter_add(c: Context, op: Any, indices: Tensor, g: Tensor) -> Tensor:
    tail = g.shape[op.axis + indices.ndim :]
    size = (*g.shape[: op.axis], c.number(op.size), *tail)
    flat = g.reshape(*g.shape[: op.axis], -1, *tail)
    return g.new_zeros(size).index_add(op.axis, indices.reshape(-1), flat)


def scatter_add_along(c: Context, op: Any, indices: Tensor, g: Tensor) -> Tensor:
    size = (*g.shape[: op.axis], c.number(op.size), *g.shape[op.axis + 1 :])
    return g.new_zeros(size).scatter_add(op.axis, indices, g)


def take(c: Context, op: Any, x: Tensor, indices: Tensor) -> Tensor:
    axis = op.axis % x.ndim
    found = x.index_select(axis, indices.reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def one_hot(c: Context, op: Any, x: Tensor) -> Tensor:
    classes = torch.arange(c.number(op.classes))
    return (x.unsqueeze(-1) == classes).to(DTYPES[op.dtype])


def gelu_grad(c: Context, op: Any, x: Tensor, g: Tensor) -> Tensor:
    if op.approximate == "none":
        density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return g * (torch.special.ndtr(x) + x * density)
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return g * (0.5 * (1 + torch.tanh(u)) + 0.5 * x * slope / torch.cosh(u) ** 2)


def batch_norm(c: Context, op: Any, x: Tensor, mean: Tensor, var: Tensor, *factors: Tensor) -> Any:
    axes = [i for i in range(x.ndim) if i != 1]
    new_mean, new_var = mean.detach().clone(), var.detach().clone()
    rest = iter(factors)
    scale, shift = (next(rest) if flag else None for flag in (op.scale, op.shift))
    momentum, eps = plain(op.momentum), plain(op.eps)
    y = F.batch_norm(x, new_mean, new_var, scale, shift, True, momentum, eps)
    rstd = 1 / torch.sqrt(x.var(axes, correction=0) + eps)
    return y, new_mean, new_var, x.mean(axes), rstd


def batch_norm_grad(
    c: Context, op: Any, x: Tensor, mean: Tensor, rstd: Tensor, dy: Tensor, *scale: Tensor
) -> Any:
    """As written in the docstring, with numbers for the axes."""
    wide = (1, -1) + (1,) * (x.ndim - 2)
    axes = [i for i in range(x.ndim) if i != 1]
    normal = (x - mean.view(wide)) * rstd.view(wide)
    dshift, dscale = dy.sum(axes), (dy * normal).sum(axes)
    count = x.numel() / x.shape[1]
    dx = dy - dshift.view(wide) / count - normal * dscale.view(wide) / count
    dx = dx * rstd.view(wide) * (scale[0].view(wide) if scale else 1.0)
    return tuple(v for v, keep in ((dx, True), (dscale, op.scale), (dshift, op.shift)) if keep)


def batch_norm_inference(c: Context, op: Any, x: Tensor, mean: Tensor, var: Tensor, *f: Tensor):
    rest = iter(f)
    wide = (1, -1) + (1,) * (x.ndim - 2)
    y = (x - mean.view(wide)) / torch.sqrt(var.view(wide) + plain(op.eps))
    y = y * next(rest).view(wide) if op.scale else y
    return y + next(rest).view(wide) if op.shift else y


def cross_entropy(c: Context, op: Any, logits: Tensor, labels: Tensor, *extra: Tensor) -> Tensor:
    weight, mask = op.optional((logits, labels, *extra))
    weight = weight.detach() if weight is not None else None
    ignore = -100 if op.ignore is None else c.number(op.ignore)
    if mask is not None:
        labels = torch.where(mask, labels, ignore)
    logits = logits.movedim(op.axis, 1) if logits.ndim > 1 else logits
    if bool((labels == ignore).all()) and op.reduction == "mean":
        return logits.sum() * 0.0
    smoothing = plain(op.smoothing)
    return F.cross_entropy(logits, labels, weight, None, ignore, None, op.reduction, smoothing)


def cross_entropy_grad(c: Context, op: Any, logits: Tensor, *rest: Tensor) -> Tensor:
    def run(x: Tensor) -> Tensor:
        return cross_entropy(c, op, x, *rest[:-1])

    # a second graph from logits, so that the result depends on them
    with torch.enable_grad():
        x = logits if logits.requires_grad else logits.detach().requires_grad_()
        (found,) = torch.autograd.grad(run(x), x, rest[-1], create_graph=True)
    return found


def elementwise_loss(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(c: Context, op: Any, x: Tensor, target: Tensor) -> Tensor:
        return function(x, target.expand_as(x), reduction=op.reduction)

    return run


def unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda c, op, x: function(x)


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda c, op, x, y: function(x, y)


def clip(c: Context, op: Any, x: Tensor) -> Tensor:
    return torch.clamp(x, plain(op.low), plain(op.high))


def constant(c: Context, op: Any) -> Tensor:
    return torch.tensor(c.number(op.value), dtype=DTYPES[op.dtype])


def unsqueeze(c: Context, op: Any, x: Tensor) -> Tensor:
    rank = x.ndim + len(op.axes)
    for axis in sorted(axis % rank for axis in op.axes):
        x = x.unsqueeze(axis)
    return x


def flatten(c: Context, op: Any, x: Tensor) -> Tensor:
    return x.unsqueeze(-1) if x.ndim <= op.axis else x.flatten(op.axis)


def cumsum(c: Context, op: Any, x: Tensor) -> Tensor:
    if op.reverse:
        return x.flip(op.axis).cumsum(op.axis).flip(op.axis)
    return x.cumsum(op.axis)


def linear(c: Context, op: Any, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, w, bias)


TABLE: dict[type[Op], Callable[..., Any]] = {
    ew.Constant: constant,
    ew.Neg: unary(torch.neg),
    ew.Add: binary(torch.add),
    ew.Sub: binary(torch.sub),
    ew.Mul: binary(torch.mul),
    ew.Div: binary(torch.div),
    ew.FloorDiv: binary(torch.floor_divide),
    ew.Mod: binary(torch.remainder),
    ew.Pow: binary(torch.pow),
    ew.Maximum: binary(torch.maximum),
    ew.Minimum: binary(torch.minimum),
    ew.Square: unary(torch.square),
    ew.Reciprocal: unary(torch.reciprocal),
    ew.Exp: unary(torch.exp),
    ew.Log: unary(torch.log),
    ew.Log1p: unary(torch.log1p),
    ew.Expm1: unary(torch.expm1),
    ew.Sqrt: unary(torch.sqrt),
    ew.Rsqrt: unary(torch.rsqrt),
    ew.Abs: unary(torch.abs),
    ew.Sign: unary(torch.sign),
    ew.Floor: unary(torch.floor),
    ew.Ceil: unary(torch.ceil),
    ew.Round: unary(torch.round),
    ew.Sin: unary(torch.sin),
    ew.Cos: unary(torch.cos),
    ew.Erf: unary(torch.erf),
    ew.Clip: clip,
    ew.Equal: binary(torch.eq),
    ew.NotEqual: binary(torch.ne),
    ew.Less: binary(torch.lt),
    ew.LessEqual: binary(torch.le),
    ew.Greater: binary(torch.gt),
    ew.GreaterEqual: binary(torch.ge),
    ew.LogicalAnd: binary(torch.logical_and),
    ew.LogicalOr: binary(torch.logical_or),
    ew.LogicalXor: binary(torch.logical_xor),
    ew.LogicalNot: unary(torch.logical_not),
    ew.Where: lambda c, op, condition, x, y: torch.where(condition, x, y),
    ew.Cast: lambda c, op, x: x.to(DTYPES[op.dtype]),
    ew.StopGradient: unary(torch.Tensor.detach),
    Watch: unary(torch.Tensor.clone),
    act.Relu: unary(F.relu),
    act.Relu6: unary(F.relu6),
    act.HardTanh: lambda c, op, x: F.hardtanh(x, plain(op.low), plain(op.high)),
    # torch's own has a float32 1 / 6 in its gradient
    act.HardSigmoid: unary(lambda x: F.relu6(x + 3) / 6),
    act.Step: unary(lambda x: (x > 0).to(x.dtype)),
    act.Sigmoid: unary(torch.sigmoid),
    act.LogSigmoid: unary(F.logsigmoid),
    act.Tanh: unary(torch.tanh),
    act.Softplus: unary(lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    act.Softsign: unary(F.softsign),
    act.Elu: lambda c, op, x: F.elu(x, plain(op.alpha)),
    act.Selu: unary(F.selu),
    act.LeakyRelu: lambda c, op, x: F.leaky_relu(x, plain(op.slope)),
    act.Silu: unary(F.silu),
    act.HardSwish: unary(F.hardswish),
    act.Mish: unary(F.mish),
    act.Gelu: lambda c, op, x: F.gelu(x, approximate=op.approximate),
    act.GeluGrad: gelu_grad,
    act.Softmax: lambda c, op, x: torch.softmax(x, op.axis),
    act.LogSoftmax: lambda c, op, x: torch.log_softmax(x, op.axis),
    reduce.Sum: lambda c, op, x: x.sum(op.axes, op.keepdims) if op.axes else x,
    reduce.Mean: lambda c, op, x: x.mean(op.axes, op.keepdims) if op.axes else x,
    reduce.Max: lambda c, op, x: x.amax(op.axes, op.keepdims) if op.axes else x,
    reduce.Min: lambda c, op, x: x.amin(op.axes, op.keepdims) if op.axes else x,
    reduce.FirstEqual: first_equal,
    reduce.Prod: product,
    reduce.Norm: lambda c, op, x: torch.linalg.vector_norm(x, 2, op.axes, op.keepdims),
    reduce.LogSumExp: lambda c, op, x: torch.logsumexp(x, op.axes, op.keepdims),
    reduce.ArgMax: lambda c, op, x: x.argmax(op.axis, op.keepdims),
    reduce.ArgMin: lambda c, op, x: x.argmin(op.axis, op.keepdims),
    reduce.AllOf: lambda c, op, x: torch.all(x, op.axes, op.keepdims),
    reduce.AnyOf: lambda c, op, x: torch.any(x, op.axes, op.keepdims),
    reduce.CumSum: cumsum,
    shape.Reshape: lambda c, op, x: x.reshape(c.number(op.shape)),
    shape.Flatten: flatten,
    shape.Unsqueeze: unsqueeze,
    shape.Squeeze: lambda c, op, x: x.squeeze(op.axes),
    shape.Transpose: lambda c, op, x: x.permute(op.perm),
    shape.BroadcastTo: lambda c, op, x: x.expand(c.number(op.shape)),
    shape.Concat: lambda c, op, *xs: torch.cat(xs, op.axis),
    shape.Stack: lambda c, op, *xs: torch.stack(xs, op.axis),
    shape.Split: lambda c, op, x: torch.split(x, c.number(op.sizes), op.axis),
    shape.Slice: lambda c, op, x: x[slices(c, op)],
    shape.Unslice: unslice,
    shape.Pad: lambda c, op, x: padded(
        x, list(zip(c.number(op.low), c.number(op.high), strict=True)), op.value
    ),
    shape.Flip: lambda c, op, x: x.flip(op.axes),
    shape.Arange: lambda c, op: torch.arange(*c.number((op.start, op.stop, op.step))),
    linalg.MatMul: binary(torch.matmul),
    linalg.Linear: linear,
    linalg.Bilinear: lambda c, op, *operands: F.bilinear(*operands),
    linalg.Einsum: lambda c, op, *xs: torch.einsum(op.equation, *xs),
    conv.Conv: convolve,
    conv.ConvInputGrad: conv_input_grad,
    conv.ConvWeightGrad: conv_weight_grad,
    pool.MaxPool: max_pool,
    pool.MaxPoolGrad: max_pool_grad,
    pool.MaxPoolSelect: max_pool_select,
    pool.AvgPool: avg_pool,
    pool.AvgPoolGrad: avg_pool_grad,
    norm.BatchNorm: batch_norm,
    norm.BatchNormGrad: batch_norm_grad,
    norm.BatchNormInference: batch_norm_inference,
    **evaluate_image.ROWS,
    **cases_recurrent.ROWS,
    **evaluate_maths.ROWS,
    **evaluate_patches.ROWS,
    indexing.Take: take,
    indexing.ScatterAdd: scatter_add,
    indexing.Embedding: evaluate_index.embedding,
    indexing.TakeAlong: lambda c, op, x, i: torch.take_along_dim(x, i, op.axis),
    indexing.ScatterAddAlong: scatter_add_along,
    indexing.OneHot: one_hot,
    loss.MseLoss: elementwise_loss(F.mse_loss),
    loss.MaeLoss: elementwise_loss(F.l1_loss),
    loss.HuberLoss: lambda c, op, x, t: F.huber_loss(
        x, t.expand_as(x), reduction=op.reduction, delta=plain(op.delta)
    ),
    loss.BceWithLogits: elementwise_loss(F.binary_cross_entropy_with_logits),
    loss.BceLoss: elementwise_loss(F.binary_cross_entropy),
    loss.CrossEntropy: cross_entropy,
    loss.CrossEntropyGrad: cross_entropy_grad,
    attention.Attention: evaluate_index.attention,
    attention.AttentionGrad: evaluate_index.attention_grad,
    ordering.ArgSort: lambda c, op, x: torch.argsort(
        x, dim=op.axis, descending=op.descending, stable=True
    ),
    reduce.CumProd: lambda c, op, x: x.cumprod(op.axis),
    reduce.LogCumSumExp: lambda c, op, x: x.logcumsumexp(op.axis),
}


def evaluate(
    function: Function,
    inputs: Sequence[Tensor],
    dims: Mapping[str, int] | None = None,
    draws: Mapping[type[Op], Callable[..., Any]] | None = None,
) -> list[Tensor]:
    """The outputs. draws: for random ops, functions in the table's form."""
    table = {**TABLE, **(draws or {})}
    context = Context(dims or {})
    known: dict[int, Tensor] = {
        id(value): tensor for value, tensor in zip(function.inputs, inputs, strict=True)
    }
    for node in function.body:
        assert isinstance(node, OpNode)
        operands = [known[id(v)] for v in node.operands]
        found = table[type(node.op)](context, node.op, *operands)
        results = (found,) if isinstance(found, Tensor) else found
        for value, result in zip(node.results, results, strict=True):
            check_type(value, result, context)
            known[id(value)] = result
    return [known[id(value)] for value in function.outputs]


def check_type(value: Value, result: Tensor, context: Context) -> None:
    """What the shape rule said is what came out."""
    expected = [context.number(extent) for extent in value.type.shape]
    assert list(result.shape) == expected, f"{value.type} is {list(result.shape)} in truth"
    assert result.dtype is DTYPES[value.type.dtype], f"{value.type} is {result.dtype} in truth"
