"""Metrics of sequences: BLEU of token ids, F1 of spans of tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dlspec.codes import NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.graph import Metric
from dlspec.ir.static import plain
from dlspec.ir.types import DType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam, Statistic
from dlspec.ops.classified import AVERAGES, counting, f1_of, flat
from dlspec.ops.elementwise import (
    Add,
    Cast,
    Constant,
    Equal,
    FloorDiv,
    LessEqual,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    Maximum,
    Mod,
    Mul,
    NotEqual,
    Where,
)
from dlspec.ops.indexing import ScatterAdd, Take, TakeAlong
from dlspec.ops.reduce import ArgMax, CumSum, Max, Min, Sum
from dlspec.ops.rules import ONE, ZERO, check_int, eq, require_equal, text
from dlspec.ops.shape import Arange, Pad, Slice, Stack, Unsqueeze
from dlspec.ops.whole import Array, Pooled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder

ORDER = 4  # the longest n-grams of BLEU
OPTIONAL = ("int", "none")


def _floats(b: LayerBuilder, x: Value) -> Value:
    return b.emit(Cast(DType.FLOAT), x)


def _number(b: LayerBuilder, value: float | Dim, like: Value) -> Value:
    return b.emit(Constant(value, like.type.dtype))


def _row(b: LayerBuilder, x: Value) -> Value:
    """[N, T] as [N, 1, T]: the positions that are compared with."""
    return b.emit(Unsqueeze((1,)), x)


def _column(b: LayerBuilder, x: Value) -> Value:
    return b.emit(Unsqueeze((-1,)), x)


def _positions(b: LayerBuilder, length: Dim) -> Value:
    return b.emit(Arange(ZERO, length, ONE, DType.I64))


def _no_later(b: LayerBuilder, length: Dim) -> Value:
    """[T, T]: whether position j (column) is not after i (row)."""
    at = _positions(b, length)
    return b.emit(LessEqual(), b.emit(Unsqueeze((0,)), at), b.emit(Unsqueeze((-1,)), at))


# --- BLEU ---


def _before_end(b: LayerBuilder, x: Value, ends: list[Dim]) -> Value:
    """1 for each token before the first that ends the sequence, else 0."""
    over: Value | None = None
    for end in ends:
        hit = b.emit(Equal(), x, _number(b, end, x))
        over = hit if over is None else b.emit(LogicalOr(), over, hit)
    if over is None:
        return _floats(b, b.emit(Equal(), x, x))
    ended = b.emit(CumSum(-1), _floats(b, over))
    return _floats(b, b.emit(Equal(), ended, b.constant(0.0, like=ended)))


def _same(b: LayerBuilder, first: tuple[Value, Value], second: tuple[Value, Value]) -> Value:
    """[N, T, S]: 1 where both have the same token, and it is there."""
    equal = _floats(b, b.emit(Equal(), _column(b, first[0]), _row(b, second[0])))
    return _product(b, _product(b, equal, _column(b, first[1])), _row(b, second[1]))


def _product(b: LayerBuilder, x: Value, y: Value) -> Value:
    return b.emit(Mul(), x, y)


def _shifts(b: LayerBuilder, x: Value, axes: tuple[int, ...]) -> list[Value]:
    """x from its positions 0, 1, … on along all the axes at once, zeros behind the end."""
    rank = x.type.rank
    more = tuple(Dim.const(ORDER - 1) if i in axes else ZERO for i in range(rank))
    wide = b.emit(Pad((ZERO,) * rank, more), x)
    found: list[Value] = []
    for shift in range(ORDER):
        starts = tuple(Dim.const(shift) if i in axes else ZERO for i in range(rank))
        stops = tuple(n + s for n, s in zip(x.type.shape, starts, strict=True))
        found.append(b.emit(Slice(starts, stops, (ONE,) * rank), wide))
    return found


def _runs(b: LayerBuilder, x: Value, axes: tuple[int, ...]) -> list[Value]:
    """For n = 1, 2, …: 1 where n positions in a row are 1."""
    found: list[Value] = []
    for shifted in _shifts(b, x, axes):
        found.append(_product(b, found[-1], shifted) if found else shifted)
    return found


def _bleu(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Statistic:
    """[2 ORDER + 2]: n-grams that match, n-grams, and both lengths. An n-gram matches as often as
    the reference has it: the k-th of its kind needs k there."""
    x, target = tensors["x"], tensors["target"]
    for what, v in (("tokens", x), ("target", target)):
        check_int(b, "bleu", f"the {what}", v.type)
        if v.type.rank != 2:
            shape = text(v.type.shape)
            b.fail(RANK, f"bleu: the {what} are [N, T], not {shape}", help="take the arg_max first")
    message = f"bleu: {text(x.type.shape)} and {text(target.type.shape)} are not as many"
    require_equal(b, x.type.shape[0], target.type.shape[0], message)
    if target.type.dtype is not x.type.dtype:
        target = b.emit(Cast(x.type.dtype), target)
    given = [statics[name] for name in ("end", "padding")]
    ends = [arg.dim(b, "bleu: end", v) for v in given if plain(v) is not None]
    own, other = ((v, _before_end(b, v, ends)) for v in (x, target))
    earlier = _floats(b, _no_later(b, x.type.shape[1]))
    there = _runs(b, own[1], (1,))
    mine = _runs(b, _same(b, own, own), (1, 2))
    theirs = _runs(b, _same(b, own, other), (1, 2))
    hits: list[Value] = []
    for valid, in_own, in_other in zip(there, mine, theirs, strict=True):
        rank = b.emit(Sum((-1,)), _product(b, in_own, earlier))
        enough = b.emit(LessEqual(), rank, b.emit(Sum((-1,)), in_other))
        hits.append(b.emit(Sum((0, 1)), _product(b, valid, _floats(b, enough))))
    sums = [b.emit(Sum((0, 1)), v) for v in (*there, own[1], other[1])]
    return Statistic(b.emit(Stack(0), *hits, *sums), Metric("bleu"))


def _of_bleu(counts: Array) -> float:
    """exp(min(0, 1 - r / c)) times the geometric mean of the precisions (Papineni et al. 2002)."""
    hits, totals = counts[:ORDER], counts[ORDER : 2 * ORDER]
    length, wanted = counts[2 * ORDER :]
    if not hits.all():
        return 0.0
    return float(np.exp(min(0.0, 1 - wanted / length) + np.log(hits / totals).mean()))


# --- spans: tag 0 is outside, 2 k + 1 begins a span of kind k, 2 k + 2 goes on with it ---


def _carried(b: LayerBuilder, tag: Value, valid: Value | None) -> Value:
    """Tags with the last one that counts in the place of those that do not, as a span's going on:
    as if they were left out."""
    if valid is None:
        return tag
    length = tag.type.shape[1]
    there = b.emit(LogicalAnd(), _row(b, valid), _no_later(b, length))
    none = b.constant(-1, like=_positions(b, ONE))
    last = b.emit(Max((-1,)), b.emit(Where(), there, _positions(b, length), none))
    zero = b.constant(0, like=last)
    before = b.emit(TakeAlong(-1), tag, b.emit(Maximum(), last, zero))
    inside = b.emit(Add(), before, b.emit(Mod(), before, b.constant(2, like=before)))
    some = b.emit(LessEqual(), zero, last)
    inside = b.emit(Where(), some, inside, b.constant(0, like=inside))
    return b.emit(Where(), valid, tag, inside)


def _spans(b: LayerBuilder, tag: Value, tags: Dim) -> tuple[Value, Value, Value]:
    """For each position of [N, T]: whether a span starts, its kind from 1, and where it ends. One
    starts too where the tag goes on with a kind that was not there before."""
    index = b.emit(Arange(ZERO, tags, ONE, tag.type.dtype))
    one, two = (b.constant(n, like=index) for n in (1, 2))
    kind = b.emit(Take(0), b.emit(FloorDiv(), b.emit(Add(), index, one), two), tag)
    before = b.emit(Pad((ZERO, ONE), (ZERO, ZERO)), kind)
    starts, stops = (ZERO, ZERO), kind.type.shape
    before = b.emit(Slice(starts, stops, (ONE, ONE)), before)
    begins = b.emit(Equal(), b.emit(Mod(), tag, two), one)
    changes = b.emit(NotEqual(), kind, before)
    inside = b.emit(NotEqual(), tag, b.constant(0, like=tag))
    start = b.emit(LogicalAnd(), inside, b.emit(LogicalOr(), begins, changes))
    length = tag.type.shape[1]
    goes_on = b.emit(LogicalAnd(), inside, b.emit(LogicalNot(), start))
    past = b.emit(LogicalOr(), _row(b, goes_on), _no_later(b, length))
    at = _positions(b, length)
    end = b.emit(Min((-1,)), b.emit(Where(), past, _number(b, length, at), at))
    return start, kind, end


def _span_f1(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Statistic:
    """[kinds, 3]: spans that match in start, end and kind, spans said, spans that are true."""
    logits, label = tensors["logits"], tensors["label"]
    check_int(b, "span_f1", "the labels", label.type)
    if label.type.rank != 2 or logits.type.rank != 3:
        shapes = f"{text(logits.type.shape)} and {text(label.type.shape)}"
        b.fail(RANK, f"span_f1: logits [N, T, tags] and labels [N, T] are needed, not {shapes}")
    for one, other in zip(logits.type.shape, label.type.shape, strict=False):
        message = f"span_f1: {text(label.type.shape)} does not label {text(logits.type.shape)}"
        require_equal(b, one, other, message)
    tags = logits.type.shape[2]
    message = f"span_f1: {tags} tags are not one outside and two of each kind"
    b.require(eq(tags % 2, ONE), message, NOT_DIVISIBLE)
    valid = counting(b, "span_f1", label, tensors["mask"], statics["ignore"])
    if valid is not None:
        label = b.emit(Where(), valid, label, b.constant(0, like=label))
    said = b.emit(Cast(label.type.dtype), b.emit(ArgMax(-1), logits))
    own = _spans(b, _carried(b, said, valid), tags)
    true = _spans(b, _carried(b, label, valid), tags)
    match = b.emit(LogicalAnd(), own[0], true[0])
    for mine, theirs in zip(own[1:], true[1:], strict=True):
        match = b.emit(LogicalAnd(), match, b.emit(Equal(), mine, theirs))
    kinds = (tags - 1) // 2
    count = ScatterAdd(0, kinds + 1)
    pairs = ((true[1], match), (own[1], own[0]), (true[1], true[0]))
    found = [b.emit(count, flat(b, kind), flat(b, _floats(b, v))) for kind, v in pairs]
    counts = b.emit(Stack(-1), *found)
    stops = (kinds + 1, Dim.const(3))
    counts = b.emit(Slice((ONE, ZERO), stops, (ONE, ONE)), counts)
    average = arg.word(b, "span_f1: average", statics["average"], AVERAGES)
    return Statistic(counts, Metric("span_f1", (("average", average),)))


BUILTINS = (
    Builtin(
        "bleu",
        ("x", "target"),
        _bleu,
        (StaticParam("end", None, OPTIONAL), StaticParam("padding", None, OPTIONAL)),
        doc="BLEU of token ids, of n-grams up to 4, over all sentences of a source.",
        whole=Pooled(_of_bleu),
    ),
    Builtin(
        "span_f1",
        ("logits", "label"),
        _span_f1,
        (StaticParam("average", "micro", ("string",)), StaticParam("ignore", None, OPTIONAL)),
        optional=("mask",),
        doc="F1 of whole spans of tags: 0 outside, 2 k + 1 begins kind k, 2 k + 2 goes on.",
        whole=Pooled(f1_of),
    ),
)
