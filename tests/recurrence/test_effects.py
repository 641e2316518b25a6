"""Scanned cells that draw, that update buffers, that are shared; both ways with final states."""

from __future__ import annotations

import numpy as np
import pytest

from dlspec.api import SpecError, load
from dlspec.verification import verify
from tests.codegen.build import load as module_of

torch = pytest.importorskip("torch")
pytest.importorskip("optax")

BACKENDS = ("numpy", "torch", "jax")


@pytest.fixture(autouse=True)
def _quick_to_compile():
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


ALL = """
cell Noisy(x: [N, D], state h: [N, hidden], hidden) {
  a = dense(x, hidden) as a
  h = tanh(batch_norm(dropout(h, 0.3) -> dense(hidden) as b) + dropout(a, 0.25)) -> Inner
  return h
}

block Inner(x: [N, D]) = x -> batch_norm -> dropout(0.1)

model Net(x: [N, T, 4]) {
  y, last = x -> bidirectional(Noisy(3), final = true)
  return y, last
}

train t {
  data (x: [N, T, 4], target: [N, T, 6]) from npz("none.npz", fields = ["x", "target"], batch = 3)
  y, last = Net(x)
  minimize mse(y, target) + mean(square(last)) using sgd(0.1)
}
"""


def test_draws_and_buffers_are_the_same_on_every_backend():
    """verify passes in as many draws as steps, and compares what batch_norm keeps."""
    assert verify(load(ALL).trainer(), steps=1, sizes={"T": 3}, optimizers=["declared"]).ok


FRESH = """
cell Coin(x: [N, D], state h: [N, D]) {
  h = h + bernoulli([N, D], 0.5)
  return h
}

model Net(x: [N, T, D]) = x -> scan(Coin)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_step_draws_anew(backend: str):
    text = FRESH.replace("[N, T, D]", "[N, T, 6]")
    code = module_of(load(text).model().compile(backend).source)
    y = np.asarray(code.predict(code.init(0), x=np.zeros((5, 8, 6), np.float32)))
    draws = np.diff(y, axis=1, prepend=0)
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert all((draws[:, t] != draws[:, t + 1]).any() for t in range(7))


KEEPS = """
cell Keep(x: [N, D], state h: [N, D]) {
  h = h + batch_norm(x)
  return h
}

model Net(x: [N, T, 2]) = x -> scan(Keep)

train t {
  data (x: [N, T, 2], target: [N, T, 2]) from npz("none.npz", fields = ["x", "target"], batch = 3)
  minimize mse(x -> Net, target) using sgd(0.0)
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_buffer_changes_at_every_step(backend: str):
    code = module_of(load(KEEPS).trainer().compile(backend).source)
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    state, _ = code.train_step(code.init(0, dtype="float64"), {"x": x, "target": x}, 0.0)
    mean = np.zeros(2)
    for step in x.swapaxes(0, 1):
        mean = mean + 0.1 * (step.mean(axis=0) - mean)
    kept = code.export_weights(state)["keep.batch_norm.running_mean"]
    np.testing.assert_allclose(kept, mean, rtol=0, atol=1e-12)


SHARED = """
cell Plain(x: [N, D], state h: [N, D]) {
  h = tanh(concat(x, h) -> dense(D))
  return h
}

block Use(x: [N, T, D], cell) = x -> scan(cell, reverse = true)

model Net(x: [N, T, 4]) {
  share one = Plain
  y = x -> scan(one)
  return y -> scan(one) -> Use(one)
}

model Apart(x: [N, T, 4]) {
  y = x -> scan(Plain) as a
  return y -> scan(Plain) as b -> scan(Plain, reverse = true) as c
}

train t {
  data (x: [N, T, 4], target: [N, T, 4]) from npz("none.npz", fields = ["x", "target"], batch = 3)
  minimize mse(x -> NET, target) using sgd(0.1)
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shared_cell_is_one_instance(backend: str):
    one, three = (
        module_of(load(SHARED.replace("NET", name)).trainer().compile(backend).source)
        for name in ("Net", "Apart")
    )
    state = one.init(3, dtype="float64")
    weights = one.export_weights(state)
    assert sorted(weights) == ["one.dense.bias", "one.dense.weight"]
    same = {f"{k}.{n.removeprefix('one.')}": w for n, w in weights.items() for k in "abc"}
    other = three.import_weights(three.init(0, dtype="float64"), same)
    rng = np.random.default_rng(1)
    batch = {"x": rng.standard_normal((3, 5, 4)), "target": rng.standard_normal((3, 5, 4))}
    y, z = (np.asarray(c.predict(s, x=batch["x"])) for c, s in ((one, state), (three, other)))
    np.testing.assert_allclose(y, z, rtol=0, atol=1e-12)
    mine, theirs = one.gradients(state, batch)[1], three.gradients(other, batch)[1]
    for name, found in mine.items():
        parts = [np.asarray(theirs[f"{k}.{name.removeprefix('one.')}"]) for k in "abc"]
        np.testing.assert_allclose(np.asarray(found), sum(parts), rtol=0, atol=1e-12)


def test_a_shared_cell_with_and_without_a_mask_is_refused():
    text = SHARED.replace("y -> scan(one) -> Use(one)", "y -> scan(one, mask = x[:, :, 0] > 0)")
    with pytest.raises(SpecError) as error:
        load(text).model("Net")
    assert "E0210" in str(error.value)


BOTH = """
cell Sum(x: [N, D], state h: [N, D]) {
  h = h + x
  return 2 * h, x
}

model Net(x: [N, T, 3], lengths: i64[N]) {
  y, z, last = x -> bidirectional(Sum, final = true, lengths = lengths)
  return y, z, last
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_ways_with_final_states(backend: str):
    code = module_of(load(BOTH).model("Net").compile(backend).source)
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    x[1, 2:] = 0
    lengths = np.array([4, 2])
    out = code.predict(code.init(0, dtype="float64"), x=x, lengths=lengths)
    y, z, last = (np.asarray(v) for v in (out.values() if isinstance(out, dict) else out))
    there = (np.arange(4) < lengths[:, None])[..., None]
    sums = np.cumsum(x, 1) * there, np.cumsum(x[:, ::-1], 1)[:, ::-1] * there
    np.testing.assert_allclose(y, 2 * np.concatenate(sums, -1), atol=1e-12)
    np.testing.assert_allclose(z, np.concatenate([x, x], -1), atol=1e-12)
    np.testing.assert_allclose(last, np.concatenate([x.sum(1), x.sum(1)], -1), atol=1e-12)


IN_A_LOOP = """
cell Sum(x: [N, D], state h: [N, D]) {
  h = h + dense(x * h, D)
  return h
}

model Net(x: [N, 3, 3]) {
  y, z = x, x[:, 0]
  for i in range(3) {
    y, z = y -> scan(Sum(h = z), final = true)
  }
  return y, z
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_scans_in_a_row_stay_scans(backend: str):
    """Their results would be the operands of the next as a repeated block's are."""
    code = module_of(load(IN_A_LOOP).model().compile(backend).source)
    state = code.init(0, dtype="float64")
    weights = code.export_weights(state)
    y = np.random.default_rng(0).standard_normal((2, 3, 3))
    out = code.predict(state, x=y)
    h = y[:, 0]
    for i in range(3):
        w, b = (weights[f"sum.{i}.dense.{name}"] for name in ("weight", "bias"))
        rows = []
        for step in y.swapaxes(0, 1):
            h = h + (step * h) @ w.T + b
            rows.append(h)
        y = np.stack(rows, 1)
    found, last = (np.asarray(v) for v in (out.values() if isinstance(out, dict) else out))
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, h, rtol=0, atol=1e-12)
