"""A small exact linear programme, for proofs about sizes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

_MAX_PIVOTS = 200


class _Tableau:
    """Rows of `basic = bound - sum(row * nonbasic)`; the last row is the objective."""

    def __init__(self, rows: Sequence[Sequence[int]], bounds: Sequence[int]) -> None:
        self.width = len(rows[0])
        self.rows = [[Fraction(x) for x in row] for row in rows]
        self.bounds = [Fraction(b) for b in bounds]
        self.nonbasic = list(range(self.width))
        self.basic = list(range(self.width, self.width + len(rows)))
        self.pivots = 0

    def pivot(self, row: int, column: int) -> None:
        pivot_row = self.rows[row]
        inverse = 1 / pivot_row[column]
        pivot_row[column] = Fraction(1)
        pivot_row[:] = [x * inverse if x else x for x in pivot_row]
        self.bounds[row] *= inverse
        for i, other in enumerate(self.rows):
            factor = other[column]
            if i != row and factor:
                other[column] = Fraction(0)
                for j, x in enumerate(pivot_row):
                    if x:
                        other[j] -= factor * x
                self.bounds[i] -= factor * self.bounds[row]
        self.nonbasic[column], self.basic[row] = self.basic[row], self.nonbasic[column]

    def optimise(self) -> bool:
        """Pivots until the last row has no negative entry; False when unbounded or too long."""
        objective = self.rows[-1]
        while True:
            entering = [j for j, x in enumerate(objective) if x < 0]
            if not entering:
                return True
            # the smallest index (Bland's rule) cannot cycle
            column = min(entering, key=lambda j: self.nonbasic[j])
            ratios = [
                (self.bounds[i] / row[column], self.basic[i], i)
                for i, row in enumerate(self.rows[:-1])
                if row[column] > 0
            ]
            self.pivots += 1
            if not ratios or self.pivots > _MAX_PIVOTS:
                return False
            self.pivot(min(ratios)[2], column)


def maximise(
    rows: Sequence[Sequence[int]], bounds: Sequence[int], objective: Sequence[int]
) -> list[Fraction] | None:
    """The x >= 0 with rows @ x <= bounds that makes objective @ x largest.

    None when there is no such x, no largest, or the search is too long."""
    width = len(objective)
    if not rows:
        return None if any(c > 0 for c in objective) else [Fraction(0)] * width
    # phase one: an extra unknown, subtracted from every row, is driven to zero
    extended = [[*row, -1] for row in rows]
    tableau = _Tableau([*extended, [0] * width + [1]], [*bounds, 0])
    lowest = min(range(len(rows)), key=lambda i: bounds[i])
    if bounds[lowest] < 0:
        tableau.pivot(lowest, width)
        if not tableau.optimise() or tableau.bounds[-1] != 0:
            return None
        if width in tableau.basic[:-1]:
            row = tableau.basic.index(width)
            columns = [j for j, x in enumerate(tableau.rows[row]) if x]
            if not columns:
                return None
            tableau.pivot(row, columns[0])
    _set_objective(tableau, [*objective, 0])
    column = tableau.nonbasic.index(width)
    for row in tableau.rows:
        row[column] = Fraction(0)
    if not tableau.optimise():
        return None
    solution = [Fraction(0)] * width
    for variable, bound in zip(tableau.basic[:-1], tableau.bounds[:-1], strict=True):
        if variable < width:
            solution[variable] = bound
    return solution


def _set_objective(tableau: _Tableau, objective: Sequence[int]) -> None:
    last = [Fraction(0)] * len(objective)
    for j, variable in enumerate(tableau.nonbasic):
        if variable < len(objective):
            last[j] -= objective[variable]
    value = Fraction(0)
    for i, variable in enumerate(tableau.basic[:-1]):
        if variable < len(objective) and objective[variable]:
            value += objective[variable] * tableau.bounds[i]
            for j, x in enumerate(tableau.rows[i]):
                last[j] += objective[variable] * x
    tableau.rows[-1] = last
    tableau.bounds[-1] = value
