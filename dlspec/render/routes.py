"""The vertical half of a layout: heights of rows and gaps, and the runs of the links."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.layout import GAP, HEAD_GAP, SHAPE, TRACK, Laid, Placed, Wire, port_x

JOG = 6.0  # from a box's spine to the first link that runs beside it

if TYPE_CHECKING:
    from dlspec.render.layout import Placing, Point
    from dlspec.render.view import Link


@dataclass(eq=False)
class Tracks:
    """Horizontal runs of one gap at one of its ends; runs of one owner share a track."""

    ends: list[list[tuple[float, float, int]]] = field(
        default_factory=list["list[tuple[float, float, int]]"]
    )
    of: dict[int, int] = field(default_factory=dict[int, int])
    spans: dict[int, tuple[float, float]] = field(default_factory=dict[int, tuple[float, float]])

    def add(self, owner: int, a: float, b: float) -> None:
        low, high = min(a, b), max(a, b)
        if owner in self.spans:
            low, high = min(low, self.spans[owner][0]), max(high, self.spans[owner][1])
        self.spans[owner] = (low, high)

    def assign(self) -> int:
        """Give each owner a track, short runs first; the number of tracks."""
        for owner, (low, high) in sorted(
            self.spans.items(), key=lambda item: (item[1][1] - item[1][0], item[0])
        ):
            k = next((k for k, t in enumerate(self.ends) if _free(t, low, high)), len(self.ends))
            if k == len(self.ends):
                self.ends.append([])
            self.ends[k].append((low, high, owner))
            self.of[owner] = k
        return len(self.ends)


def _free(track: list[tuple[float, float, int]], low: float, high: float) -> bool:
    return all(high < a - TRACK or low > b + TRACK for a, b, _ in track)


@dataclass(eq=False)
class Gap:
    """Below a row: runs that leave boxes above, then labels, then runs that enter boxes below."""

    leave: Tracks = field(default_factory=Tracks)
    enter: Tracks = field(default_factory=Tracks)
    label: bool = False
    head: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


@dataclass(frozen=True, eq=False)
class Run:
    """A link with its x's: source, lane, target. leave, enter: gaps of its horizontal runs."""

    link: Link
    start: float
    lane: float
    end: float
    leave: int | None
    enter: int | None
    side: bool


def route(p: Placing, left: float, right: float) -> Laid:
    gaps = [Gap() for _ in range(p.height)]
    if not p.root:
        gaps[0].head = theme.HEADER
    traffic = Traffic(p)
    runs = [_run(p, link, gaps, traffic) for link in p.links]
    heights = [0.0] * p.height
    for i, row in enumerate(p.rows):
        heights[row] = max(heights[row], p.sizes[i].height)
    tops, y = list[float](), 0.0
    for row, gap in enumerate(gaps):
        tops.append(y)
        y += heights[row]
        gap.top = y
        if row + 1 < p.height:
            y += _gap_height(gap, ends=not p.root and row + 2 == p.height)
        gap.bottom = y
    placed = [
        Placed(box, p.x[i], tops[p.rows[i]] + _drop(p, i, heights), p.sizes[i])
        for i, box in enumerate(p.graph.boxes)
    ]
    wires = [_wire(p, run, gaps, placed) for run in runs]
    return Laid(p.graph, left, right, y, placed, wires)


def _drop(p: Placing, i: int, heights: list[float]) -> float:
    """Boxes stand in the middle of their row; what leaves a graph, at its bottom."""
    return (heights[p.rows[i]] - p.sizes[i].height) / 2


def _gap_height(gap: Gap, ends: bool) -> float:
    leave, enter = gap.leave.assign(), gap.enter.assign()
    room = gap.head + leave * TRACK + enter * TRACK
    room += SHAPE + HEAD_GAP if gap.label else GAP if leave + enter == 0 else HEAD_GAP + 2
    return room - (4 if ends and not gap.label else 0)


class Traffic:
    """Which boxes links come from and go to, by gap and x of the end in it."""

    def __init__(self, p: Placing) -> None:
        self.sources: dict[tuple[int, int], set[int]] = {}
        self.targets: dict[tuple[int, int], set[int]] = {}
        self.jogs: dict[tuple[int, int], int] = {}
        for link in p.links:
            start, end = ends(p, link)
            first, last = p.rows[link.source], p.rows[link.target] - 1
            self.targets.setdefault((first, round(start)), set()).add(link.target)
            self.sources.setdefault((last, round(end)), set()).add(link.source)

    def lane(self, link: Link, gap: int, start: float, end: float, fork: bool) -> float:
        """Where a link to the next row runs down: below its source or above its target, if no
        other link could be taken for it there; else beside its target."""
        if abs(start - end) <= 0.01:
            return start
        clear = {
            start: self.sources.get((gap, round(start)), set()) <= {link.source},
            end: self.targets.get((gap, round(end)), set()) <= {link.target},
        }
        for x in (end, start) if fork else (start, end):
            if clear[x]:
                return x
        key = (gap, round(end))
        self.jogs[key] = self.jogs.get(key, 0) + 1
        return end + (1 if start > end else -1) * (JOG + TRACK * self.jogs[key])


def ends(p: Placing, link: Link) -> tuple[float, float]:
    """The x of a link's ends."""
    source, target = p.sizes[link.source], p.sizes[link.target]
    start = p.x[link.source] + port_x(source.exits, link.out)
    return start, p.x[link.target] + port_x(target.entries, link.into)


def _run(p: Placing, link: Link, gaps: list[Gap], traffic: Traffic) -> Run:
    target = p.sizes[link.target]
    start, end = ends(p, link)
    first, last = p.rows[link.source], p.rows[link.target]
    if link.label:
        gaps[first].label = True
    chain = p.via.get(link)
    if last - first > 1 and chain is not None:
        lane = chain.x
    else:  # from one row to the next: one bend, where fewer others bend
        fork = len(p.out[link.source]) > 1 and len(p.into[link.target]) == 1
        lane = traffic.lane(link, first, start, end, fork)
    side = p.side.get(link, False)
    leave = first if abs(lane - start) > 0.01 else None
    enter = last - 1 if abs(lane - end) > 0.01 and not side else None
    if leave is not None:
        gaps[first].leave.add(_port(link.source, link.out), start, lane)
    if enter is not None:
        gaps[last - 1].enter.add(_port(link.target, link.into, len(target.entries)), lane, end)
    return Run(link, start, lane, end, leave, enter, side)


def _port(box: int, port: int, ports: int = 1) -> int:
    """Runs to the same place share a track."""
    return box * 1000 + (port if ports > 1 else 0)


def _wire(p: Placing, run: Run, gaps: list[Gap], placed: list[Placed]) -> Wire:
    link = run.link
    source, target = placed[link.source], placed[link.target]
    below = 2 * theme.SHADOW if source.box.repeats else 0.0
    y = source.y + source.size.height
    points: list[Point] = [(run.start, y - below)]
    first = gaps[p.rows[link.source]]
    tracks_end = first.top + first.head + len(first.leave.ends) * TRACK
    if run.leave is not None:
        track = first.leave.of[_port(link.source, link.out)]
        at = first.top + first.head + (track + 0.75) * TRACK
        points += [(run.start, at), (run.lane, at)]
    last = gaps[p.rows[link.target] - 1]
    arrow = target.box.inner is None and (target.box.kind != "output" or p.root)
    if run.side:
        middle = target.y + target.size.height / 2
        edge = run.end + (1 if run.lane > run.end else -1) * target.size.left
        points += [(run.lane, middle), (edge, middle)]
    else:
        if run.enter is not None:
            port = _port(link.target, link.into, len(target.size.entries))
            track = last.enter.of[port]
            at = last.bottom - HEAD_GAP + 2 - track * TRACK
            points += [(run.lane, at), (run.end, at)]
        points.append((run.end, target.y))
    label = (run.start + 7, tracks_end + SHAPE - 1) if link.label else None
    return Wire(link, tuple(points), label, arrow)
