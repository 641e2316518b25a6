"""From a view to a display list: layout, then shapes from back to front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.display import Display, Path, Polygon, Rect, Tag, Text
from dlspec.render.fonts import face, fitted
from dlspec.render.glyphs import glyph
from dlspec.render.layout import Layout, badge_width, node_width, title_width

if TYPE_CHECKING:
    from dlspec.render.display import Shape
    from dlspec.render.layout import Laid, Placed, Point, Wire
    from dlspec.render.view import Box, View

PAGE = 24.0
TOP = 64.0
BEND = 8.0  # radius of a link's corners
HEAD, HALF_HEAD = 7.0, 3.4  # of an arrow
SWATCH, ENTRY = 24.0, 22.0  # of the legend
LEAST = 300.0  # width of the page without margins


def scene(view: View) -> Display:
    """The picture of a view: title, graph, legend."""
    width = max((node_width(b) for b in view.boxes() if _closed(b)), default=80.0)
    laid = Layout(width).lay(view.graph, root=True)
    title = face("semibold").width(view.title, theme.TITLE)
    subtitle = face("regular").width(view.subtitle, theme.SMALL)
    content = max(laid.left + laid.right, title, subtitle, LEAST)
    spine = PAGE + laid.left + (content - laid.left - laid.right) / 2
    painter = Painter()
    painter.graph(laid, spine, TOP, "", 0)
    shapes = [
        *painter.back,
        Text(PAGE, 32, view.title, theme.TITLE, "semibold", theme.INK),
        Text(PAGE, 49, view.subtitle, theme.SMALL, "regular", theme.FAINT),
    ]
    bottom = TOP + laid.height + 22
    families = [f for f in theme.FAMILIES if f in {b.family for b in view.boxes()}]
    legend, bottom = _legend([f for f in families if f != "terminal"], content, bottom)
    page = Rect(0, 0, content + 2 * PAGE, bottom + 14, fill=theme.PAPER)
    return Display(page.width, page.height, (page, *shapes, *legend), view.title, view.subtitle)


def _closed(box: Box) -> bool:
    return box.kind in ("op", "block") and box.inner is None and not box.sign


class Painter:
    """Appends shapes in drawing order."""

    def __init__(self) -> None:
        self.back: list[Shape] = []

    def graph(self, laid: Laid, x: float, y: float, prefix: str, level: int) -> None:
        for placed in laid.boxes:
            if placed.size.inner is not None:
                self.panel(placed, x, y, prefix, level)
        for wire in laid.wires:
            self.wire(laid, wire, x, y, prefix)
        for placed in laid.boxes:
            inner = placed.size.inner
            if inner is not None:
                path = f"{prefix}{placed.box.path}."
                self.graph(inner, x + placed.x, y + placed.y, path, level + 1)
            elif placed.size.height:
                self.node(placed, x, y, prefix)

    def panel(self, placed: Placed, x: float, y: float, prefix: str, level: int) -> None:
        """An open block: frame and header."""
        box, size = placed.box, placed.size
        tag = Tag(prefix + box.path, box.tip, "block")
        below = 2 * theme.SHADOW if box.repeats else 0.0
        left, top = x + placed.x - size.left, y + placed.y
        width, height = size.left + size.right - below, size.height - below
        fill = theme.GROUPS[level % len(theme.GROUPS)]
        self.sheets(left, top, width, height, 9.0, fill, theme.GROUP_EDGE, box, tag)
        base = top + 17
        self.back.append(glyph("block", left + theme.INSET, base - 10.5, tag))
        at = left + theme.INSET + theme.GLYPH + 6
        at = self.name(box, at, base, title_width(box), tag)
        if box.note:
            right = left + width - theme.INSET
            self.back.append(
                Text(right, base, box.note, theme.SMALL, "regular", theme.FAINT, "end", tag)
            )

    def sheets(
        self, x: float, y: float, width: float, height: float, radius: float,
        fill: str, edge: str, box: Box, tag: Tag,
    ) -> None:  # fmt: skip
        """A frame; two more sheets behind it where it stands for several."""
        for k in (2, 1, 0) if box.repeats else (0,):
            d = k * theme.SHADOW
            self.back.append(Rect(x + d, y + d, width, height, radius, fill, edge, 1.1, tag))

    def name(self, box: Box, x: float, base: float, room: float, tag: Tag) -> float:
        """Label, the instance's own name, and the badge of a repeat; where they end."""
        bold, plain = face("semibold"), face("regular")
        extra = (7 + plain.width(box.name, theme.SMALL)) if box.name else 0.0
        text = fitted(box.label, theme.LABEL, max(room - extra, 60), "semibold")
        self.back.append(Text(x, base, text, theme.LABEL, "semibold", theme.INK, tag=tag))
        x += bold.width(text, theme.LABEL)
        if box.name:
            name = fitted(box.name, theme.SMALL, max(room - (x - x), 40))
            self.back.append(Text(x + 7, base, name, theme.SMALL, "regular", theme.FAINT, tag=tag))
            x += 7 + plain.width(name, theme.SMALL)
        if box.repeats:
            x += 8
            width = badge_width(box.repeats)
            colour = theme.FAMILIES["block"].edge
            self.back.append(Rect(x, base - 12, width, 16, 8, colour, tag=tag))
            self.back.append(
                Text(x + width / 2, base, box.repeats, theme.SMALL, "semibold", theme.PAPER,
                     "middle", tag)
            )  # fmt: skip
            x += width
        return x

    def node(self, placed: Placed, x: float, y: float, prefix: str) -> None:
        box, size = placed.box, placed.size
        tag = Tag(prefix + box.path, box.tip, "node")
        colours = theme.FAMILIES[box.family]
        below = 2 * theme.SHADOW if box.repeats else 0.0
        left, top = x + placed.x - size.left, y + placed.y
        width, height = size.left + size.right - below, size.height - below
        middle = top + height / 2
        if box.sign or box.kind in ("input", "output"):
            self.back.append(
                Rect(left, top, width, height, height / 2, colours.fill, colours.edge, 1.2, tag)
            )
            text = box.sign or box.label
            ink = theme.INK if box.sign else theme.PAPER
            point = theme.LABEL + 3 if box.sign else theme.LABEL - 0.5
            self.back.append(
                Text(x + placed.x, middle + point * 0.355, fitted(text, point, theme.WIDEST - 18,
                     "semibold"), point, "semibold", ink, "middle", tag)
            )  # fmt: skip
            return
        radius = height / 2 if box.family == "activation" else 5.0
        self.sheets(left, top, width, height, radius, colours.fill, colours.edge, box, tag)
        if box.kind == "block":
            edge = theme.GROUP_EDGE
            self.back.append(
                Rect(left + 2.5, top + 2.5, width - 5, height - 5, 3.5, "none", edge, 0.8, tag)
            )
        self.back.append(glyph(box.family, left + theme.INSET, middle - 6, tag))
        start, base = left + theme.INSET + theme.GLYPH + 6, middle + 4.3
        room = width - 2 * theme.INSET - theme.GLYPH - 6
        if box.note:
            note = Text(left + width - theme.INSET, base, box.note, theme.SMALL, "regular",
                        theme.FAINT, "end", tag)  # fmt: skip
            self.back.append(note)
            room -= 14 + face("regular").width(box.note, theme.SMALL)
        if box.repeats:
            room -= 8 + badge_width(box.repeats)
        self.name(box, start, base, room, tag)

    def wire(self, laid: Laid, wire: Wire, x: float, y: float, prefix: str) -> None:
        points = [(x + a, y + b) for a, b in wire.points]
        boxes = laid.graph.boxes
        source, target = boxes[wire.link.source], boxes[wire.link.target]
        tag = Tag(f"{prefix}{source.path or source.name}→{target.path or target.name}", "", "edge")
        if wire.arrow:
            head, points = _arrow(points)
            self.back.append(Path(rounded(points), theme.WIRE, 1.3, tag=tag))
            self.back.append(Polygon(head, theme.WIRE, tag))
        else:
            self.back.append(Path(rounded(points), theme.WIRE, 1.3, tag=tag))
        if wire.label is not None:
            a, b = wire.label
            text = wire.link.label
            self.back.append(Text(x + a, y + b, text, theme.SMALL, "regular", theme.FAINT, tag=tag))


def _arrow(points: list[Point]) -> tuple[tuple[Point, ...], list[Point]]:
    """The head at the end of a polyline, and the polyline shortened by it."""
    (ax, ay), (bx, by) = points[-2], points[-1]
    dx, dy = (bx > ax) - (bx < ax), (by > ay) - (by < ay)
    foot = (bx - dx * HEAD, by - dy * HEAD)
    head = (
        (bx, by),
        (foot[0] - dy * HALF_HEAD, foot[1] + dx * HALF_HEAD),
        (foot[0] + dy * HALF_HEAD, foot[1] - dx * HALF_HEAD),
    )
    return head, [*points[:-1], foot]


def rounded(points: list[Point]) -> tuple[tuple[str | float, ...], ...]:
    """A polyline of horizontal and vertical runs with round corners."""
    segments: list[tuple[str | float, ...]] = [("M", *points[0])]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        a = abs(here[0] - before[0]) + abs(here[1] - before[1])
        b = abs(after[0] - here[0]) + abs(after[1] - here[1])
        r = min(BEND, a / 2, b / 2)
        segments.append(("L", *_toward(here, before, r)))
        segments.append(("Q", *here, *_toward(here, after, r)))
    segments.append(("L", *points[-1]))
    return tuple(segments)


def _toward(start: Point, end: Point, length: float) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    whole = abs(dx) + abs(dy)
    k = length / whole if whole else 0.0
    return (start[0] + dx * k, start[1] + dy * k)


def _legend(families: list[str], width: float, top: float) -> tuple[list[Shape], float]:
    """A swatch, its glyph and the name of each family, in lines of this width; the lower end."""
    shapes: list[Shape] = []
    x, y = PAGE, top
    for name in families:
        colours = theme.FAMILIES[name]
        needed = SWATCH + 6 + face("regular").width(name, theme.SMALL)
        if x > PAGE and x + needed > PAGE + width:
            x, y = PAGE, y + ENTRY
        shapes.append(Rect(x, y, SWATCH, 16, 4, colours.fill, colours.edge, 1.0))
        shapes.append(glyph(name, x + SWATCH / 2 - 6, y + 2))
        shapes.append(Text(x + SWATCH + 6, y + 12, name, theme.SMALL, "regular", theme.FAINT))
        x += needed + 16
    return shapes, y + (ENTRY if families else 0)
