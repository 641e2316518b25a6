"""A view for text formats: nested groups of nodes, and links between nodes only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.render.view import Box, Graph


@dataclass(frozen=True)
class Item:
    """A node; the beginning of a group (its members follow); or, without a box, its end."""

    name: str
    box: Box | None
    level: int


@dataclass(eq=False)
class Flat:
    """items: in drawing order. links: (source, target, label)."""

    items: list[Item] = field(default_factory=list[Item])
    links: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])


def flatten(graph: Graph) -> Flat:
    """Nodes and links; the ports of open blocks are replaced by the nodes behind them."""
    flat = Flat()
    _graph(flat, graph, "n", 0, None)
    return flat


def _graph(
    flat: Flat, graph: Graph, prefix: str, level: int, heads: Sequence[str] | None
) -> list[str]:
    """Write one graph; the nodes that make its outputs. heads: those that make its inputs."""
    names: list[list[str]] = []
    incoming: list[dict[int, tuple[int, int, str]]] = [{} for _ in graph.boxes]
    for link in graph.links:
        incoming[link.target][link.into] = (link.source, link.out, link.label)
    inputs = {box: k for k, box in enumerate(graph.inputs)}
    for i, box in enumerate(graph.boxes):
        name = f"{prefix}_{i}"
        sources = {
            into: (names[source][min(out, len(names[source]) - 1)], label)
            for into, (source, out, label) in sorted(incoming[i].items())
        }
        if heads is not None and box.kind == "input":
            names.append([heads[inputs[i]]])
        elif heads is not None and box.kind == "output":
            names.append([next((source for source, _ in sources.values()), name)])
        elif box.inner is not None:
            within = [sources[k][0] if k in sources else name for k in range(len(box.inner.inputs))]
            flat.items.append(Item(name, box, level))
            names.append(_graph(flat, box.inner, name, level + 1, within) or [name])
            flat.items.append(Item(name, None, level))
        else:
            flat.items.append(Item(name, box, level))
            flat.links += [(source, name, label) for source, label in sources.values()]
            names.append([name])
    return [names[i][0] for i in graph.outputs]


def box_text(box: Box) -> str:
    """What stands in a box, on one line: `conv 6, 5×5 · c1 · 156`."""
    parts = [box.sign or box.label, box.name if box.kind in ("op", "block") else "", box.note]
    text = " · ".join(p for p in parts if p)
    return f"{text} {box.repeats}" if box.repeats else text
