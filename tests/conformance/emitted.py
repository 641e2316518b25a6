"""All rows of a table as one spec, and as one file a backend: values, and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import jax
import numpy as np

from dlspec.api import Model, Spec, load
from dlspec.weights import initial_weights
from tests.codegen.build import load as load_module

if TYPE_CHECKING:
    from .table import Array, Row, Table

ORDER = ("weight", "length", "direction", "bias", "running_mean", "running_var")


def blocks(table: Table, rows: list[Row]) -> list[str]:
    found = [table.uses]
    for i, row in enumerate(rows):
        if not row.inputs(table):  # of a definition without inputs a call would be a layer
            continue
        heads = [f"{n}: {table.inputs[n].type}" for n in row.inputs(table)]
        found.append(f"block B{i}({', '.join(heads)}) = {row.text}")
    return found


def use(place: int, row: Row, names: list[str]) -> str:
    call = f"B{place}({', '.join(names)}) as b{place}" if names else row.text
    return f"  y{place} = {call}"


@dataclass
class Values:
    """One model of rows, N open."""

    table: Table
    rows: list[Row]

    @cached_property
    def model(self) -> Model:
        every = range(len(self.rows))
        heads = ", ".join(f"{n}: {x.type}" for n, x in self.table.inputs.items())
        lines = [*blocks(self.table, self.rows), f"model M({heads}) {{"]
        lines += [
            *(use(i, row, row.inputs(self.table)) for i, row in enumerate(self.rows)),
            f"  return {', '.join(f'y{i}' for i in every)}",
            "}",
        ]
        return load("\n".join([*lines, ""])).model("M")

    @cached_property
    def weights(self) -> dict[str, Array]:
        rng = np.random.default_rng(1)
        made = initial_weights(self.model.function, 0)
        return {n: rng.random(w.shape) + 0.5 for n, w in made.items()}

    def of(self, place: int) -> dict[str, Array]:
        """A row's weights in their order."""
        own = {n: w for n, w in self.weights.items() if n.startswith(f"b{place}.")}
        return dict(sorted(own.items(), key=lambda item: ORDER.index(item[0].split(".")[-1])))

    def run(self, backend: str, dtype: str, batches: list[int]) -> dict[int, list[Array]]:
        jax.config.update("jax_enable_x64", dtype == "float64")  # the type of what has no weights
        module = load_module(self.model.code(backend))
        state = module.import_weights(module.init(0, dtype=dtype), self.weights)
        found: dict[int, list[Array]] = {}
        for batch in batches:
            outputs = module.predict(state, **cast(self.table.tensors(batch), dtype))
            many = outputs if len(self.rows) > 1 else {"output0": outputs}
            found[batch] = [np.asarray(many[f"output{i}"]) for i in range(len(self.rows))]
        return found


def cast(tensors: dict[str, Array], dtype: str) -> dict[str, Array]:
    return {n: x.astype(dtype) if x.dtype.kind == "f" else x for n, x in tensors.items()}


@dataclass
class Gradients:
    """A training section whose weights are the learned inputs of rows, and their own weights."""

    table: Table
    rows: list[Row]
    batch: int = 3

    def learned(self, row: Row) -> list[str]:
        inputs = self.table.inputs
        return [n for n in row.inputs(self.table) if inputs[n].is_float and inputs[n].learned]

    @cached_property
    def spec(self) -> Spec:
        n = str(self.batch)
        given = {k: x for k, x in self.table.inputs.items() if not (x.is_float and x.learned)} or {
            "unused": next(iter(self.table.inputs.values()))
        }
        heads = ", ".join(f"{k}: {x.type.replace('N', n, 1)}" for k, x in given.items())
        lines = [*blocks(self.table, self.rows), f"model M({heads}) {{"]
        for i, row in enumerate(self.rows):
            for name in self.learned(row):
                shape = list(self.table.inputs[name].shape(self.batch))
                lines.append(f"  {name}_{i} = param({shape}, init = normal())")
        for i, row in enumerate(self.rows):
            own = self.learned(row)
            names = [f"{k}_{i}" if k in own else k for k in row.inputs(self.table)]
            lines.append(use(i, row, names))
        total = " + ".join(f"sum(square(y{i}))" for i in range(len(self.rows)))
        lines += [f"  return {total}", "}", "train t {"]
        fields = ", ".join(given)
        lines += [
            f'  data ({heads}) from npz("none.npz", fields = "{fields}", batch = {n})',
            f"  minimize M({fields}) using sgd(0.1)",
            "}",
        ]
        return load("\n".join([*lines, ""]))

    def run(self, backend: str, weights: dict[str, Array]) -> dict[str, Array]:
        """The gradients by path, of the losses' sum."""
        module = load_module(self.spec.trainer("t").code(backend))
        state = module.init(0, dtype="float64")
        tensors = self.table.tensors(self.batch)
        values = {
            path: weights[path] if path in weights else tensors[path.rsplit("_", 1)[0]]
            for path in module.export_weights(state)
        }
        state = module.import_weights(state, values)
        given = {k: x for k, x in tensors.items() if k in fields_of(self.table)}
        found = module.gradients(state, given or {"unused": next(iter(tensors.values()))})[1]
        return {path: np.asarray(g) for path, g in found.items()}


def fields_of(table: Table) -> set[str]:
    return {k for k, x in table.inputs.items() if not (x.is_float and x.learned)}
