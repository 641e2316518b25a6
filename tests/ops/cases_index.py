"""Cases of attention, sorting, indexing and running reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ops import indexing, linalg, ordering, reduce
from dlspec.ops.attention import Attention, AttentionGrad

if TYPE_CHECKING:
    from tests.ops.cases import Case


def cases() -> list[Case]:
    return [*attentions(), *others()]


def attentions() -> list[Case]:
    from tests.ops.cases import of

    q, k, v = "f[N,2,T,D]", "f[N,2,6,D]", "f[N,2,6,D]"
    one = "f[N,2,T,D]"
    found = [
        of(AttentionGrad(), q, k, "f[N,2,6,3]", "f[N,2,T,3]"),
        of(AttentionGrad(True, 0.3), one, one, one, one),
        of(Attention(), q, k, v),
        of(Attention(), q, k, "f[N,2,6,3]"),
        of(Attention(True), one, one, one),
        of(Attention(True), q, k, v),
        of(Attention(scale=0.3), q, k, v),
        of(Attention(), "f[N,T,D]", "f[N,6,D]", "f[N,6,D]"),
        of(Attention(True), "f[T,D]", "f[T,D]", "f[T,D]"),
        of(Attention(), "f[1,1,1,1]", "f[1,1,1,1]", "f[1,1,1,1]"),
        of(Attention(), "f[2,N,1,T,D]", "f[2,N,1,6,D]", "f[2,N,1,6,D]"),
        of(Attention(grouped=True), "f[N,4,T,D]", k, v),
        of(Attention(True, grouped=True), "f[N,4,T,D]", "f[N,1,6,D]", "f[N,1,6,D]"),
        of(Attention(biased=True), q, k, v, "f[2,T,6]"),
        of(Attention(True, biased=True), q, k, v, "f[N,1,T,6]"),
    ]
    for mask in ("b[N,1,T,6]", "b[T,6]", "b[N,1,1,6]", "b[2,1,6]"):
        found.append(of(Attention(masked=True), q, k, v, mask))
    found += [
        of(Attention(True, masked=True), q, k, v, "b[N,1,T,6]"),
        of(Attention(masked=True, biased=True), q, k, v, "b[N,1,T,6]", "f[2,T,6]"),
        of(Attention(masked=True), "f[2,N,1,T,D]", *["f[2,N,1,6,D]"] * 2, "b[2,1,1,T,6]"),
        of(Attention(masked=True), q, k, v, "b[N,1,T,1]"),
    ]
    return found


def others() -> list[Case]:
    from tests.ops.cases import of

    return [
        of(linalg.Bilinear(), "f[N,D]", "f[N,T]", "f[2,D,T]", "f[2]"),
        of(linalg.Bilinear(), "f[N,2,D]", "f[N,2,1]", "f[3,D,1]"),
        of(ordering.ArgSort(), "d[N,T]"),
        of(ordering.ArgSort(0, True), "d[N,T]"),
        of(ordering.ArgSort(1), "i3[N,T,D]"),
        of(ordering.ArgSort(-1, True), "i3[N,H]"),
        of(reduce.CumProd(), "p[N,T]"),
        of(reduce.CumProd(0), "p[N,T,D]"),
        of(reduce.LogCumSumExp(), "f[N,T]"),
        of(reduce.LogCumSumExp(1), "f[N,T,D]"),
        of(indexing.Embedding(Dim.of(2)), "i5[N,T]", "f[5,D]"),
        of(indexing.ScatterAdd(0, Dim.of(5)), "i5[]", "f[D]"),
        of(indexing.ScatterAdd(1, Dim.of(5)), "i5[N,T]", "f[D,N,T,2]"),
    ]
