"""The algebra of sizes against plain integer arithmetic on random expressions."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dlspec.ir.dims import (
    Dim,
    Facts,
    Relation,
    Truth,
    dim_max,
    dim_min,
    simplify_requirements,
)

NAMES = ("H", "W", "s")
Values = dict[str, int]


@dataclass(frozen=True)
class Tree:
    """An expression twice: as a size, and as what it means for given symbols."""

    dim: Dim
    meaning: Callable[[Values], int]
    text: str

    def __repr__(self) -> str:
        return self.text


def constant(value: int) -> Tree:
    return Tree(Dim.const(value), lambda _: value, str(value))


def symbol(name: str) -> Tree:
    return Tree(Dim.symbol(name), lambda values: values[name], name)


def binary(op: str, a: Tree, b: Tree) -> Tree:
    on_dims, on_ints = OPERATORS[op]
    return Tree(
        on_dims(a.dim, b.dim),
        lambda values: on_ints(a.meaning(values), b.meaning(values)),
        f"{op}({a}, {b})",
    )


OPERATORS: dict[str, tuple[Callable[[Dim, Dim], Dim], Callable[[int, int], int]]] = {
    "add": (operator.add, operator.add),
    "sub": (operator.sub, operator.sub),
    "mul": (operator.mul, operator.mul),
    "floordiv": (operator.floordiv, operator.floordiv),
    "mod": (operator.mod, operator.mod),
    "max": (dim_max, max),
    "min": (dim_min, min),
}

DIVISORS = st.one_of(
    st.integers(1, 12).map(constant),
    st.sampled_from(NAMES).map(symbol),
    st.tuples(st.integers(1, 4).map(constant), st.sampled_from(NAMES).map(symbol)).map(
        lambda pair: binary("mul", *pair)
    ),
    st.tuples(st.integers(0, 4).map(constant), st.sampled_from(NAMES).map(symbol)).map(
        lambda pair: binary("add", *pair)
    ),
)
LEAVES = st.one_of(st.integers(-20, 20).map(constant), st.sampled_from(NAMES).map(symbol))


def grown(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.builds(binary, st.sampled_from(["add", "sub", "mul", "max", "min"]), children, children),
        st.builds(binary, st.sampled_from(["floordiv", "mod"]), children, DIVISORS),
        st.builds(binary, st.sampled_from(["floordiv", "mod", "add"]), children, DIVISORS),
    )


TREES = st.recursive(LEAVES, grown, max_leaves=8)
VALUES = st.fixed_dictionaries({name: st.integers(1, 60) for name in NAMES})
OPS = st.sampled_from(["==", "!=", "<", ">", "<=", ">="])
HOLDS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def holds(relation: Relation, values: Values) -> bool:
    return HOLDS[relation.op](relation.left.evaluate(values), relation.right.evaluate(values))


@given(TREES, VALUES)
@settings(max_examples=600, deadline=None)
def test_canonical_form_keeps_the_value(tree: Tree, values: Values) -> None:
    assert tree.dim.evaluate(values) == tree.meaning(values)


@given(TREES, st.sampled_from(NAMES), TREES, VALUES)
@settings(max_examples=300, deadline=None)
def test_substitute_then_evaluate(tree: Tree, name: str, new: Tree, values: Values) -> None:
    value = new.meaning(values)
    assume(value >= 1)  # divisors stay admissible
    after = tree.dim.substitute({name: new.dim})
    assert after.evaluate(values) == tree.meaning({**values, name: value})


@given(TREES, VALUES)
@settings(max_examples=300, deadline=None)
def test_substituting_numbers_is_evaluating(tree: Tree, values: Values) -> None:
    assert tree.dim.substitute(values).value == tree.meaning(values)


def test_substitution_is_simultaneous() -> None:
    h, w = Dim.symbol("H"), Dim.symbol("W")
    assert (h // 2 + w).substitute({"H": w, "W": h}) == w // 2 + h


@given(TREES)
@settings(max_examples=600, deadline=None)
def test_parse_reads_what_str_prints(tree: Tree) -> None:
    assert Dim.parse(str(tree.dim)) == tree.dim


@given(TREES, VALUES)
@settings(max_examples=300, deadline=None)
def test_rendered_python_has_the_value(tree: Tree, values: Values) -> None:
    names = {"H": "x.shape[0]", "s": "stride"}

    class X:
        shape = (values["H"],)

    scope = {"x": X, "W": values["W"], "stride": values["s"], "max": max, "min": min}
    text = tree.dim.render(names)
    assert eval(text, {"__builtins__": {}}, scope) == tree.meaning(values)


@given(TREES, TREES, OPS)
@settings(max_examples=500, deadline=None)
def test_decisions_are_true(left: Tree, right: Tree, op: str) -> None:
    relation = Relation(op, left.dim, right.dim)  # type: ignore[arg-type]
    verdict = Facts().decide(relation)
    if verdict is not Truth.UNKNOWN:
        for values in points():
            assert holds(relation, values) is (verdict is Truth.PROVED), values


SMALL = st.recursive(LEAVES, grown, max_leaves=4)
RELATIONS = st.builds(lambda op, a, b: Relation(op, a.dim, b.dim), OPS, SMALL, SMALL)
MODULAR = st.builds(
    lambda name, shift, m, r: Relation("==", (Dim.symbol(name) + shift) % m, Dim.const(r % m)),
    st.sampled_from(NAMES),
    st.integers(0, 5),
    st.integers(2, 8),
    st.integers(0, 7),
)
HALVED = st.builds(
    lambda name, a, b: Relation("==", Dim.symbol(name) // a, b * (Dim.symbol(name) // (a * b))),
    st.sampled_from(NAMES),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([2, 3]),
)
AT_LEAST = st.builds(
    lambda name, k, m, c: Relation(">=", (Dim.symbol(name) - k) // m, Dim.const(c)),
    st.sampled_from(NAMES),
    st.integers(0, 9),
    st.integers(1, 4),
    st.integers(-1, 4),
)
DIVIDES = st.builds(
    lambda a, b: Relation("==", Dim.symbol(a) % Dim.symbol(b), Dim.const(0)),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
)
LINEAR = st.builds(
    lambda op, a, b, c: Relation(op, a * Dim.symbol("H"), b * Dim.symbol("W") + c),
    OPS,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(-4, 4),
)
ANY_RELATION = st.one_of(RELATIONS, MODULAR, HALVED, AT_LEAST, DIVIDES, LINEAR)


def points() -> list[Values]:
    """The small corner in full, and some far away; the same each time."""
    near = [{"H": h, "W": w, "s": s} for h in range(1, 9) for w in range(1, 9) for s in range(1, 5)]
    draw = random.Random(0)
    far = [{name: draw.randint(1, 200) for name in NAMES} for _ in range(150)]
    return near + far


@given(st.lists(ANY_RELATION, max_size=4), ANY_RELATION)
@settings(max_examples=500, deadline=None)
def test_decisions_under_facts_are_true(known: list[Relation], question: Relation) -> None:
    facts = Facts()
    for relation in known:
        facts = facts.assume(relation)
    verdict = facts.decide(question)
    if verdict is Truth.UNKNOWN:
        return
    for values in points():
        if all(holds(relation, values) for relation in known):
            assert holds(question, values) is (verdict is Truth.PROVED), values


@given(st.lists(ANY_RELATION, max_size=6), st.lists(ANY_RELATION, max_size=2))
@settings(max_examples=400, deadline=None)
def test_simplified_requirements_say_the_same(given: list[Relation], known: list[Relation]) -> None:
    facts = Facts()
    for relation in known:
        facts = facts.assume(relation)
    simple = simplify_requirements(given, facts)
    for values in points():
        if all(holds(relation, values) for relation in known):
            before = all(holds(relation, values) for relation in given)
            assert all(holds(relation, values) for relation in simple) is before, values


@given(st.lists(ANY_RELATION, max_size=5))
@settings(max_examples=150, deadline=None)
def test_simplified_requirements_are_settled(given: list[Relation]) -> None:
    once = simplify_requirements(given, Facts())
    assert len(simplify_requirements(once, Facts())) <= len(once)
    assert all(Dim.parse(str(relation.left)) == relation.left for relation in once)
