"""Calls of built-ins as a spec writes them, and many of them as one model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlspec.api import load
from tests.codegen.build import load as load_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TYPES = {
    torch.float64: "",
    torch.float32: "",  # error inputs: the working float, as float64 is in samples
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
    torch.bool: "bool",
    torch.complex64: "c64",
    torch.complex128: "c128",
}


@dataclass
class Call:
    """text: the expression, `{0}`, `{1}`, … for the tensors. result: what makes torch's answer
    comparable where the spec says it in another way (an axis more). weights: of the one layer, by
    name. notes: what was written out."""

    text: str
    tensors: list[Tensor]
    weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    result: Callable[[Any], Any] = lambda y: y
    notes: tuple[str, ...] = ()

    @property
    def form(self) -> tuple[object, ...]:
        """Calls of one form are one piece of code."""
        return self.text, tuple((t.dtype, tuple(t.shape)) for t in self.tensors)

    def block(self, name: str) -> str:
        names = [f"a{i}" for i in range(len(self.tensors))]
        heads = ", ".join(f"{n}: {type_of(t)}" for n, t in zip(names, self.tensors, strict=True))
        return f"block {name}({heads}) = {self.text.format(*names)}"


Mapped = Call | str  # a string: why the sample has no counterpart


def type_of(tensor: Tensor) -> str:
    return f"{TYPES[tensor.dtype]}[{', '.join(map(str, tensor.shape))}]"


def static(value: object) -> str:
    """A static argument as a spec writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value)
        case tuple() | list():
            return f"[{', '.join(map(static, value))}]"  # type: ignore[arg-type]
        case _:
            return str(value)


def written(name: str, *tensors: Any, named: dict[str, Any] | None = None) -> Call:
    """A built-in of tensors in order; of `named`, a tensor is an optional input."""
    given: list[str] = []
    every: list[Tensor] = []
    for value in tensors:
        given.append(f"{{{len(every)}}}" if isinstance(value, Tensor) else static(value))
        every += [value] if isinstance(value, Tensor) else []
    for key, value in (named or {}).items():
        if isinstance(value, Tensor):
            given.append(f"{key} = {{{len(every)}}}")
            every.append(value)
        else:
            given.append(f"{key} = {static(value)}")
    return Call(f"{name}({', '.join(given)})", every)


def spec_of(calls: Sequence[Call]) -> str:
    """Each call in a block of its own, so that its weights have its name."""
    heads: list[str] = []
    uses: list[str] = []
    for i, call in enumerate(calls):
        names = [f"a{i}x{k}" for k in range(len(call.tensors))]
        heads += [f"{n}: {type_of(t)}" for n, t in zip(names, call.tensors, strict=True)]
        uses.append(f"  y{i} = B{i}({', '.join(names)}) as b{i}")
    blocks = [call.block(f"B{i}") for i, call in enumerate(calls)]
    outputs = ", ".join(f"y{i}" for i in range(len(calls)))
    return "\n".join(
        [*blocks, f"model M({', '.join(heads)}) {{", *uses, f"  return {outputs}", "}", ""]
    )


@dataclass
class Batch:
    """Calls of different forms, and all their tensors: one model, run once for each round."""

    rounds: list[list[tuple[Call, Tensor]]]  # of the first round each form is a member

    @classmethod
    def of(cls, calls: Sequence[tuple[Call, Tensor]]) -> Batch:
        forms: dict[object, list[tuple[Call, Tensor]]] = {}
        for call, wanted in calls:
            forms.setdefault(call.form, []).append((call, wanted))
        most = max(map(len, forms.values()))
        return cls([[same[min(i, len(same) - 1)] for same in forms.values()] for i in range(most)])

    def check(self, backends: Sequence[str], tolerance: float = 1e-9) -> None:
        calls = [call for call, _ in self.rounds[0]]
        model = load(spec_of(calls)).model("M")
        for backend in backends:
            module = load_module(model.code(backend))
            start = module.init(0, dtype="float64")
            paths = list(module.export_weights(start))
            for pairs in self.rounds:
                state = module.import_weights(start, weights_of(pairs, paths))
                found = module.predict(state, **inputs_of(pairs))
                many = found if len(pairs) > 1 else {"output0": found}
                for i, (call, wanted) in enumerate(pairs):
                    compare(many[f"output{i}"], call.result(wanted), tolerance, backend, call)


def inputs_of(pairs: Sequence[tuple[Call, Tensor]]) -> dict[str, Any]:
    return {
        f"a{i}x{k}": tensor.detach().resolve_neg().numpy()
        for i, (call, _) in enumerate(pairs)
        for k, tensor in enumerate(call.tensors)
    }


def weights_of(pairs: Sequence[tuple[Call, Tensor]], paths: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i, (call, _) in enumerate(pairs):
        own = [path for path in paths if path.startswith(f"b{i}.")]
        assert len(own) == len(call.weights), (own, call.text)
        found |= {path: call.weights[path.split(".")[-1]].detach().numpy() for path in own}
    return found


def compare(found: Any, wanted: Tensor, tolerance: float, backend: str, call: Call) -> None:
    where = f"{backend}: {call.block('B')}"
    assert tuple(np.shape(found)) == tuple(wanted.shape), where
    np.testing.assert_allclose(
        np.asarray(found), wanted.detach().numpy(), tolerance, 1e-12, err_msg=where
    )
