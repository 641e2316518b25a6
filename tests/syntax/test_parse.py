"""Every form of the language, as the tree it makes."""

from __future__ import annotations

import time

import pytest

from dlspec.diagnostics import Diagnostics
from dlspec.source import Source
from dlspec.syntax import ast, parse, parse_expression


def file(text: str) -> ast.File:
    diagnostics = Diagnostics()
    tree = parse(Source("spec.dls", text), diagnostics)
    assert not diagnostics.found, [(d.message, d.span.first) for d in diagnostics.found]
    return tree


def item(text: str) -> ast.Item:
    (only,) = file(text).items
    return only


def expression(text: str) -> ast.Expr:
    diagnostics = Diagnostics()
    value = parse_expression(Source("value", text), diagnostics)
    assert value is not None, [d.message for d in diagnostics.found]
    return value


def statements(text: str) -> tuple[ast.Stmt, ...]:
    train = item(f"train t {{\n{text}\n}}\n")
    assert isinstance(train, ast.Train)
    return train.body


def statement(text: str) -> ast.Stmt:
    (only,) = statements(text)
    return only


def sketch(node: object) -> str:
    """An expression with all its parentheses."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Literal_(value=value):
            return repr(value)
        case ast.EllipsisExpr():
            return "..."
        case ast.Binary():
            return f"({sketch(node.left)} {node.op} {sketch(node.right)})"
        case ast.Unary():
            return f"({node.op} {sketch(node.operand)})"
        case ast.Conditional():
            return f"({sketch(node.then)} if {sketch(node.condition)} else {sketch(node.orelse)})"
        case ast.Pipe():
            return f"<{' -> '.join(map(sketch, node.stages))}>"
        case ast.As():
            index = "" if node.index is None else f"[{sketch(node.index)}]"
            return f"{{{sketch(node.value)} as {node.name}{index}}}"
        case ast.Call():
            args = [
                *map(sketch, node.args),
                *(f"{k.name}={sketch(k.value)}" for k in node.keywords),
            ]
            return f"{sketch(node.callee)}({', '.join(args)})"
        case ast.Attribute():
            return f"{sketch(node.value)}.{node.name}"
        case ast.Subscript():
            return f"{sketch(node.value)}[{', '.join(map(sketch, node.items))}]"
        case ast.Slice():
            return ":".join(
                "" if part is None else sketch(part) for part in (node.start, node.stop, node.step)
            )
        case ast.ListExpr():
            return f"[{', '.join(map(sketch, node.items))}]"
        case ast.TupleExpr():
            return f"({', '.join(map(sketch, node.items))},)"
        case ast.Comprehension():
            test = "" if node.condition is None else f" if {sketch(node.condition)}"
            names = ", ".join(names_of(node.target))
            return f"[{sketch(node.element)} for {names} in {sketch(node.iterable)}{test}]"
        case _:
            raise AssertionError(node)


def names_of(target: ast.Target) -> list[str]:
    return [target.name] if target.name else [name for t in target.items for name in names_of(t)]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b * c ** -d", "(a + (b * (c ** (- d))))"),
        ("a - b - c // d", "((a - b) - (c // d))"),
        ("-a ** 2", "(- (a ** 2))"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("a @ b % c / d", "(((a @ b) % c) / d)"),
        ("~a & b | c", "(((~ a) & b) | c)"),
        ("a | b == c", "((a | b) == c)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("x -> f -> g(1)", "<x -> f -> g(1)>"),
        ("x if c else x -> f", "(x if c else <x -> f>)"),
        ("x -> f if c else y", "(<x -> f> if c else y)"),
        ("a if b else c if d else e", "(a if b else (c if d else e))"),
        ("x + (x -> f)", "(x + <x -> f>)"),
        ("(x + y) -> f", "<(x + y) -> f>"),
        ("f -> dense(3) as a -> g", "<f -> {dense(3) as a} -> g>"),
        ("a @ b + param([v]) as bias", "((a @ b) + {param([v]) as bias})"),
        ("a + b as c", "(a + {b as c})"),
        ("(a + b) as c", "{(a + b) as c}"),
        ("f as grow[i + 1] -> g", "<{f as grow[(i + 1)]} -> g>"),
        ("a.b.c(1).d[0]", "a.b.c(1).d[0]"),
        ("f(x, y, k = 1, j = 2,)", "f(x, y, k=1, j=2)"),
        ("x[:, :-1, 1:, ::2, a:b:c, ...]", "x[::, :(- 1):, 1::, ::2, a:b:c, ...]"),
        ("[]", "[]"),
        ("()", "(,)"),
        ("(a,)", "(a,)"),
        ("(a)", "a"),
        ("(a, b,)", "(a, b,)"),
        ("a, b", "(a, b,)"),
        ("[x -> f for x, (y, z) in xs if y]", "[<x -> f> for x, y, z in xs if y]"),
        ("[a for a in x -> f as g -> h]", "[a for a in <x -> {f as g} -> h>]"),
        ("1_000 + 1e-3 + 2.5E+2", "((1000 + 0.001) + 250.0)"),
        ('"a\\n\\"\\u{1F600}"', repr('a\n"\U0001f600')),
        ("(true, false, none, inf)", "(True, False, None, inf,)"),
        ("where(over, from, state)", "where(over, from, state)"),
        ("-inf", "(- inf)"),
        ("f(\n  a,  # why\n  b\n)", "f(a, b)"),
    ],
)
def test_expression(text: str, tree: str) -> None:
    assert sketch(expression(text)) == tree


def test_definition() -> None:
    node = item(
        "cell C(x: f32[N, ...], state h: [N, _] = none, state = 3, k)\n"
        "  -> (a: [N], b: i64[N])\n  where N > 1, k == 2\n{ return x, h }"
    )
    assert isinstance(node, ast.Definition)
    assert (node.kind, node.name, node.name_span.text) == ("cell", "C", "C")
    assert [(p.name, p.state, p.default is not None) for p in node.params] == [
        ("x", False, False), ("h", True, True), ("state", False, True), ("k", False, False),
    ]  # fmt: skip
    assert isinstance(node.output, tuple)
    assert [field.name for field in node.output] == ["a", "b"]
    assert [sketch(condition) for condition in node.where] == ["(N > 1)", "(k == 2)"]
    assert isinstance(node.body, tuple)


def test_point_free_definition() -> None:
    node = item("block Pool = max_pool(3)")
    assert isinstance(node, ast.Definition)
    assert (node.params, node.output, node.where, node.doc) == ((), None, (), None)
    assert sketch(node.body) == "max_pool(3)"


def test_definition_over_lines() -> None:
    node = item("block A(x: [N]) =\n  x\n    -> f\n    # a remark\n    -> g\n      as h\n")
    assert isinstance(node, ast.Definition)
    assert sketch(node.body) == "<x -> f -> {g as h}>"


@pytest.mark.parametrize(
    ("text", "path", "alias", "names"),
    [
        ('use "f.dls"', "f.dls", None, []),
        ('use "f.dls" as b', "f.dls", "b", []),
        ("use std.attention", "std.attention", None, []),
        ("use a.b as c", "a.b", "c", []),
        ("from a.b use X, Y as Z", "a.b", None, [("X", None), ("Y", "Z")]),
        ('from "f.dls" use X', "f.dls", None, [("X", None)]),
    ],
)
def test_use(text: str, path: str, alias: str | None, names: list[tuple[str, str | None]]) -> None:
    node = item(text)
    assert isinstance(node, ast.Use)
    assert (node.path, node.alias) == (path, alias)
    assert [(name.name, name.alias) for name in node.names] == names


def test_const_and_test() -> None:
    tree = file('const A, B = 1, 2\ntest "a b" { assert A == 1 }\n')
    const, test = tree.items
    assert isinstance(const, ast.Const)
    assert names_of(const.target) == ["A", "B"]
    assert isinstance(test, ast.Test)
    assert test.name == "a b"


def test_bindings() -> None:
    typed, shared, several, step, data = statements(
        "up: [_, h] = x -> f\nshare emb = embedding(3)\nq, (k, v) = f(x)\nstep = 3\n"
        "data: [N, C] = x, y"
    )
    assert isinstance(typed, ast.Binding)
    assert sketch(typed.annotation) == "[_, h]"
    assert isinstance(shared, ast.Binding)
    assert shared.shared
    assert isinstance(several, ast.Binding)
    assert [t.name for t in several.target.items] == ["q", None]
    assert isinstance(step, ast.Binding)
    assert isinstance(data, ast.Binding)
    assert isinstance(data.value, ast.TupleExpr)


@pytest.mark.parametrize("word", ["from", "over", "using", "times", "every", "on", "patience",
                                  "block", "model", "cell", "train", "test", "const", "use",
                                  "state", "where", "data", "step", "phase"])  # fmt: skip
def test_word_as_a_name(word: str) -> None:
    first, second, third = statements(f"a = 1\n{word} = {word} + f({word} = {word}.{word})\nb = 2")
    assert isinstance(second, ast.Binding)
    assert second.target.name == word
    assert isinstance(first, ast.Binding)
    assert isinstance(third, ast.Binding)


def test_verbs() -> None:
    minimize, data, step, evaluate, stop, load = statements(
        "minimize a + b\n  over G, F using adam(1e-3)\n  over D\n"
        "data (image: [N, 3], _, label) from cifar(batch = 3)\n"
        "step critic times 5 { x = 1 }\n"
        "evaluate on source(3)\n"
        "early_stop dev.accuracy patience 3\n"
        'load net.body from "file" using "map.toml"\n'
    )
    assert isinstance(minimize, ast.Verb)
    assert [(c.word, len(c.args)) for c in minimize.clauses] == [
        ("over", 2), ("using", 1), ("over", 1),
    ]  # fmt: skip
    assert isinstance(data, ast.Verb)
    assert [(f.name, f.annotation is None) for f in data.fields] == [
        ("image", False), ("_", True), ("label", True),
    ]  # fmt: skip
    assert data.args == ()
    assert isinstance(step, ast.Verb)
    assert step.body is not None
    assert (sketch(step.args[0]), len(step.body)) == ("critic", 1)
    assert isinstance(evaluate, ast.Verb)
    assert (evaluate.args, evaluate.clauses[0].word) == ((), "on")
    assert isinstance(stop, ast.Verb)
    assert stop.clauses[0].word == "patience"
    assert isinstance(load, ast.Verb)
    assert [c.word for c in load.clauses] == ["from", "using"]


def test_report_names_the_whole() -> None:
    verb = statement("report a - f(b) as distance, a - (b as c), (a - b) as d")
    assert isinstance(verb, ast.Verb)
    assert [sketch(arg) for arg in verb.args] == [
        "{(a - f(b)) as distance}", "(a - {b as c})", "{(a - b) as d}",
    ]  # fmt: skip
    assert verb.args[0].span.text == "a - f(b) as distance"


@pytest.mark.parametrize(
    "text",
    [
        "if a { x = 1 } else if b { x = 2 } else { x = 3 }",
        "if a {\n x = 1\n}\nelse if b {\n x = 2\n}\nelse\n{\n x = 3\n}",
    ],
)
def test_if(text: str) -> None:
    node = statement(text)
    assert isinstance(node, ast.If)
    (inner,) = node.orelse
    assert isinstance(inner, ast.If)
    assert len(inner.orelse) == 1


def test_for() -> None:
    node = statement("for a, b in [1] if c else [2] { x = a }")
    assert isinstance(node, ast.For)
    assert sketch(node.iterable) == "([1] if c else [2])"


@pytest.mark.parametrize(
    ("text", "of_file", "of_definition"),
    [
        ('"""a"""\n\nblock X = y', "a", None),
        ('"""a"""\nblock X = y', None, "a"),
        ('"""a"""\n\n"""b"""\nblock X = y', "a", "b"),
        ('"""a"""\n\nblock X {\n  """b"""\n  return y\n}', "a", "b"),
        ('# c\n"""a"""\n# d\nblock X = y', None, "a"),
        ('"""a\n\n    b\n      c\n"""\n\nblock X = y', "a\n\nb\n  c", None),
    ],
)
def test_docstring(text: str, of_file: str | None, of_definition: str | None) -> None:
    tree = file(text)
    node = tree.items[0]
    assert isinstance(node, ast.Definition)
    assert (tree.doc, node.doc) == (of_file, of_definition)


def test_comments() -> None:
    tree = file("# one\nconst a = [1,  # two\n  2]\n#three")
    assert [comment.text for comment in tree.comments] == ["# one", "# two", "#three"]


def test_spans() -> None:
    text = "block A(x: [N]) {\n  y = (x + 1) -> f as g\n  return y\n}\n"
    node = item(text)
    assert isinstance(node, ast.Definition)
    assert node.span.text == text.strip()
    assert isinstance(node.body, tuple)
    binding = node.body[0]
    assert isinstance(binding, ast.Binding)
    assert binding.span.text == "y = (x + 1) -> f as g"
    assert isinstance(binding.value, ast.Pipe)
    assert [stage.span.text for stage in binding.value.stages] == ["x + 1", "f as g"]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a remark", "\ufeff", '"""only a docstring"""']
)
def test_no_items(text: str) -> None:
    assert file(text).items == ()


def test_line_ends_of_windows() -> None:
    assert (
        len(file("block A(x: [N]) {\r\n  y = x\r\n  return y\r\n}\r\nconst b = 1\r\n").items) == 2
    )


def test_long_pipeline_and_long_body() -> None:
    pipe = item("block A =\n  x" + "\n  -> f(1)" * 10_000)
    assert isinstance(pipe, ast.Definition)
    assert isinstance(pipe.body, ast.Pipe)
    assert len(pipe.body.stages) == 10_001
    assert len(statements("y = f(x)\n" * 10_000)) == 10_000


def test_speed() -> None:
    body = "  h = x -> conv(64, 3, stride = 2, padding = 1) -> relu -> dropout(0.5)\n" * 8
    text = "".join(f"block A{n}(x: [N, C, H, W]) {{\n{body}  return h\n}}\n" for n in range(500))
    assert text.count("\n") > 5000
    file("const a = 1")
    begin = time.process_time()
    file(text)
    assert time.process_time() - begin < 6  # about one second on an idle machine
