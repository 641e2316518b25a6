"""Graphviz text: open blocks are clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.flat import box_text, flatten

if TYPE_CHECKING:
    from dlspec.render.view import Box, View

FONT = 'fontname="Inter, Helvetica, sans-serif"'


def to_dot(view: View) -> str:
    """The view as a `digraph`: the boxes of the picture, and links between them."""
    flat = flatten(view.graph)
    lines = [
        f"digraph {quoted(view.title)} {{",
        f"  graph [{FONT}, labeljust=l]",
        f'  node [{FONT}, shape=box, style="rounded,filled", fontsize=11, height=0.3]',
        f"  edge [{FONT}, fontsize=9]",
        f"  label = {quoted(f'{view.title} · {view.subtitle}')}",
    ]
    for item in flat.items:
        indent = "  " * (item.level + 1)
        if item.box is None:
            lines.append(f"{indent}}}")
        elif item.box.inner is not None:
            fill = theme.GROUPS[item.level % len(theme.GROUPS)]
            lines.append(f"{indent}subgraph cluster_{item.name} {{")
            lines.append(f"{indent}  label = {quoted(box_text(item.box))}; style = rounded")
            lines.append(f'{indent}  color = "{theme.GROUP_EDGE}"; bgcolor = "{fill}"')
        else:
            lines.append(f"{indent}{item.name} [{_attributes(item.box)}]")
    for source, target, label in flat.links:  # outside: a cluster owns all that it mentions
        text = f" [label = {quoted(label)}]" if label else ""
        lines.append(f"  {source} -> {target}{text}")
    return "\n".join([*lines, "}"]) + "\n"


def quoted(text: str) -> str:
    """A quoted id of the dot language: no escape of it can be in the text."""
    clean = " ".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").split())
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _attributes(box: Box) -> str:
    colours = theme.FAMILIES[box.family]
    parts = [
        f"label = {quoted(box_text(box))}",
        f'fillcolor = "{colours.fill}"',
        f'color = "{colours.edge}"',
    ]
    if box.sign:
        parts.append("shape = circle")
    if box.family == "terminal":
        parts.append(f'fontcolor = "{theme.PAPER}"')
    if box.repeats:
        parts.append("peripheries = 2")
    if box.tip:
        parts.append(f"tooltip = {quoted(box.tip)}")
    return ", ".join(parts)
