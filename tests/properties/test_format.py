"""What is formatted reads back the same, formatting again changes nothing, comments stay."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlspec.diagnostics import Diagnostics
from dlspec.source import Source
from dlspec.syntax import ast, format_source, parse, same

SLOW = settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))

names = st.sampled_from(
    ["x", "y", "head", "_", "Conv", "over", "from", "on", "state", "where", "data", "test", "model"]
)
literals = st.sampled_from(
    ["1", "1_000", "2.5e-3", '"text"', '"a\\n"', "true", "none", "inf", "..."]
)
operators = st.sampled_from(
    ["+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "==", "!=", "<", "and", "or"]
)
arrows = st.sampled_from([" ->", " ->", "\n->", "  # why\n  ->", "\n# own\n->", " ->\n"])
# any white space that may stand inside brackets, comments among it
gaps = st.sampled_from([" ", " ", " ", "\n", "  # remark\n", "\n# own line\n  "])


def wrapped(text: str) -> str:
    return f"({text})"


def comma(items: list[str], gap: str) -> str:
    return f",{gap}".join(items)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(inner, max_size=4)
    atom = st.one_of(inner.map(wrapped), names)
    return st.one_of(
        st.builds(lambda a, o, b: f"({a})\n{o} ({b})", inner, operators, inner),
        st.builds(lambda a, o, b: f"{a} {o} {b}", names, operators, literals),
        st.builds(lambda o, a: f"{o} {a}", st.sampled_from(["-", "~", "not", "+"]), atom),
        st.builds(lambda a, b, c: f"({a}) if ({b}) else {c}", inner, inner, inner),
        st.builds(
            lambda a, rest: a + "".join(f"{arrow} {b}" for arrow, b in rest),
            atom,
            st.lists(st.tuples(arrows, atom), min_size=1, max_size=5),
        ),
        st.builds(lambda a, n: f"{a} as {n}", atom, names),
        st.builds(lambda a, n, i: f"{a} as {n}[{i}]", atom, names, inner),
        st.builds(lambda g, xs: f"[{g}{comma(xs, g)}]", gaps, some),
        st.builds(lambda g, a, xs: f"({a},{g}{comma(xs, g)})", gaps, inner, some),
        st.builds(
            lambda f, g, xs, k, v: f"{f}({g}{''.join(x + ',' + g for x in xs)}{k} = {v}{g})",
            atom, gaps, some, names, inner,
        ),
        st.builds(lambda a, b, c: f"{a}[{b}:, :{c}, ::2, {c}]", atom, atom, atom),
        st.builds(lambda a, n: f"{a}.{n}", atom, names),
        st.builds(lambda a, n, b: f"[{a} for {n}, (z, w) in {b} if x]", inner, names, atom),
    )  # fmt: skip


expressions = st.recursive(st.one_of(names, literals), compound, max_leaves=12)
flows = expressions.map(wrapped)


def body(statement: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    line = st.builds(
        lambda s, end: s + end,
        statement,
        st.sampled_from(["\n", "\n", "\n\n\n", "  # why\n", "\n  # own\n"]),
    )
    block = st.lists(line, max_size=4).map(lambda lines: f"{{\n{''.join(lines)}}}")
    one_line = statement.map(lambda s: f"{{ {s} }}")
    return st.one_of(block, one_line)


simple = st.one_of(
    st.builds(lambda n, e: f"{n} = {e}", names, expressions),
    st.builds(lambda n, e: f"share {n} = {e}", names, expressions),
    st.builds(lambda n, e: f"{n}: [N, _] = {e}", names, expressions),
    st.builds(lambda n, e, f: f"{n}, (a, b) = {e}, {f}", names, expressions, expressions),
    expressions.map("return {}".format),
    expressions.map("assert {}".format),
    st.builds(
        lambda e, f: f"minimize ({e}) + 1 over {f} using adam(1e-3)", expressions, expressions
    ),
    st.builds(lambda e, f: f"report ({e}), ({f}) - y as gap every 5", expressions, expressions),
    st.just("data (image: [N, 3], _) from mnist(batch = 3)"),
    st.just("early_stop dev.accuracy patience 3"),
)


def nested(statement: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inner = body(statement)
    return st.one_of(
        st.builds(lambda e, b: f"if {e} {b}", flows, inner),
        st.builds(lambda e, b, c: f"if {e} {b} else {c}", flows, inner, inner),
        st.builds(lambda e, b, f, c: f"if {e} {b} else if {f} {c}", flows, inner, flows, inner),
        st.builds(lambda n, e, b: f"for {n}, y in {e} {b}", names, flows, inner),
        st.builds(lambda e, b: f"step critic times ({e}) {b}", expressions, inner),
    )


statements = st.recursive(simple, nested, max_leaves=6)
params = st.sampled_from(
    [
        "",
        "(x)",
        "(x: [N, ...], state h: [N] = none, k = 3)",
        "(\n  x,  # first\n  # own\n  y = [1]\n)",
    ]
)
docs = st.sampled_from(["", "", '"""Short."""\n', '"""Long.\n\n    indented\n  less\n"""\n'])
items = st.one_of(
    st.builds(lambda d, p, e: f"{d}block A{p} -> [N] where N > 1 = {e}", docs, params, expressions),
    st.builds(
        lambda d, p, b: f"{d}cell B{p} -> (a: [N], b: [N]) {b}", docs, params, body(statements)
    ),
    st.builds(lambda d, p, b: f"{d}train t{p} {b}", docs, params, body(statements)),
    st.builds(lambda b: f'test "a \\"b\\"" {b}', body(simple)),
    expressions.map("const a, b = {}, 1".format),
    st.sampled_from(['use "f.dls" as f', "from a.b use X, Y as Z", "# only a remark"]),
)
files = st.builds(
    lambda doc, parts, gap: doc + gap.join(parts),
    st.sampled_from(["", '"""The file."""\n\n', "# license\n"]),
    st.lists(items, max_size=4),
    st.sampled_from(["\n", "\n\n", "\n\n\n# between\n"]),
)


def tree(text: str) -> ast.File:
    diagnostics = Diagnostics()
    file = parse(Source("spec.dls", text), diagnostics)
    assert diagnostics.ok, [(d.message, d.span.first) for d in diagnostics.found]
    return file


@SLOW
@given(files)
def test_format_keeps_the_tree(text: str) -> None:
    before = tree(text)
    formatted = format_source(text, "spec.dls")
    after = tree(formatted)
    assert same(before, after)
    assert format_source(formatted, "spec.dls") == formatted
    assert sorted(c.text for c in before.comments) == sorted(c.text for c in after.comments)


@SLOW
@given(st.text(st.sampled_from("ab {}()[]\"\n#=,:->+-*.3@é\0'\\if"), max_size=60))
def test_any_text_is_parsed_or_diagnosed(text: str) -> None:
    diagnostics = Diagnostics()
    file = parse(Source("spec.dls", text), diagnostics)
    for found in diagnostics.found:
        assert 0 <= found.span.start <= found.span.end <= len(text)
    if diagnostics.ok:
        assert same(file, tree(format_source(text, "spec.dls")))


@SLOW
@given(st.text(max_size=80))
def test_any_unicode_is_parsed_or_diagnosed(text: str) -> None:
    parse(Source("spec.dls", text), Diagnostics())
