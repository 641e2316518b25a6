"""Mermaid text, for Markdown: at most two levels of nesting and 400 links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.render import theme
from dlspec.render.dot import box_text
from dlspec.render.view import view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.render.view import Graph, View
    from dlspec.summary import Summary

LEVELS, LINKS = 2, 400  # beyond which renderers refuse or draw badly


def to_mermaid(summary: Summary, depth: int | None = None) -> str:
    """The graph as a `flowchart`. Blocks that are too deep or too many are folded, which a
    comment says."""
    found = view(summary, depth)
    level = depth_of(found.graph)
    said = ""
    if level > LEVELS or links_of(found.graph) > LINKS:
        for level in range(min(LEVELS, level), -1, -1):
            found = view(summary, level)
            if links_of(found.graph) <= LINKS:
                break
        said = f"%% blocks below level {level} are folded: Mermaid draws {LEVELS} levels "
        said += f"and {LINKS} links"
    writer = Writer(found, LINKS)
    lines = ["flowchart TD", *([said] if said else []), *writer.lines()]
    if writer.left_out:
        lines.insert(1, f"%% {writer.left_out:,} links do not fit into {LINKS}: the rest is cut")
    return "\n".join(lines) + "\n"


def depth_of(graph: Graph) -> int:
    """Levels of open blocks."""
    deepest, stack = 0, [(graph, 0)]
    while stack:
        inner, level = stack.pop()
        deepest = max(deepest, level)
        stack.extend((b.inner, level + 1) for b in inner.boxes if b.inner is not None)
    return deepest


def links_of(graph: Graph) -> int:
    total, stack = 0, [graph]
    while stack:
        inner = stack.pop()
        total += len(inner.links)
        stack.extend(b.inner for b in inner.boxes if b.inner is not None)
    return total


def quoted(text: str) -> str:
    """A quoted label: Mermaid's own entities for what it would read as markup."""
    out: list[str] = []
    for c in " ".join(text.split()):
        safe = c.isalnum() or c in " ·×−+,./–—…_()[]=:÷^α"
        out.append(c if safe else f"#{ord(c)};")
    return '"' + "".join(out) + '"'


class Writer:
    def __init__(self, found: View, most: int) -> None:
        self.view = found
        self.most = most
        self.links: list[str] = []
        self.left_out = 0
        self.families: dict[str, list[str]] = {}

    def lines(self) -> list[str]:
        nodes: list[str] = []
        self.graph(self.view.graph, "n", "  ", nodes, ())
        lines = [*nodes, *self.links]
        for family, names in self.families.items():
            colours = theme.FAMILIES[family]
            ink = theme.PAPER if family == "terminal" else theme.INK
            lines.append(
                f"  classDef {family} fill:{colours.fill},stroke:{colours.edge},color:{ink}"
            )
            lines.append(f"  class {','.join(names)} {family}")
        return lines

    def graph(
        self, graph: Graph, prefix: str, indent: str, lines: list[str], ports: Sequence[str]
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
                    _port(names[into[k].source], into[k].out) if k in into else name
                    for k in range(len(box.inner.inputs))
                ]
                lines.append(f"{indent}subgraph {name}[{quoted(box_text(box))}]")
                names.append(self.graph(box.inner, name, indent + "  ", lines, heads))
                lines.append(f"{indent}end")
            else:
                opening, closing = _brackets(box.kind, bool(box.sign), bool(box.repeats))
                lines.append(f"{indent}{name}{opening}{quoted(box_text(box))}{closing}")
                self.families.setdefault(box.family, []).append(name)
                names.append([name])
        for link in graph.links:
            target = graph.boxes[link.target]
            if target.inner is not None or (target.kind == "output" and prefix != "n"):
                continue
            if len(self.links) >= self.most:
                self.left_out += 1
                continue
            label = f"|{quoted(link.label)}|" if link.label else ""
            source = _port(names[link.source], link.out)
            self.links.append(f"  {source} -->{label} {names[link.target][0]}")
        return [names[i][0] for i in graph.outputs]


def _port(names: list[str], out: int) -> str:
    return names[min(out, len(names) - 1)]


def _brackets(kind: str, circle: bool, repeats: bool) -> tuple[str, str]:
    if kind in ("input", "output"):
        return "([", "])"
    if circle:
        return "((", "))"
    return ("[[", "]]") if repeats or kind == "block" else ("[", "]")
