"""The IR as JSON: what is written can be read, and what is wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlspec import interchange
from dlspec.api import load
from dlspec.ir.graph import Function, OpNode, Training, Value
from dlspec.passes.verifier import verify_graph

ROOT = Path(__file__).parents[2]
SPECS = sorted(p for p in (ROOT / "specs").glob("*/*.dls") if p.parent.name != "std")

CELLS = """
cell Sum(x: [N, D], state h: [N, D]) {
  h = h + dense(x, D)
  return h
}
model Both(x: [N, T, 4]) = x -> scan(Sum) -> scan(Sum, reverse = true)
"""

MIXED = """
block Step(x: [N, D], f, p = 0.5) = x + (x -> f -> dropout(p))

model Mixed(x: [N, 6], depth = 3, widths = [4, 8]) -> (y: [N, 1], h: [N, 6]) where N % 2 == 0 {
  share s = dense(6)
  scale = param([6], init = normal(0, 0.5))
  h = (s(x) * scale) -> repeat(depth, Step(s -> tanh)) if widths[0] < 5 else x
  for w in widths { h = h -> Step(dense(w) -> dense(6)) }
  noisy = h + normal([N, 6]) if training else h
  return noisy -> dense(1), h
}
"""


def graphs() -> list[Any]:
    found: list[Any] = []
    for text in (*map(str, SPECS), MIXED, CELLS):
        spec = load(text)
        for name in spec.models:
            found.append(pytest.param(spec.model(name).function, id=f"model-{name}"))
        for name in spec.trainings:
            found.append(pytest.param(spec.trainer(name).training, id=f"train-{name}"))
    return found


@pytest.mark.parametrize("graph", graphs())
def test_round_trip(graph: Function | Training) -> None:
    text = interchange.dump(graph)
    again = interchange.load(text)
    assert type(again) is type(graph)
    assert interchange.dump(again) == text
    assert verify_graph(graph) == []


def mixed() -> dict[str, Any]:
    return json.loads(interchange.dump(load(MIXED).model().function))


def refuse(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interchange.load(json.dumps(document))


def test_not_a_document() -> None:
    refuse({"format": "onnx"}, "format")
    with pytest.raises(ValueError, match="JSON"):
        interchange.load("{")


def test_unknown_field_is_refused() -> None:
    refuse({**mixed(), "comment": "?"}, "comment")


def test_unknown_op_is_refused() -> None:
    document = mixed()
    first_op(document)["op"] = "Frobnicate"
    refuse(document, "there is no op Frobnicate")


def test_missing_attribute_is_refused() -> None:
    document = mixed()
    for function in document["functions"]:
        for node in function["body"]:
            if node["kind"] == "op" and node["attributes"]:
                node["attributes"].popitem()
                refuse(document, "has the attributes")
                return
    raise AssertionError("no op with attributes")


def test_wrong_type_is_refused() -> None:
    document = mixed()
    result = first_op(document)["results"][0]
    values = next(f for f in document["functions"] if any(n["kind"] == "op" for n in f["body"]))
    values["values"][result]["type"]["shape"].append("7")
    refuse(document, "gives")


def test_bad_index_is_refused() -> None:
    document = mixed()
    first_op(document)["operands"] = [-1]
    refuse(document, "does not hold together")


def test_hostile_dim_is_refused() -> None:
    document = mixed()
    document["functions"][0]["values"][0]["type"]["shape"][0] = "__import__('os')"
    with pytest.raises(ValueError):
        interchange.load(json.dumps(document))


def first_op(document: dict[str, Any]) -> dict[str, Any]:
    nodes = (n for f in document["functions"] for n in f["body"] if n["kind"] == "op")
    return next(nodes)


def test_use_before_definition_is_found() -> None:
    function = load(MIXED).model().function
    node = next(n for n in function.body if isinstance(n, OpNode))
    node.operands = (Value(node.operands[0].type), *node.operands[1:])
    assert any("before it is defined" in problem for problem in verify_graph(function))
