"""A summary as a tree for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.ir.types import TensorType
    from dlspec.summary.count import Body, Row, Summary

NAME, VALUE = 58, 34  # widest cell of the tree and of shapes
Cells = tuple[str, str, str, str]


def render(summary: Summary) -> str:
    """Output shapes, parameters and MACs of each step; repeats once, with ×N; then totals."""
    function = summary.function
    rows: list[Cells] = []
    for value in function.inputs:
        rows.append((f"{value.name or 'input'} (input)", shapes([value.type], summary), "", ""))
    _walk(summary, summary.body, "", rows)
    head: Cells = (function.name, "output", "params", "MACs")
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(4)]
    widths[0] += 1
    lines = [_line(row, widths) for row in (head, *rows)]
    rule = "─" * (sum(widths) + 6)
    lines.insert(1, rule)
    return "\n".join([*lines, rule, *_totals(summary)])


def _walk(summary: Summary, body: Body, indent: str, rows: list[Cells]) -> None:
    last = len(body.rows) - 1
    for i, row in enumerate(body.rows):
        branch, below = ("└─ ", "   ") if i == last else ("├─ ", "│  ")
        macs = summary.for_one(row.counts.macs)
        rows.append(
            (
                _cut(f"{indent}{branch}{_title(row)}", NAME),
                _cut(shapes(row.output, summary), VALUE),
                _count(row.counts.params),
                _count(macs),
            )
        )
        if row.bodies:
            _walk(summary, row.bodies[0], indent + below, rows)


def _title(row: Row) -> str:
    name = row.segment
    if row.runs is not None and row.slot is not None:
        name = _span(row)
    if not row.named:
        name = row.op
    same = name == row.op or (name.startswith(f"{row.op}.") and not row.bodies)
    title = name if same else f"{name}  {row.op}"
    if row.runs is not None and row.runs != Dim.const(1):
        title += f" ×{row.runs}"
    return f"{title} (shared)" if row.shared else title


def _span(row: Row) -> str:
    slot, runs = row.slot, row.runs
    if not row.each or slot is None or slot.index is None:
        return row.segment
    if runs is None or not runs.is_const or runs.value < 2:
        return row.segment
    return f"{row.segment}–{slot.index + runs.value - 1}"


def shapes(types: Sequence[TensorType], summary: Summary) -> str:
    return ", ".join(_shape(t.substitute(summary.env)) for t in types)


def _shape(kind: TensorType) -> str:
    return str(kind)


def _count(dim: Dim) -> str:
    if not dim.is_const:
        return _cut(str(dim), VALUE)
    return f"{dim.value:,}" if dim.value else ""


def _line(row: Cells, widths: Sequence[int]) -> str:
    name, shape, params, macs = row
    return (
        f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {params:>{widths[2]}}  {macs:>{widths[3]}}"
    ).rstrip()


def _totals(summary: Summary) -> list[str]:
    lines = [f"parameters  {_total(summary.params)}"]
    if summary.buffers != Dim.const(0):
        lines.append(f"buffers     {_total(summary.buffers)}")
    basis = f", for {summary.batch} = 1" if summary.batch is not None else ""
    lines.append(f"MACs        {_total(summary.macs)}  (matrix products and convolutions{basis})")
    return lines


def _total(dim: Dim) -> str:
    if not dim.is_const:
        return str(dim)
    return f"{dim.value:,}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
