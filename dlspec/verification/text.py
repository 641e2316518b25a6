"""A verification as a table for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlspec.verification.compare import Pair, worst

if TYPE_CHECKING:
    from dlspec.verification.run import Verification

GROUPS = {
    "output": "outputs",
    "metric": "metrics",
    "gradient": "gradients",
    "loss": "losses of {steps} steps",
    "weight": "weights after {steps} steps",
}


def table(found: Verification) -> str:
    """One row for each program and group, one column for each pair of backends."""
    columns = list(dict.fromkeys((p.a, p.b) for p in found.pairs))
    rows = list(dict.fromkeys((p.program, p.group) for p in found.pairs))
    cells = [["largest error", *(f"{a}–{b}" for a, b in columns), "one-ulp floor"]]
    for row in rows:
        label = GROUPS.get(row[1], row[1]).format(steps=found.steps)
        named = f"{label}, {row[0]}" if row[0] else label
        errors = [_cell(_worst(found, row, column)) for column in columns]
        cells.append([named, *errors, _number(found.floor.get(row, 0.0))])
    lines = _aligned(cells)
    lines += [f"note: {note}" for note in found.notes]
    lines += [_failure(pair) for pair in _first_failures(found)]
    lines.append(_verdict(found))
    return "\n".join(lines)


def _worst(found: Verification, row: tuple[str, str], column: tuple[str, str]) -> Pair | None:
    return worst(p for p in found.pairs if (p.program, p.group, p.a, p.b) == (*row, *column))


def _cell(pair: Pair | None) -> str:
    if pair is None:
        return "-"
    return f"{_number(pair.error)}{'' if pair.ok else ' !'}"


def _number(error: float) -> str:
    return f"{error:.1e}" if math.isfinite(error) else "inf"


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines: list[str] = []
    for first, *others in cells:
        numbers = (text.rjust(w) for text, w in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    return lines


def _first_failures(found: Verification) -> list[Pair]:
    failed = [pair for pair in found.pairs if not pair.ok]
    return sorted(failed, key=lambda pair: -pair.error)[:5]


def _failure(pair: Pair) -> str:
    if math.isinf(pair.max_abs):
        what = "missing, of another shape or not a number"
        return f"different: {pair.what}: {what} in {pair.a} or {pair.b}"
    return f"different: {pair.what}: {pair.a} and {pair.b} are {pair.max_abs:.1e} apart"


def _verdict(found: Verification) -> str:
    sizes = ", ".join(f"{name} = {value}" for name, value in found.sizes.items())
    where = f"in {found.dtype}{f' with {sizes}' if sizes else ''}"
    if found.ill_conditioned:
        return f"ill-conditioned {where}: rounding alone exceeds the tolerance {found.tolerance:g}"
    verdict = "equal" if found.ok else "not equal"
    return f"{verdict} {where}, tolerance {found.tolerance:g} of each group's largest number"
