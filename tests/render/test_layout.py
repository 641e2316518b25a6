"""What every picture keeps: nothing overlaps, links meet only their own boxes."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlspec.outline import outline
from dlspec.render.view import Box, Graph, Link, view
from dlspec.summary import summarise
from tests.render.pictures import NETS, Area, Sheet, function_of, graphs, sheets, sheets_of

if TYPE_CHECKING:
    from dlspec.summary.count import Body

DEPTHS = (None, 0, 1, 9)


def check(found: list[Sheet]) -> None:
    for sheet in found:
        assert not unrelated_links_on_one_line(sheet)
        drawn = [i for i, a in enumerate(sheet.boxes) if a.bottom > a.top]
        for k, i in enumerate(drawn):
            for j in drawn[k + 1 :]:
                pair = (sheet.graph.boxes[i].label, sheet.graph.boxes[j].label)
                assert not sheet.boxes[i].overlaps(sheet.boxes[j]), pair
            assert sheet.area is None or sheet.area.holds(sheet.boxes[i])
        for run in sheet.runs:
            assert sheet.area is None or sheet.area.holds(run.area)
            for i in drawn:
                if i not in run.ends:
                    assert not _crosses(sheet, run.area, i), (run, sheet.graph.boxes[i].label)
        for i, title in sheet.titles.items():
            inner = next(s for s in found if s.area is sheet.boxes[i])
            for run in (*sheet.runs, *inner.runs):
                assert not title.overlaps(_thick(run.area)), sheet.graph.boxes[i].label
        for label in sheet.labels:
            for i in drawn:
                assert not label.overlaps(sheet.boxes[i]), sheet.graph.boxes[i].label


def _crosses(sheet: Sheet, run: Area, i: int) -> bool:
    return _thick(run).overlaps(sheet.boxes[i])


def _thick(run: Area) -> Area:
    return Area(run.left - 0.5, run.top - 0.5, run.right + 0.5, run.bottom + 0.5)


def unrelated_links_on_one_line(sheet: Sheet) -> list[tuple[object, object]]:
    """Runs that lie on each other, so that a reader could follow a link that there is not."""
    links = {(k.source, k.target) for k in sheet.graph.links}
    found: list[tuple[object, object]] = []
    for k, a in enumerate(sheet.runs):
        for b in sheet.runs[k + 1 :]:
            if {(a.ends[0], b.ends[1]), (b.ends[0], a.ends[1])} <= links:
                continue
            upright = a.area.left == a.area.right and b.area.left == b.area.right
            flat = a.area.top == a.area.bottom and b.area.top == b.area.bottom
            if (upright or flat) and _thick(a.area).overlaps(_thick(b.area)):
                length = (
                    min(a.area.bottom, b.area.bottom) - max(a.area.top, b.area.top)
                    if upright
                    else min(a.area.right, b.area.right) - max(a.area.left, b.area.left)
                )
                if length > 1:
                    found.append((a, b))
    return found


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_nothing_overlaps(name: str, depth: int | None) -> None:
    check(sheets(function_of(name), depth))


@pytest.mark.parametrize("name", NETS)
def test_the_spine_is_straight(name: str) -> None:
    """The first input, the main path and what enters and leaves open blocks share one x."""
    for sheet in sheets(function_of(name)):
        spines = {
            round(run.area.left, 3)
            for run in sheet.runs
            if run.area.left == run.area.right and run.ends[1] in sheet.graph.outputs[:1]
        }
        starts = {round(r.area.left, 3) for r in sheet.runs if r.ends[0] in sheet.graph.inputs[:1]}
        assert spines <= starts


def steps_and_links(body: Body) -> int:
    """Links of a fully open picture, counted in the IR: operands that are no weights, outputs."""
    plan = outline(body.function)
    total = len(plan.outputs) + sum(len(s.operands) for s in plan.steps)
    return total + sum(steps_and_links(row.bodies[0]) for row in body.rows if row.bodies)


@pytest.mark.parametrize("name", ["lenet5", "unet", "gpt", "branches", "ports"])
def test_every_edge_of_the_ir_is_drawn(name: str) -> None:
    summary = summarise(function_of(name))
    drawn = sum(len(g.links) for g in graphs(view(summary, 99).graph))
    assert drawn == steps_and_links(summary.body)


def test_equal_blocks_are_one_box() -> None:
    found = view(summarise(function_of("resnet18")))
    assert [b.repeats for b in found.boxes() if b.repeats] == ["×2"]
    kinds = Counter(b.label for b in found.boxes() if b.inner is not None)
    assert kinds == {"ConvNorm": 1, "Stage": 2, "Basic": 2}


def test_a_deep_model_is_quick_and_small() -> None:
    """96 equal layers are laid out once."""
    function = function_of("gpt")
    start = time.perf_counter()
    found = sheets(function, 9)
    assert time.perf_counter() - start < 1.0
    assert sum(len(s.boxes) for s in found) < 40


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    graph = Graph()
    inputs = draw(st.integers(1, 3))
    for i in range(inputs):
        graph.boxes.append(Box("input", f"x{i}", "terminal", name=f"x{i}"))
    graph.inputs = list(range(inputs))
    for i in range(draw(st.integers(1, 14))):
        sign = draw(st.sampled_from(["", "", "+"]))
        graph.boxes.append(Box("op", f"op {i}", "merge", f"op{i}", sign=sign))
        here = len(graph.boxes) - 1
        sources = draw(st.lists(st.integers(0, here - 1), min_size=0, max_size=4))
        for into, source in enumerate(sources):
            label = draw(st.sampled_from(["", "", "64 × 32 × 32"]))
            graph.links.append(Link(source, 0, here, into, label))
    last = len(graph.boxes) - 1
    for i in range(draw(st.integers(1, 2))):
        graph.boxes.append(Box("output", f"y{i}", "terminal", name=f"y{i}"))
        graph.outputs.append(len(graph.boxes) - 1)
        graph.links.append(Link(max(0, last - i), 0, len(graph.boxes) - 1, 0))
    return graph


@settings(max_examples=150, deadline=None)
@given(random_graphs())
def test_any_graph_is_drawn_without_overlaps(graph: Graph) -> None:
    check(sheets_of(graph))
