"""Mermaid text, for Markdown: at most two levels of nesting and 400 links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.flat import box_text, flatten
from dlspec.render.view import view

if TYPE_CHECKING:
    from dlspec.render.flat import Flat
    from dlspec.render.view import Box
    from dlspec.summary import Summary

LEVELS, LINKS = 2, 400  # beyond which renderers refuse or draw badly


def to_mermaid(summary: Summary, depth: int | None = None) -> str:
    """The graph as a `flowchart`. Blocks that are too deep or too many are folded, and links
    beyond the limit are left out; a comment says so."""
    flat = flatten(view(summary, depth).graph)
    said: list[str] = []
    if _levels(flat) > LEVELS or len(flat.links) > LINKS:
        open_levels = min(LEVELS, _levels(flat))
        flat = flatten(view(summary, open_levels).graph)
        while len(flat.links) > LINKS and open_levels > 0:
            open_levels -= 1
            flat = flatten(view(summary, open_levels).graph)
        said.append(
            f"%% folded below level {open_levels}: at most {LEVELS} levels and {LINKS} links"
        )
    if len(flat.links) > LINKS:
        said.append(f"%% {len(flat.links) - LINKS:,} links beyond {LINKS} are left out")
    return "\n".join(["flowchart TD", *said, *_lines(flat)]) + "\n"


def _levels(flat: Flat) -> int:
    return max((item.level for item in flat.items), default=0)


def _lines(flat: Flat) -> list[str]:
    lines: list[str] = []
    families: dict[str, list[str]] = {}
    kept = flat.links[:LINKS]
    linked = {name for source, target, _ in kept for name in (source, target)}
    for item in flat.items:
        indent = "  " * (item.level + 1)
        if item.box is None:
            lines.append(f"{indent}end")
        elif item.box.inner is not None:
            lines.append(f"{indent}subgraph {item.name}[{quoted(box_text(item.box))}]")
        elif item.name in linked or len(kept) == len(flat.links):
            opening, closing = _brackets(item.box)
            lines.append(f"{indent}{item.name}{opening}{quoted(box_text(item.box))}{closing}")
            families.setdefault(item.box.family, []).append(item.name)
    for source, target, label in kept:
        text = f"|{quoted(label)}|" if label else ""
        lines.append(f"  {source} -->{text} {target}")
    for family, names in families.items():
        colours = theme.FAMILIES[family]
        ink = theme.PAPER if family == "terminal" else theme.INK
        lines.append(f"  classDef {family} fill:{colours.fill},stroke:{colours.edge},color:{ink}")
        lines.append(f"  class {','.join(names)} {family}")
    return lines


def quoted(text: str) -> str:
    """A quoted label: Mermaid's own entities for all that it could read as markup."""
    plain = " ·×−+,./–—…_()[]=:÷^→⌈⌉⌊⌋"
    line = " ".join(text.split())
    return '"' + "".join(c if c.isalnum() or c in plain else f"#{ord(c)};" for c in line) + '"'


def _brackets(box: Box) -> tuple[str, str]:
    if box.kind in ("input", "output"):
        return "([", "])"
    if box.sign:
        return "((", "))"
    return ("[[", "]]") if box.kind == "block" else ("[", "]")
