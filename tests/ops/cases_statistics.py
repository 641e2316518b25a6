"""Cases of gamma functions and of statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import special, statistics

if TYPE_CHECKING:
    from tests.ops.cases import Case


def cases() -> list[Case]:
    from tests.ops.cases import many, of

    gammas = [special.Lgamma(), special.Digamma(), special.Polygamma(), special.Polygamma(2)]
    found = many([*gammas], "p[N,D]") + many([*gammas], "g[T]")
    for axis in (0, 1, -1):
        op = statistics.CumMax(axis)
        found += [of(op, "d[N,T,D]"), of(op, "f[1,N,T]"), of(op, "i3[N,T,D]")]
    for right in (False, True):
        found.append(of(statistics.SearchSorted(right), "i1[1]", "i2[N,T]"))
        found.append(of(statistics.SearchSorted(right), "f[1]", "f[N,T]"))
    return found
