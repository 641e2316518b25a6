"""The display list: all that a writer needs to know of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlspec.render.fonts import Weight


@dataclass(frozen=True)
class Tag:
    """What a shape belongs to: the same for all shapes of a box. path: of the instance."""

    path: str
    tip: str
    kind: str  # "node" | "block" | "edge"


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    radius: float = 0.0
    fill: str = "none"
    stroke: str = "none"
    stroke_width: float = 1.0
    tag: Tag | None = None


@dataclass(frozen=True)
class Path:
    """Segments: ("M", x, y), ("L", x, y), ("C", x1, y1, x2, y2, x, y), ("Q", x1, y1, x, y)."""

    segments: tuple[tuple[str | float, ...], ...]
    stroke: str = "none"
    stroke_width: float = 1.0
    fill: str = "none"
    dash: tuple[float, ...] = ()
    tag: Tag | None = None


@dataclass(frozen=True)
class Polygon:
    points: tuple[tuple[float, float], ...]
    fill: str
    tag: Tag | None = None


@dataclass(frozen=True)
class Text:
    """One line. x, y: left, middle or right end of the base line, by anchor."""

    x: float
    y: float
    text: str
    size: float
    weight: Weight = "regular"
    fill: str = "#000000"
    anchor: str = "start"
    tag: Tag | None = None


Shape = Rect | Path | Polygon | Text


@dataclass(frozen=True, eq=False)
class Display:
    """Shapes from back to front on a page of this size."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    title: str
    description: str
