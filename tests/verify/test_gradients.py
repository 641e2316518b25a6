"""Losses with gradients in them, trained on three backends from the same weights and draws."""

from __future__ import annotations

import pytest

from dlspec.api import load
from dlspec.verification import verify

pytest.importorskip("torch")
pytest.importorskip("optax")

SECTIONS = {
    "second derivative": """
block Field(x: [N, 4]) -> [N, 1] = x -> dense(6) -> tanh -> dense(6) -> tanh -> dense(1)
train physics {
  data (x, _) from iris(batch = 8)
  share u = Field()
  height = u(x)
  slope = grad(height, x)
  bend = grad(slope[:, 0], x)[:, :1]
  minimize mean((bend + height * slope[:, 1:2] - sin(x[:, 2:3])) ** 2) using sgd(0.1)
  report mean(slope ** 2) as steepness
}
""",
    "penalty of a critic with draws and statistics": """
block Critic(x: [N, 1, 8, 8]) -> [N, 1] =
  x -> conv(4, 3, stride = 2, padding = 1) -> batch_norm -> leaky_relu(0.2) -> dropout(0.3)
    -> flatten -> dense(1)
model Maker(z: [N, 4]) -> [N, 1, 8, 8] = z -> dense(64) -> sigmoid -> reshape([N, 1, 8, 8])
train gan {
  data (real: [N, 1, 8, 8], _) from digits(batch = 8)
  share maker = Maker()
  share critic = Critic()
  fake = normal([N, 4]) -> maker
  step judge {
    part = uniform([N, 1, 1, 1])
    mixed = part * real + (1 - part) * stop_gradient(fake)
    score = critic(mixed)
    penalty = mean((norm(grad(score, mixed), axis = [1, 2, 3]) - 1) ** 2)
    loss = mean(critic(stop_gradient(fake))) - mean(critic(real)) + 0.1 * mean(score ** 2)
    minimize loss + penalty over critic using adam(1e-3)
  }
  step make { minimize -mean(critic(fake)) over maker using adam(1e-3) }
}
""",
    "inside a block that is repeated": """
block Energy(x: [N, D]) -> [N, 1] = x -> dense(5) -> softplus -> dense(1)
block Descend(x: [N, D]) -> [N, D] {
  energy = x -> Energy
  return x - 0.1 * grad(energy, x)
}
model Net(x: [N, 4]) = x -> repeat(3, Descend) -> dense(3)
train t {
  data (x, label) from iris(batch = 8)
  minimize cross_entropy(x -> Net, label) using sgd(0.1)
}
""",
    "through attention and a repeat": """
block Layer(x: [N, T, D]) -> [N, T, D] {
  q, k, v = x -> dense(3 * D) -> split(3, axis = -1)
  return x + attention(q, k, v)
}
model Net(x: [N, 1, 8, 8]) -> [N, 10] {
  rows = reshape(x, [N, 8, 8])
  return rows -> repeat(2, Layer) -> layer_norm -> mean(axis = 1) -> dense(10)
}
train t {
  data (image, label) from digits(batch = 8)
  logits = image -> Net
  slope = grad(logits ** 2, image)
  minimize cross_entropy(logits, label) + mean(slope ** 2) using sgd(0.1)
}
""",
    "through cells": """
cell Step(x: [N, D], state h: [N, 5]) {
  h = tanh(dense(x, 5) + dense(h, 5))
  return h
}
model Net(x: [N, 1, 8, 8]) -> [N, 10] =
  x -> reshape([N, 8, 8]) -> scan(Step) -> mean(axis = 1) -> dense(10)
train t {
  data (image, label) from digits(batch = 8)
  logits = image -> Net
  minimize cross_entropy(logits, label) + mean(grad(logits, image) ** 2) using sgd(0.1)
}
""",
    "a different loss in training": """
model Net(x: [N, 4]) {
  h = x -> dense(6) -> tanh
  y = h -> dense(3)
  if training {
    y = y + 0.1 * sum(grad(y ** 2, h), axis = 1, keepdims = true)
  }
  return y
}
train t {
  data (x, label) from iris(batch = 8)
  minimize cross_entropy(x -> Net, label) using sgd(0.1)
}
""",
    "several gradients along one way": """
model Encode(x: [N, 4]) = x -> dense(3) -> sigmoid
train t {
  data (x, _) from iris(batch = 8)
  h = x -> Encode
  rows = [mean(grad(h[:, unit], x) ** 2) for unit in range(3)]
  minimize mean((h - 0.5) ** 2) + sum(stack(rows)) using sgd(0.1)
}
""",
    "a recurrent critic": """
model Critic(x: [N, T, 3]) -> [N, 1] {
  y = x -> lstm(4, layers = 2, dropout = 0.3, bidirectional = true)
  return mean(y, axis = 1) -> dense(1)
}
train t {
  data (x: [N, 4, 3]) from npz("none.npz", fields = ["x"], batch = 4)
  z = x -> gru(3)
  score = z -> Critic
  slope = grad(score, z)
  minimize mean(score) + mean((sqrt(sum(slope ** 2, axis = [1, 2])) - 1) ** 2) using sgd(0.1)
}
""",
    "weights and inputs at once": """
model Net(x: [N, 4], label: i64[N]) {
  share first = dense(6)
  scale = param([6], init = normal(0.5, 1))
  logits = tanh((x -> first) * scale) -> dense(3)
  loss = cross_entropy(logits, label)
  of_weight, of_scale, of_x = grad(loss, (first.weight, scale, x))
  return loss + 0.1 * (sum(of_weight ** 2) + sum(of_scale ** 2) + mean(of_x ** 2))
}
train t {
  data (x, label) from iris(batch = 8)
  share net = Net()
  minimize net(x, label) using sgd(0.1)
}
""",
    "a normed critic": """
from std.image use SpectralDense
model Critic(x: [N, 4]) = x -> SpectralDense(6) -> tanh -> SpectralDense(1)
train t {
  data (x, _) from iris(batch = 8)
  y = x -> Critic
  minimize mean((norm(grad(y, x), axis = 1) - 1) ** 2) + mean(y ** 2) using sgd(0.1)
}
""",
}


QUICK = (
    "penalty of a critic with draws and statistics",
    "inside a block that is repeated",
    "a normed critic",
)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SECTIONS]
)
def test_three_backends_agree(name: str) -> None:
    found = verify(load(SECTIONS[name]).trainer(), steps=3, optimizers=["declared"])
    assert found.ok, found.text()
