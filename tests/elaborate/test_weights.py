"""Rules 8 and 9: who owns which weights, and what they are called."""

from __future__ import annotations

import pytest

from dlspec.ir.graph import CallNode, LayerSlot, Reference, RepeatNode, WeightSlot
from tests.elaborate.specs import model, nodes, problems, weights


def test_names_come_from_as_or_from_the_callee() -> None:
    text = """
    block ConvNorm(n) = conv(n, 3, bias = false) -> batch_norm
    model M(image: [N, 3, 8, 8]) {
      x = image -> ConvNorm(4) as stem -> ConvNorm(4)
      table = param([4, 4], init = normal(std = 0.02))
      return (x -> flatten -> dense(4) as head) @ table
    }
    """
    names = [n for n in weights(text) if "running" not in n]
    assert names == [
        "stem.conv", "stem.batch_norm", "conv_norm.conv", "conv_norm.batch_norm", "table", "head",
    ]  # fmt: skip


def test_a_name_at_several_places_is_numbered() -> None:
    text = "model M(x: [N, 4]) = x -> dense(4) -> dense(4) as one -> dense(4)"
    assert weights(text) == ["dense.0", "one", "dense.1"]


@pytest.mark.parametrize("depth", [1, 3, 12])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("x -> repeat(depth, Block)", "block.{}.dense"),
        ("x -> repeat(depth, Block as layer)", "layer.{}.dense"),
        ("x -> repeat(depth, dense(4))", "dense.{}"),
        ("x -> Loop(depth)", "loop.dense.{}"),
        ("[x -> dense(4) for _ in range(depth)] -> concat", "dense.{}"),
        ("x -> Indexed(depth)", "indexed.layer.{}"),
    ],
)
def test_numbering_is_decided_by_syntax(body: str, path: str, depth: int) -> None:
    text = f"""
    block Block(x: [N, D]) = x -> dense(D)
    block Loop(x: [N, D], depth) {{
      for _ in range(depth) {{ x = x -> dense(D) }}
      return x
    }}
    block Indexed(x: [N, D], depth) {{
      for i in range(depth) {{ x = x -> dense(D) as layer[i] }}
      return x
    }}
    model M(x: [N, 4], depth = 1) = {body}
    """
    assert weights(text, "M", depth=depth) == [path.format(k) for k in range(depth)]


def test_a_repeat_and_what_follows_share_the_count() -> None:
    text = """
    block Block(x: [N, D], n) = x -> dense(n)
    model M(x: [N, 4]) = x -> Block(8) -> repeat(2, Block(8)) -> Block(3)
    """
    assert weights(text) == [f"block.{k}.dense" for k in range(4)]


def test_two_weights_with_one_path() -> None:
    text = "model M(x: [N, 4]) = x -> dense(4) as a[1] -> dense(4) as a[1]"
    assert problems(text) == [("E0209", "dense(4)")]


SHARED = """
block Use(x: [N, D], net) = x -> net -> dense(D)
"""


def test_share_makes_one_store_of_weights() -> None:
    text = "model M(x: [N, 4]) {\n  share d = dense(4)\n  return x -> d -> d -> d\n}"
    function = model(text)
    (slot,) = function.slots
    assert isinstance(slot, LayerSlot)
    assert weights(text) == ["d"]


def test_passed_on_it_stays_shared() -> None:
    text = (
        SHARED
        + "model M(x: [N, 4]) {\n  share d = dense(4)\n  return x -> d -> Use(d) -> Use(d)\n}"
    )
    function = model(text)
    assert weights(text) == ["d", "use.0.dense", "use.1.dense"]
    calls = [n for n in nodes(function) if isinstance(n, CallNode)]
    assert len({n.function for n in calls}) == 1
    assert all(n.refs == (function.slots[0],) for n in calls)
    assert [r.name for r in calls[0].function.references] == ["d"]


def test_used_first_inside_a_block_it_belongs_to_its_owner() -> None:
    text = SHARED + "model M(x: [N, 4]) {\n  share d = dense(4)\n  return x -> Use(d) -> d\n}"
    function = model(text)
    slot = next(s for s in function.slots if isinstance(s, LayerSlot))
    assert all(e.is_const for w in slot.weights.values() for e in w.type.shape)
    assert slot.attributes


def test_shared_inside_a_repeat_and_outside() -> None:
    text = """
    model M(x: [N, 4]) {
      share d = dense(4)
      return x -> repeat(3, d -> relu -> dense(4)) -> d
    }
    """
    assert weights(text) == ["d"] + [f"repeat.{k}.dense" for k in range(3)]
    (repeat,) = [n for n in nodes(model(text)) if isinstance(n, RepeatNode)]
    assert len(repeat.refs) == 1 and not isinstance(repeat.refs[0], Reference)


def test_a_shared_block() -> None:
    text = """
    block Net(x: [N, D]) = x -> dense(D) -> relu
    model M(a: [N, 4], b: [N, 4]) {
      share net = Net()
      return (a -> net) + (b -> net -> repeat(2, net))
    }
    """
    assert weights(text) == ["net.dense"]


def test_a_shared_weight_needs_one_shape() -> None:
    text = "model M(x: [N, 4]) {\n  share d = dense(3)\n  return x -> d -> d\n}"
    assert problems(text) == [("E0301", "d")]


def test_tying_reads_a_weight_of_a_shared_layer() -> None:
    text = """
    model M(t: i64[N, T]) {
      share emb = embedding(9, 4)
      h = t -> emb -> dense(4)
      return h @ transpose(emb.weight)
    }
    """
    assert weights(text) == ["emb", "dense"]
    assert problems(text.replace("emb.weight", "emb.wait")) == [("E0201", "emb.wait")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("share d = dense(4)\n  y = d.weight\n  return x -> d", "E0204"),
        ("share d = Net()\n  y = x -> d\n  return y @ d.dense", "E0401"),
        ("share d = Net(n = 4)\n  return x -> d -> d(n = 3)", "E0301"),
        ("share d = dense(4)\n  return x -> d -> d(3)", "E0204"),
        ("share d = Net()\n  return x -> d -> d(m = 3)", "E0204"),
        ("share d = x\n  return d", "E0206"),
        ("share d = 3\n  return x * d", "E0206"),
        ("share a, b = dense(3)\n  return x -> a", "E0401"),
    ],
)
def test_what_cannot_be_shared(body: str, code: str) -> None:
    net = "block Net(x: [N, D], n = 4) = x -> dense(n)\n"
    found = [c for c, _ in problems(f"{net}model M(x: [N, 4]) {{\n  {body}\n}}") if c[0] == "E"]
    assert found == [code]


def test_own_weights() -> None:
    text = """
    block Norm(x: [N, D]) {
      scale = param([D], init = ones)
      shift = param([D], init = zeros)
      count = buffer([1])
      return x * scale + shift * count
    }
    model M(x: [N, 4]) = x -> Norm -> Norm
    """
    assert weights(text)[:3] == ["norm.0.scale", "norm.0.shift", "norm.0.count"]
    call = nodes(model(text))[0]
    assert isinstance(call, CallNode)
    kinds = [
        (s.weight.init.kind, s.weight.trainable)
        for s in call.function.slots
        if isinstance(s, WeightSlot)
    ]
    assert kinds == [("ones", True), ("zeros", True), ("zeros", False)]


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("param()", "E0205"),
        ("param([0])", "E0305"),
        ("param([4], init = relu)", "E0204"),
        ("param([4], 1, 2)", "E0204"),
        ("param([4], innit = ones)", "E0204"),
        ("param(4)", "E0401"),
        ("param([4], init = normal(sdt = 1))", "E0204"),
    ],
)
def test_bad_own_weights(expression: str, code: str) -> None:
    assert [c for c, _ in problems(f"model M(x: [N, 4]) = x * {expression}")] == [code]


def test_weights_of_a_static_choice() -> None:
    text = """
    model M(x: [N, 4], deep = true) {
      if deep { x = x -> dense(4) as a } else { x = x -> dense(4) as b }
      return x -> dense(2)
    }
    """
    assert sorted(weights(text)) == ["a", "dense"]
    assert sorted(weights(text, "M", deep=False)) == ["b", "dense"]


def test_a_shared_repeat_is_one_stack() -> None:
    text = """
    block B(x: [N, D]) = x -> dense(D) -> tanh
    model M(x: [N, 6]) {
      share stack = repeat(2, B)
      h = x -> stack
      return (h + 1.0) -> stack
    }
    """
    assert weights(text) == ["stack.b.0.dense", "stack.b.1.dense"]
    calls = [n for n in nodes(model(text)) if isinstance(n, CallNode)]
    assert len(calls) == 2 and calls[0].slot is calls[1].slot


def test_a_shared_instance_and_others_of_its_definition_are_numbered() -> None:
    text = """
    block Centre(x: [N, D]) = x -> dense(D)
    model M(x: [N, 4]) {
      share centre = Centre()
      return x -> centre -> repeat(2, Centre) -> centre
    }
    """
    assert weights(text)[0] == "centre.0.dense"
    assert not any(name.startswith("centre.dense") for name in weights(text))
