"""The SVG writer.

The font subset is embedded, so that browsers draw what was measured without any file or network.
Programs that ignore embedded fonts (Inkscape, resvg, Word) take the nearest sans-serif and fit it
by `textLength`, which is the measured width, so that text stays inside its box there too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, assert_never

from dlspec.render.display import Path, Polygon, Rect, Text
from dlspec.render.fonts import FALLBACK, data_uri, face

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dlspec.render.display import Display, Shape, Tag

# what XML 1.0 does not allow in any form
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
WEIGHTS = {"regular": 400, "semibold": 600}


def to_svg(display: Display, name: str, *, fonts: bool = True) -> str:
    """The picture as one SVG text. name: leads every id; fonts: embed them."""
    prefix = _id(name) or "model"
    w, h = number(display.width), number(display.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" role="img" aria-labelledby="{prefix}-title {prefix}-desc" '
        f'font-family="{FALLBACK}">',
        f'<title id="{prefix}-title">{escape(display.title)}</title>',
        f'<desc id="{prefix}-desc">{escape(display.description)}</desc>',
    ]
    if fonts:
        faces = "".join(
            f"@font-face{{font-family:'Inter';font-weight:{WEIGHTS[w]};"
            f"src:url({data_uri(w)}) format('woff2')}}"
            for w in ("regular", "semibold")
        )
        lines.append(f"<style>{faces}</style>")
    lines += _body(display.shapes, prefix)
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _body(shapes: Iterable[Shape], prefix: str) -> Iterator[str]:
    """Shapes of one tag that follow each other are one group."""
    used: dict[str, int] = {}
    current: Tag | None = None
    for shape in shapes:
        if shape.tag != current:
            if current is not None:
                yield "</g>"
            current = shape.tag
            if current is not None:
                yield _open(current, prefix, used)
        yield _shape(shape)
    if current is not None:
        yield "</g>"


def _open(tag: Tag, prefix: str, used: dict[str, int]) -> str:
    base = f"{prefix}-{_id(tag.path) or tag.kind}"
    used[base] = used.get(base, 0) + 1
    unique = base if used[base] == 1 else f"{base}--{used[base]}"
    title = f"<title>{escape(tag.tip)}</title>" if tag.tip else ""
    key = "data-edge" if tag.kind == "edge" else "data-path"
    return f'<g id="{unique}" class="{tag.kind}" {key}="{escape(tag.path)}">{title}'


def _shape(shape: Shape) -> str:
    match shape:
        case Rect():
            radius = f' rx="{number(shape.radius)}"' if shape.radius else ""
            return (
                f'<rect x="{number(shape.x)}" y="{number(shape.y)}" width="{number(shape.width)}" '
                f'height="{number(shape.height)}"{radius} fill="{shape.fill}"'
                f"{_stroke(shape.stroke, shape.stroke_width)}/>"
            )
        case Path():
            d = " ".join(
                f"{command}{' '.join(number(float(n)) for n in numbers)}"
                for command, *numbers in shape.segments
            )
            dash = f' stroke-dasharray="{" ".join(map(number, shape.dash))}"' if shape.dash else ""
            return (
                f'<path d="{d}" fill="{shape.fill}"{_stroke(shape.stroke, shape.stroke_width)}'
                f'{dash} stroke-linejoin="round" stroke-linecap="round"/>'
            )
        case Polygon():
            points = " ".join(f"{number(x)},{number(y)}" for x, y in shape.points)
            return f'<polygon points="{points}" fill="{shape.fill}"/>'
        case Text():
            width = face(shape.weight).width(shape.text, shape.size)
            anchor = f' text-anchor="{shape.anchor}"' if shape.anchor != "start" else ""
            bold = f' font-weight="{WEIGHTS[shape.weight]}"' if shape.weight != "regular" else ""
            return (
                f'<text x="{number(shape.x)}" y="{number(shape.y)}" '
                f'font-size="{number(shape.size)}"{bold} fill="{shape.fill}"{anchor} '
                f'textLength="{number(width)}" lengthAdjust="spacingAndGlyphs">'
                f"{escape(shape.text)}</text>"
            )
        case _:
            assert_never(shape)


def _stroke(colour: str, width: float) -> str:
    return "" if colour == "none" else f' stroke="{colour}" stroke-width="{number(width)}"'


def number(x: float) -> str:
    """Rounded to a tenth, without a needless zero."""
    text = f"{x:.1f}"
    text = text[:-2] if text.endswith(".0") else text
    return "0" if text == "-0" else text


def escape(text: str) -> str:
    """Text for an element or a quoted attribute; characters that XML forbids become U+FFFD."""
    text = _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


def _id(path: str) -> str:
    """A path as part of an id: ASCII letters, digits, dots and dashes."""
    text = path.replace("→", "--to--")
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)
