"""Bad texts: the code, the place, the words; and no text is an exception."""

from __future__ import annotations

import random
import re

import pytest

from dlspec.diagnostics import Diagnostics
from dlspec.source import Source
from dlspec.syntax import ast, parse


def problems(text: str) -> tuple[ast.File, Diagnostics]:
    diagnostics = Diagnostics()
    return parse(Source("bad.dls", text), diagnostics), diagnostics


def only(text: str) -> tuple[str, str, str, str]:
    """Code, blamed text, message and help of the only problem."""
    _, diagnostics = problems(text)
    (found,) = diagnostics.found
    return found.code.name, found.span.text, found.message, found.help


STATEMENTS = [
    ("y = x + z -> f", "E0103", "+", "bare on the left", "x + (z -> …)"),
    ("y = a * x + z -> f", "E0103", "+", "bare on the left", "(a * x + z) -> …"),
    ("y = -x -> f", "E0103", "-", "bare on the left", "(-x) -> …"),
    ("y = not x -> f", "E0103", "not", "bare on the left", "(not x) -> …"),
    ("y = a == b -> f", "E0103", "==", "bare on the left", "(a == b) -> …"),
    ("y = a < b <= c", "E0101", "<=", "cannot be chained", "a < b and b < c"),
    ("y = x -> f + z", "E0101", "+", "cannot follow a pipeline", "(x -> f) + y"),
    ("y = f(a b)", "E0101", "b", "expected `,` or `)`, found name `b`", "put a `,`"),
    ("y = [a b]", "E0101", "b", "expected `,` or `]`, found name `b`", "put a `,`"),
    ("y = f(a, b", "E0102", "(", "never closed", "missing `)`"),
    ("y = f(a, [b)", "E0102", "[", "never closed", "missing `]`"),
    ("y = f(a]", "E0102", "(", "never closed", "missing `)`"),
    ("y = f(x))", "E0101", ")", "closes nothing", ""),
    ("y == 3", "E0101", "==", "single `=`", "compares"),
    ("y => f", "E0101", "=>", "not part of the language", "`->`"),
    ("if a = b { y = 1 }", "E0101", "=", "does not compare", "write `==`"),
    ("if a: y = 1", "E0101", ":", "expected `{`, found `:`", "written `{ … }`"),
    ("if a { y = 1 } elif b { y = 2 }", "E0101", "elif", "found name `elif`", ""),
    ("elif b { y = 2 }", "E0101", "elif", "not part of the language", "else if"),
    ("while b { y = 2 }", "E0101", "while", "not part of the language", "scan"),
    ("y = 'abc'", "E0105", "'abc'", "double quotes", '"abc"'),
    ("y = True", "E0101", "True", "not part", "`true`"),
    ("y = None", "E0101", "None", "not part", "`none`"),
    ("y = lambda x: x", "E0101", "lambda", "not part", "block"),
    ("y = !x", "E0101", "!", "not part", "`not`"),
    ("y = a && b", "E0101", "&&", "not part", "`and`"),
    ("y = a ? b : c", "E0101", "?", "not part", "if condition else"),
    ("y += 1", "E0101", "+=", "not part", "x + y"),
    ("y = 1; z = 2", "E0101", ";", "not part", "its line"),
    ("let y = 3", "E0101", "let", "not part", "name = value"),
    ("def f(x) { return x }", "E0101", "def", "not part", "block Name"),
    ("y = f(a = 1, b)", "E0101", "b", "without a name after", "first"),
    ("y = 1__0", "E0105", "1__0", "not a number", "1_000"),
    ("y = 12abc", "E0105", "12abc", "not a number", ""),
    ("y = 1e999", "E0105", "1e999", "too large", "inf"),
    ("y = " + "9" * 5000, "E0105", "9" * 5000, "too long", ""),
    ('y = "abc', "E0105", '"abc', "not closed", ""),
    ('y = "a\\qb"', "E0105", "\\q", "no escape", "\\n"),
    ("y = .5", "E0101", ".", "expected an expression", "0.5"),
    ("y = 1.", "E0101", ".", "expected a name", "1.0"),
    ("y = sum(i for i in x)", "E0101", "for", "needs brackets", "[f(x) for x in xs]"),
    ("y =", "E0101", "=", "expected an expression, found the end of the line", ""),
    ("y = x +", "E0101", "+", "found the end of the line", ""),
    ("y = a if b", "E0101", "b", "expected `else`", ""),
    ("y = for", "E0101", "for", "expected an expression", "reserved"),
    ("y = a in b", "E0101", "in", "found `in`", "membership"),
    ("x[0] = 3", "E0101", "=", "element cannot be assigned", "xs + [x]"),
    ("x.y = 3", "E0101", ".", "bound to a part", ""),
    ("y = 3 z = 4", "E0101", "z", "end of the line, found name `z`", "line of its own"),
    ("minimize L ovr G", "E0101", "ovr", "found name `ovr`", "`over`"),
    ("minimize L over", "E0101", "r", "found the end of the line", ""),
    ("y = (a: [N])", "E0101", "a: [N]", "cannot stand here", "data"),
    ("data (a, 3) from b", "E0101", "3", "expected a name", "(a, b: [N])"),
    ("y = $", "E0101", "$", "unexpected character `$`", ""),
    ("y = \0", "E0101", "\0", "unexpected character U+0000", ""),
    ('y = 1\n  """late"""', "E0101", '"""late"""', "belongs to no definition", "#"),
    ("y = x \\", "E0101", "\\", "not part", "brackets"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "blamed", "message", "help_"), STATEMENTS)
def test_statement(text: str, code: str, blamed: str, message: str, help_: str) -> None:
    whole = f"block Before = a\n\ntrain t {{\n  {text}\n  after = 1\n}}\n\nblock After = b\n"
    found = only(whole)
    assert found[:2] == (code, blamed)
    assert message in found[2]
    assert help_ in found[3]
    tree, _ = problems(whole)
    before, train, after = tree.items
    assert isinstance(before, ast.Definition)
    assert isinstance(after, ast.Definition)
    assert isinstance(train, ast.Train)
    last = train.body[-1]
    assert isinstance(last, ast.Binding)
    assert last.target.name == "after"


ITEMS = [
    ("def f(x):\n  return x", "def", "found name `def`", "block Name"),
    ("x = 3", "x", "found name `x`", "const x"),
    ("modle A(x) = x", "modle", "found name `modle`", "`model`"),
    ("import torch", "import", "found name `import`", "use"),
    ("model A(x):\n  return x", ":", "expected `=` or `{`", "{ … }"),
    ("const a 3", "3", "expected `=` or `,`", ""),
    ("test name { }", "name", "expected a string", ""),
    ("use", "e", "found the end of the line", ""),
    ("from a.b use", "e", "expected a name", ""),
    ("block A =", "=", "expected an expression", ""),
    ("}", "}", "closes nothing", ""),
    ('"""b"""\n', '"""b"""', "belongs to no definition", ""),
]


@pytest.mark.parametrize(("text", "blamed", "message", "help_"), ITEMS)
def test_item(text: str, blamed: str, message: str, help_: str) -> None:
    code, span, found, advice = only(f"const first = 1\n{text}\nconst last = 1\n")
    assert (code, span) == ("E0101", blamed)
    assert message in found
    assert help_ in advice


def test_three_errors_three_diagnostics() -> None:
    tree, diagnostics = problems(
        "block A(x: [N]) {\n  y = 3 = 4\n  z = f(x x)\n  return z\n}\n"
        "block B(x: [N] = x\nblock C = )\nblock D = x\n"
    )
    assert [(d.code.name, d.span.first.line) for d in diagnostics.found] == [
        ("E0101", 2), ("E0101", 3), ("E0102", 6), ("E0101", 7),
    ]  # fmt: skip
    assert [i.name for i in tree.items if isinstance(i, ast.Definition)] == ["A", "D"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("block A {\n  return x\n\nblock B = x\n", 1),
        ("block A {\n  if a {\n    y = x\n  return x\n}\n\nblock B = x\n", 2),
        (
            "block A {\n  for i in x {\n    if a {\n      y = x\n    }\n  return x\n}\nblock B = x",
            2,
        ),
        ("block A {\n  return x\n", 1),
    ],
)
def test_missing_brace_is_told_where_it_opened(text: str, line: int) -> None:
    tree, diagnostics = problems(text)
    (found,) = diagnostics.found
    assert (found.code.name, found.span.text, found.span.first.line) == ("E0102", "{", line)
    assert [i.name for i in tree.items if isinstance(i, ast.Definition)] == ["A", "B"][
        : 1 + text.count("block B")
    ]


def test_error_in_the_head_still_reads_the_body() -> None:
    _, diagnostics = problems("model A(x) -> [N] : {\n  y = = 2\n  return x\n}\n")
    assert [d.span.first.line for d in diagnostics.found] == [1, 2]


def test_unclosed_docstring() -> None:
    assert only('block A = x\n"""never')[:2] == ("E0102", '"""')


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("const a = " + "(" * 101 + "1" + ")" * 101, "E0104"),
        ("const a = " + "[" * 5000 + "]" * 5000, "E0104"),
        ("const a = " + "- " * 5000 + "1", "E0104"),
        ("const a = 1" + " + 1" * 500, "E0104"),
        ("const a = " + "b if c else " * 500 + "1", "E0104"),
        ("block A " + "{ if x " * 500 + "}" * 500, "E0104"),
        ("block A { if x { y = 1 }" + " else if x { y = 1 }" * 500 + "}", "E0104"),
        ("const a = " + "(" * 50_000, "E0104"),
    ],
)
def test_too_deep(text: str, code: str) -> None:
    _, diagnostics = problems(text)
    assert diagnostics.found[0].code.name == code
    assert len(diagnostics.found) <= 2


@pytest.mark.parametrize(
    "text",
    ["const a = " + "(" * 100 + "1" + ")" * 100, "const a = 1" + " + 1" * 190],
)
def test_deep_enough(text: str) -> None:
    assert problems(text)[1].ok


SEED = '''"""A file."""

from std.a use B as C, D
const widths, n = [1, 2.5e-3], "text"  # remark

block Res(x: [N, ..., C], f, p = 0.1) where C % 2 == 0 = x + (x -> f -> dropout(p) as drop[0])

model M(x: f32[N, 3, H, W], mask: bool[N] = none) -> (y: [N], z: [N]) {
  a, (b, _) = x[:, 1:, ::2] -> split(2, axis = -1)
  t: [N, _] = none if mask == none else where(mask, a, -inf)
  for i in range(3) { a = a -> Res(relu) }
  if n > 1 and not false { return a, b } else if n == 2 { return b, a } else { return a, a }
}

train t(k = 3) {
  data (x: [N, 3], label) from mnist(batch = 32)
  share net = M()
  step critic times 5 every k {
    minimize -mean(net(x)) over net.a using adam(1e-3)
    report a - b as distance
  }
  evaluate dev on conll("dev")
}

test "sizes" { assert params(M()) == 12_345 }
'''
ODD = ["\0", "\u2028", "é", "'", "\\", "\r", "1__"]
PIECES = [*re.findall(r'\w+|"""|"|\n|[^\w\s]+', SEED), *ODD]


@pytest.mark.parametrize("seed", range(8))
def test_mutated_specs(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        text = SEED
        for _ in range(rng.choice((1, 1, 2, 5))):
            start = rng.randrange(len(text) + 1)
            end = min(len(text), start + rng.choice((0, 1, 1, 3, 30)))
            text = text[:start] + rng.choice(["", *rng.sample(PIECES, 3)]) + text[end:]
        _, diagnostics = problems(text)
        for found in diagnostics.found:
            assert 0 <= found.span.start <= found.span.end <= len(text)
            assert found.span.first <= found.span.last
            assert "something else" not in found.message
