"""Where everything of a picture is, in page coordinates, for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dlspec.api
from dlspec.render import theme
from dlspec.render.layout import Layout, node_width, title_width
from dlspec.render.view import view
from dlspec.summary import summarise

if TYPE_CHECKING:
    from dlspec.ir.graph import Function
    from dlspec.render.layout import Laid, Placed, Wire
    from dlspec.render.view import Graph

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs"
NETS = {
    "lenet5": SPECS / "vision" / "lenet5.dls",
    "resnet18": SPECS / "vision" / "resnet18.dls",
    "unet": HERE / "nets" / "unet.dls",
    "gpt": HERE / "nets" / "gpt.dls",
    "branches": HERE / "nets" / "branches.dls",
    "ports": HERE / "nets" / "ports.dls",
}
ROUNDING = 0.01


def function_of(name: str) -> Function:
    spec = dlspec.api.load(NETS[name])
    return spec.model(spec.models[-1]).function


@dataclass(frozen=True)
class Area:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Area) -> bool:
        return (
            self.left < other.right - ROUNDING
            and other.left < self.right - ROUNDING
            and self.top < other.bottom - ROUNDING
            and other.top < self.bottom - ROUNDING
        )

    def holds(self, other: Area) -> bool:
        return (
            self.left <= other.left + ROUNDING
            and other.right <= self.right + ROUNDING
            and self.top <= other.top + ROUNDING
            and other.bottom <= self.bottom + ROUNDING
        )


@dataclass(frozen=True)
class Run:
    """One straight piece of a link. ends: indices of its boxes."""

    area: Area
    ends: tuple[int, int]


@dataclass(frozen=True)
class Sheet:
    """One graph of a picture: its own area, boxes, titles of open boxes, pieces of links."""

    graph: Graph
    area: Area | None
    boxes: list[Area]
    titles: dict[int, Area]
    runs: list[Run]
    labels: list[Area]


def sheets(function: Function, depth: int | None = None) -> list[Sheet]:
    found = view(summarise(function), depth)
    return sheets_of(found.graph)


def sheets_of(graph: Graph) -> list[Sheet]:
    boxes = [b for g in graphs(graph) for b in g.boxes]
    width = max((node_width(b) for b in boxes if b.inner is None and not b.sign), default=80.0)
    laid = Layout(width).lay(graph, root=True)
    area = Area(-laid.left, 0.0, laid.right, laid.height)
    found: list[Sheet] = []
    _collect(laid, 0.0, 0.0, area, found)
    return found


def graphs(graph: Graph) -> list[Graph]:
    found = [graph]
    for box in graph.boxes:
        if box.inner is not None:
            found += graphs(box.inner)
    return found


def _collect(laid: Laid, x: float, y: float, area: Area, found: list[Sheet]) -> None:
    boxes = [_area(p, x, y) for p in laid.boxes]
    titles: dict[int, Area] = {}
    for i, placed in enumerate(laid.boxes):
        if placed.size.inner is None:
            continue
        left, top = boxes[i].left + theme.INSET, boxes[i].top
        titles[i] = Area(left, top + 4, left + title_width(placed.box), top + theme.HEADER - 4)
    runs = [
        Run(
            Area(x + min(a, c), y + min(b, d), x + max(a, c), y + max(b, d)),
            (w.link.source, w.link.target),
        )
        for w in laid.wires
        for (a, b), (c, d) in zip(w.points, w.points[1:], strict=False)
    ]
    labels = [_label(w, x, y) for w in laid.wires if w.label is not None]
    found.append(Sheet(laid.graph, area, boxes, titles, runs, labels))
    for i, placed in enumerate(laid.boxes):
        if placed.size.inner is not None:
            _collect(placed.size.inner, x + placed.x, y + placed.y, boxes[i], found)


def _area(p: Placed, x: float, y: float) -> Area:
    left, top = x + p.x - p.size.left, y + p.y
    return Area(left, top, x + p.x + p.size.right, top + p.size.height)


def _label(wire: Wire, x: float, y: float) -> Area:
    from dlspec.render.fonts import face

    assert wire.label is not None
    left, base = x + wire.label[0], y + wire.label[1]
    width = face("regular").width(wire.link.label, theme.SMALL)
    return Area(left, base - 8, left + width, base + 1)
