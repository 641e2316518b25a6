"""`grad(y, x)` in the language: three backends in float64 against torch's autograd by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec.api import load
from dlspec.diagnostics import Failure
from dlspec.verification import verify
from dlspec.weights import initial_weights
from tests.codegen.build import load as load_module

BACKENDS = ("torch", "jax", "numpy")
X, SEQUENCE, IMAGE = ("[N, 4]", (3, 4)), ("[N, T, 6]", (2, 5, 6)), ("[N, 2, H, W]", (3, 2, 6, 5))
Weights = dict[str, Tensor]


def slope(y: Tensor, x: Tensor) -> Tensor:
    """∂(Σ y)/∂x, zero where y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(
        y.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return found


def dense(x: Tensor, w: Weights, name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def mlp(x: Tensor, w: Weights) -> Tensor:
    return dense(torch.tanh(dense(x, w, "net.dense.0")), w, "net.dense.1")


def norm(x: Tensor, w: Weights) -> Tensor:
    statistics = w["batch_norm.running_mean"], w["batch_norm.running_var"]
    return F.batch_norm(x, *statistics, w["batch_norm.weight"], w["batch_norm.bias"])


def image(x: Tensor, w: Weights) -> Tensor:
    y = F.conv2d(x, w["conv.0.weight"], w["conv.0.bias"], padding=1)
    y = F.max_pool2d(torch.sigmoid(norm(y, w)), 2)
    return F.conv2d(y, w["conv.1.weight"], w["conv.1.bias"], stride=2).tanh()


def attends(x: Tensor, w: Weights) -> Tensor:
    q, k, v = (dense(x, w, f"head.dense.{i}") for i in range(3))
    y = torch.softmax(q @ k.mT / 6**0.5, -1) @ v
    return F.layer_norm(y, (6,), w["layer_norm.weight"], w["layer_norm.bias"])


def layers(x: Tensor, w: Weights) -> Tensor:
    h = x
    for i in range(3):
        h = torch.tanh(dense(h, w, f"deep.layer.{i}.dense"))
    return h * x


def steps(x: Tensor, w: Weights, h: Tensor, order: range) -> Tensor:
    rows = [h] * x.shape[1]
    for t in order:
        h = torch.tanh(dense(x[:, t], w, "step.dense.0") + dense(h, w, "step.dense.1"))
        rows[t] = h
    return torch.stack(rows, 1)


def scanned(x: Tensor, w: Weights) -> Tensor:
    y = steps(x, w, torch.zeros(len(x), 5, dtype=x.dtype), range(x.shape[1]))
    return slope(slope(y**2, x) ** 2, x)


def backwards(x: Tensor, w: Weights) -> Tensor:
    start = dense(x[:, 0], w, "dense")
    y = steps(x, w, start, range(x.shape[1] - 1, -1, -1))
    return slope(y[:, 0] * y[:, 2], start)


def inner(x: Tensor, w: Weights) -> Tensor:
    h = torch.sigmoid(dense(x, w, "dense"))
    return slope(slope(h**3, h) + h, x)


def mixed(x: Tensor, w: Weights) -> Tensor:
    a, b = x[:, :2], x[:, 2:]
    u = mlp(torch.cat([a * b, b], 1), w)
    return slope(slope(u, a) * b.sin(), b)


def slopes(y: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """∂(Σ y)/∂x of several at once."""
    return torch.autograd.grad(y.sum(), xs, create_graph=True)


def joint(x: Tensor, w: Weights) -> Tensor:
    a, b = x[:, :2], x[:, 2:]
    u, v = slopes(torch.tanh(dense(torch.cat([a * b, b], 1), w, "dense")) ** 2, a, b)
    return slope(u * v.sin(), b)


def chained(x: Tensor, w: Weights) -> Tensor:
    h = torch.tanh(dense(x, w, "dense"))
    a, b = slopes(h**3, x, h)
    return torch.cat([a, b, b], 1)


def parameters(x: Tensor, w: Weights) -> Tensor:
    scale, kernel = w["scale"].requires_grad_(), w["f.weight"].requires_grad_()
    y = torch.tanh(F.linear(x * scale, kernel, w["f.bias"])) ** 2
    u, v = slopes(y, scale, kernel)
    return u + slope((u**2).sum() + (v**3).sum(), x)


def filters(x: Tensor, w: Weights) -> Tensor:
    kernel, shift = w["f.weight"].requires_grad_(), w["n.weight"].requires_grad_()
    y = F.conv2d(x, kernel, w["f.bias"], padding=1)
    statistics = w["n.running_mean"], w["n.running_var"]
    y = torch.sigmoid(F.batch_norm(y, *statistics, shift, w["n.bias"]))
    u, v = slopes(y**2, kernel, shift)
    return slope((u**2).sum() * (v**2).sum(), x)


BLOCKS = """
block Net(x: [N, D]) = x -> dense(5) -> tanh -> dense(2)
block Layer(x: [N, D]) -> [N, D] = x -> dense(D) -> tanh
block Deep(x: [N, D], count = 3) -> [N, D] {
  h = x -> repeat(count, Layer)
  return h * x
}
block Head(x: [N, T, D]) -> [N, T, D] {
  q = x -> dense(D)
  k = x -> dense(D)
  v = x -> dense(D)
  return attention(q, k, v)
}
block Choice(x: [N, D], wave = false) -> [N, D] {
  y = sin(x) if wave else x ** 2
  return y * 2 if training else y * y
}
block Stopped(x: [N, D]) = x * stop_gradient(x ** 2)
cell Step(x: [N, D], state h: [N, 5]) {
  h = tanh(dense(x, 5) + dense(h, 5))
  return h
}
"""

# name: the input, the body, and the same by hand
FORMS: dict[str, tuple[Any, str, Callable[[Tensor, Weights], Tensor]]] = {
    "Dense": (X, "return grad(net(x), x)", lambda x, w: slope(mlp(x, w), x)),
    "Twice": (X, "return grad(grad(net(x), x) ** 2, x)",
        lambda x, w: slope(slope(mlp(x, w), x) ** 2, x)),
    "Thrice": (X, "return grad(grad(grad(net(x) ** 2, x) ** 2, x), x)",
        lambda x, w: slope(slope(slope(mlp(x, w) ** 2, x) ** 2, x), x)),
    "Used": (X, "y = net(x)\n  return y * grad(y, x)[:, :2]",
        lambda x, w: mlp(x, w) * slope(mlp(x, w), x)[:, :2]),
    "Inner": (X, "h = x -> dense(3) -> sigmoid\n  g = grad(h ** 3, h) + h\n"
        "  return grad(g, x)", inner),
    "Mixed": (X, "a = x[:, :2]\n  b = x[:, 2:]\n  u = net(concat(a * b, b, axis = 1))\n"
        "  return grad(grad(u, a) * sin(b), b)", mixed),
    "Line": (X, "return grad(grad(3.0 * x, x), x)", lambda x, w: 0 * x),
    "Kinks": (X, "return grad(grad(x -> dense(3) -> relu, x), x)", lambda x, w: 0 * x),
    "Itself": (X, "return grad(x, x)", lambda x, w: 0 * x + 1),
    "Stops": (X, "return grad(Stopped(x), x)", lambda x, w: x**2),
    "Sides": (X, "a = Choice(x)\n  b = Choice(x, wave = true)\n  return grad(a * b, x)",
        lambda x, w: slope(x**4 * x.sin() ** 2, x)),
    "Repeats": (X, "return grad(grad((x -> Deep as deep) ** 2, x), x)",
        lambda x, w: slope(slope(layers(x, w) ** 2, x), x)),
    "Image": (IMAGE, "y = x -> conv(4, 3, padding = 1) -> batch_norm -> sigmoid -> max_pool(2)\n"
        "  y = y -> conv(3, 2, stride = 2) -> tanh\n  return grad(grad(y, x) ** 2, x)",
        lambda x, w: slope(slope(image(x, w), x) ** 2, x)),
    "Attends": (SEQUENCE, "y = x -> Head as head -> layer_norm\n"
        "  return grad(grad(y ** 3, x) ** 2, x)",
        lambda x, w: slope(slope(attends(x, w) ** 3, x) ** 2, x)),
    "Scanned": (SEQUENCE, "y = x -> scan(Step)\n  return grad(grad(y ** 2, x) ** 2, x)", scanned),
    "Backwards": (SEQUENCE, "start = x[:, 0] -> dense(5)\n"
        "  y = x -> scan(Step(h = start), reverse = true)\n"
        "  return grad(y[:, 0] * y[:, 2], start)", backwards),
    "Joint": (X, "a = x[:, :2]\n  b = x[:, 2:]\n"
        "  y = concat(a * b, b, axis = 1) -> dense(5) -> tanh\n"
        "  u, v = grad(y ** 2, (a, b))\n  return grad(u * sin(v), b)", joint),
    "Chained": (X, "h = x -> dense(3) -> tanh\n  a, b, c = grad(h ** 3, (x, h, h))\n"
        "  return concat(a, b, c, axis = 1)", chained),
    "Parameters": (X, "scale = param([4])\n  share f = dense(5)\n  y = (x * scale) -> f -> tanh\n"
        "  u, v = grad(y ** 2, (scale, f.weight))\n"
        "  return u + grad(sum(u ** 2) + sum(v ** 3), x)", parameters),
    "Filters": (IMAGE, "share f = conv(3, 3, padding = 1)\n  share n = batch_norm\n"
        "  y = x -> f -> n -> sigmoid\n  u, v = grad(y ** 2, (f.weight, n.weight))\n"
        "  return grad(sum(u ** 2) * sum(v ** 2), x)", filters),
}  # fmt: skip


def text(name: str) -> str:
    (shape, _), body, _ = FORMS[name]
    share = "  share net = Net()\n" if "net(" in body else ""
    return f"model {name}(x: {shape}) {{\n{share}  {body}\n}}\n"


@pytest.fixture(scope="module")
def spec() -> Any:
    return load(BLOCKS + "\n".join(map(text, FORMS)))


@pytest.fixture
def wide() -> Any:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_as_autograd(backend: str, name: str, spec: Any, wide: None) -> None:
    (_, size), _, by_hand = FORMS[name]
    rng = np.random.default_rng(1)
    start = initial_weights(spec.model(name).function, 0)
    weights = {n: rng.uniform(0.1, 1, w.shape) for n, w in start.items()}
    x = rng.standard_normal(size)
    module = load_module(spec.model(name).code(backend))
    state = module.import_weights(module.init(0, dtype="float64"), weights)
    found = module.predict(state, x=x)
    tensor = torch.tensor(x, requires_grad=True)
    wanted = by_hand(tensor, {n: torch.tensor(w) for n, w in weights.items()})
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-9, atol=1e-11)


RECURSIVE = """
block Rec(x: [N, D], ws) -> [N, D] {
  if len(ws) == 0 { return x }
  return x -> dense(D) -> tanh -> Rec(ws[1:])
}

model R(x: [N, 4]) {
  y = x -> Rec([4, 4]) -> tanh
  return grad(sum(y ** 2), x)
}
"""


def test_through_a_block_that_is_made_of_itself() -> None:
    """torch and JAX differentiate what they run; NumPy, whose gradient is code, says so."""
    model = load(RECURSIVE).model()
    assert verify(model, ["torch", "jax"]).ok
    with pytest.raises(Failure) as failure:
        model.compile("numpy")
    assert failure.value.diagnostic.code.name == "E0701"
    assert "made of itself" in failure.value.diagnostic.message
    assert failure.value.diagnostic.span.text == "grad(sum(y ** 2), x)"


CROSSED = """
block Crossed(x: [N, D], z: [N, D], ws) -> (a: [N, D], b: [N, D]) {
  if len(ws) == 0 { return x, z }
  a, b = Crossed(x -> tanh, z, ws[1:])
  return b, a
}

model R(x: [N, 4], z: [N, 4]) {
  a, b = Crossed(x, z, [1])
  return grad(b ** 2, x)
}
"""


def test_a_recursion_gives_its_outputs_in_another_order_at_each_level() -> None:
    """What depends on x is found in the second round only."""
    model = load(CROSSED).model()
    source = model.compile("jax").source
    module = load_module(source)
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 3, 4))
    found = module.predict(module.init(0, "float64"), x=x, z=z)
    np.testing.assert_allclose(found, 2 * np.tanh(x) * (1 - np.tanh(x) ** 2), atol=1e-12)
