"""`freeze`: no weight moves, inference mode inside, and gradients to the inputs flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dlspec
from dlspec.ir.graph import OpNode, functions_below, walk
from dlspec.passes.randomness import drawing
from dlspec.verification import verify
from tests.training.by_hand import BACKENDS, BATCHES, agree, batch_tensors, run, tensors

NET = """
block Trunk(x: [N, D], hidden) = x -> dense(hidden) -> batch_norm -> dropout(0.3) -> tanh
block Plain(x: [N, D], hidden) = x -> dense(hidden) -> tanh
model Net(x: [N, 4]) = x -> Plain(5) as first -> Trunk(5) as middle -> dense(3) as head
"""


def section(*lines: str, net: str = NET) -> str:
    body = "\n  ".join(lines)
    return f"""{net}
train t {{
  data (x: [N, 4], y: i64[N]) from npz("a.npz", fields = ["x", "y"], batch = 6)
  share net = Net
  {body}
}}
"""


MIDDLE = section(
    "freeze net.middle, net.head.bias",
    "minimize cross_entropy(net(x), y) using sgd(0.1, momentum = 0.9)",
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_frozen_is_torchs_eval_and_requires_grad(tmp_path: Path, backend: str) -> None:
    module, state, first = run(MIDDLE, backend, tmp_path, 0.1)
    w = tensors(first)
    trained = [w[n] for n in ("first.dense.weight", "first.dense.bias", "head.weight")]
    optimizer = torch.optim.SGD(trained, 0.1, momentum=0.9)
    for batch in BATCHES:
        x, y = batch_tensors(batch)
        x = torch.tanh(F.linear(x, w["first.dense.weight"], w["first.dense.bias"]))
        x = F.linear(x, w["middle.dense.weight"], w["middle.dense.bias"])
        norm = "middle.batch_norm"
        statistics = w[f"{norm}.running_mean"].detach(), w[f"{norm}.running_var"].detach()
        x = torch.tanh(F.batch_norm(x, *statistics, w[f"{norm}.weight"], w[f"{norm}.bias"]))
        optimizer.zero_grad()
        F.cross_entropy(F.linear(x, w["head.weight"], w["head.bias"]), y).backward()
        optimizer.step()
    found = module.export_weights(state)
    agree(found, w)
    still = [n for n in found if np.array_equal(found[n], first[n])]
    assert sorted(n for n in found if n not in still) == [
        "first.dense.bias", "first.dense.weight", "head.weight",
    ]  # fmt: skip
    assert sorted(module.gradients(state, BATCHES[0])[1]) == [
        "first.dense.bias", "first.dense.weight", "head.weight",
    ]  # fmt: skip


CRITIC = section(
    "share critic = Net",
    "freeze critic",
    "minimize cross_entropy(concat(net(x), mean(net(x), axis = -1, keepdims = true)) -> critic, y)",
    "  using sgd(0.1)",
)
TWICE = section(
    "share other = Net",
    "freeze net.middle",
    "step one { minimize cross_entropy(net(x), y) over net using adam(0.01) }",
    "step two { minimize cross_entropy(net(x) + other(x), y) using sgd(0.1) }",
)
BRANCHED = section(
    "freeze net.block",
    "minimize cross_entropy(net(x), y) using sgd(0.1)",
    net="""
block Block(x: [N, D]) {
  h = x -> dense(D) as inner
  if training {
    h = h + 1
  }
  return h -> batch_norm -> relu
}
model Net(x: [N, 4]) = x -> dense(5) -> Block -> Block as free -> dense(3) as head
""",
)

HANDED = section(
    "share code = Trunk",
    "freeze code, net.trunk[1], net.trunk[2].dense",
    "minimize cross_entropy(net(Use(x, code) -> Use(code)), y) using sgd(0.1)",
    net="""
block Trunk(x: [N, D]) = x -> dense(D) -> batch_norm -> dropout(0.3) -> tanh
block Use(x: [N, D], inner) = x -> inner -> dense(D)
model Net(x: [N, 4]) = x -> repeat(4, Trunk) -> dense(3) as head
""",
)


def test_one_block_of_a_repeat_and_what_another_is_given() -> None:
    """Both run in inference mode; what stands beside them trains."""
    found = dlspec.load(HANDED).trainer("t").training
    assert found.frozen == ("code", "net.trunk.1", "net.trunk.2.dense")
    below = functions_below(found.function)
    trunks = [f for f in below if f.name == "Trunk"]
    drawn = [any(isinstance(n, OpNode) and n.op.random for n in walk(f.body)) for f in trunks]
    assert sorted(drawn) == [False, True, True]
    uses = [f for f in below if f.name == "Use"]
    assert all(not drawing(f)[id(f)] for f in uses)


@pytest.mark.parametrize("text", [MIDDLE, CRITIC, TWICE, BRANCHED, HANDED])
def test_backends_agree(text: str) -> None:
    found = verify(dlspec.load(text).trainer("t"), optimizers=["declared"], steps=3)
    assert found.ok, found.text()
