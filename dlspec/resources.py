"""The folders that come with dlspec, installed or in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["grammars", "specs", "docs"]
PACKAGE = Path(__file__).resolve().parent


def resources(kind: Kind) -> Path:
    """The folder of a kind: in `package/_data` (a wheel) or beside the package (a checkout)."""
    places = (PACKAGE / "_data" / kind, PACKAGE.parent / kind)
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no {kind} in {places[0]} or {places[1]}")
