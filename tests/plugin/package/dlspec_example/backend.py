"""PyTorch once more, with a relu of its own."""

from dataclasses import dataclass, field

from dlspec_torch import Target as Torch
from dlspec_torch.table import TABLE

from dlspec.codegen import Table, Unsupported
from dlspec.ops.activations import Relu
from dlspec.ops.elementwise import Erf

ROWS: Table = {
    **TABLE,
    Relu: "x: x.clamp(min=0)",
    Erf: Unsupported("has no erf"),
}


@dataclass
class Target(Torch):
    name: str = "mine"
    table: Table = field(default_factory=lambda: ROWS)
