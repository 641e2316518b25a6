"""The bundled font, a subset of Inter (SIL Open Font License, see LICENSE), and its metrics.

The subset has no kerning, so that the width of a text is the sum of its advances everywhere.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Weight = Literal["regular", "semibold"]
FILES: dict[Weight, str] = {"regular": "Inter-Regular", "semibold": "Inter-SemiBold"}
HERE = Path(__file__).resolve().parent
FALLBACK = "'Inter', 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Face:
    """Advances in em by character. other: for a character that the font does not have."""

    advances: dict[str, float]
    other: float = 1.0

    def width(self, text: str, size: float) -> float:
        """The width of a line of text in px."""
        advances, other = self.advances, self.other
        return size * sum(advances.get(c, other) for c in text)


@cache
def face(weight: Weight) -> Face:
    """The metrics of a weight."""
    found = json.loads((HERE / "metrics.json").read_text(encoding="utf-8"))[weight]
    em = found["units_per_em"]
    return Face({c: a / em for c, a in found["advances"].items()})


def fitted(text: str, size: float, most: float, weight: Weight = "regular") -> str:
    """The text, cut with an ellipsis where it is wider than `most`."""
    measure = face(weight)
    if measure.width(text, size) <= most:
        return text
    end = len(text)
    while end > 1 and measure.width(text[:end].rstrip() + "…", size) > most:
        end -= 1
    return text[:end].rstrip() + "…"


@cache
def data_uri(weight: Weight) -> str:
    """The face as a WOFF2 data URI."""
    data = (HERE / f"{FILES[weight]}.woff2").read_bytes()
    return "data:font/woff2;base64," + base64.b64encode(data).decode("ascii")
