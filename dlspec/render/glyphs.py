"""The sign of each family, drawn in a square of 12 by 12: it tells families apart in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.display import Path

if TYPE_CHECKING:
    from dlspec.render.display import Tag

Stroke = tuple[tuple[str | float, ...], ...]


def _line(*points: tuple[float, float], close: bool = False) -> Stroke:
    strokes: list[tuple[str | float, ...]] = [("M", *points[0])]
    strokes += [("L", x, y) for x, y in points[1:]]
    if close:
        strokes.append(("L", *points[0]))
    return tuple(strokes)


def _box(x: float, y: float, w: float, h: float) -> Stroke:
    return _line((x, y), (x + w, y), (x + w, y + h), (x, y + h), close=True)


def _circle(x: float, y: float, r: float) -> Stroke:
    k = 0.5523 * r
    return (
        ("M", x, y - r),
        ("C", x + k, y - r, x + r, y - k, x + r, y),
        ("C", x + r, y + k, x + k, y + r, x, y + r),
        ("C", x - k, y + r, x - r, y + k, x - r, y),
        ("C", x - r, y - k, x - k, y - r, x, y - r),
    )


GLYPHS: dict[str, Stroke] = {
    "convolution": (
        *_box(1, 1, 10, 10),
        *_line((4.33, 1), (4.33, 11)),
        *_line((7.67, 1), (7.67, 11)),
        *_line((1, 4.33), (11, 4.33)),
        *_line((1, 7.67), (11, 7.67)),
    ),
    "dense": (
        *_line((1.5, 2), (10.5, 2), (1.5, 10), (10.5, 10), close=True),
        *_line((1.5, 2), (10.5, 10)),
    ),
    "normalisation": (
        ("M", 0.5, 10.5),
        ("C", 4.5, 10.5, 4, 1.5, 6, 1.5),
        ("C", 8, 1.5, 7.5, 10.5, 11.5, 10.5),
    ),
    "activation": _line((0.5, 9.5), (5.5, 9.5), (11, 2)),
    "pooling": _line((1, 2), (11, 2), (7.5, 10), (4.5, 10), close=True),
    "reduction": _line((10, 3.2), (10, 1.5), (2, 1.5), (6.5, 6), (2, 10.5), (10, 10.5), (10, 8.8)),
    "merge": (("M", 2, 1), ("C", 2, 6, 6, 5, 6, 11), ("M", 10, 1), ("C", 10, 6, 6, 5, 6, 11)),
    "arithmetic": (*_line((2, 3), (8, 3)), *_line((5, 0.5), (5, 5.5)), *_line((4, 9.5), (10, 9.5))),
    "shape": (*_box(1, 4, 10, 4), *_box(4, 1, 4, 10)),
    "random": (*_box(1, 1, 10, 10), *_circle(4, 4, 0.7), *_circle(8, 8, 0.7)),
    "lookup": (*_box(1, 1, 10, 10), *_line((1, 4.5), (11, 4.5)), *_line((1, 7.5), (11, 7.5))),
    "loss": (*_circle(6, 6, 5), *_circle(6, 6, 1.8)),
    "block": (*_box(0.8, 3.2, 8, 8), *_line((3, 3.2), (3, 0.8), (11.2, 0.8), (11.2, 9), (8.8, 9))),
}


def glyph(family: str, x: float, y: float, tag: Tag | None = None) -> Path:
    """The sign with its upper left corner at (x, y)."""
    moved: list[tuple[str | float, ...]] = []
    for command, *numbers in GLYPHS[family]:
        shifted = [float(n) + (y if i % 2 else x) for i, n in enumerate(numbers)]
        moved.append((command, *shifted))
    return Path(tuple(moved), stroke=theme.FAMILIES[family].edge, stroke_width=1.1, tag=tag)
