"""Which blocks are equal, so that one picture of them is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.outline import outline
from dlspec.render.labels import label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.ir.graph import Value
    from dlspec.summary.count import Body, Row


class Signatures:
    """What makes blocks equal. kind: the same steps, whatever their sizes; whole: sizes too."""

    def __init__(self) -> None:
        self._kinds: dict[Body, object] = {}
        self._wholes: dict[Body, object] = {}
        self._ids: dict[object, int] = {}

    def kind(self, body: Body) -> object:
        found = self._kinds.get(body)
        if found is None:
            steps = tuple(
                (row.op, row.runs is None, tuple(self.kind(b) for b in row.bodies[:1]))
                for row in body.rows
            )
            found = self._kinds[body] = self._short((body.function.name, steps))
        return found

    def whole(self, body: Body) -> object:
        found = self._wholes.get(body)
        if found is None:
            places: dict[Value, int] = {}
            for value in body.function.inputs:
                places[value] = len(places)
            steps: list[object] = []
            for row in body.rows:
                inner = tuple(self.whole(b) for b in row.bodies)
                used: tuple[int | None, ...] = ()
                text = ""
                if row.step is not None:
                    used = tuple(places.get(v) for v in row.step.operands)
                    text = "" if row.bodies else label(row.step, body.env)
                    for value in row.step.results:
                        places[value] = len(places)
                steps.append((row.op, text, row.output, row.counts, row.runs, inner, used))
            types = tuple(v.type.substitute(body.env) for v in body.function.inputs)
            outputs = tuple(places.get(v) for v in outline(body.function).outputs)
            key = (body.function.name, types, tuple(steps), outputs)
            found = self._wholes[body] = self._short(key)
        return found

    def _short(self, key: object) -> int:
        """A number for a key, so that keys do not grow with depth."""
        return self._ids.setdefault(key, len(self._ids))

    def folded(self, body: Body) -> Iterator[tuple[Row, int]]:
        """The rows that are drawn, with how many equal ones each stands for."""
        rows = [row for row in body.rows if row.step is not None]
        uses: dict[Value, int] = {}
        plan = outline(body.function)
        for value in (*plan.outputs, *(v for s in plan.steps for v in s.operands)):
            uses[value] = uses.get(value, 0) + 1
        at = 0
        while at < len(rows):
            end = at + 1
            while end < len(rows) and self._follows(rows[end - 1], rows[end], uses):
                end += 1
            yield rows[at], end - at
            at = end

    def _follows(self, a: Row, b: Row, uses: dict[Value, int]) -> bool:
        """Whether b is an equal block that continues a, and nothing else uses a."""
        if a.step is None or b.step is None or not a.bodies or not b.bodies or a.op != b.op:
            return False
        if not (_single(a) and _single(b)) or a.shared or b.shared:
            return False
        if self.whole(a.bodies[0]) != self.whole(b.bodies[0]):
            return False
        made = a.step.results
        return b.step.operands[: len(made)] == made and all(uses[v] == 1 for v in made)


def _single(row: Row) -> bool:
    return row.runs is None or row.runs == Dim.const(1)
