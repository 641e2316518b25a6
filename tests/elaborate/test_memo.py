"""Instantiation is memoised, and equal runs of a repeat are one node."""

from __future__ import annotations

import time

from dlspec.api import load
from dlspec.ir.graph import CallNode, RepeatNode
from tests.elaborate.specs import model, nodes, problems

VALID = """
block Valid(x: [N, C, H, W]) = x -> conv(4, 3) -> relu
model M(image: [N, 4, H, W], depth = 1000) = image -> repeat(depth, Valid) -> global_avg_pool
"""


def test_a_thousand_equal_blocks_are_one_analysis() -> None:
    spec = load(VALID)
    found = spec.model()
    assert sum(map(len, spec.session.memo.values())) == 2
    assert found.requirements == ["H >= 2001", "W >= 2001"]
    (repeat, *_) = nodes(found.function)
    assert isinstance(repeat, RepeatNode) and len(repeat.runs) == 1000


def test_calls_with_equal_arguments_are_one_function() -> None:
    text = """
    block Block(x: [N, D], n) = x -> dense(n)
    model M(x: [N, 4]) = x -> Block(4) -> Block(4) -> Block(5) -> Block(4) -> Block(4)
    """
    found = [n.function for n in nodes(model(text)) if isinstance(n, CallNode)]
    assert len(set(found)) == 2
    assert found[0] is found[4]


def test_a_first_run_that_differs_stands_alone() -> None:
    text = """
    block Skip(x: [N, D], n) = x + (x if D == n else x -> dense(n))[:, :1]
    block Grow(x: [N, D], n) = (x if D == n else x -> dense(n)) * 2
    model M(x: [N, 4]) = x -> repeat(5, Grow(8)) -> repeat(3, Skip(8))
    """
    kinds = [(type(n).__name__, str(getattr(n, "count", ""))) for n in nodes(model(text))]
    assert kinds == [("CallNode", ""), ("RepeatNode", "4"), ("RepeatNode", "3")]


def test_a_repeat_of_nothing_is_its_input() -> None:
    text = "block B(x: [N, D]) = x -> dense(D)\nmodel M(x: [N, 4], n = 0) = (x -> repeat(n, B)) * 2"
    function = model(text)
    assert function.outputs[0].type.shape[1].value == 4


def test_one_cause_in_many_instances_is_one_diagnostic() -> None:
    text = """
    block Bad(x: [N, C], n) = x + (x -> dense(C + n))
    model M(x: [N, 4]) = x -> Bad(1) -> Bad(2) -> Bad(3)
    """
    assert [c for c, _ in problems(text)] == ["E0301"]


def test_recursion_without_end_is_told_quickly() -> None:
    began = time.perf_counter()
    text = "block T(x: [N, D], d) = x -> dense(D) -> T(d + 1)\nmodel M(x: [N, 4]) = x -> T(0)"
    assert [c for c, _ in problems(text)] == ["E0404"]
    text = (
        "block T(x: [N, D], d) = (x -> T(d + 1)) + (x -> T(d + 1))\nmodel M(x: [N, 4]) = x -> T(0)"
    )
    assert [c for c, _ in problems(text)] == ["E0404"]
    assert time.perf_counter() - began < 5


def test_recursion_to_depth_90_is_fine() -> None:
    text = """
    block T(x: [N, D], d) {
      if d == 0 { return x }
      return x -> dense(D) -> T(d - 1)
    }
    model M(x: [N, 4]) = x -> T(90)
    """
    assert problems(text) == []


def test_long_pipes() -> None:
    stages = "\n".join(f"  -> dense({k % 50 + 3})" for k in range(3000))
    assert problems(f"model M(x: [N, 8]) =\n  x\n{stages}") == []
