"""`greedy`, `sample` and `beam` on three backends against loops in Python over torch in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch
from dlspec_jax import Target as JaxTarget
from dlspec_numpy import Target as NumpyTarget
from dlspec_torch import Target as TorchTarget
from torch import Tensor

from dlspec import api
from dlspec.codegen.unit import unit_of

TARGETS: dict[str, Any] = {"numpy": NumpyTarget(), "torch": TorchTarget(), "jax": JaxTarget()}
SPEC = """
model Net(tokens: i64[N, T], bias: [N, V], V = 4, D = 6) -> [N, T, V] =
  3 * (tokens -> embedding(V, D) -> cumsum(axis = 1) -> tanh -> dropout(0.5) -> dense(V))
    + unsqueeze(bias, 1)

model Out(start: i64[N, P], bias: [N, V], draws: [N, L], L = 6, V = 4) = CALL
"""
ROWS, V, LENGTH = 5, 4, 6
Logits = Callable[[Tensor, int], Tensor]  # of a text of one row


@pytest.fixture(autouse=True)
def _single_again() -> Any:
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


def inputs(prompt: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "start": rng.integers(V, size=(ROWS, prompt)),
        "bias": rng.standard_normal((ROWS, V)),
        "draws": rng.random((ROWS, LENGTH)),
    }


def run(call: str, backend: str, given: dict[str, Any]) -> tuple[Any, Logits]:
    """What the file predicts, and its network by hand."""
    model = api.load(SPEC.replace("CALL", call)).model("Out", L=LENGTH)
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(model.function, "Out")).source, made.__dict__)
    state = made.init(dtype="float64")
    rng = np.random.default_rng(1)
    weights = {k: rng.standard_normal(np.shape(w)) for k, w in made.export_weights(state).items()}
    found = made.predict(made.import_weights(state, weights), **given)
    table, dense, offset = (
        torch.tensor(next(w for k, w in weights.items() if k.endswith(end)))
        for end in ("embedding.weight", "dense.weight", "dense.bias")
    )
    bias = torch.tensor(given["bias"])

    def logits(text: Tensor, row: int) -> Tensor:
        h = torch.tanh(table[text].sum(0))
        return 3 * (dense @ h + offset) + bias[row]

    return found, logits


def written(
    pick: Callable[[Tensor, int], int], logits: Logits, given: Any, end: int, pad: int
) -> Any:
    """A token a step, each row on its own."""
    rows = []
    for row, prompt in enumerate(given["start"]):
        text, found = [*prompt], []
        while len(found) < LENGTH:
            if end in found:
                found.append(pad)
                continue
            token = pick(logits(torch.tensor(text), row), row * LENGTH + len(found))
            found.append(token)
            text.append(token)
        rows.append(found)
    return rows


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(
    ("arguments", "end", "pad"),
    [("", -1, 0), (", end = 1", 1, 1), (", end = 1, padding = 3", 1, 3)],
)
def test_greedy(arguments: str, end: int, pad: int, backend: str) -> None:
    given = inputs()
    call = f"start -> greedy(Net(bias = bias), length = L{arguments})"
    found, logits = run(call, backend, {k: given[k] for k in ("start", "bias", "draws")})
    wanted = written(lambda x, _: int(x.argmax()), logits, given, end, pad)
    assert found.tolist() == wanted
    assert np.asarray(found).dtype == np.int64
    assert len({tuple(row) for row in wanted}) > 1


@pytest.mark.parametrize("backend", TARGETS)
def test_one_token_starts_as_many_as_the_network_holds(backend: str) -> None:
    given = {**inputs(1), "start": np.full((ROWS, 1), 2)}
    call = "greedy(Net(bias = bias), start = 2, length = L, end = 0)"
    found, logits = run(call, backend, given)
    assert found.tolist() == written(lambda x, _: int(x.argmax()), logits, given, 0, 0)


def drawn(x: Tensor, u: float, temperature: float, top_k: int, top_p: float) -> int:
    """Hugging Face's order: temperature, the k likeliest, then the share p of those."""
    share = torch.softmax(x / temperature, 0)
    order = sorted(range(V), key=lambda i: -float(share[i]))[:top_k]
    total, kept, before = sum(float(share[i]) for i in order), [], 0.0
    for i in order:
        if before < top_p:
            kept.append(i)
        before += float(share[i]) / total
    left = u * sum(float(share[i]) for i in kept)
    for i in kept:
        left -= float(share[i])
        if left < 0:
            return i
    return kept[-1]


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(
    "settings", [(1.0, V, 1.0), (0.7, V, 1.0), (1.3, 2, 1.0), (2.0, V, 0.6), (1.5, 3, 0.8)]
)
def test_sample(settings: tuple[float, int, float], backend: str) -> None:
    given = inputs()
    temperature, k, p = settings
    more = f"temperature = {temperature}, top_k = {k}, top_p = {p}, end = 1, padding = 0"
    call = f"start -> sample(Net(bias = bias), length = L, draws = draws, {more})"
    found, logits = run(call, backend, given)
    flat = given["draws"].ravel()
    wanted = written(lambda x, i: drawn(x, float(flat[i]), *settings), logits, given, 1, 0)
    assert found.tolist() == wanted


@pytest.mark.parametrize("backend", TARGETS)
def test_sample_follows_the_shares(backend: str) -> None:
    """Its own draws, many of them: the first token's shares are those of the logits."""
    count = 4000
    given = {
        "start": np.full((count, 1), 1),
        "bias": np.tile([0.5, -1.0, 0.0, 1.0], (count, 1)),
        "draws": np.zeros((count, LENGTH)),
    }
    call = "start -> sample(Net(bias = bias), length = L)"
    found, logits = run(call, backend, given)
    shares = np.bincount(np.asarray(found)[:, 0], minlength=V) / count
    np.testing.assert_allclose(shares, torch.softmax(logits(torch.tensor([1]), 0), 0), atol=0.03)


def score(text: tuple[int, ...], prompt: Any, row: int, logits: Logits, end: int) -> float:
    total, known = 0.0, [*prompt]
    for token in text:
        total += float(torch.log_softmax(logits(torch.tensor(known), row), 0)[token])
        known.append(token)
        if token == end:
            break
    return total


def texts(length: int, end: int) -> list[tuple[int, ...]]:
    """Every text of that length, what follows an end being the end again."""
    every = itertools.product(range(V), repeat=length)
    return [t for t in every if end not in t or set(t[t.index(end) :]) == {end}]


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("end", [-1, 1])
def test_a_wide_beam_is_exhaustive_search(end: int, backend: str) -> None:
    given = inputs()
    call = (
        f"start -> beam(Net(bias = bias), length = 3, width = 64{', end = 1' if end > 0 else ''})"
    )
    found, logits = run(call, backend, given)
    for row, prompt in enumerate(given["start"]):
        every = {t: score(t, prompt, row, logits, end) for t in texts(3, end)}
        best = max(every, key=lambda t: every[t])
        assert tuple(found["tokens"][row].tolist()) == best
        assert float(found["score"][row]) == pytest.approx(every[best], rel=1e-9)


def searched(
    prompt: Any, row: int, logits: Logits, width: int, end: int
) -> tuple[list[int], float]:
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(LENGTH):
        more = []
        for total, text in beams:
            if end in text:
                more.append((total, [*text, end]))
                continue
            logs = torch.log_softmax(logits(torch.tensor([*prompt, *text]), row), 0)
            more += [(total + float(logs[t]), [*text, t]) for t in range(V)]
        beams = sorted(more, key=lambda b: -b[0])[:width]
    return beams[0][1], beams[0][0]


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_beam(width: int, backend: str) -> None:
    given = inputs()
    call = f"start -> beam(Net(bias = bias), length = L, width = {width}, end = 1)"
    found, logits = run(call, backend, given)
    for row, prompt in enumerate(given["start"]):
        text, total = searched(prompt, row, logits, width, 1)
        assert found["tokens"][row].tolist() == text
        assert float(found["score"][row]) == pytest.approx(total, rel=1e-9)


TRAIN = """
model Net(tokens: i64[N, T]) = tokens -> embedding(3, 4) -> cumsum(axis = 1) MORE -> dense(3)
train t {
  data (a: i64[N, 5], b: i64[N, 5]) from npz("a.npz", fields = ["a", "b"])
  share net = Net()
  minimize cross_entropy(net(a), b) using adam(1e-2)
  report mean(cast((a[:, :1] -> greedy(net, length = 4)) == b[:, 1:], "float")) as exact
}
"""


@pytest.mark.parametrize("backend", TARGETS)
def test_a_report_writes_with_the_trained_network(backend: str) -> None:
    trainer = api.load(TRAIN.replace("MORE", "-> tanh")).trainer()
    made = ModuleType("emitted")
    exec(TARGETS[backend].generate(unit_of(trainer.training, "t")).source, made.__dict__)
    state = made.init(dtype="float64")
    a = np.random.default_rng(0).integers(3, size=(7, 5))
    weights = {k.removeprefix("net."): np.array(w) for k, w in made.export_weights(state).items()}
    right = 0
    for row in a:
        text = [row[0]]
        for _ in range(4):
            h = np.tanh(weights["embedding.weight"][text].sum(0))
            text.append(int((weights["dense.weight"] @ h + weights["dense.bias"]).argmax()))
        right += sum(np.equal(text[1:], row[1:]))
    batch = {"a": a, "b": a}
    assert float(made.evaluate(state, batch)["exact"]) == pytest.approx(right / 28)
    assert float(made.gradients(state, batch)[0]["exact"]) == pytest.approx(right / 28)


def test_two_modes_of_one_instance_are_told() -> None:
    with pytest.raises(api.SpecError, match="writes a sequence here and is used in training"):
        api.load(TRAIN.replace("MORE", "-> dropout(0.1)")).trainer()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("greedy(Net(bias = bias), length = 3)", "needs one start"),
        ("start -> greedy(Net(bias = bias))", "needs `length`"),
        ("start -> greedy(Net(bias = bias), length = 0)", "1 or more"),
        ("start -> greedy(Net(bias = bias), length = 3, width = 2)", "no argument `width`"),
        ("start -> greedy(length = 3)", "takes a network"),
        ("start -> greedy(Net(bias = bias), start = 1, length = 3)", "has one start"),
        ("bias -> greedy(Net(bias = bias), length = 3)", "starts with integers"),
        ("greedy(embedding(4, 4), start = 1, length = 3)", "holds no tensor"),
        ("start -> sample(Net(bias = bias), length = 3, temperature = 0)", "must be positive"),
        ("start -> sample(Net(bias = bias), length = 3, top_p = 1.5)", "at most 1"),
        ("start -> sample(Net(bias = bias), length = 3, top_k = 0)", "1 or more"),
        ("start -> sample(Net(bias = bias), length = 3, draws = bias)", "is \\[N, length\\]"),
        ("start -> beam(Net(bias = bias), length = 3, width = 0)", "1 or more"),
        ("start -> greedy(embedding(4, 4) -> sum(axis = 2), length = 3)", "axes"),
        ("start -> greedy(embedding(4, 4) -> batch_norm, length = 3)", "batch"),
        ("start -> greedy(embedding(4, 4) + 1, length = 3)", "layer"),
    ],
)
def test_refused(call: str, told: str) -> None:
    with pytest.raises(api.SpecError, match=told):
        api.load(SPEC.replace("CALL", call)).model("Out", L=LENGTH)
