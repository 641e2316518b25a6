"""Weights inside shared networks: by their paths, and all of them in a penalty."""

from __future__ import annotations

import pytest

from dlspec.ir.graph import CallNode, Function, functions_below
from dlspec.passes.reading import gives_weight, passes_on
from tests.elaborate.specs import model, nodes, ok, output, weights

NET = """
block Enc(x: [N, D], n) = x -> dense(n) as code -> batch_norm
block Part(x: [N, D]) {
  scale = param([D], init = ones)
  return (x * scale) -> dense(D)
}
block Net(x: [N, D], n = 5) = x -> Enc(n) as encode -> repeat(3, Part)
block Peek(x: [N, D], net) = x @ net.encode.code.weight
"""


def run(body: str) -> str:
    return f"{NET}model M(x: [N, 4]) {{\n  share net = Net()\n  y = net(x)\n  return {body}\n}}"


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ("y @ net.encode.code.weight", "[N, 4]"),
        ("y * net.encode.batch_norm.bias", "[N, 5]"),
        ("y * net.part[1].scale", "[N, 5]"),
        ("y @ net.part[2].dense.weight", "[N, 5]"),
        ("Peek(y, net)", "[N, 4]"),
        ("l2(net) + l1(net.encode) + l2(net.part[0]) + l1(net.part) + l2(net.part[0].scale)", "[]"),
    ],
)
def test_paths_end_at_tensors(body: str, type_: str) -> None:
    assert output(run(body)) == type_
    assert weights(run(body))[0] == "net.encode.code"


def reader(body: str) -> Function:
    calls = [n for n in nodes(model(run(body))) if isinstance(n, CallNode)]
    return calls[1].function


def test_what_reads_runs_on_the_instance() -> None:
    found = reader("y @ net.encode.code.weight")
    assert found.of is not None and found.of.name == "Net"
    inner = passes_on(found)
    assert inner is not None and gives_weight(inner.function)


def test_a_penalty_is_hierarchical() -> None:
    below = [f.name for f in functions_below(reader("y * l2(net)")) if f.of is not None]
    assert sorted(below) == ["Enc_l2", "Net_l2", "Part_add_l2"]


def test_the_mean_of_a_batch_is_no_weight() -> None:
    penalties = [f for f in functions_below(reader("y * l2(net)")) if f.name == "Enc_l2"]
    read = {v.weight[1].name for n in nodes(penalties[0]) for v in n.operands if v.weight}
    assert read == {"weight", "bias"}


def test_the_size_of_a_block_that_was_handed_over() -> None:
    text = (
        NET
        + """
    block Outer(x: [N, D], n) {
      share net = Net(n = n)
      y = net(x)
      return Peek(y, net) + y @ net.encode.code.weight
    }
    model M(x: [N, 4]) = x -> Outer(3) -> Outer(6)
    """
    )
    assert output(text) == "[N, 4]"


def test_tensors_and_built_in_layers() -> None:
    text = "model M(x: [N, 4]) {\n  share d = dense(3)\n  y = d(x)\n"
    assert output(text + "  return l2(d) + l1(y) + l2(d.weight)\n}") == "[]"


def test_with_other_arguments_at_another_use() -> None:
    text = NET.replace("repeat(3, Part)", "repeat(depth, Part)").replace(
        "n = 5)", "n = 5, depth = 1)"
    )
    text += "model M(x: [N, 4]) {\n  share net = Net()\n  y = net(x)\n"
    ok(text + "  z = net(x, depth = 3)\n  return y + z * net.part[2].scale * l2(net)\n}")
