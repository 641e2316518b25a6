"""The form of a document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = "dlspec-ir"
VERSION = 1

SpanModel = tuple[int, int, int] | None  # source, start, end
Static = Any  # see `statics`


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TypeModel(Strict):
    dtype: str
    shape: list[str]


class ValueModel(Strict):
    type: TypeModel
    name: str = ""
    weight: tuple[int, str] | None = None  # slot, weight
    span: SpanModel = None


class InitModel(Strict):
    kind: str
    args: list[tuple[str, Static]]


class WeightModel(Strict):
    name: str
    type: TypeModel
    init: InitModel
    trainable: bool
    span: SpanModel = None


class WeightSlotModel(Strict):
    kind: Literal["weight"] = "weight"
    segment: tuple[str, int | None]
    weight: WeightModel


class LayerSlotModel(Strict):
    kind: Literal["layer"] = "layer"
    segment: tuple[str, int | None]
    layer: str
    attributes: dict[str, Static]
    weights: list[WeightModel]
    span: SpanModel = None


class ChildSlotModel(Strict):
    kind: Literal["child"] = "child"
    segment: tuple[str, int | None]
    function: int
    dims: dict[str, str]
    statics: dict[str, Static]
    count: str | None = None
    span: SpanModel = None


class ReferenceModel(Strict):
    kind: Literal["reference"] = "reference"
    name: str
    target: LayerSlotModel | ChildSlotModel | WeightSlotModel


SlotModel = Annotated[
    WeightSlotModel | LayerSlotModel | ChildSlotModel | ReferenceModel, Field(discriminator="kind")
]


class OpModel(Strict):
    kind: Literal["op"] = "op"
    op: str
    attributes: dict[str, Static]
    operands: list[int]
    results: list[int]
    layer: int | None = None
    updates: list[tuple[int, int]] = []
    span: SpanModel = None


class CallModel(Strict):
    kind: Literal["call"] = "call"
    slot: int
    function: int
    dims: dict[str, str]
    operands: list[int]
    results: list[int]
    refs: list[int] = []
    span: SpanModel = None


class ScanModel(Strict):
    kind: Literal["scan"] = "scan"
    slot: int
    function: int
    dims: dict[str, str]
    operands: list[int]
    results: list[int]
    sequences: list[int]
    states: list[int]
    reverse: bool = False
    refs: list[int] = []
    span: SpanModel = None


class RepeatModel(Strict):
    kind: Literal["repeat"] = "repeat"
    slot: int
    function: int
    dims: dict[str, str]
    count: str
    carried: list[int]
    held: list[int]
    results: list[int]
    refs: list[int] = []
    runs: list[dict[str, str]] = []
    span: SpanModel = None


class SideModel(Strict):
    body: list[NodeModel]
    yields: list[int]
    slots: list[int] = []


class BranchModel(Strict):
    kind: Literal["branch"] = "branch"
    condition: Static
    taken: bool | None
    then: SideModel | None
    orelse: SideModel | None
    results: list[int]
    span: SpanModel = None


NodeModel = Annotated[
    OpModel | CallModel | ScanModel | RepeatModel | BranchModel, Field(discriminator="kind")
]


class SymbolModel(Strict):
    name: str
    kind: Literal["param", "derived", "dim"]
    value: int | None = None
    origin: Static = None


class RequirementModel(Strict):
    op: str
    left: str
    right: str
    reason: str
    code: str
    span: SpanModel = None


class FunctionModel(Strict):
    """dims are texts over s0, s1, …: positions in `symbols`."""

    name: str
    kind: Literal["block", "model", "cell", "train", "layer"]
    specialisation: int
    symbols: list[SymbolModel]
    statics: dict[str, Static]
    defaults: dict[str, Static]
    values: list[ValueModel]
    slots: list[SlotModel]
    owned: list[int]  # slots of the function itself; others belong to sides of branches
    references: list[int]
    inputs: list[int]
    body: list[NodeModel]
    outputs: list[int]
    output_names: list[str]
    requirements: list[RequirementModel]
    doc: str | None = None
    span: SpanModel = None
    of: int | None = None


class DataModel(Strict):
    fields: list[int]
    source: str
    args: dict[str, Any]
    span: SpanModel = None


class MinimizeModel(Strict):
    loss: int
    over: list[str]
    optimizer: str
    settings: dict[str, float | bool]
    schedule: dict[str, Any] | None
    span: SpanModel = None
    step: str = ""


class StepModel(Strict):
    name: str
    slot: int
    metrics: list[str]
    times: int
    every: int


class ReportModel(Strict):
    name: str
    value: int
    metric: str = ""
    settings: dict[str, str | float | int | bool | None] = {}


class LoadModel(Strict):
    path: str
    file: str
    names: str | None = None
    span: SpanModel = None


class TrainingModel(Strict):
    data: list[DataModel]
    minimize: list[MinimizeModel]
    reports: list[ReportModel]
    evaluations: list[tuple[str, list[DataModel]]]
    settings: dict[str, Any]
    steps: list[StepModel] = []
    sampling: Document | None = None
    scheduled: dict[str, dict[str, Any]] = {}
    frozen: list[str] = []
    loads: list[LoadModel] = []


class SourceModel(Strict):
    name: str
    text: str


class Document(Strict):
    format: Literal["dlspec-ir"] = FORMAT
    version: Literal[1] = VERSION
    sources: list[SourceModel]
    functions: list[FunctionModel]  # callees first; the last is the root
    training: TrainingModel | None = None


TrainingModel.model_rebuild()
