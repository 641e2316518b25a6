"""What depends on no state leaves a scanned cell's loop: where it may, where it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dlspec.api import load
from dlspec.codegen import unit as units
from dlspec.ir.graph import CallNode, Function, OpNode, ScanNode, functions_below
from dlspec.ops.linalg import Linear, MatMul
from dlspec.ops.shape import Concat
from dlspec.passes.hoist import hoist
from dlspec.passes.merge import merge
from dlspec.passes.verifier import verify_graph
from tests.codegen.build import load as module_of

if TYPE_CHECKING:
    from types import ModuleType

BACKENDS = ("numpy", "torch", "jax")


@pytest.fixture(autouse=True)
def _quick_to_compile():
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


MOVES = {
    "sum": ("h = tanh(dense(x, hidden) as a + dense(h, hidden) as b)", 1, 1),
    "concat": ("h = tanh(concat(x, h) -> dense(hidden))", 1, 1),
    "concat the other way": ("h = tanh(concat(h, x) -> dense(hidden, bias = false))", 1, 1),
    "three parts": ("h = tanh(concat(x, h, 2 * x) -> dense(hidden))", 2, 1),
    "two neighbours": ("h = tanh(concat(x, x * x, h) -> dense(hidden))", 1, 1),
    "before the product": ("h = tanh(relu(x * 2 + 1) -> dense(hidden) as a) * h + h", 1, 0),
    "two products": ("h = h + (x -> dense(7) as a -> relu -> dense(hidden) as b)", 2, 0),
    "a parameter": (
        "w = param([D, hidden], normal(0, 1))\n  h = tanh(x @ w + dense(h, hidden))", 1, 1,
    ),
    "a split": (
        "a, b = dense(x, 2 * hidden) -> split(2, axis = -1)\n  h = sigmoid(a) * h + tanh(b)", 1, 0,
    ),
    "x twice": ("h = tanh(dense(x, hidden) as a + h) + dense(x, hidden) as b", 2, 0),
    "with a block": ("h = tanh(dense(x, hidden) as a + Inner(h)) + Inner(h, k = 2)", 1, 0),
}  # fmt: skip
STAYS = {
    "only the state": "h = tanh(dense(h, hidden) + x)",
    "a product of both": "h = tanh((x * h) -> dense(hidden))",
    "no product": "h = tanh(relu(x) + h)",
    "over the batch": "h = h + softmax(x, axis = 0)",
}

TEXT = """
block Inner(x: [N, D], k = 1) = (k * x) -> dense(D)

cell Cell(x: [N, D], state h: [N, hidden], hidden) {{
  {body}
  return h, x
}}

model Net(x: [N, T, {features}]) {{
  y, z, last = x -> scan(Cell({hidden}){more}, final = true)
  return concat(y, z), last
}}

train t {{
  data (x: [N, T, {features}], target: [N, T, {width}])
    from npz("none.npz", fields = ["x", "target"], batch = 3)
  y, last = Net(x)
  minimize mse(y, target) + mean(square(last)) using sgd(0.1)
}}
"""


def text(body: str, more: str = "", features: int = 4, hidden: int = 4) -> str:
    width = features + hidden
    return TEXT.format(body=body, more=more, features=features, hidden=hidden, width=width)


def graph_of(source: str) -> Function:
    function = merge(load(source).model("Net").graph)
    hoist(function)
    return function


def products(function: Function) -> int:
    ops = (n.op for n in function.body if isinstance(n, OpNode))
    return sum(isinstance(op, Linear | MatMul) for op in ops)


def test_names():
    function = graph_of(text(MOVES["sum"][0]))
    whole, step = (
        next(f for f in functions_below(function) if f.name == n) for n in ("Cell", "CellStep")
    )
    assert [type(n) for n in function.body if isinstance(n, CallNode)] == [CallNode]
    assert isinstance(whole.body[-1], ScanNode) and whole.body[-1].function is step
    assert [s.segment.name for s in whole.slots] == ["a", "b", "step"] and not step.slots
    assert [r.name for r in step.references] == ["b"]


@pytest.mark.parametrize("name", MOVES)
def test_products_move(name: str):
    body, before, inside = MOVES[name]
    hidden = 4 if "Inner" in body else 5
    function = graph_of(text(body, hidden=hidden))
    assert verify_graph(function) == []
    whole = next(f for f in functions_below(function) if f.name == "Cell")
    step = next(f for f in functions_below(function) if f.name == "CellStep")
    assert (products(whole), products(step)) == (before, inside)
    assert not any(isinstance(n, OpNode) and isinstance(n.op, Concat) for n in step.body)


@pytest.mark.parametrize("name", STAYS)
def test_the_rest_stays(name: str):
    function = graph_of(text(STAYS[name]))
    assert [type(n) for n in function.body if isinstance(n, CallNode)] == [ScanNode]


def test_a_cell_that_is_also_called_stays():
    cell = "cell C(x: [N, D], state h: [N, D]) {\n  h = dense(x, D) as a + h\n  return h\n}\n"
    direct = cell + "model Net(x: [N, T, 3]) = (x -> scan(C))[:, 0] -> C -> relu\n"
    direct = direct.replace("-> C -> relu", "-> first\n\nblock first(x: [N, D]) {\n"
                            "  y, _ = C(x)\n  return y\n}")  # fmt: skip
    function = graph_of(direct)
    assert [type(n) for n in function.body if isinstance(n, ScanNode)] == [ScanNode]


def test_both_directions():
    cell = "cell C(x: [N, D], state h: [N, D]) {\n  h = concat(x, h) -> dense(D)\n  return h\n}\n"
    function = graph_of(cell + "model Net(x: [N, T, 3]) = x -> bidirectional(C)\n")
    assert verify_graph(function) == []
    found = [f for f in functions_below(function) if f.name == "C"]
    assert [f.specialisation for f in found] == [0, 1]
    assert [n.reverse for f in found for n in f.body if isinstance(n, ScanNode)] == [False, True]


def emitted(source: str, backend: str, monkeypatch: pytest.MonkeyPatch, moving: bool) -> ModuleType:
    with monkeypatch.context() as patch:
        if not moving:
            patch.setattr(units, "hoist", lambda root: None)
        return module_of(load(source).trainer().compile(backend).source)


CASES = [
    *((body, "", 4 if "Inner" in body else 5) for body, _, _ in MOVES.values()),
    (MOVES["concat"][0], ", reverse = true", 4),
    (MOVES["two products"][0], ", mask = x[:, :, 0] > 0", 4),
]


@pytest.mark.parametrize(("body", "more", "hidden"), CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_numbers_stay(
    body: str, more: str, hidden: int, backend: str, monkeypatch: pytest.MonkeyPatch
):
    source = text(body, more, hidden=hidden)
    plain = emitted(source, backend, monkeypatch, moving=False)
    moved = emitted(source, backend, monkeypatch, moving=True)
    weights = plain.export_weights(plain.init(1, dtype="float64"))
    assert weights.keys() == moved.export_weights(moved.init(1, dtype="float64")).keys()
    lengths = (3,) if backend == "jax" else (1, 3, 7)
    for steps in lengths:
        rng = np.random.default_rng(steps)
        x = rng.standard_normal((3, steps, 4))
        batch = {"x": x, "target": rng.standard_normal((3, steps, 4 + hidden))}
        found: list[Any] = []
        for code in (plain, moved):
            state = code.import_weights(code.init(1, dtype="float64"), weights)
            out = code.predict(state, x=x)
            out = out.values() if isinstance(out, dict) else out
            found.append(([np.asarray(y) for y in out], code.gradients(state, batch)[1]))
        (y, dy), (z, dz) = found
        for a, b in zip(y, z, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        for name in weights:
            np.testing.assert_allclose(dy[name], dz[name], rtol=0, atol=1e-12)
