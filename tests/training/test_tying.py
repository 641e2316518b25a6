"""One update of a tied weight: it gets the sum of the gradients of both its uses, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dlspec
from tests.training.by_hand import BACKENDS, agree, run, tensors

TEXT = """
model Language(word: i64[N, T]) {
  share emb = embedding(7, 4)
  h = word -> emb -> dense(4) -> tanh
  return h @ transpose(emb.weight)
}
train t {
  data (word: i64[N, T], next: i64[N, T]) from npz("a.npz", fields = ["word", "next"], batch = 3)
  share net = Language
  minimize cross_entropy(net(word), next) using OPTIMIZER
}
"""
rng = np.random.default_rng(3)
BATCH = {"word": rng.integers(0, 7, (3, 5)), "next": rng.integers(0, 7, (3, 5))}


def loss(w: dict[str, torch.Tensor], table: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """The loss with a weight for each of the two uses."""
    h = F.embedding(torch.tensor(BATCH["word"]), table)
    h = torch.tanh(F.linear(h, w["dense.weight"], w["dense.bias"]))
    return F.cross_entropy((h @ head.T).flatten(0, 1), torch.tensor(BATCH["next"]).flatten())


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_update_takes_the_sum_of_both_gradients(tmp_path: Path, backend: str) -> None:
    text = TEXT.replace("OPTIMIZER", "sgd(0.5)")
    module, state, first = run(text, backend, tmp_path, 0.5, [BATCH])
    w = tensors(first)
    table, head = (w["emb.weight"].detach().clone().requires_grad_() for _ in range(2))
    of_input, of_output = torch.autograd.grad(loss(w, table, head), (table, head))
    for one_use in (of_input, of_output):
        assert one_use.abs().max() > 1e-3  # each alone would be another update
    found = module.export_weights(state)
    expected = first["emb.weight"] - 0.5 * (of_input + of_output).numpy()
    agree(found, {"emb.weight": expected}, 1e-14)
    assert sorted(found) == ["dense.bias", "dense.weight", "emb.weight"]  # stored once


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_optimizer_with_a_state_makes_one_step(tmp_path: Path, backend: str) -> None:
    """Adam's step would differ if the weight were updated use by use."""
    text = TEXT.replace("OPTIMIZER", "adam(0.01)")
    module, state, first = run(text, backend, tmp_path, 0.01, [BATCH])
    w = tensors(first)
    optimizer = torch.optim.Adam(w.values(), 0.01)
    loss(w, w["emb.weight"], w["emb.weight"]).backward()
    optimizer.step()
    agree(module.export_weights(state), w, 1e-12)
    assert int(module.export_optimizer(state)["step"]) == 1


def test_torch_shares_the_parameter() -> None:
    code = dlspec.load(TEXT.replace("OPTIMIZER", "adam(0.01)")).trainer("t").code("torch")
    assert code.count("nn.Embedding(") == 1 and "self.emb.weight" in code
