"""The conformance table: every row on three backends in float64 and float32 against its reference,
for a batch of three, one and none; gradients against autograd and central differences of the
reference; inferred shapes against those that come out."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
import torch

from dlspec.ops import registry
from tests.codegen.build import ROOT

from .emitted import Gradients, Values
from .table import Row, Table, double
from .tables import ELSEWHERE, TABLES

pytestmark = [  # of nothing there is no mean
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
BACKENDS = ("torch", "numpy", "jax")
SIZE = 60  # rows in one file
PARTS = [(table, start) for table in TABLES for start in range(0, len(table.rows), SIZE)]
IDS = [f"{table.name}-{start}" for table, start in PARTS]


@pytest.fixture(autouse=True)
def _double() -> Any:
    wanted = {"jax_enable_x64": True, "jax_disable_most_optimizations": True}
    before = {name: jax.config.read(name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@cache
def values_of(place: int, batch: int) -> Values:
    table, start = PARTS[place]
    rows = [row for row in table.rows[start : start + SIZE] if batch in row.batches]
    return Values(table, rows)


def reference(table: Table, row: Row, batch: int, weights: Any, dtype: str = "float64") -> Any:
    rounded = {
        n: x.astype(dtype) if x.dtype.kind == "f" else x for n, x in table.tensors(batch).items()
    }
    tensors = {n: double(x) for n, x in rounded.items()}
    return row.wanted(table, tensors, [torch.as_tensor(w) for w in weights.values()]).detach()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", range(len(PARTS)), ids=IDS)
def test_values(place: int, backend: str) -> None:
    table, _ = PARTS[place]
    for batch, dtypes in ((3, ("float64", "float32")), (1, ("float64",)), (0, ("float64",))):
        made = values_of(place, batch)
        for dtype in dtypes if made.rows else ():
            (found,) = made.run(backend, dtype, [batch]).values()
            for i, (row, y) in enumerate(zip(made.rows, found, strict=True)):
                where = f"{row.text} in {dtype}, N = {batch}"
                wanted = reference(table, row, batch, made.of(i), dtype).numpy()
                inferred = made.model.function.outputs[i].type.shape
                assert y.shape == tuple(n.evaluate({"N": batch}) for n in inferred), where
                assert y.shape == wanted.shape, where
                assert y.dtype.kind == wanted.dtype.kind, where
                assert y.dtype == dtype or y.dtype.kind != "f", where
                rtol, atol = (row.tolerance, 1e-11) if dtype == "float64" else (3e-4, 3e-5)
                np.testing.assert_allclose(y, wanted, rtol, atol, err_msg=where)


def smooth(place: int) -> Gradients:
    """The rows with something to learn and a float as the result."""
    made = values_of(place, 3)
    outputs = made.model.function.outputs
    rows = [r for r, y in zip(made.rows, outputs, strict=True) if y.type.dtype.is_float and r.still]
    every = Gradients(made.table, rows)
    return Gradients(made.table, [r for r in rows if every.learned(r)])


@cache
def slopes(place: int) -> list[dict[str, Any]]:
    """Autograd's gradients of the references by path, for each row; checked by differences."""
    table, _ = PARTS[place]
    made, values = smooth(place), values_of(place, 3)
    found: list[dict[str, Any]] = []
    for i, row in enumerate(made.rows):
        own = values.of(values.rows.index(row))
        names = {n: f"{n}_{i}" for n in made.learned(row)}
        tensors = {n: double(x) for n, x in table.tensors(3).items()}
        leaves = [tensors[n].requires_grad_() for n in names]
        weights = [torch.as_tensor(w) for w in own.values()]
        free = [w.requires_grad_() for n, w in zip(own, weights, strict=True) if "running" not in n]

        def loss(
            moved: Any, row: Row = row, names: Any = names, now: Any = (tensors, weights)
        ) -> Any:
            leaves = dict(zip(names, moved, strict=False))
            frozen = now[1][len(moved) - len(leaves) :]
            given = row.wanted(table, {**now[0], **leaves}, [*moved[len(leaves) :], *frozen])
            return (given**2).sum()

        every = [*leaves, *free]
        total = loss(every)
        grads = [torch.zeros_like(x) for x in every]
        if total.requires_grad:
            grads = torch.autograd.grad(total, every, allow_unused=True, materialize_grads=True)
        if row.smooth:
            generator = torch.Generator().manual_seed(0)
            moves = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in every]
            step = 1e-6
            up = [x.detach() + step * v for x, v in zip(every, moves, strict=True)]
            down = [x.detach() - step * v for x, v in zip(every, moves, strict=True)]
            change = loss(up) - loss(down)
            along = sum(float((g * v).sum()) for g, v in zip(grads, moves, strict=True))
            assert float(change) / (2 * step) == pytest.approx(along, rel=1e-5, abs=1e-6), row.text
        paths = [
            *names.values(),
            *(f"b{i}." + n.split(".", 1)[1] for n in own if "running" not in n),
        ]
        found.append(dict(zip(paths, (g.numpy() for g in grads), strict=True)))
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", range(len(PARTS)), ids=IDS)
def test_gradients(place: int, backend: str) -> None:
    made, values = smooth(place), values_of(place, 3)
    if not made.rows:
        pytest.skip("nothing takes a gradient")
    weights = {
        f"b{i}." + path.split(".", 1)[1]: w
        for i, row in enumerate(made.rows)
        for path, w in values.of(values.rows.index(row)).items()
    }
    found = made.run(backend, weights)
    for row, wanted in zip(made.rows, slopes(place), strict=True):
        for path, slope in wanted.items():
            if path in found:  # not: a buffer
                np.testing.assert_allclose(
                    found[path], slope, 1e-8, 1e-9, err_msg=f"{row.text}: {path}"
                )


def test_every_builtin_has_a_row() -> None:
    """Or a file that tests it with references of its own."""
    named = " ".join(row.text for table in TABLES for row in table.rows)
    called = set(re.findall(r"\b(\w+)\(", named))
    assert [n for n in registry.names() if n not in called and n not in ELSEWHERE] == []
    for name, path in ELSEWHERE.items():
        assert name not in called and registry.find(name) is not None, name
        assert re.search(rf"{name}\b", (ROOT / path).read_text(), re.IGNORECASE), name
