"""Normalisation, convolution, resizing and padding in the language: three backends in float64
against torch's own functions, the layers' weights included."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec import codes
from dlspec.api import load
from dlspec.weights import initial_weights
from tests.codegen.build import load as load_module

from .layers import Layers, apply

BACKENDS = ("torch", "jax", "numpy")
SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "w": ("[N, 6, L]", (2, 6, 9)),
    "x": ("[N, 6, H, W]", (2, 6, 8, 7)),
    "v": ("[N, 2, 3, 4, 5]", (2, 2, 3, 4, 5)),
    "t": ("[N, 5, 6]", (2, 5, 6)),
}
Form = tuple[str, Any]

# what a spec says; torch's function of the inputs by name and the weights (w, b)
FORMS: list[Form] = [
    ("layer_norm(t)", lambda t, p: F.layer_norm(t, (6,), *p)),
    ("layer_norm(t, axis = [1, 2], eps = 1e-3)", lambda t, p: F.layer_norm(t, (5, 6), *p, 1e-3)),
    ("layer_norm(t, shift = false)", lambda t, p: F.layer_norm(t, (6,), *p)),
    ("layer_norm(t, scale = false)", lambda t, p: F.layer_norm(t, (6,), None, *p)),
    ("layer_norm(t, scale = false, shift = false)", lambda t, p: F.layer_norm(t, (6,))),
    ("rms_norm(t)", lambda t, p: F.rms_norm(t, (6,), *p, 1e-6)),
    ("rms_norm(t, scale = false, eps = 0.1)", lambda t, p: F.rms_norm(t, (6,), None, 0.1)),
    ("group_norm(x, 3)", lambda x, p: F.group_norm(x, 3, *p)),
    ("group_norm(w, 2, scale = false)", lambda w, p: F.group_norm(w, 2, None, *p)),
    ("instance_norm(x)", lambda x, p: F.instance_norm(x)),
    ("instance_norm(v, scale = true, shift = true, eps = 1e-2)",
        lambda v, p: F.instance_norm(v, weight=p[0], bias=p[1], eps=1e-2)),
]  # fmt: skip


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(size) for name, (_, size) in SHAPES.items()}


@pytest.fixture(scope="module")
def spec() -> Any:
    """One model of all forms, so that each backend compiles once; each in a block of its own."""
    lines: list[str] = []
    for i, (form, _) in enumerate(FORMS):
        name = input_of(form)
        lines.append(f"block F{i}({name}: {SHAPES[name][0]}) = {form}")
    heads = ", ".join(f"{name}: {shape}" for name, (shape, _) in SHAPES.items())
    lines.append(f"model M({heads}) {{")
    for i, (form, _) in enumerate(FORMS):
        name = input_of(form)
        lines.append(f"  y{i} = F{i}({name})")
    lines.append("  return " + ", ".join(f"y{i}" for i in range(len(FORMS))) + "\n}\n")
    return load("\n".join(lines))


def input_of(form: str) -> str:
    return form[form.index("(") + 1]


@pytest.fixture(scope="module")
def weights(spec: Any) -> dict[str, Any]:
    """Weights that are no initial ones, in float64."""
    rng = np.random.default_rng(1)
    found = initial_weights(spec.model("M").function, 0)
    return {name: rng.standard_normal(w.shape) for name, w in found.items()}


@pytest.fixture(scope="module", params=BACKENDS)
def found(request: pytest.FixtureRequest, spec: Any, weights: dict[str, Any]) -> Any:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    module = load_module(spec.model("M").code(request.param))
    state = module.import_weights(module.init(0, dtype="float64"), weights)
    outputs = module.predict(state, **inputs())
    yield [np.asarray(outputs[f"output{i}"]) for i in range(len(FORMS))]
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("place", range(len(FORMS)), ids=[form for form, _ in FORMS])
def test_as_torch(place: int, found: list[Any], weights: dict[str, Any]) -> None:
    form, function = FORMS[place]
    own: dict[str, Tensor] = {
        name.rsplit(".", 1)[-1]: torch.as_tensor(w)
        for name, w in weights.items()
        if name.split(".")[0].lower() == f"f{place}"
    }
    params = [own[name] for name in ("weight", "bias") if name in own]
    wanted = function(torch.as_tensor(inputs()[input_of(form)]), params).numpy()
    assert found[place].shape == wanted.shape
    np.testing.assert_allclose(found[place], wanted, rtol=1e-11, atol=1e-12)


REJECTED: list[tuple[str, tuple[Any, ...], dict[str, Any], codes.Code]] = [
    ("layer_norm", ("N", 4), {"axis": 0}, codes.BAD_ARGUMENT),
    ("layer_norm", ("N", 4), {"eps": -1.0}, codes.BAD_ARGUMENT),
    ("group_norm", ("N", 6, 4), {"groups": 4}, codes.NOT_DIVISIBLE),
    ("group_norm", ("N", 6, 4), {"groups": 0}, codes.BAD_ARGUMENT),
    ("group_norm", (6,), {"groups": 2}, codes.RANK),
    ("instance_norm", ("N", 6), {}, codes.RANK),
]


@pytest.mark.parametrize(("name", "shape", "arguments", "code"), REJECTED)
def test_rejected(name: str, shape: Any, arguments: dict[str, Any], code: codes.Code) -> None:
    from dlspec.ops.build import BuildError

    b = Layers()
    with pytest.raises(BuildError) as caught:
        apply(b, name, b.input(*shape), **arguments)
    assert caught.value.code is code
