"""Attention over heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, DTYPE, NOT_DIVISIBLE, RANK, SHAPE
from dlspec.ir.dims import Dim
from dlspec.ir.static import Known
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Softmax
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite, Tape
from dlspec.ops.creation import causal
from dlspec.ops.elementwise import LogicalAnd, Sqrt, Term
from dlspec.ops.gradient import Watch
from dlspec.ops.linalg import MatMul
from dlspec.ops.random import Dropout
from dlspec.ops.rules import (
    ONE,
    ZERO,
    check_float,
    eq,
    product,
    proved,
    refuted,
    require_equal,
    text,
)
from dlspec.ops.shape import BroadcastTo, Reshape, Unsqueeze, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

MASKED = -1e30  # e^(MASKED - m) is 0 in every float type; -inf would give nan where all is masked


@dataclass(frozen=True)
class Attention(Composite):
    """softmax(scale · q kᵀ + bias) v for each head (Vaswani et al. 2017, equation 1).

    Operands: q [..., H, T, d], k [..., K, S, d], v [..., K, S, e] with K heads or, `grouped`,
    a divisor of H (Ainslie et al. 2023); then a bool mask (true: may attend) and a float bias,
    each broadcasting to [..., H, T, S]. causal: query i sees keys 0 to i. A query that sees no
    key gives 0. scale None: 1 / √d.
    """

    causal: bool = False
    scale: float | Known | None = None
    grouped: bool = False
    masked: bool = False
    biased: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        q, k, v = operands[:3]
        dtype = check_float(shapes, "attention", q, k, v)
        _check_ranks(shapes, q, k, v)
        _check_sizes(shapes, q, k, v, self.grouped)
        full = (*q.shape[:-1], k.shape[-2])
        rest = list(operands[3:])
        if self.masked:
            mask = rest.pop(0)
            if mask.dtype is not DType.BOOL:
                message = f"attention: the mask must be bool, but is {mask.dtype.value}"
                shapes.fail(DTYPE, message, help="true where a query may attend")
            _check_broadcast(shapes, "mask", mask.shape, full)
        if self.biased:
            check_float(shapes, "attention", q, rest[0])
            _check_broadcast(shapes, "bias", rest[0].shape, full)
        return (TensorType(dtype, (*q.shape[:-1], v.shape[-1])),)

    def weights(self, b: Builder, operands: Sequence[Value]) -> Value:
        """How much each query takes of each key: [..., H, T, S], rows of sum 1 (or 0)."""
        q, k = operands[:2]
        query = Term(b, q)
        if self.scale is None:
            query = query / query.like(q.type.shape[-1]).apply(Sqrt())
        else:
            query = query * query.static(self.scale)
        keys = b.emit(swapped(k.type.rank), self.repeated(b, q, k))
        score = query.apply(MatMul(), Term(b, keys))
        rest = list(operands[3:])
        mask = rest.pop(0) if self.masked else None
        if self.biased:
            score = score + Term(b, rest[0])
        if self.causal:
            order = causal(b, q.type.shape[-2], k.type.shape[-2])
            mask = order if mask is None else b.emit(LogicalAnd(), mask, order)
        if mask is None:
            return score.apply(Softmax(-1)).value
        sees = Term(b, mask)
        share = sees.where(score, score.like(MASKED)).apply(Softmax(-1))
        # with causal alone each query sees a key; in general a row may be masked from end to end
        return sees.where(share, share.like(0.0)).value if self.masked else share.value

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        share = self.weights(b, operands)
        return (b.emit(MatMul(), share, self.repeated(b, operands[0], operands[2])),)

    @property
    def is_plain(self) -> bool:
        """Whether q, k and v are all there is."""
        return not (self.grouped or self.masked or self.biased)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (dy,) = grads
        if dy is None or not self.is_plain:
            return super().gradient(b, operands, results, grads)
        return b.emit_all(AttentionGrad(self.causal, self.scale), *operands, dy)

    def repeated(self, b: Builder, q: Value, x: Value) -> Value:
        """Each head of keys or values as often as there are queries for it."""
        if not self.grouped:
            return x
        heads, lead = q.type.shape[-3], x.type.shape[:-3]
        groups, *matrix = x.type.shape[-3:]
        wide = b.emit(Unsqueeze((x.type.rank - 2,)), x)
        wide = b.emit(BroadcastTo((*lead, groups, heads // groups, *matrix)), wide)
        return b.emit(Reshape((*lead, heads, *matrix)), wide)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        scores = product((*operands[0].shape[:-1], operands[1].shape[-2]))
        return 2 * self.macs(operands, results) + 4 * scores

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        q, k, v = operands[:3]
        scores = product((*q.shape[:-1], k.shape[-2]))
        return scores * (q.shape[-1] + v.shape[-1])


@dataclass(frozen=True)
class AttentionGrad(Composite):
    """The gradient of plain attention by q, k and v. Operands: q, k, v, dy. With the weights
    w = softmax(scale · q kᵀ): dv = wᵀ dy, and with ds = w (dy vᵀ - Σ w dy vᵀ) scale: dq = ds k,
    dk = dsᵀ q."""

    causal: bool = False
    scale: float | Known | None = None

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return tuple(operands[:3])

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        *inputs, dy = operands
        # q, k and v may be one tensor, and each has a gradient of its own
        inputs = [b.emit(Watch(), v) if v in inputs[:i] else v for i, v in enumerate(inputs)]
        tape = Tape(b)
        outputs = Attention(self.causal, self.scale).expand(tape, inputs)
        found = tape.pullback(outputs, (dy,), inputs)
        return tuple(value for value in found if value is not None)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 3 * Attention(self.causal, self.scale).flops(operands, results)


def _check_ranks(shapes: Shapes, q: TensorType, k: TensorType, v: TensorType) -> None:
    if q.rank < 2 or not q.rank == k.rank == v.rank:
        shapes.fail(
            RANK,
            f"attention: q {text(q.shape)}, k {text(k.shape)}, v {text(v.shape)}",
            help="they are [..., heads, T, d], [..., heads, S, d] and [..., heads, S, e]",
        )


def _check_sizes(
    shapes: Shapes, q: TensorType, k: TensorType, v: TensorType, grouped: bool
) -> None:
    shown = f"attention: q {text(q.shape)}, k {text(k.shape)}, v {text(v.shape)}"
    require_equal(shapes, q.shape[-1], k.shape[-1], f"{shown}: queries and keys differ in size")
    for i in range(k.rank - 1):
        require_equal(shapes, k.shape[i], v.shape[i], f"{shown}: as many values as keys")
    for i in range(q.rank - 3):
        require_equal(shapes, q.shape[i], k.shape[i], f"{shown}: axis {i} differs")
    if q.rank < 3:
        return
    heads, groups = q.shape[-3], k.shape[-3]
    if not grouped:
        require_equal(shapes, heads, groups, f"{shown}: heads differ")
        return
    message = f"attention: {heads} heads of queries do not divide among {groups} of keys"
    relation = eq(heads % groups, ZERO)
    if refuted(shapes, relation):
        shapes.fail(NOT_DIVISIBLE, message)
    shapes.require(relation, message, NOT_DIVISIBLE)


def _check_broadcast(
    shapes: Shapes, what: str, own: tuple[Dim, ...], full: tuple[Dim, ...]
) -> None:
    message = f"attention: the {what} {text(own)} does not broadcast to {text(full)}"
    help = "[N, T, S] needs an axis for the heads: unsqueeze(mask, 1)"
    if len(own) > len(full):
        shapes.fail(RANK, message)
    for a, n in zip(own, full[len(full) - len(own) :], strict=True):
        if a != ONE and a != n:
            if refuted(shapes, eq(a, n)):
                shapes.fail(SHAPE, message, notes=[f"{a} is neither {n} nor 1"], help=help)
            shapes.require(eq(a, n), message, SHAPE)


# --- the language ---


def _attention(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    q, k, v = (tensors[name] for name in ("q", "k", "v"))
    at = arg.integer(b, statics["axis"])
    if at not in (-2, -3):
        b.fail(
            BAD_ARGUMENT,
            f"attention: the axis of places is {at}",
            help="-2 for [..., heads, T, d], -3 for [..., T, heads, d]",
        )
    if at == -3:
        for x in (q, k, v):
            if x.type.rank < 3:
                b.fail(RANK, f"attention: {text(x.type.shape)} has no axes [..., T, heads, d]")
        heads = {x: b.emit(swapped(x.type.rank, -3, -2), x) for x in dict.fromkeys((q, k, v))}
        q, k, v = heads[q], heads[k], heads[v]
    mask, bias = tensors["mask"], tensors["bias"]
    scale = None if arg.plain(statics["scale"]) is None else arg.number(b, statics["scale"])
    ranks = q.type.rank >= 3 and k.type.rank == q.type.rank
    grouped = ranks and not proved(b, eq(q.type.shape[-3], k.type.shape[-3]))
    op = Attention(arg.flag(statics["causal"]), scale, grouped, mask is not None, bias is not None)
    operands = [q, k, v, *(x for x in (mask, bias) if x is not None)]
    p = arg.number(b, statics["dropout"])
    if not 0 <= arg.bare(b, p) <= 1:
        b.fail(BAD_ARGUMENT, f"attention: dropout is {arg.bare(b, p)}, not between 0 and 1")
    y = b.emit(op, *operands) if p == 0 else _with_dropout(b, op, operands, p)
    return b.emit(swapped(y.type.rank, -3, -2), y) if at == -3 else y


def _with_dropout(b: LayerBuilder, op: Attention, operands: list[Value], p: float | Known) -> Value:
    """The same with weights that are dropped: written out, since frameworks draw otherwise."""
    op.infer([x.type for x in operands], b)
    share = b.emit_all(Dropout(p), op.weights(b, operands))[0]
    return b.emit(MatMul(), share, op.repeated(b, operands[0], operands[2]))


BUILTINS = (
    Builtin(
        "attention",
        ("q", "k", "v"),
        _attention,
        (
            StaticParam("causal", False, arg.FLAG),
            StaticParam("dropout", 0.0, arg.NUMBER),
            StaticParam("scale", None, (*arg.NUMBER, "none")),
            StaticParam("axis", Dim.const(-2), ("int",)),
        ),
        optional=("mask", "bias"),
        doc="softmax(scale · q kᵀ + bias) v for each head; a mask is true where q may attend.",
    ),
)
