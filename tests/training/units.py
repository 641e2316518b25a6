"""Training sections built by hand, for tests that do not need the language."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    DataSource,
    Function,
    Init,
    LayerSlot,
    Metric,
    Minimize,
    Segment,
    Training,
    Value,
    Weight,
)
from dlspec.ir.types import DType, TensorType

PROTOCOL_FILE = Path(__file__).with_name("protocol_file.py")


def tensor(*shape: int | str, dtype: DType = DType.FLOAT) -> TensorType:
    dims = tuple(Dim.symbol(s) if isinstance(s, str) else Dim.const(s) for s in shape)
    return TensorType(dtype, dims)


def dense(name: str, inputs: int, outputs: int) -> LayerSlot:
    weight = Init("kaiming_uniform")
    bias = Init("fan_in_uniform", (("fan_in", Dim.const(inputs)),))
    weights = {
        "weight": Weight("weight", tensor(outputs, inputs), weight, True),
        "bias": Weight("bias", tensor(outputs), bias, True),
    }
    return LayerSlot(Segment(name), "dense", {}, weights)


def network() -> Function:
    function = Function("Digits", "model")
    function.slots = [dense("hidden", 64, 32), dense("head", 32, 10)]
    function.inputs = (Value(tensor("N", 1, 8, 8), "image"),)
    return function


def digits(**settings: object) -> Training:
    """The training that `protocol_file.py` carries out."""
    image = Value(tensor("N", 1, 8, 8), "image")
    label = Value(tensor("N", dtype=DType.I64), "label")
    loss = Value(tensor())
    function = Function("digits", "train", inputs=(image, label), outputs=(loss,))
    net = network()
    slot = ChildSlot(Segment("digits"), net, {"N": Dim.symbol("N")}, {})
    function.slots = [slot]
    logits = Value(tensor("N", 10), "logits")
    function.body = [CallNode(slot, net, slot.dims, (image,), (logits,))]
    source = DataSource((image, label), "digits", {"batch": 100})
    test = DataSource((image, label), "digits", {"split": "test", "batch": 128})
    descent = Minimize(loss, (), "sgd", {"lr": 0.1, "momentum": 0.9}, None)
    accuracy = (("accuracy", Metric("accuracy"), loss),)
    return Training(function, (source,), (descent,), accuracy, (("test", (test,)),), dict(settings))


@dataclass
class HandUnit:
    """A unit whose code is a file of the tests, whatever the backend."""

    graph: Training | Function
    file: Path = PROTOCOL_FILE
    name: str = "digits"
    path: Path | None = None
    include: tuple[Path, ...] = ()
    phase: str = ""
    phases: tuple[HandUnit, ...] = ()
    others: dict[str, str] = field(default_factory=dict)

    def trial(self) -> None:
        """Verify takes the graph as it is."""

    def code(self, backend: str, graph: object = None, randomness: str = "own") -> str:
        return self.others.get(backend) or self.file.read_text()
