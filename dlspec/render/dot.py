"""Graphviz text: open blocks as clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.render import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.render.view import Box, Graph, View


def to_dot(view: View) -> str:
    """The view as a `digraph`; the same boxes and links as the picture."""
    lines = [
        f"digraph {quoted(view.title)} {{",
        '  graph [fontname="Inter, Helvetica, sans-serif", labeljust=l, compound=true]',
        '  node [shape=box, style="rounded,filled", fontname="Inter, Helvetica, sans-serif", '
        "fontsize=11, margin=0.1, height=0.3]",
        '  edge [fontname="Inter, Helvetica, sans-serif", fontsize=9]',
    ]
    lines += [f"  label = {quoted(f'{view.title} · {view.subtitle}')}"]
    _graph(view.graph, "n", "  ", lines)
    return "\n".join([*lines, "}"]) + "\n"


def box_text(box: Box) -> str:
    """What stands in a box, on one line: `conv 6, 5×5 · conv1 · 156`."""
    parts = [box.sign or box.label, box.name if box.kind in ("op", "block") else "", box.note]
    text = " · ".join(p for p in parts if p)
    return f"{text} {box.repeats}" if box.repeats else text


def quoted(text: str) -> str:
    """A quoted id of the dot language: no escape of it can be in the text."""
    clean = " ".join(text.split())
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _graph(
    graph: Graph, prefix: str, indent: str, lines: list[str], ports: Sequence[str] = ()
) -> list[str]:
    """Write a graph; the node that stands for each of its outputs."""
    names: list[list[str]] = []
    for i, box in enumerate(graph.boxes):
        name = f"{prefix}_{i}"
        if box.kind == "input" and ports:
            names.append([ports[graph.inputs.index(i)]])
        elif box.kind == "output" and prefix != "n":
            link = next((k for k in graph.links if k.target == i), None)
            names.append([names[link.source][link.out]] if link else [name])
        elif box.inner is not None:
            into = {k.into: k for k in graph.links if k.target == i}
            heads = [
                names[into[k].source][min(into[k].out, len(names[into[k].source]) - 1)]
                if k in into
                else name
                for k in range(len(box.inner.inputs))
            ]
            lines.append(f"{indent}subgraph cluster_{name} {{")
            lines.append(
                f"{indent}  label = {quoted(box_text(box))}; style = rounded; "
                f'color = "{theme.GROUP_EDGE}"; bgcolor = "{theme.GROUPS[0]}"'
            )
            names.append(_graph(box.inner, name, indent + "  ", lines, heads))
            lines.append(f"{indent}}}")
        else:
            lines.append(f"{indent}{name} [{_attributes(box)}]")
            names.append([name])
    for link in graph.links:
        target = graph.boxes[link.target]
        if target.inner is not None or (target.kind == "output" and prefix != "n"):
            continue  # its boxes have the links
        sources = names[link.source]
        source = sources[min(link.out, len(sources) - 1)]
        text = f" [label = {quoted(link.label)}]" if link.label else ""
        lines.append(f"{indent}{source} -> {names[link.target][0]}{text}")
    return [names[i][0] for i in graph.outputs]


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
