"""Rule 6: static code."""

from __future__ import annotations

import pytest

from tests.elaborate.specs import model, ok, ops, output, problems


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 ** 5 - 1", 31),
        ("7 // 2 + 7 % 2", 4),
        ("-7 // 2 + 20", 16),
        ("len([1, 2, 3][1:])", 2),
        ("[1, 2, 3][-1]", 3),
        ("max(3, 4, 2) + min([5, 1])", 5),
        ("int(sqrt(49))", 7),
        ("round(2.6) + floor(2.6) + ceil(2.1)", 8),
        ("len(range(2, 20, 3))", 6),
        ("[w * 2 for w in (1, 2, 3) if w > 1][1]", 6),
        ("[a + b for a, b in zip([1, 2], [10, 20])][1]", 22),
        ("reversed([1, 2, 3])[0]", 3),
        ("[i * x for i, x in enumerate([5, 6])][1]", 6),
        ("len([1] * 3 + [2])", 4),
        ("1 if not (2 > 1 and 3 == 3.0) else 9", 9),
        ("3 if inf > 10 ** 9 else 4", 3),
        ('2 if "a" + "b" == "ab" else 3', 2),
        ("int(2 ** -1 * 8)", 4),
        ("(1, (2, 3))[1][0]", 2),
        ("[1, 2, 3, 4][::2][1]", 3),
    ],
)
def test_values(expression: str, value: int) -> None:
    assert output(f"model M(x: [N, 4]) = x -> dense({expression})") == f"[N, {value}]"


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("1 // 0", "E0402"),
        ("1 % 0", "E0402"),
        ("1 / 0", "E0402"),
        ("[1, 2][2]", "E0402"),
        ("sqrt(-1)", "E0402"),
        ("log(0)", "E0402"),
        ("(-1) ** 0.5", "E0402"),
        ("10 ** 10 ** 10", "E0403"),
        ("2 ** 300", "E0403"),
        ("len(range(10 ** 9))", "E0403"),
        ("len([1] * 10 ** 9)", "E0403"),
        ("1 + none", "E0401"),
        ('1 + "a"', "E0401"),
        ("[1] + 1", "E0401"),
        ("1 < none", "E0401"),
        ("3 and 4", "E0401"),
        ("1 if 3 else 2", "E0401"),
        ("len(3)", "E0401"),
        ("zip([1], [2, 3])[0]", "E0402"),
        ("max([])", "E0402"),
        ("range(1, 2, 0)", "E0402"),
        ("[1, 2][0:1:0]", "E0402"),
        ("int(inf)", "E0402"),
        ("round(0 * inf)", "E0402"),
        ("3[0]", "E0401"),
        ("max()", "E0204"),
        ("len()", "E0204"),
    ],
)
def test_bad_values(expression: str, code: str) -> None:
    assert [c for c, _ in problems(f"model M(x: [N, 4]) = x -> dense({expression})")] == [code]


def test_for_unrolls_and_rebinds() -> None:
    text = """
    model M(x: [N, 4], widths = [3, 5]) {
      kept = []
      for i, w in enumerate(widths) {
        x = x -> dense(w)
        if i > 0 { kept = kept + [x] } else { kept = kept + [x -> relu] }
      }
      return kept -> concat(axis = -1)
    }
    """
    assert output(text) == "[N, 8]"
    assert output(text, "M", widths=[2, 2, 2]) == "[N, 6]"


def test_static_if_in_both_forms() -> None:
    text = """
    model M(x: [N, 4], deep = true, act = "relu") {
      if act == "relu" { x = relu(x) } else if act == "tanh" { x = tanh(x) } else { x = x * 2 }
      return (x -> dense(8)) -> dense(2) if deep else x
    }
    """
    assert output(text) == "[N, 2]"
    assert output(text, "M", deep=False, act="tanh") == "[N, 4]"


def test_bodies_may_return_early() -> None:
    text = """
    model M(x: [N, 4], n = 1) {
      if n == 0 { return x }
      x = x -> dense(n)
      return x
    }
    """
    assert output(text) == "[N, 1]"
    assert output(text, "M", n=0) == "[N, 4]"


@pytest.mark.parametrize(
    ("subscript", "shape"),
    [
        ("x[:, 0]", "[N, 6, 4]"),
        ("x[:, -1:]", "[N, 1, 6, 4]"),
        ("x[..., :2]", "[N, 3, 6, 2]"),
        ("x[:, 1:, ::2]", "[N, 2, 3, 4]"),
        ("x[:, [0, 2]]", "[N, 2, 6, 4]"),
        ("x[0]", "[3, 6, 4]"),
    ],
)
def test_subscripts_of_tensors(subscript: str, shape: str) -> None:
    assert output(f"model M(x: [N, 3, 6, 4]) = {subscript}") == shape


@pytest.mark.parametrize(
    ("subscript", "code"),
    [
        ("x[0, 0, 0]", "E0302"),
        ("x[:, 7]", "E0204"),
        ("x[:, [9]]", "E0402"),
        ('x["a"]', "E0401"),
        ("x[..., ...]", "E0401"),
        ("x[:, ::0]", "E0402"),
    ],
)
def test_bad_subscripts(subscript: str, code: str) -> None:
    assert [c for c, _ in problems(f"model M(x: [N, 4]) = {subscript}")] == [code]


def test_elementwise_logic_and_where() -> None:
    function = model("model M(x: [N, 4]) = where((x > 0) & ~(x > 1), x, -x)")
    assert {"LogicalAnd", "LogicalNot", "Where", "Greater", "Neg"} <= set(ops(function))


def test_training_chooses_between_modes() -> None:
    ok("model M(x: [N, 4]) {\n  if training { x = x -> dropout(0.5) }\n  return x\n}")
    ok("model M(x: [N, 4]) = x * 2 if training else x")
    text = "model M(x: [N, 4]) = (x -> dense(2)) if training else x"
    assert [c for c, _ in problems(text)] == ["E0301"]


def test_unrolling_has_a_limit() -> None:
    text = """
    model M(x: [N, 4]) {
      s = 0
      for i in range(100_000) { for j in range(100_000) { s = s + i * j } }
      return x * s
    }
    """
    assert [c for c, _ in problems(text)] == ["E0403"]


def test_constants() -> None:
    text = (
        "const a, (b, c) = 1, (2, [3, 4])\nconst d = b + c[1]\nmodel M(x: [N, a]) = x -> dense(d)"
    )
    assert output(text) == "[N, 6]"
    assert problems("const a = nothing\nmodel M(x: [N, 4]) = x -> dense(a) -> dense(a)") == [
        ("E0201", "nothing")
    ]


def test_sizes_have_a_limit() -> None:
    product = " * ".join(f"(H + {k})" for k in range(40))
    deep = (
        "model M(x: [N, H]) {\n  n = H\n"
        + "  n = (n + 1) // 2 * n // 3\n" * 60
        + "  return x * n\n}"
    )
    assert {c for c, _ in problems(deep)} <= {"E0403"}
    text = f"model M(x: [N, H]) where ({product}) ** 30 > 1 = x"
    assert {c for c, _ in problems(text)} <= {"E0403", "E0307"}


def test_a_choice_of_a_tensor_and_a_number() -> None:
    text = "model M(x: [N, 4], n = 2) {\n  a, b = (x, 1) if n > 1 else (x, 2)\n  return a * b\n}"
    assert output(text) == "[N, 4]"
    text = text.replace("1)", "relu)").replace("2)", "tanh)", 2)
    assert [c for c, _ in problems(text)] == ["E0401"]
