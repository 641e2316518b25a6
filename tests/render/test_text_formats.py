"""Mermaid and dot: every line is of a known form, names are defined, limits hold."""

from __future__ import annotations

import re

import pytest

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Value
from dlspec.ir.types import DType, TensorType
from dlspec.ops.activations import Relu
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Add
from dlspec.render import draw
from dlspec.render.mermaid import LEVELS, LINKS
from tests.render.pictures import NETS, function_of
from tests.render.test_svg import hostile

LABEL = r'"(?:[^"<>&;\\`{}|#]|#\d+;)*"'
MERMAID = re.compile(
    rf"flowchart TD|%% .*|\s*subgraph \w+\[{LABEL}\]|\s*end"
    rf"|\s*\w+(?:\(\[|\(\(|\[\[|\[){LABEL}(?:\]\)|\)\)|\]\]|\])"
    rf"|\s*\w+ -->(?:\|{LABEL}\|)? \w+|  classDef \w+ [\w:#,]+|  class [\w,]+ \w+"
)
QUOTED = r'"(?:[^"\\]|\\.)*"'
DOT = re.compile(
    rf"digraph {QUOTED} \{{|\s*\}}|\s*(?:graph|node|edge) \[.*\]|\s*subgraph cluster_\w+ \{{"
    rf"|\s*(?:\w+ = (?:{QUOTED}|\w+)(?:; )?)+|\s*\w+ \[(?:\w+ = (?:{QUOTED}|\w+)(?:, )?)+\]"
    rf"|\s*\w+ -> \w+(?: \[label = {QUOTED}\])?"
)


@pytest.mark.parametrize("name", NETS)
def test_mermaid(name: str) -> None:
    check_mermaid(draw(function_of(name), "mermaid"))


def check_mermaid(text: str) -> None:
    level = deepest = 0
    for line in text.splitlines():
        assert MERMAID.fullmatch(line), line
        level += line.lstrip().startswith("subgraph ") - (line.strip() == "end")
        deepest = max(deepest, level)
    assert level == 0 and deepest <= LEVELS
    links = re.findall(r"^\s*(\w+) -->(?:\|.*\|)? (\w+)$", text, re.M)
    nodes = set(re.findall(r"^\s*(n_\w+)[\[(]", text, re.M))
    assert len(links) <= LINKS
    assert {n for link in links for n in link} <= nodes


@pytest.mark.parametrize("name", NETS)
def test_dot(name: str) -> None:
    check_dot(draw(function_of(name), "dot"))


def check_dot(text: str) -> None:
    for line in text.splitlines():
        assert DOT.fullmatch(line), line
    assert text.count("{") == text.count("}")
    links = re.findall(r"^\s*(\w+) -> (\w+)", text, re.M)
    nodes = set(re.findall(r"^\s*(n_\w+) \[", text, re.M))
    assert links and {n for link in links for n in link} == nodes


def test_hostile_names_are_text() -> None:
    check_mermaid(draw(hostile(), "mermaid"))
    text = draw(hostile(), "dot")
    assert all(DOT.fullmatch(line) for line in text.splitlines())


def test_mermaid_says_what_it_folds_and_cuts() -> None:
    folded = draw(function_of("unet"), "mermaid")
    assert "%% folded below level" in folded
    function = Function("Wide", "model")
    function.inputs = (Value(TensorType(DType.FLOAT, (Dim.symbol("N"), Dim.const(3))), "x"),)
    b = FunctionBuilder(function)
    total = function.inputs[0]
    for _ in range(300):
        total = b.emit(Add(), total, b.emit(Relu(), total))
    function.outputs = (total,)
    cut = draw(function, "mermaid")
    assert "links beyond 400 are left out" in cut
    check_mermaid(cut)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture format"):
        draw(function_of("lenet5"), "bmp")
