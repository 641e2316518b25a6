"""Comparisons of sizes as layers make them, with the answer each must get."""

from __future__ import annotations

import copy
import pickle
import re
import time

import pytest

from dlspec.ir.dims import Dim, Facts, Relation, Truth, dim_max, simplify_requirements

PROVED = """
(H + 4) // 2 == H // 2 + 2
(H // 2) // 3 == H // 6
(4 * H) % 4 == 0
H % 1 == 0
H // 1 == H
(H // 7) * 7 + H % 7 == H
C // C == 1
(C * H) // C == H
-(-H // 2) == (H + 1) // 2
-(-H // s) == (H + s - 1) // s
(H + 1) // 2 + H // 2 == H
3 * C // 4 + (C + 3) // 4 == C
(H + 2 * 1 - 3) // 1 + 1 == H
((H + 2 - 3) // 2 + 1 + 2 - 3) // 2 + 1 == (H + 3) // 4
(2 * H - 2) // 2 + 1 == H
H % 16 < 16
H % s < s
H % s >= 0
H * W >= H
H * W >= W
H * W * C >= 1
B * H // 2 >= 0
s * (H // s) <= H
H // 2 <= H
H - H // 2 >= 1
(H + 2) // 2 >= 1
max(a, b) >= a
min(a, b) <= b
max(a, b) + min(a, b) == a + b
max(H - 3, 1) >= 1
2 ** n >= 2
2 ** (n + 3) == 8 * 2 ** n
2 ** n >= n + 1
2 * H != 2 * K + 1
H >= 3 => (H - 3) // 2 + 1 >= 1
H >= K => (H - K) // s + 1 >= 1
H % 16 == 12 => (H + 4) % 16 == 0
H % 16 == 12 => (H - 12) // 16 * 16 + 12 == H
H % 16 == 0 => 2 * (2 * (2 * (2 * (H // 16)))) == H
H % 16 == 0 => H // 16 >= 1
H % 4 == 0 => (H // 2) % 2 == 0
H % 2 == 0; (H // 2) % 2 == 0; (H // 4) % 2 == 0 => H % 8 == 0
H // 2 % 2 == 0 => H // 2 == 2 * (H // 4)
D % heads == 0 => heads * (D // heads) == D
D % heads == 0 => D // heads >= 1
D % heads == 0 => 3 * D - 2 * heads * (D // heads) == D
2 * C % heads == 0 => heads * (2 * C // heads) == 2 * C
(H + W) % 4 == 0 => (H + W) // 4 * 4 == H + W
C % (2 * g) == 0 => C % g == 0
T <= context => T * D <= context * D
T <= context; context <= 512 => T <= 1024
T < context => T != context
A == B; B == C => A == C
H == 32 => H // 4 == 8
H // 8 == 4 => H >= 32
2 * H == 3 * W => W % 2 == 0
a + b >= 13 => a + b >= 12
H == W => H * W == H * H
C != 0; H != 1 => H >= 2
B * H == B * W => H == W
H % 2 == 0; W % 2 == 0 => 2 * (H // 2) * (2 * (W // 2)) == H * W
H >= 5 => (H - 5) // 4 + 1 <= H
n >= 3; k <= 2 => n - k >= 1
"""

REFUTED = """
H == 0
H < 1
H == H + 1
H + 2 == H
2 * H == 2 * K + 1
4 * H + 2 * W == 7
6 * H % 3 == 1
2 * H % 4 == 1
H % 2 == 2
H % 16 == 16
H % s == s
H % s > s
H % 4 < 0
H // 2 > H
H // 2 == H
H // 2 >= H
H * W == 0
H * W < H
H * W + 1 == 1
-H >= 0
max(a, b) < a
min(a, b) > b
max(a, 3) < 3
max(a, b) == min(a, b) - 1
2 ** n == 1
2 ** n == n
H == 2 * H
(H + 1) // 2 == 0
(H - 1) // 2 + 1 < 1
(H + 1) // 2 + H // 2 != H
C // C == 2
C % C == 1
(H + 4) // 2 == H // 2
B * C * H == B * C * H + B
H >= 3 => (H - 3) // 2 + 1 < 1
H >= 3 => H == 2
H <= 8 => H == 9
H <= 7 => H // 8 == 1
H % 16 == 12 => H % 16 == 0
H % 16 == 12 => H % 2 == 1
H % 16 == 12 => H == 16
H % 2 == 1 => 2 * (H // 2) == H
H % 4 == 2 => (H // 2) % 2 == 0
H % 16 == 0 => H <= 15
D % heads == 0 => heads * (D // heads) == D + 1
D % heads == 0 => D // heads < 1
D % heads == 0 => heads > D
(H + W) % 4 == 0 => (H + W) % 2 == 1
T <= context => T > context
T <= context => T * D > context * D
T <= context; context <= 512 => T == 513
T < context => T == context
A == B => A != B
A == B; B == C => A > C
H == 32 => H % 32 != 0
H == W + 1 => H == W
H != W => H == W
2 * H == 3 * W => W == 1
H >= K => (H - K) // s + 1 <= 0
n >= 3; k <= 2 => n == k
"""

UNKNOWN = """
H == W
H % 16 == 0
H == 1
H >= 2
H - 2 >= 1
(H - 3) // 2 + 1 >= 1
D % heads == 0
T <= context
H % 2 == W % 2
2 * (H // 2) == H
H * W >= 12
max(a, b) == a
H % 2 == 0 => H % 4 == 0
H % 16 == 12 => H >= 13
T <= context => T < context
H >= 3 => H == 3
D % heads == 0 => D // heads >= 2
H == W => H % 2 == 0
2 ** n == 4
H + W == 2 * C
"""


def relation(text: str) -> Relation:
    left, op, right = re.split(r" (==|!=|<=|>=|<|>) ", text)
    return Relation(op, Dim.parse(left), Dim.parse(right))  # type: ignore[arg-type]


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line]


def decided(row: str) -> Truth:
    *given, question = row.split(" => ")
    facts = Facts()
    for text in given[0].split("; ") if given else ():
        facts = facts.assume(relation(text))
    return facts.decide(relation(question))


@pytest.mark.parametrize("row", rows(PROVED))
def test_proved(row: str) -> None:
    assert decided(row) is Truth.PROVED


@pytest.mark.parametrize("row", rows(REFUTED))
def test_refuted(row: str) -> None:
    assert decided(row) is Truth.REFUTED


@pytest.mark.parametrize("row", rows(UNKNOWN))
def test_unknown(row: str) -> None:
    assert decided(row) is Truth.UNKNOWN


@pytest.mark.parametrize("row", rows(PROVED) + rows(REFUTED))
def test_negation_gets_the_opposite_answer(row: str) -> None:
    *given, question = row.split(" => ")
    facts = Facts()
    for text in given[0].split("; ") if given else ():
        facts = facts.assume(relation(text))
    answers = {facts.decide(relation(question)), facts.decide(relation(question).negated())}
    assert answers == {Truth.PROVED, Truth.REFUTED}


def test_lower_bounds() -> None:
    facts = Facts({"H": 3, "offset": -2})
    assert facts.decide(relation("(H - 3) // 2 + 1 >= 1")) is Truth.PROVED
    assert facts.decide(relation("offset >= 1")) is Truth.UNKNOWN
    assert facts.decide(relation("offset >= -2")) is Truth.PROVED
    assert facts.decide(relation("H * offset >= offset")) is Truth.UNKNOWN


def test_assuming_leaves_the_old_facts() -> None:
    before = Facts()
    before.assume(relation("H % 2 == 0"))
    assert before.decide(relation("H % 2 == 0")) is Truth.UNKNOWN


SIMPLIFIED: list[tuple[list[str], list[str]]] = [
    (["H % 2 == 0", "H // 2 % 2 == 0", "H // 4 % 2 == 0", "H // 8 % 2 == 0"], ["H % 16 == 0"]),
    (["2 * (H // 2) == H", "2 * (2 * (2 * (2 * (H // 16)))) == H"], ["H % 16 == 0"]),
    (
        ["2 * (H // 16) == H // 8", "2 * (H // 8) == H // 4", "H // 4 * 4 == H", "H // 16 >= 1"],
        ["H % 16 == 0"],
    ),
    (
        ["H == 2 * (H // 2)", "W == 2 * (W // 2)", "H * W == 4 * (H // 2) * (W // 2)"],
        ["H % 2 == 0", "W % 2 == 0"],
    ),
    (["(H + 4) % 16 == 0"], ["H % 16 == 12"]),
    (["(H - 4) // 2 >= 5"], ["H >= 14"]),
    (["(H - 5) // 2 + 1 >= 1", "(H - 3) // 1 + 1 >= 1"], ["H >= 5"]),
    (["(H - K) // s + 1 >= 1"], ["H >= K"]),
    (["H // 4 <= 3"], ["H <= 15"]),
    (["H - 2 >= 1", "H - 4 >= 1", "H * 1 >= 1"], ["H >= 5"]),
    (["B * C * H == B * C * W"], ["H == W"]),
    (["D - heads * (D // heads) == 0", "heads * (D // heads) == D"], ["D % heads == 0"]),
    (["T <= context", "T - 1 <= context", "T < context + 5"], ["T <= context"]),
    (["T < context"], ["T < context"]),
    (["-T + 3 - W >= -C"], ["C + 3 >= T + W"]),
    (["H == W", "H % 4 == 0", "W % 4 == 0"], ["H % 4 == 0", "H == W"]),
    (["2 * H - 8 == 0"], ["H == 4"]),
    (["2 * H == 7"], ["2 * H == 7"]),
    (["H >= 1", "H != 0", "H * W >= H"], []),
    (["H % 4 != 0"], ["H % 4 != 0"]),
    (["H >= 3", "H >= K + 2"], ["H >= K + 2"]),
]


@pytest.mark.parametrize(("given", "expected"), SIMPLIFIED)
def test_simplified(given: list[str], expected: list[str]) -> None:
    relations = [relation(text) for text in given]
    assert sorted(map(str, simplify_requirements(relations, Facts()))) == sorted(expected)
    assert simplify_requirements(relations[::-1], Facts()) == simplify_requirements(
        relations, Facts()
    )


def test_simplified_under_facts() -> None:
    facts = Facts().assume(relation("H % 2 == 0")).assume(relation("H >= 8"))
    given = [relation("H % 4 == 0"), relation("H >= 5"), relation("H // 2 * 2 == H")]
    assert [str(r) for r in simplify_requirements(given, facts)] == ["H % 4 == 0"]


def test_a_thousand_convolutions() -> None:
    relations: list[Relation] = []
    height, width = Dim.symbol("H"), Dim.symbol("W")
    for _ in range(1000):
        height, width = (height - 3) // 1 + 1, (width - 3) // 1 + 1
        relations += [
            Relation(">=", height, Dim.const(1)),
            Relation(">=", width, Dim.const(1)),
            Relation("==", height - width, Dim.symbol("H") - Dim.symbol("W")),
        ]
    start = time.perf_counter()
    assert [str(r) for r in simplify_requirements(relations, Facts())] == ["H >= 2001", "W >= 2001"]
    assert time.perf_counter() - start < 5


PRINTED = [
    ("(H + 1) // 2 * 2", "2 * ((H + 1) // 2)"),
    ("H // 2 + 1", "H // 2 + 1"),
    ("C * 2", "2 * C"),
    ("(H + 2 * p - k) // s + 1", "(H - k + 2 * p) // s + 1"),
    ("(H // 2) % 2", "H // 2 % 2"),
    ("D - heads * (D // heads)", "D % heads"),
    ("-H + W", "W - H"),
    ("-(H // 2)", "-(H // 2)"),
    ("2 ** (n - 1)", "2 ** (n - 1)"),
    ("H * H", "H ** 2"),
    ("max(H - 3, 1)", "max(H - 3, 1)"),
    ("max(max(H - 1, 1) - 1, 1)", "max(H - 2, 1)"),
    ("widths[0] * 2", "2 * widths[0]"),
    ("H - H", "0"),
]


@pytest.mark.parametrize(("given", "expected"), PRINTED)
def test_printed(given: str, expected: str) -> None:
    assert str(Dim.parse(given)) == expected


def test_rendered_with_other_names() -> None:
    size = Dim.parse("H // 2 * C + (H + 1) % s")
    names = {"H": "x.shape[2]", "C": "channels"}
    assert size.render(names) == "(x.shape[2] + 1) % s + channels * (x.shape[2] // 2)"


BAD = ["", "H +", "H / 2", "f(H)", "1.5", "True", "x if y else z", "2 ** (2 ** 40)", "x ** -1"]
BAD += ["H // 0", "H % 0", "(a + b + c + d) ** 200", "-" * 5000 + "H", "(" * 5000, "H" * 30_000]


@pytest.mark.parametrize("text", BAD)
def test_parse_rejects(text: str) -> None:
    with pytest.raises(ValueError):
        Dim.parse(text)


def test_equality_is_of_values() -> None:
    half = Dim.symbol("H") // 2
    assert (half + 1) * 2 - 2 == 2 * half
    assert hash((half + 1) * 2 - 2) == hash(2 * half)
    assert Dim.const(3) == Dim.of(3) and Dim.const(3).is_const and Dim.const(3).value == 3
    assert half != Dim.symbol("W") // 2
    assert half.symbols == {"H"}
    with pytest.raises(ValueError):
        _ = half.value


def test_copies_are_equal() -> None:
    size = dim_max(Dim.parse("(H - K) // s + 2 ** n"), 1)
    assert copy.deepcopy(size) == size
    assert pickle.loads(pickle.dumps(size)) == size


@pytest.mark.parametrize("values", [{"H": 4}, {"H": 4, "s": 0}])
def test_evaluate_rejects(values: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Dim.parse("H // s").evaluate(values)


def test_a_size_does_not_nest_without_end() -> None:
    size = Dim.symbol("H")
    with pytest.raises(ValueError, match="nested more than"):
        for _ in range(100):
            size = dim_max(2 * size, Dim.symbol("W"))
