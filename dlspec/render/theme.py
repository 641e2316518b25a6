"""Colours and sizes. Families differ in hue, lightness of the edge, and glyph; the hues are those
that people with colour-blindness tell apart (Okabe and Ito 2008), lightened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colours:
    fill: str
    edge: str


FAMILIES: dict[str, Colours] = {
    "convolution": Colours("#d3e5f7", "#2f6fad"),
    "dense": Colours("#fbdcbb", "#b85c0e"),
    "normalisation": Colours("#e6def4", "#7454a6"),
    "activation": Colours("#fcf1b8", "#9a7a00"),
    "pooling": Colours("#c8ebdf", "#0f7d5e"),
    "reduction": Colours("#dcebc3", "#5d7f1c"),
    "merge": Colours("#f7d3e1", "#ad3a6c"),
    "arithmetic": Colours("#f0ecf0", "#7d6b7d"),
    "shape": Colours("#e7eaee", "#5f6b7a"),
    "random": Colours("#ece3d2", "#85693a"),
    "lookup": Colours("#cfeef5", "#147a94"),
    "loss": Colours("#f8cdc6", "#b3341f"),
    "block": Colours("#ffffff", "#44546a"),
    "terminal": Colours("#2f3b4c", "#2f3b4c"),
}
INK = "#1d2633"
FAINT = "#5b6675"
WIRE = "#56616f"
PAPER = "#ffffff"
GROUPS = ("#f6f8fb", "#edf1f6")  # insides of open blocks, by depth
GROUP_EDGE = "#b9c3d0"

LABEL, SMALL, TITLE = 12.0, 10.5, 16.0  # text sizes
NODE_HEIGHT = 28.0
CIRCLE = 24.0
GLYPH = 12.0
INSET = 9.0  # from a box's edge to what is written
WIDEST = 270.0  # a box
HEADER = 26.0  # of an open block
MARGIN = 14.0  # inside an open block
SHADOW = 4.0  # each sheet below a repeated block
