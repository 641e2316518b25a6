"""Hierarchical layout: each graph once, in its own coordinates, its spine at x = 0.

Rows are longest-path layers. The longest path to the first output is the spine, a straight
vertical line; what is beside it is cut into chains (nodes, or the empty places of a link that
spans rows), which are packed from the inside out, short ones first. Links run in the gaps between
rows and straight down their chain, so that they meet no foreign box. Time is linear in the number
of places (boxes, and rows that links span).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.fonts import face

if TYPE_CHECKING:
    from dlspec.render.view import Box, Graph, Link

LANE = 9.0  # half the width of a link's place
BESIDE = 16.0  # between chains
DETOUR = 250.0  # further out rather than across the spine
GAP, HEAD_GAP = 18.0, 12.0
TRACK = 8.0  # between parallel runs of links in one gap
SHAPE = 15.0  # height of a shape label
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Size:
    """Extents of a box from its spine. ports: x of each input and output."""

    left: float
    right: float
    height: float
    entries: tuple[float, ...] = (0.0,)
    exits: tuple[float, ...] = (0.0,)
    inner: Laid | None = None


@dataclass(frozen=True, eq=False)
class Placed:
    box: Box
    x: float  # of the spine
    y: float  # of the top
    size: Size


@dataclass(frozen=True, eq=False)
class Wire:
    """A polyline of vertical and horizontal runs. label: place of its lower left corner."""

    link: Link
    points: tuple[Point, ...]
    label: Point | None = None
    arrow: bool = True


@dataclass(eq=False)
class Laid:
    """A graph with places. left, right: extents from the spine; height: from y = 0."""

    graph: Graph
    left: float
    right: float
    height: float
    boxes: list[Placed]
    wires: list[Wire]


@dataclass(eq=False)
class Chain:
    """Boxes by row, None where a link passes. first: the first row."""

    first: int
    places: list[int | None] = field(default_factory=list["int | None"])
    reach: int = -1  # the row of the box its last link enters from the side, if so
    x: float = 0.0

    @property
    def last(self) -> int:
        return self.first + len(self.places) - 1


def node_width(box: Box) -> float:
    """What a closed box needs."""
    if box.sign:
        return theme.CIRCLE
    bold, plain = face("semibold"), face("regular")
    width = 2 * theme.INSET + bold.width(box.label, theme.LABEL)
    if box.kind in ("op", "block"):
        width += theme.GLYPH + 6
    if box.name:
        width += 7 + plain.width(box.name, theme.SMALL)
    if box.note:
        width += 18 + plain.width(box.note, theme.SMALL)
    if box.repeats:
        width += 12 + badge_width(box.repeats)
    return min(width, theme.WIDEST)


def badge_width(text: str) -> float:
    return face("semibold").width(text, theme.SMALL) + 10


def title_width(box: Box) -> float:
    """The header of an open block, without the parameters."""
    width = theme.GLYPH + 6 + face("semibold").width(box.label, theme.LABEL)
    if box.name:
        width += 7 + face("regular").width(box.name, theme.SMALL)
    if box.repeats:
        width += 8 + badge_width(box.repeats)
    return width


class Layout:
    """Lays out graphs; equal ones once. width: of all closed boxes."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.done: dict[int, Laid] = {}

    def lay(self, graph: Graph, root: bool = False) -> Laid:
        found = self.done.get(id(graph))
        if found is None:
            found = self.done[id(graph)] = Placing(self, graph, root).run()
        return found

    def size(self, box: Box, root: bool) -> Size:
        if box.kind in ("input", "output"):
            if not root:
                return Size(LANE, LANE, 0.0)
            half = node_width(box) / 2
            return Size(half, half, theme.NODE_HEIGHT - 4)
        if box.inner is None:
            half = theme.CIRCLE / 2 if box.sign else self.width / 2
            below = 2 * theme.SHADOW if box.repeats else 0.0
            height = theme.CIRCLE if box.sign else theme.NODE_HEIGHT + below
            return Size(half, half + below, height)
        return self.open_size(box, self.lay(box.inner))

    def open_size(self, box: Box, laid: Laid) -> Size:
        """Title left of all entries, parameters right of them."""
        entries = [laid.boxes[i].x for i in box.inner.inputs] if box.inner else []
        exits = [laid.boxes[i].x for i in box.inner.outputs] if box.inner else []
        title = title_width(box) + theme.INSET + 10 - min(entries, default=0.0)
        note = face("regular").width(box.note, theme.SMALL) + theme.INSET + 10
        left = max(laid.left + theme.MARGIN, title)
        right = max(laid.right + theme.MARGIN, note + max(entries, default=0.0))
        below = 2 * theme.SHADOW if box.repeats else 0.0
        return Size(left, right + below, laid.height + below, tuple(entries), tuple(exits), laid)


class Placing:
    """One graph's layout."""

    def __init__(self, layout: Layout, graph: Graph, root: bool) -> None:
        self.graph = graph
        self.root = root
        self.sizes = [layout.size(box, root) for box in graph.boxes]
        self.links = graph.links
        self.into: list[list[Link]] = [[] for _ in graph.boxes]
        self.out: list[list[Link]] = [[] for _ in graph.boxes]
        for link in graph.links:
            self.into[link.target].append(link)
            self.out[link.source].append(link)
        self.rows = self.layer()
        self.spine = self.longest()
        self.on_spine = frozenset(self.spine)
        self.x = [0.0] * len(graph.boxes)
        self.height = max(self.rows, default=0) + 1
        self.via: dict[Link, Chain] = {}
        self.side: dict[Link, bool] = {}

    def run(self) -> Laid:
        from dlspec.render.routes import route

        chains = self.chains()
        left, right = self.pack(chains)
        return route(self, left, right)

    def layer(self) -> list[int]:
        """The longest path from an input to each box; outputs in the last row; boxes without
        operands just above what uses them."""
        rows = [0] * len(self.sizes)
        for i in range(len(rows)):
            rows[i] = max((rows[link.source] + 1 for link in self.into[i]), default=0)
        for i in reversed(range(len(rows))):
            free = not self.into[i] and self.graph.boxes[i].kind == "op"
            if free and self.out[i]:
                rows[i] = max(0, min(rows[link.target] for link in self.out[i]) - 1)
        last = max(rows, default=0)
        for i in self.graph.outputs:
            rows[i] = last
        return rows

    def longest(self) -> list[int]:
        """Boxes of the spine from the top, one a row."""
        if not self.graph.outputs:
            return []
        best = max(self.graph.outputs, key=lambda i: (self.depth(i), -i))
        spine = [best]
        while self.into[spine[-1]]:
            links = self.into[spine[-1]]
            top = max(self.rows[link.source] for link in links)
            spine.append(next(k.source for k in links if self.rows[k.source] == top))
        return spine[::-1]

    def depth(self, output: int) -> int:
        return max((self.rows[link.source] for link in self.into[output]), default=-1)

    def chains(self) -> list[Chain]:
        """Everything beside the spine, cut into chains."""
        rows, found = self.rows, list[Chain]()
        at: dict[int, Chain] = {}  # the chain of a box
        tail: dict[int, Chain] = {}  # the chain that ends in a box
        along = set(zip(self.spine, self.spine[1:], strict=False))
        for i in sorted(range(len(rows)), key=lambda i: (rows[i], i)):
            if i not in self.on_spine:
                self.extend(i, at, tail, found)
        for link in self.links:
            a, b = rows[link.source], rows[link.target]
            if link in self.via or b - a <= 1:
                continue
            if (link.source, link.target) in along:
                self.via[link] = Chain(a + 1)
                continue
            chain = tail.pop(link.source, None)
            if chain is None:
                chain = Chain(a + 1)
                found.append(chain)
            chain.places.extend([None] * (b - a - 1))
            self.via[link] = chain
        for link in self.links:
            if link not in self.via and link.source in at and link.target not in at:
                self.via[link] = at[link.source]
        return found

    def extend(
        self, i: int, at: dict[int, Chain], tail: dict[int, Chain], found: list[Chain]
    ) -> None:
        """Put box i at the end of the chain it comes from, or begin one."""
        rows = self.rows
        for link in self.into[i]:
            chain = tail.pop(link.source, None)
            if chain is not None:
                chain.places.extend([None] * (rows[i] - chain.last - 1))
                chain.places.append(i)
                self.via[link] = chain
                at[i] = tail[i] = chain
                return
        first = min(self.into[i], key=lambda link: -rows[link.source], default=None)
        start = rows[i] if first is None else rows[first.source] + 1
        chain = Chain(start, [*[None] * (rows[i] - start), i])
        if first is not None:
            self.via[first] = chain
        found.append(chain)
        at[i] = tail[i] = chain

    def pack(self, chains: list[Chain]) -> tuple[float, float]:
        """Give each chain its x, beside what is there already, on the emptier side."""
        sides = {1: [0.0] * self.height, -1: [0.0] * self.height}
        for i in self.spine:
            self.occupy(sides, i, 0.0)
        bare = {s: list(side) for s, side in sides.items()}
        lanes = {s: [0.0] * (self.height + 1) for s in (1, -1)}  # taken in the gap above each row
        ends = {id(c): k for k, c in self.via.items() if c.places and c.places[-1] is None}
        sources = {id(c): k for k, c in self.via.items() if self.rows[k.source] < c.first}
        for chain in sorted(chains, key=lambda c: (len(c.places), c.first)):
            wide = any(p is not None for p in chain.places)
            end = ends.get(id(chain))
            near = self.parent_side(chain, sources.get(id(chain)))
            turns = range(chain.first, chain.last + 2)
            room = {
                s: max(self.edge(sides[s], chain, s), *(lanes[s][r] + 2 * LANE for r in turns))
                for s in (1, -1)
            }
            if wide:
                use = 1 if room[1] <= room[-1] else -1
            else:  # links: on the right, where no others are
                crowd = {s: room[s] - self.edge(bare[s], chain, s) for s in (1, -1)}
                use = 1 if crowd[1] <= crowd[-1] else -1
            if near and room[near] <= room[-near] + DETOUR:
                use = near
            chain.x = use * room[use]
            for row in turns:
                lanes[use][row] = max(lanes[use][row], room[use])
            for row, place in enumerate(chain.places, chain.first):
                if place is not None:
                    self.x[place] = chain.x
                    self.occupy(sides, place, chain.x)
                else:
                    self.mark(sides, row, chain.x, LANE, LANE)
            if end is not None:
                self.enter_from_side(sides, chain, end)
        return max(sides[-1]), max(sides[1])

    def parent_side(self, chain: Chain, link: Link | None) -> int:
        """The side that a chain's ends are on; 0 for the spine itself."""
        x = 0.0
        if link is not None:
            x = self.x[link.source] + port_x(self.sizes[link.source].exits, link.out)
        for place in chain.places if x == 0 else ():
            for out in self.out[place] if place is not None else ():
                if out.target in self.on_spine:
                    x = x or port_x(self.sizes[out.target].entries, out.into)
        return (x > 0) - (x < 0)

    def edge(self, side: list[float], chain: Chain, sign: int) -> float:
        """How far out a chain must be."""
        far = 0.0
        for row, place in enumerate(chain.places, chain.first):
            need = LANE
            if place is not None:
                size = self.sizes[place]
                need = size.left if sign > 0 else self.reach(place)
            far = max(far, side[row] + BESIDE / (2 if place is None else 1) + need)
        return far

    def reach(self, i: int) -> float:
        """The right extent of a box with the label of its links."""
        wide = max((_label(link.label) for link in self.out[i] if link.label), default=0.0)
        return max(self.sizes[i].right, max(self.sizes[i].exits, default=0.0) + wide)

    def occupy(self, sides: dict[int, list[float]], i: int, x: float) -> None:
        row, right = self.rows[i], self.reach(i)
        self.mark(sides, row, x, self.sizes[i].left, right)
        if right > self.sizes[i].right and row + 1 < self.height:
            self.mark(sides, row + 1, x, 0.0, right)

    def mark(
        self, sides: dict[int, list[float]], row: int, x: float, left: float, right: float
    ) -> None:
        sides[1][row] = max(sides[1][row], x + right)
        sides[-1][row] = max(sides[-1][row], left - x)

    def enter_from_side(self, sides: dict[int, list[float]], chain: Chain, link: Link) -> None:
        """A link into a circle ends at its side, where its row is free."""
        target = link.target
        row, box = self.rows[target], self.graph.boxes[target]
        if not box.sign or target not in self.on_spine or link in self.side:
            return
        taken = any(k.target == target and k in self.side for k in self.into[target])
        size = self.sizes[target]
        sign = 1 if chain.x > 0 else -1
        limit = self.reach(target) if sign > 0 else size.left
        if not taken and sides[sign][row] <= limit and abs(chain.x) > limit:
            self.side[link] = True
            self.mark(sides, row, chain.x, LANE, LANE)


def _label(text: str) -> float:
    return 7 + face("regular").width(text, theme.SMALL) + 4


def port_x(ports: tuple[float, ...], index: int) -> float:
    return ports[index] if index < len(ports) else 0.0
