"""Random and mutated specs give diagnostics or succeed; nothing else ever comes out.

DLSPEC_FUZZ=2000 pytest tests/properties/test_fuzz.py      # more of them
"""

from __future__ import annotations

import os
import random
import re
from functools import cache
from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.report import render, to_json
from dlspec.syntax import format_source

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("DLSPEC_FUZZ", "300"))
SEED = int(os.environ.get("DLSPEC_FUZZ_SEED", "20260101"))
BATCH = 50
TOKEN = re.compile(r'"[^"\n]*"|[A-Za-z_]\w*|\d[\d_.]*|->|//|\*\*|[<>=!]=|\s+|.', re.DOTALL)
BLOCK = re.compile(r"```dls\n(.*?)```", re.DOTALL)
ATOMS = [
    "0", "1", "-1", "2", "1.5", "1e9", "10 ** 9", "none", "true", "inf", '"a"', "x", "y", "n", "N",
    "D", "H", "H // 2", "C % 3", "[]", "[1, 2]", "(x, x)", "training", "relu", "dense(4)", "dense",
    "conv(4, 3)", "batch_norm", "repeat(2, dense(4))", "fork(relu, tanh)", "param([4])", "softmax",
    "flatten", "split(2)", "concat", "reshape([N, -1])", "max", "range(3)", "len", "zip([1], [2])",
    "not n", "~x", "x @ y", "x[0]", "x[:, 1:]", "mean", "embedding(4, 4)", "one_hot(3)",
    'cast(x, "i64")', "iris", "[i for i in [1, 2]]", "x -> g", "f(2)", "g(x, n = 2)", "s",
    "s.weight",
]  # fmt: skip
WORDS = [
    "_", "...", "()", "share", "as a", "as b[0]", "for i in range(3)", "if", "else", "return",
    "where", "epochs", "over", "using", "sgd(0.1)", "data", "from", "and",
]  # fmt: skip
KEYWORDS = frozenset({
    "block", "model", "cell", "train", "test", "const", "use", "from", "as", "share", "for", "in",
    "if", "else", "return", "where", "assert", "and", "or", "not", "true", "false", "none", "inf",
    "over", "using", "times", "every", "on", "state",
})  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "@", "==", "<", ">=", "!=", "and", "or", "&", "|")
TYPES = ["[N, 4]", "[N, D]", "[N, 3, H, W]", "i64[N, T]", "[]", "[N, ...]", "bool[N]"]


@cache
def corpus() -> list[str]:
    """Specs to start from: small ones, good and bad."""
    files = [p for folder in ("specs", "tests/specs") for p in (ROOT / folder).rglob("*.dls")]
    files += (ROOT / "tests/ui/cases").glob("*.dls")
    texts = [path.read_text("utf-8") for path in sorted(files)]
    for page in sorted((ROOT / "docs").rglob("*.md")):
        texts += BLOCK.findall(page.read_text("utf-8"))
    return [text for text in texts if len(text) < 4000]


@cache
def pool() -> list[str]:
    """Tokens to put in, those of the corpus and some that are likely to hurt."""
    words = {t for text in corpus() for t in TOKEN.findall(text) if t.strip()}
    return sorted(words) + (ATOMS + WORDS) * 3


def alike(rng: random.Random, token: str) -> str:
    """Another token of the same kind, so that the spec still parses."""
    if token[:1].isdigit():
        return rng.choice(("0", "1", "2", "3", "7", "64", "1000", "99999999", "-1", "1.5", "N"))
    if token.isidentifier() and token not in KEYWORDS:
        return rng.choice([t for t in pool() if t.isidentifier() and t not in KEYWORDS])
    if token in OPERATORS:
        return rng.choice(OPERATORS)
    return token


def mutated(rng: random.Random) -> str:
    tokens = TOKEN.findall(rng.choice(corpus()))
    solid = [i for i, t in enumerate(tokens) if t.strip()]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.choice(solid)
        if rng.random() < 0.5:
            tokens[at] = alike(rng, tokens[at])
            continue
        match rng.randrange(6):
            case 0:
                tokens[at] = ""
            case 1:
                tokens[at] += " " + tokens[at]
            case 2:
                other = rng.choice(solid)
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens[at] = tokens[rng.choice(solid)]
            case 4:
                tokens[at] += " " + rng.choice(pool())
            case _:
                tokens[at] = rng.choice(pool())
    return "".join(tokens)


def expression(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.3:
        return rng.choice((*ATOMS, "x", "x", "x", "y", "n", str(rng.randrange(9))))
    a, b = expression(rng, depth - 1), expression(rng, depth - 1)
    form = rng.choice((
        "{a} -> {b}", "({a} -> {b})", "({a}) + ({b})", "({a}) // ({b})", "({a}) == ({b})",
        "[{a}, {b}]", "({a}, {b})", "({a})[{b}]", "dense(x, {a})", "repeat({a}, {b})",
        "fork({a}, {b})", "({a} if {b} else y)", "({a} if n > 1 else {b})", "f({a})", "g({a}, {b})",
        "x -> g({a})", "x -> conv({a}, {b})", "reshape(x, [{a}, {b}])", "max({a}, {b})",
        "[{a} for i in {b}]", "({a}) ** ({b})", "concat({a}, {b})", "-({a})", "where({a}, {b}, x)",
        "({a}) * 2 % 3", "len({a})", "({a}) as q", "x -> repeat(2, g({a}))",
    ))  # fmt: skip
    return form.format(a=a, b=b)


def soup(rng: random.Random) -> str:
    """A spec that parses more often than not, and means little."""
    lines: list[str] = []
    for _ in range(rng.randrange(1, 5)):
        target = rng.choice(("x", "y", "y", "a, b", "n", "share s", "z: [N, 4]"))
        line = f"{target} = {expression(rng, 2)}"
        if rng.random() < 0.15:
            line = f"for i in {expression(rng, 1)} {{ {line} }}"
        elif rng.random() < 0.15:
            line = f"if {expression(rng, 1)} {{ {line} }} else {{ y = x }}"
        lines.append("  " + line)
    kind, other = rng.choice(TYPES), rng.choice(TYPES)
    return "\n".join([
        "block f(c) = " + expression(rng, 2),
        f"block g(x: {other}, n = {rng.choice(ATOMS)}) = " + expression(rng, 2),
        f"model M(x: {kind}, y: {rng.choice(TYPES)}, n = {rng.randrange(4)}) {{",
        *lines,
        f"  return {expression(rng, 2)}",
        "}",
        "",
    ])  # fmt: skip


def noise(rng: random.Random) -> str:
    return " ".join(rng.choice(pool()) for _ in range(rng.randrange(1, 60))) + "\n{"


def check(text: str) -> bool:
    """Whether the spec reached elaboration; anything but diagnostics is an error."""
    spec = load(text + "\n")
    spec.check()
    spec.test()
    render(spec.diagnostics)
    to_json(spec.diagnostics)
    if not any(d.code.name.startswith("E01") for d in spec.diagnostics.found):
        format_source(text + "\n", "fuzz.dls")
    return bool(spec.session.memo)


MAKERS = (*[mutated] * 5, *[soup] * 4, noise)


def specs(batch: int) -> list[str]:
    rng = random.Random(SEED + batch)
    return [rng.choice(MAKERS)(rng) for _ in range(BATCH)]


@pytest.mark.parametrize("batch", range(COUNT // BATCH))
def test_random_specs(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "tests/ui/cases")
    reached = 0
    for text in specs(batch):
        try:
            reached += check(text)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{text}") from error
    assert reached >= BATCH // 4  # a third of all, not of each batch
