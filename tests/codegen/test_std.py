"""The library's blocks: three backends give one answer in double precision."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

from dlspec.api import load as load_spec
from dlspec.ir.types import DType
from dlspec.weights import initial_weights

from .build import load

TEXT = """
from std.attention use MultiHead, Additive, Multiplicative, Dot
from std.position use Sinusoidal, Learned, RelativeBias
from std.quantise use VectorQuantizer
from std.transformer use EncoderLayer, DecoderLayer

model Grouped(x: [N, T, 8], mask: bool[N, T, T]) =
  x -> MultiHead(mask = mask, heads = 4, kv_heads = 2, rotate = true)
model Two(x: [N, T, 8]) = x -> MultiHead(causal = true, heads = 2, p = 0.1) -> MultiHead(heads = 2)
model Cross(x: [N, T, 8], m: [N, S, 6], keep: bool[N, S]) =
  x -> MultiHead(memory = m, keep = keep, heads = 2)
model Bahdanau(x: [N, T, 8], m: [N, S, 6], keep: bool[N, S]) = Additive(x, m, keep = keep)
model Luong(x: [N, T, 8], m: [N, S, 6]) = Multiplicative(x, m)
model ByDot(x: [N, T, 6], m: [N, S, 6], keep: bool[N, S]) = Dot(x, m, keep = keep)
model Places(x: [N, T, 8]) = x -> Sinusoidal -> Learned(9)
model Relative(x: [N, T, 8], m: [N, S, 8]) = RelativeBias(x, m, 4, buckets = 8, longest = 6)
model Quantized(x: [N, T, 8]) = x -> VectorQuantizer(codes = 5)
model Encoder(x: [N, T, 8], keep: bool[N, T]) =
  x -> EncoderLayer(keep = keep, heads = 2, norm_first = true) -> EncoderLayer(heads = 4)
model Decoder(x: [N, T, 8], m: [N, S, 6], keep: bool[N, S]) =
  x -> DecoderLayer(memory = m, keep = keep, heads = 2)
"""
MODELS = (
    *("Grouped", "Two", "Cross", "Bahdanau", "Luong", "ByDot", "Places", "Relative"),
    *("Quantized", "Encoder", "Decoder"),
)
SIZES = {"N": 2, "T": 4, "S": 7}


@pytest.fixture(scope="module")
def spec() -> Any:
    found = load_spec(TEXT)
    assert found.check() and not found.diagnostics.found
    return found


@pytest.fixture(autouse=True)
def _double() -> Any:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def batch(function: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for value in function.inputs:
        size = [extent.evaluate(SIZES) for extent in value.type.shape]
        bools = value.type.dtype is DType.BOOL
        found[value.name] = rng.random(size) < 0.6 if bools else rng.standard_normal(size)
        if bools:
            found[value.name][0] = False  # there nothing is seen
    return found


def outputs(model: Any, backend: str, weights: dict[str, Any], given: dict[str, Any]) -> list[Any]:
    module = load(model.code(backend))
    state = module.import_weights(module.init(0, dtype="float64"), weights)
    found = module.predict(state, **given)
    values = found if isinstance(found, dict) else {"y": found}
    return [np.asarray(values[name]) for name in sorted(values)]


@pytest.mark.parametrize("name", MODELS)
def test_backends_agree(spec: Any, name: str) -> None:
    model = spec.model(name)
    drawn = initial_weights(model.function, 0)
    weights = {path: array.astype(np.float64) for path, array in drawn.items()}
    given = batch(model.function)
    expected = outputs(model, "torch", weights, given)
    for backend in ("jax", "numpy"):
        for mine, theirs in zip(outputs(model, backend, weights, given), expected, strict=True):
            assert np.isfinite(mine).all()
            np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-13)


def test_multi_head_is_torchs(spec: Any) -> None:
    """With the three projections of nn.MultiheadAttention in one table."""
    model = spec.model("Cross")
    drawn = initial_weights(model.function, 0)
    weights = {path: array.astype(np.float64) for path, array in drawn.items()}
    given = batch(model.function)
    given["keep"][0, 0] = True  # torch gives nan where nothing is seen
    theirs = torch.nn.MultiheadAttention(
        8, 2, kdim=6, vdim=6, batch_first=True, dtype=torch.float64
    )
    parts = {"q": "query", "k": "key", "v": "value"}
    mine = {path.removeprefix("multi_head."): torch.as_tensor(a) for path, a in weights.items()}
    state = {f"{p}_proj_weight": mine[f"{name}.weight"] for p, name in parts.items()}
    state["in_proj_bias"] = torch.cat([mine[f"{name}.bias"] for name in parts.values()])
    state |= {f"out_proj.{w}": mine[f"out.{w}"] for w in ("weight", "bias")}
    theirs.load_state_dict(state)
    x, m, keep = (torch.as_tensor(given[name]) for name in ("x", "m", "keep"))
    wanted = theirs(x, m, m, key_padding_mask=~keep)[0].detach().numpy()
    for backend in ("torch", "jax", "numpy"):
        (found,) = outputs(model, backend, weights, given)
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)
