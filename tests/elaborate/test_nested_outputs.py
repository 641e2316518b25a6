"""Outputs within outputs: a caller gets the structure that was returned."""

from __future__ import annotations

import pytest

from dlspec.ir.graph import CallNode
from tests.elaborate.specs import model, nodes, ok, output, problems

PAIR = """
block Pair(x: [N, D]) -> (first, rest) {
  a = x -> dense(D)
  return (a, (x, [a * 2, 1]))
}
"""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("a, (b, c) = x -> Pair\n  return (a, b, c[0], c[1])", "[N, 4], [N, 4], [N, 4], []"),
        ("p = x -> Pair\n  return concat(p.first, p.rest[0], p.rest[1][0])", "[N, 12]"),
        ("share p = Pair()\n  y = x -> p\n  return (y, y.first -> p)", "[N, 4], [N, 4], [N, 4], []"
         ", [N, 4], [N, 4], [N, 4], []"),
        ("return x -> fork(Pair, fork(dense(3), dense(2)))", "[N, 4], [N, 4], [N, 4], [], [N, 3], "
         "[N, 2]"),
    ],
)  # fmt: skip
def test_the_structure_comes_back(body: str, found: str) -> None:
    assert output(f"{PAIR}model M(x: [N, 4]) {{\n  {body}\n}}") == found


def test_a_function_has_its_tensors_in_order() -> None:
    function = model(PAIR + "model M(x: [N, 4]) -> (y, z) {\n  return (x -> Pair, x)\n}")
    assert function.output_names == ("y_first", "y_rest_0", "y_rest_1", "y_rest_2", "z")
    (call,) = [n for n in nodes(function) if isinstance(n, CallNode)]
    assert call.function.output_names == ("first", "rest_0", "rest_1", "rest_2")
    assert [str(v.type) for v in call.results] == ["[N, 4]", "[N, 4]", "[N, 4]", "[]"]


def test_names_stay_distinct() -> None:
    text = "model M(x: [N, 4]) -> (y, y_0) {\n  return ((x, x + 1), x * 2)\n}"
    assert model(text).output_names == ("y_0", "y_1", "y_0_")


def test_a_list_goes_through_a_repeat() -> None:
    text = """
    block Both(xs: [[N, D]]) = [xs[0] + xs[1], xs[0] -> dense(D)]
    model M(x: [N, 4]) = [x, x * 2] -> repeat(3, Both) -> concat
    """
    assert output(text) == "[N, 8]"


def test_a_cell_returns_pairs() -> None:
    text = """
    cell Step(x: [N, D], state h: [N, D]) {
      h = tanh(x + (h -> dense(D)))
      return (h, (x, h * 2))
    }
    model M(x: [N, T, 4]) {
      a, (b, c) = x -> scan(Step)
      u, (v, w), last = x -> scan(Step, final = true)
      k, (l, m) = x -> bidirectional(Step)
      return (a + b + c + u + v + w, last, k + l + m)
    }
    """
    assert output(text) == "[N, T, 4], [N, 4], [N, T, 8]"


@pytest.mark.parametrize(
    ("declared", "returned", "code"),
    [
        ("(a: [N, D], b: [N, D])", "(x, (x, x))", "E0401"),
        ("(a, b)", "(x, x, (x, x))", "E0304"),
        ("[N, D]", "(x, (x, x))", "E0304"),
    ],
)
def test_the_declared_type_counts_the_outermost(declared: str, returned: str, code: str) -> None:
    text = f"model M(x: [N, D]) -> {declared} {{\n  return {returned}\n}}"
    assert [c for c, _ in problems(text)] == [code]


def test_a_repeat_of_what_does_not_fit() -> None:
    text = "block Two(x: [N, D]) = (x, (x, x))\nmodel M(x: [N, 4]) {\n"
    text += "  a, _ = x -> repeat(2, Two)\n  return a\n}"
    assert len(problems(text)) == 1
    ok(text.replace("(x, (x, x))", "x").replace("a, _", "a"))
