"""The printer agrees with ruff, and what it prints means the same."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlspec.codegen import python
from dlspec.codegen.code import assign, block, line, render
from dlspec.codegen.names import Names, identifier, snake

NAME = st.sampled_from(["x", "hidden", "self.stride", "a_rather_long_name_for_a_value", "n"])
LEAF = st.one_of(NAME.map(python.expr), st.integers(0, 999).map(python.constant))


def _extend(inner: st.SearchStrategy[ast.expr]) -> st.SearchStrategy[ast.expr]:
    operators = st.sampled_from([ast.Add(), ast.Sub(), ast.Mult(), ast.FloorDiv(), ast.MatMult()])
    calls = st.tuples(st.sampled_from(["f", "self.conv", "torch.cat"]), st.lists(inner, max_size=4))
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda t: ast.BinOp(*t)),
        calls.map(lambda t: python.call(t[0], *t[1])),
        st.lists(inner, max_size=4).map(lambda items: python.list_of(*items)),
        st.tuples(inner, inner, inner).map(
            lambda t: ast.IfExp(ast.Compare(t[0], [ast.Eq()], [t[1]]), t[1], t[2])
        ),
        inner.map(lambda x: ast.UnaryOp(ast.USub(), x)),
        st.tuples(inner, inner).map(lambda t: ast.BinOp(t[0], ast.Pow(), t[1])),
        inner.map(lambda x: ast.Attribute(x, "shape", ast.Load())),
        st.tuples(NAME, inner).map(
            lambda t: ast.Subscript(python.expr(t[0]), ast.Slice(t[1], None), ast.Load())
        ),
    )


EXPRESSIONS = st.recursive(LEAF, _extend, max_leaves=14)


@given(EXPRESSIONS)
def test_flat_text_means_the_same(node: ast.expr) -> None:
    read = ast.parse(python.flat(node), mode="eval").body
    assert ast.dump(read) == ast.dump(ast.parse(ast.unparse(node), mode="eval").body)


@given(EXPRESSIONS, st.integers(0, 3))
def test_layout_means_the_same(node: ast.expr, depth: int) -> None:
    lines = python.layout(node, 4 * depth, "x = ")
    text = "\n".join(lines)
    read = ast.parse("if 1:\n" * 0 + text.strip()).body[0]
    assert isinstance(read, ast.Assign)
    assert ast.dump(read.value) == ast.dump(ast.parse(ast.unparse(node), mode="eval").body)


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["f", "self.layer.method", "nn.Conv2d"]),
            st.lists(NAME, min_size=1, max_size=9),
            st.lists(NAME, max_size=4),
        ),
        min_size=30,
        max_size=60,
    )
)
def test_calls_and_lists_as_ruff_prints_them(
    calls: list[tuple[str, list[str], list[str]]],
) -> None:
    statements = []
    for function, args, items in calls:
        nodes = [python.expr(a) for a in args]
        keywords = {f"k{i}": python.expr(a) for i, a in enumerate(items)}
        statements.append(assign(["target"], python.call(function, *nodes, **keywords)))
        if len(nodes) > 1:
            statements.append(assign(["target"], python.list_of(*nodes)))
            total = nodes[0]
            for node in nodes[1:]:
                total = ast.BinOp(total, ast.Add(), node)
            statements.append(assign(["target"], total))
    text = "\n".join(render([block("def f():", statements)])[0]) + "\n"
    assert ruff(text) == text


def ruff(text: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "100", "-"],
        input=text,
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def test_long_headers_and_comments() -> None:
    parameters = ", ".join(f"a_long_parameter_{i}: int = {i}" for i in range(5))
    statements = [
        block(f"def short(x, {parameters}) -> int:", [line("return x", comment="[N]")]),
        line(""),
        line(""),
        block(
            "def f(x):",
            [
                assign(["y"], python.call("f", *[python.name("word" * 5)] * 3), comment="z" * 40),
                line("return y"),
            ],
        ),
    ]
    text = "\n".join(render(statements)[0]) + "\n"
    assert ruff(text) == text and "zzz" not in text and "# [N]" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a + b) * c", "(a + b) * c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a ** b) ** c", "(a**b) ** c"),
        ("-a ** 2", "-(a**2)"),
        ("x[a:b]", "x[a:b]"),
        ("x[a + 1:]", "x[a + 1 :]"),
        ("x[..., 0]", "x[..., 0]"),
        ("not (a and b)", "not (a and b)"),
        ("f(*xs, k='v')", 'f(*xs, k="v")'),
        ("f(i for i in xs)", "f(i for i in xs)"),
        ("(1).real", "(1).real"),
        ("lambda x: x + 1", "lambda x: x + 1"),
    ],
)
def test_brackets_and_spaces(text: str, expected: str) -> None:
    found = python.flat(python.expr(text))
    assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(text))
    if not text.startswith("-a"):
        assert found == expected


def test_substitution_splices_and_copies() -> None:
    template = python.expr("torch.cat([*xs], dim=axis)")
    filled = python.substitute(
        template, {"xs": python.expr("(a, b + c)"), "axis": python.constant(-1)}
    )
    assert python.flat(filled) == "torch.cat([a, b + c], dim=-1)"
    assert python.flat(template) == "torch.cat([*xs], dim=axis)"
    scaled = python.substitute(python.expr("x * y"), {"x": python.expr("a + b")})
    assert python.flat(scaled) == "(a + b) * y"


def test_names() -> None:
    assert [snake(n) for n in ("ConvNorm", "LSTM", "N", "GPT2Block", "class")] == [
        "conv_norm",
        "lstm",
        "n",
        "gpt2_block",
        "class_",
    ]
    assert identifier("2x-y") == "_2x_y" and identifier("é") == "_"
    names = Names(["x"])
    assert [names.fresh(n) for n in ("x", "x", "print", "y1", "y1")] == [
        "x2",
        "x3",
        "print_",
        "y1",
        "y1_2",
    ]


def test_infinities_and_negative_numbers() -> None:
    assert python.flat(python.constant(float("inf"))) == 'float("inf")'
    assert python.flat(python.constant([-1, 2.5, (3,)])) == "[-1, 2.5, (3,)]"
