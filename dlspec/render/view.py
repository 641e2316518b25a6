"""The view model: which boxes and links a picture has, and what is written on them.

A block is open (its insides are a `Graph` of its own) or folded to one box. Equal consecutive
blocks are one box with a count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.outline import outline
from dlspec.render.labels import family, label, owner_name, sign
from dlspec.render.signatures import Signatures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.ir.graph import Value
    from dlspec.ir.types import TensorType
    from dlspec.outline import Step
    from dlspec.summary import Summary
    from dlspec.summary.count import Body, Row

SMALL = 40  # boxes: a model of so many is open throughout
LARGE = 90  # boxes that a picture has at most, by itself
DEEPEST = 30


@dataclass(eq=False)
class Box:
    """kind "input" and "output": where values enter and leave a graph.

    path: of the instance, from the graph's own. name: the instance's own name; sign: drawn as a
    circle with it; note: parameters; repeats: "" or a count; members: steps folded into it.
    """

    kind: str  # "op" | "block" | "input" | "output"
    label: str
    family: str
    path: str = ""
    name: str = ""
    sign: str = ""
    note: str = ""
    tip: str = ""
    repeats: str = ""
    shared: bool = False
    inner: Graph | None = None
    members: int = 1


@dataclass(frozen=True)
class Link:
    """From result `out` of box `source` to operand `into` of box `target`. label: the shape,
    where it changes."""

    source: int
    out: int
    target: int
    into: int
    label: str = ""


@dataclass(eq=False)
class Graph:
    """Boxes in order of the spec. inputs, outputs: indices of the boxes that stand for them."""

    boxes: list[Box] = field(default_factory=list[Box])
    links: list[Link] = field(default_factory=list[Link])
    inputs: list[int] = field(default_factory=list[int])
    outputs: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, eq=False)
class View:
    title: str
    subtitle: str
    graph: Graph

    def boxes(self) -> Iterator[Box]:
        stack = [self.graph]
        while stack:
            for box in stack.pop().boxes:
                yield box
                if box.inner is not None:
                    stack.append(box.inner)


def view(summary: Summary, depth: int | None = None) -> View:
    """The boxes of a model. depth: levels that are open; None: chosen by the number of boxes."""
    signatures = Signatures()
    opening = _opening(summary.body, signatures) if depth is None else Opening(depth, False)
    graph = Builder(summary, opening, signatures).graph(summary.body, 0, True)
    return View(summary.function.name, _subtitle(summary), graph)


@dataclass(frozen=True)
class Opening:
    """Which blocks are open: those above a depth, and of each function only the first."""

    depth: int
    once: bool


def _opening(body: Body, signatures: Signatures) -> Opening:
    whole = Opening(DEEPEST, False)
    if _size(body, whole, signatures) <= SMALL:
        return whole
    for depth in range(DEEPEST, 0, -1):
        opening = Opening(depth, True)
        if _size(body, opening, signatures) <= LARGE:
            return opening
    return Opening(0, True)


def _size(body: Body, opening: Opening, signatures: Signatures) -> int:
    """The number of boxes, as far as it matters."""
    total, seen = 0, set[object]()
    stack = [(body, 0)]
    while stack and total <= 10 * LARGE:
        inner, level = stack.pop()
        rows = list(signatures.folded(inner))
        total += len(rows)
        for row, _ in rows:
            if not row.bodies or level >= opening.depth:
                continue
            kind = signatures.kind(row.bodies[0])
            if not (opening.once and kind in seen):
                seen.add(kind)
                stack.append((row.bodies[0], level + 1))
    return total


class Builder:
    """Makes graphs; remembers which kinds of block are open already."""

    def __init__(self, summary: Summary, opening: Opening, signatures: Signatures) -> None:
        self.summary = summary
        self.opening = opening
        self.signatures = signatures
        self.seen: set[object] = set()
        self.memo: dict[tuple[Body, int], Graph] = {}
        self.producers: dict[Value, Step] = {}

    def graph(self, body: Body, level: int, root: bool = False) -> Graph:
        key = (body, level)
        if key in self.memo and not root:
            return self.memo[key]
        graph = Graph()
        made: dict[Value, tuple[int, int]] = {}
        plan = outline(body.function)
        for i, value in enumerate(body.function.inputs):
            made[value] = (self.add(graph, self.port("input", value, i, body)), 0)
        graph.inputs = list(range(len(graph.boxes)))
        labelled: set[tuple[int, int]] = set()
        rows = list(self.signatures.folded(body))
        position = {row.step: i for i, (row, _) in enumerate(rows)}
        groups = _members(body, position)
        for (row, count), members in zip(rows, groups, strict=True):
            index = self.add(graph, self.box(row, count, body, level))
            first, last = members[0], members[-1]
            assert first.step is not None and last.step is not None
            for into, value in enumerate(first.step.operands):
                if value in made:
                    self.link(graph, made[value], (index, into), value, body, labelled, root)
            for out, value in enumerate(last.step.results):
                made[value] = (index, out)
                self.producers[value] = last.step
        names = body.function.output_names
        for i, value in enumerate(plan.outputs):
            port = self.port("output", value, i, body, names[i] if i < len(names) else "")
            index = self.add(graph, port)
            graph.outputs.append(index)
            if value in made:
                self.link(graph, made[value], (index, 0), value, body, labelled, root)
        self.memo[key] = graph
        return graph

    def add(self, graph: Graph, box: Box) -> int:
        graph.boxes.append(box)
        return len(graph.boxes) - 1

    def port(self, kind: str, value: Value, i: int, body: Body, name: str = "") -> Box:
        text = name or value.name or (kind if i == 0 else f"{kind} {i}")
        if kind == "output" and not name:
            text = "output" if len(body.function.outputs) == 1 else f"output {i}"
        found = value.type.substitute(body.env)
        dtype = "" if found.dtype.is_float else f" {found.dtype.value}"
        return Box(kind, f"{text}{dtype}", "terminal", text, tip=f"{text}: {found}")

    def box(self, row: Row, count: int, body: Body, level: int) -> Box:
        assert row.step is not None
        params = row.counts.params * count
        note = _amount(params) if params != Dim.const(0) else ""
        runs = row.runs if row.runs is not None and row.runs != Dim.const(1) else None
        times = f"×{count}" if count > 1 else f"×{runs}" if runs is not None else ""
        tip = self.tip(row, count)
        if not note and row.shared and row.step.slot is not None:
            note = "shared"
        name = owner_name(row.step)
        if times:
            name = name.partition(".")[0]
        if not row.bodies:
            text = label(row.step, body.env)
            kind, mark = family(row.step), sign(row.step)
            return Box("op", text, kind, row.segment, name, mark, note, tip, "", row.shared)
        inner = row.bodies[0]
        box = Box(
            "block", row.op, "block", row.segment, name, "", note, tip, times, row.shared,
            members=count,
        )  # fmt: skip
        kind = self.signatures.kind(inner)
        if level < self.opening.depth and not (self.opening.once and kind in self.seen):
            self.seen.add(kind)
            box.inner = self.graph(inner, level + 1)
        return box

    def tip(self, row: Row, count: int) -> str:
        lines = [f"{row.segment}: {row.op}" if row.named else row.op]
        if count > 1:
            lines[0] += f", {count} in a row"
        lines += [f"output {t}" for t in row.output]
        if row.counts.params != Dim.const(0):
            lines.append(f"{_amount(row.counts.params * count)} parameters")
        macs = self.summary.for_one(row.counts.macs)
        if macs != Dim.const(0):
            lines.append(f"{_amount(macs * count)} MACs")
        if row.shared:
            lines.append("weights shared")
        return "\n".join(lines)

    def link(
        self,
        graph: Graph,
        source: tuple[int, int],
        target: tuple[int, int],
        value: Value,
        body: Body,
        labelled: set[tuple[int, int]],
        root: bool,
    ) -> None:
        text = ""
        said = graph.boxes[target[0]].kind == "output" and not root  # it is said outside
        if source not in labelled and not said:
            text = self.changed(graph, source, value, body, root)
            if text:
                labelled.add(source)
        graph.links.append(Link(*source, *target, text))

    def changed(
        self, graph: Graph, source: tuple[int, int], value: Value, body: Body, root: bool
    ) -> str:
        """The shape of a value, where it is not that of what its box was made from."""
        box = graph.boxes[source[0]]
        here = value.type.substitute(body.env)
        if box.kind == "input":
            return self.shape(here) if root else ""
        step = self.producers[value]
        if not step.operands:
            return self.shape(here)
        before = [v.type.substitute(body.env).shape for v in step.operands]
        same = here.shape in before if box.kind != "op" else before[0] == here.shape
        return "" if same and source[1] == 0 else self.shape(here)

    def shape(self, kind: TensorType) -> str:
        """`64 × 56 × 56`: without the batch, where there is one."""
        dims = list(kind.shape)
        batch = self.summary.batch
        if dims and batch is not None and dims[0] == Dim.symbol(batch):
            dims = dims[1:]
        if not dims:
            return "scalar"
        return " × ".join(_extent(d) for d in dims)


def _members(body: Body, position: dict[Step | None, int]) -> list[list[Row]]:
    """The rows that each drawn row stands for."""
    groups: list[list[Row]] = []
    for row in body.rows:
        if row.step is None:
            continue
        if row.step in position:
            groups.append([])
        groups[-1].append(row)
    return groups


_CEILING = re.compile(r"\((\w+) \+ (\d+)\) // (\d+)")


def _extent(dim: Dim) -> str:
    """`H/2`, `⌈H/2⌉`, `⌊(H+3)/2⌋`, `(2·H+1)`."""
    text = str(dim)
    if (found := _CEILING.fullmatch(text)) and int(found[2]) == int(found[3]) - 1:
        return f"⌈{found[1]}/{found[3]}⌉"
    plain = text.replace(" // ", "/").replace(" * ", "·").replace(" ", "")
    if re.fullmatch(r"\w+(/\d+)?", plain):
        return plain
    if re.fullmatch(r"\([^()]*\) // \d+", text):
        return f"⌊{plain}⌋"
    return f"({plain})" if re.search(r"[-+]", plain) else plain


def _amount(dim: Dim) -> str:
    """`61,706`, `2.36 M`, or a polynomial."""
    if not dim.is_const:
        text = str(dim).replace(" * ", "·").replace(" ** 2", "²").replace(" // ", "/")
        return re.sub(r"\d{5,}", lambda found: f"{int(found[0]):,}", text)
    n = dim.value
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if n >= size:
            return f"{n / size:.3g} {unit}" if n < 1000 * size else f"{n // size:,} {unit}"
    return f"{n:,}"


def _subtitle(summary: Summary) -> str:
    params = summary.params
    count = f"{params.value:,}" if params.is_const else _amount(params)
    parts = [f"{count} parameters"]
    if summary.macs.is_const and summary.macs.value:
        parts.append(f"{_amount(summary.macs)} MACs")
    if summary.batch is not None:
        parts.append(f"shapes without the batch {summary.batch}")
    return " · ".join(parts)
