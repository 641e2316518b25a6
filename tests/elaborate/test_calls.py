"""Rules 1 to 4: what is applied, what stays a layer, how arguments meet parameters."""

from __future__ import annotations

import pytest

from dlspec.ir.graph import CallNode, RepeatNode
from tests.elaborate.specs import model, nodes, ok, ops, output, problems


@pytest.mark.parametrize(
    "body",
    [
        "x -> dense(3)",
        "dense(x, 3)",
        "dense(x, units = 3)",
        "dense(3)(x)",
        "x -> dense(units = 3)",
        "(dense(3) -> relu)(x)",
        "dense(3, x = x)",
    ],
)
def test_a_tensor_makes_an_application(body: str) -> None:
    assert output(f"model M(x: [N, 4]) = {body}") == "[N, 3]"


def test_a_bare_name_is_the_layer_with_its_defaults() -> None:
    text = "block Act(x: [N, D], act = relu) = x -> act\nmodel M(x: [N, 4]) = x -> Act -> Act(tanh)"
    functions = {n.function for n in nodes(model(text)) if isinstance(n, CallNode)}
    assert sorted(name for f in functions for name in ops(f)) == ["Relu", "Tanh"]


def test_layers_compose_and_are_passed_as_arguments() -> None:
    text = """
    block Twice(x: [N, D], layer) = x -> layer -> layer
    model M(x: [N, 4]) = x -> Twice(dense(4) -> relu)
    """
    assert output(text) == "[N, 4]"


def test_a_number_in_a_tensor_slot_is_a_scalar() -> None:
    function = model("model M(x: [N, 4]) = x -> maximum(0)")
    assert ops(function) == ["Constant", "Maximum"]
    assert problems('model M(x: [N, 4]) = x -> maximum("0")') == [("E0204", '"0"')]


def test_a_number_where_the_op_needs_a_tensor() -> None:
    assert problems("model M(x: [N, 4]) = x + (x -> matmul(3))") == [("E0204", "3")]


def test_tuples_are_spread_and_lists_are_not() -> None:
    both = "block Both(a: [N, D], b: [N, D]) = a + b\n"
    assert output(both + "model M(x: [N, 4]) = (x, x) -> Both") == "[N, 4]"
    assert problems(both + "model M(x: [N, 4]) = [x, x] -> Both") == [("E0204", "Both")]
    assert output("model M(x: [N, 4]) = [x, x] -> concat(axis = -1)") == "[N, 8]"
    assert output("model M(x: [N, 4]) = (x, x) -> concat(axis = -1)") == "[N, 8]"
    assert output("model M(x: [N, 4]) = concat(x, x, axis = -1)") == "[N, 8]"


HELD = """
block Add(x: [N, D], other: [N, D]) = x + (other -> dense(D))
"""


def test_a_tensor_by_keyword_is_held() -> None:
    text = HELD + "model M(x: [N, 4], m: [N, 4]) = x -> repeat(3, Add(other = m))"
    (node,) = nodes(model(text))
    assert isinstance(node, RepeatNode)
    assert [v.name for v in node.held] == ["m"] and len(node.carried) == 1


def test_holding_all_inputs_applies() -> None:
    assert output(HELD + "model M(x: [N, 4]) = Add(x = x, other = x)") == "[N, 4]"


OPTIONAL = """
block Masked(x: [N, D], mask: bool[N] = none) {
  if mask == none { return x }
  return where(unsqueeze(mask, 1), x, 0)
}
"""


def test_optional_inputs_are_static_to_ask_for() -> None:
    with_mask = "model M(x: [N, 4], m: bool[N]) = x -> Masked(mask = m)"
    calls = [n for n in nodes(model(OPTIONAL + with_mask)) if isinstance(n, CallNode)]
    assert "Where" in ops(calls[0].function)
    calls = [
        n
        for n in nodes(model(OPTIONAL + "model M(x: [N, 4]) = x -> Masked"))
        if isinstance(n, CallNode)
    ]
    assert "Where" not in ops(calls[0].function)


def test_optional_inputs_are_given_by_name_only() -> None:
    text = OPTIONAL + "model M(x: [N, 4], m: bool[N]) = Masked(x, m)"
    assert problems(text) == [("E0204", "m")]


def test_fork_gives_a_tuple() -> None:
    text = """
    model M(x: [N, 4]) {
      a, b = x -> fork(dense(2), dense(3))
      return (a, b) -> concat(axis = -1)
    }
    """
    assert output(text) == "[N, 5]"


@pytest.mark.parametrize(
    ("body", "code", "blamed"),
    [
        ("x -> dense", "E0205", "dense"),
        ("x -> dense(3, 4, 5, 6)", "E0204", "6"),
        ("x -> dense(units = 3, units = 4)", "E0204", "units = 4"),
        ("x -> dense(3, unit = 4)", "E0204", "unit = 4"),
        ("x -> dense(3.5)", "E0204", "3.5"),
        ("x -> (3)", "E0206", "3"),
        ("x -> repeat(2)", "E0204", "repeat(2)"),
        ("x -> repeat(1.5, relu)", "E0401", "repeat(1.5, relu)"),
        ("x -> repeat(-1, dense(4))", "E0402", "repeat(-1, dense(4))"),
        ("x -> repeat(10 ** 7, dense(4))", "E0403", "repeat(10 ** 7, dense(4))"),
        ("relu(x, 1)", "E0204", "1"),
        ("(x, x) -> relu", "E0204", "relu"),
        ("x -> scan(relu)", "E0204", "scan(relu)"),
        ("x + ...", "E0401", "..."),
    ],
)
def test_wrong_calls(body: str, code: str, blamed: str) -> None:
    assert problems(f"model M(x: [N, 4]) = {body}") == [(code, blamed)]


def test_a_binding_may_have_the_name_of_a_builtin() -> None:
    ok("model M(x: [N, 4]) {\n  mean = x -> dense(2)\n  return mean * 2\n}")


def test_arguments_given_in_two_steps() -> None:
    text = """
    block Use(x: [N, D], make) = x -> make(3)
    model M(x: [N, 4]) = x -> Use(dense(bias = false))
    """
    assert output(text) == "[N, 3]"
