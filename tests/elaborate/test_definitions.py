"""Rules 5 and 10: definitions, defaults, types and dims."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.api import SpecError, load
from dlspec.ir.graph import CallNode, Function
from tests.elaborate.specs import checked, model, nodes, ok, output, problems

UNET = Path(__file__).parents[1] / "specs" / "unet.dls"


def callees(function: Function) -> list[Function]:
    return [n.function for n in nodes(function) if isinstance(n, CallNode)]


def test_a_recursive_unet_requires_exactly_what_it_needs() -> None:
    found = load(UNET).model("UNet")
    assert found.requirements == ["H % 16 == 0", "W % 16 == 0"]
    assert load(UNET).model(widths=[4, 8]).requirements == ["H % 2 == 0", "W % 2 == 0"]


def test_defaults_may_depend_on_dims_and_on_each_other() -> None:
    text = """
    block Mlp(x: [N, D], hidden = 4 * D, out = hidden + 1) = x -> dense(hidden) -> dense(out)
    model M(x: [N, 5]) = x -> Mlp
    """
    assert output(text) == "[N, 21]"
    assert output(text.replace("-> Mlp", "-> Mlp(hidden = 2)")) == "[N, 3]"


def test_a_definition_without_inputs_is_a_layer() -> None:
    text = """
    block Act(n) = dense(n) -> relu
    block Choice(n, deep) { if deep { return Act(n) -> Act(n) } else { return Act(n) } }
    model M(x: [N, 4]) = x -> Act(3) -> Choice(2, true) -> Choice(5, false)
    """
    assert output(text) == "[N, 5]"


def test_with_neither_inputs_nor_layers_it_is_a_static_function() -> None:
    text = """
    block round8(c) = max(8, (c + 4) // 8 * 8)
    block fibonacci(n) { if n < 2 { return n } else { return fibonacci(n - 1) + fibonacci(n - 2) } }
    model M(x: [N, 4]) = x -> dense(round8(13)) -> dense(fibonacci(7))
    """
    assert output(text) == "[N, 13]"


def test_several_outputs_have_names() -> None:
    text = """
    block Two(x: [N, D]) -> (mu: [N, 2], rest: [N, 3]) { return x -> dense(2), x -> dense(3) }
    model M(x: [N, 4]) {
      found = Two(x)
      a, b = x -> Two
      return (found.mu, b, a) -> concat(axis = -1)
    }
    """
    assert output(text) == "[N, 7]"
    text = text.replace("found.mu", "found.mean")
    assert problems(text) == [("E0201", "found.mean")]


def test_outputs_must_be_as_declared() -> None:
    bad = "block A(x: [N, D]) -> (a: [N, 2], b: [N, 3]) { return x -> dense(2), x -> dense(4) }\n"
    use = "model M(x: [N, 4]) {\n  a, b = A(x)\n  return (a, b) -> concat\n}"
    assert [code for code, _ in problems(bad + use)] == ["E0304"]
    assert problems("model M(x: [N, 4]) -> [N, 4] = (x, x)") == [("E0304", "(x, x)")]


def test_a_name_that_is_also_a_parameter_is_that_parameter() -> None:
    text = "block A(x: [N, width], width) = x\nmodel M(x: [N, 4]) = x -> A({})"
    ok(text.format(4))
    assert problems(text.format(5)) == [("E0301", "A(5)")]


def test_a_constant_in_a_type_is_that_constant() -> None:
    text = "const width = 4\nblock A(x: [N, width]) = x\nmodel M(x: [N, {}]) = x -> A"
    ok(text.format(4))
    assert problems(text.format(5)) == [("E0301", "A")]


def test_expressions_in_types_are_checked() -> None:
    text = "block A(a: [N, D], b: [N, 2 * D]) = (a, b) -> concat\n"
    assert output(text + "model M(a: [N, 4], b: [N, 8]) = A(a, b)") == "[N, 12]"
    assert problems(text + "model M(a: [N, 4], b: [N, 9]) = A(a, b)") == [("E0301", "A(a, b)")]


def test_rest_and_any_extents() -> None:
    text = "block A(x: [N, ..., D]) = x -> dense(2 * D)\nmodel M(x: [N, 3, _, 4]) = x -> A"
    assert output(text) == "[N, 3, x_2, 8]"
    few = "block A(x: [N, ..., 4, D]) = x * D\nmodel M(x: [N, 4]) = x -> A"
    assert problems(few) == [("E0302", "A")]


def test_bindings_may_carry_a_type() -> None:
    text = """
    model M(image: [N, 3, H, W]) {
      up: [_, _, h, w] = image -> max_pool(2)
      return up -> reshape([N, 3 * h * w])
    }
    """
    assert output(text) == "[N, 3 * (H // 2) * (W // 2)]"


def test_dims_are_values() -> None:
    assert output("model M(x: [N, D]) = sqrt(D) * x / N") == "[N, D]"


def test_element_types() -> None:
    assert output("model M(t: i64[N, T]) = t -> embedding(9, 4)") == "[N, T, 4]"
    text = "block A(x: i64[N]) = x\nmodel M(x: [N]) = x -> A"
    assert problems(text) == [("E0303", "A")]
    assert problems("model M(x: i65[N]) = x") == [("E0303", "i65[N]")]


def test_preconditions_are_used() -> None:
    text = "model M(x: [N, H]) where H % 16 == 12 = x if H % 4 == 0 else x[:, 0]"
    assert output(text) == "[N, H]"
    assert checked(text).requirements == ["H % 16 == 12"]


def test_a_static_condition_may_ask_for_a_size() -> None:
    text = """
    block Skip(x: [N, D], width) = x if D == width else x -> dense(width)
    model M(x: [N, 4]) = x -> Skip(4) -> Skip(5)
    """
    kinds = [[type(n).__name__ for n in nodes(f)] for f in callees(model(text))]
    assert len(kinds) == 2
    assert output(text) == "[N, 5]"


def test_an_open_condition_suggests_where() -> None:
    text = "model M(x: [N, H]) = x if H > 3 else x * 2"
    (found,) = checked(text).diagnostics.found
    assert (found.code.name, found.help) == ("E0307", "state it: where H > 3")
    ok("model M(x: [N, H]) where H > 3 = x if H > 3 else x * 2")


def test_two_names_are_two_sizes() -> None:
    text = "model M(a: [N, S], b: [N, T]) {} = a + b"
    assert problems(text.format("")) == [("E0301", "a + b")]
    ok(text.format("where S == T"))


@pytest.mark.parametrize(
    ("text", "code", "blamed"),
    [
        ("model M(x: [N, 4]) { y = x }", "E0208", "M"),
        ("model M(x: [N, 4]) = dense(3)", "E0208", "dense(3)"),
        ("model M(x: [N, 4]) { if 1 > 0 { return x } }", "", ""),
        ("model M(x: [N, 4], state h: [N, 4]) = x + h", "E0208", "state h: [N, 4]"),
        ("model M(x: [N, 4], a, a = 1) = x * a", "E0202", "a = 1"),
        ("block B(x: [N, 4], n) = x\nmodel M(x: [N, 4]) = x -> B(1)", "E0207", "n"),
        ("model M(x: [N, 4]) = 3", "E0208", "3"),
        ("block B(n) = B2(n)\nblock B2(n) = B(n)\nmodel M(x: [N, 4]) = x -> B(1)", "E0404", None),
        ("block f(n) = f(n + 1)\nmodel M(x: [N, 4]) = x * f(1)", "E0404", None),
        ("const a = b\nconst b = a\nmodel M(x: [N, 4]) = x * a", "E0404", None),
        ("model M(x: [N, 4]) { return x\n epochs 3 }", "E0504", "epochs 3"),
        ("model M(x: [N, 4]) { assert 1 > 0\n return x }", "E0504", "assert 1 > 0"),
    ],
)
def test_wrong_definitions(text: str, code: str, blamed: str | None) -> None:
    found = [p for p in problems(text) if not p[0].startswith("W")]
    if blamed is None:
        assert [c for c, _ in found] == [code]
    else:
        assert found == ([(code, blamed)] if code else [])


def test_a_block_nobody_uses_is_checked() -> None:
    text = """
    block Unused(x: [N, D], n) = x -> dense(n, biass = true) -> other.Head -> relu(1) -> Norm(q = 2)
    block Norm(x: [N, D]) = x / D
    model M(x: [N, 4]) = x
    """
    assert problems(text) == [
        ("E0201", "other"),
        ("E0204", "1"),
        ("E0204", "biass = true"),
        ("E0204", "q = 2"),
    ]


def test_what_is_declared_and_never_used() -> None:
    text = """
    block A(x: [N, D], y: [N, D], z: [N, E], n, _m = 1) {
      a, b = x -> split(2)
      _c = x
      _ = x
      return a -> dense(E)
    }
    model M(x: [N, 4]) = x
    """
    assert problems(text) == [("E0207", "n"), ("W0901", "b"), ("W0901", "y: [N, D]")]


def test_independent_errors_are_all_reported() -> None:
    text = """
    block A(x: [N, D]) { y = x + nothing
      return y }
    block B(x: [N, D]) = x -> dense("a")
    model M(x: [N, 4]) {
      a = x -> A
      b = a -> A -> B
      c = x -> B
      d = x -> reshape([N, 5])
      return (a, b, c, d) -> concat
    }
    """
    assert [code for code, _ in problems(text)] == ["E0201", "E0204", "E0301"]


ALIASES = """block Conv(channels, kernel, padding = 0) =
  conv(channels, kernel, padding = padding) -> relu
block Row(channels, size) = Conv(channels, (1, size), padding = (0, size // 2))
block Wide(size = 5) = Row(6, size)
block Net(x: [N, C, H, W], f, width = 4, classes = 3) -> [N, classes] =
  x -> f(width, 3) -> Wide -> Row(4, 7) as second -> global_avg_pool -> dense(classes) as head
model Small(width = 8, classes = 2) = Net(Row, width, classes)
model Typed(x: [N, 3, H, W]) = x -> Small(classes = 7) as net
"""


def test_a_definition_that_names_another_has_no_level_of_its_own() -> None:
    spec = load(ALIASES)
    assert spec.check() and not spec.diagnostics.found
    model = spec.model("Small", C=3, H=9, W=9, classes=5)
    paths = [layer.path for layer in model.summary().layers()]
    assert paths == [
        *("f.conv", "f.relu", "wide.conv", "wide.relu", "second.conv", "second.relu"),
        *("global_avg_pool", "head"),
    ]
    assert model.name == model.function.name == "Small"
    assert str(model.function.outputs[0].type) in ("[N, 5]", "[N, classes]")
    assert model.trial() is not None
    found = [layer.path for layer in spec.model("Typed", H=9, W=9).summary().layers()]
    assert found[0] == "net.f.conv"


def test_what_an_alias_is_given_wrongly() -> None:
    text = ALIASES + "model Other(depth = 2) = Small(depth)\n"
    assert load(text).model("Other", C=3, H=9, W=9).function.values()["width"] == 2
    with pytest.raises(SpecError, match=r"E0204.*Small has no argument `depth`"):
        load(ALIASES).model("Small", depth=3)
    loop = "block A(n = 2) = B(n)\nblock B(n) = A(n)\nmodel M(x: [N]) = x -> A\n"
    assert [code for code, _ in problems(loop)] == ["E0404"]
    assert [code for code, _ in problems(loop.replace("(n)\n", "(n = n)\n"))] == ["E0404"]
