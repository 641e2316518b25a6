"""Shared blocks with other static arguments: one set of weights, code for each use."""

from __future__ import annotations

from dlspec.ir.graph import CallNode, Function, functions_below
from dlspec.passes.merge import merge
from tests.elaborate.specs import model, nodes, weights

NET = """
block Net(x: [N, D], depth = 1, gain = 1.0, deep = false) {
  x = gain * (x -> repeat(depth, dense(D) -> tanh))
  if deep { x = x -> dense(D) as extra }
  return x
}
block Use(x: [N, D], net) = x -> net(depth = 2) -> net -> relu
"""


def run(body: str) -> str:
    return f"{NET}model M(x: [N, 4]) {{\n  share net = Net()\n  return {body}\n}}"


def callees(function: Function) -> list[Function]:
    return [n.function for n in nodes(function) if isinstance(n, CallNode)]


def test_all_uses_together_own_the_weights() -> None:
    text = run("(x -> net(deep = true)) + (x -> net(depth = 3)) + (x -> net)")
    assert weights(text) == [
        "net.repeat.0.dense", "net.repeat.1.dense", "net.repeat.2.dense", "net.extra",
    ]  # fmt: skip


def test_each_use_has_a_function_of_its_own() -> None:
    function = model(run("x -> net -> net(gain = 0.5) -> net(gain = 0.5) -> net -> net(2)"))
    first, half, again, same, two = callees(function)
    assert (first, half) == (same, again)
    assert first.of is None and half.of is first and two.of is first
    assert [f.name for f in (first, half, two)] == ["Net", "Net_gain_0_5", "Net_depth_2"]
    assert not half.statics


def test_equal_arguments_are_no_variant() -> None:
    first, second = callees(model(run("x -> net -> net(depth = 1, gain = 1.0)")))
    assert first.of is None and second.of is None


def test_inside_another_block() -> None:
    function = model(run("Use(x, net) -> net"))
    (use, again) = callees(function)
    inner, other = callees(use)
    assert other is inner.of or inner is other.of
    assert weights(run("Use(x, net) -> net")) == ["net.repeat.0.dense", "net.repeat.1.dense"]
    assert again in (inner, other)


def test_merged_they_stay_apart() -> None:
    merged = merge(model(run("x -> net -> net(gain = 0.5) -> net(gain = 0.25) -> net(depth = 2)")))
    variants = [f.name for f in functions_below(merged) if f.of is not None]
    assert sorted(variants) == ["Net_depth_2", "Net_gain_0_25", "Net_gain_0_5"]
    names = {f.of.name for f in functions_below(merged) if f.of is not None}
    assert names == {"Net"}


def test_two_instances_do_not_disturb_each_other() -> None:
    text = (
        NET
        + """
    model M(x: [N, 4]) {
      share a = Net()
      share b = Net()
      return (x -> a -> a(depth = 2)) + (x -> b) + (x -> Net)
    }
    """
    )
    assert weights(text) == [
        "a.repeat.0.dense", "a.repeat.1.dense", "b.repeat.0.dense", "net.repeat.0.dense",
    ]  # fmt: skip


def test_a_size_that_decides_at_each_use() -> None:
    text = """
    block Halve(x: [N, C, H, W]) {
      if H > 4 { x = x -> conv(C, 1) as down }
      return x -> conv(C, 1)
    }
    model M(x: [N, 4, 8, 8]) {
      share net = Halve()
      small = x -> max_pool(2) -> net
      return (small, x -> net)
    }
    """
    assert sorted(weights(text)) == ["net.conv", "net.down"]
