"""Graphs to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dlspec.interchange import schema as s
from dlspec.interchange.statics import encode
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    DataSource,
    Function,
    LayerSlot,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    Side,
    Slot,
    Training,
    Value,
    Weight,
    WeightSlot,
    all_slots,
    functions_below,
)
from dlspec.ir.types import TensorType
from dlspec.source import Source, Span


def dump(graph: Function | Training) -> str:
    """The document of a model or training section, as JSON text."""
    return Writer().document(graph).model_dump_json(indent=1) + "\n"


class Writer:
    def __init__(self) -> None:
        self.sources: dict[Source, int] = {}
        self.functions: dict[int, int] = {}

    def document(self, graph: Function | Training) -> s.Document:
        root = graph if isinstance(graph, Function) else graph.function
        models: list[s.FunctionModel] = []
        writer = None
        for i, function in enumerate(functions_below(root)):
            self.functions[id(function)] = i
            writer = FunctionWriter(self, function)
            models.append(writer.model())
        assert writer is not None
        training = writer.training(graph) if isinstance(graph, Training) else None
        sources = [s.SourceModel(name=x.name, text=x.text) for x in self.sources]
        return s.Document(sources=sources, functions=models, training=training)

    def span(self, span: Span | None) -> s.SpanModel:
        if span is None:
            return None
        index = self.sources.setdefault(span.source, len(self.sources))
        return (index, span.start, span.end)


class FunctionWriter:
    def __init__(self, writer: Writer, function: Function) -> None:
        self.writer = writer
        self.function = function
        self.names = {name: f"s{i}" for i, name in enumerate(function.symbols)}
        self.values: dict[int, int] = {}
        self.value_models: list[s.ValueModel] = []
        self.slots: dict[int, int] = {}
        self.slot_models: list[Any] = []

    def model(self) -> s.FunctionModel:
        f = self.function
        for slot in (*all_slots(f), *f.references):
            self.slots[id(slot)] = len(self.slot_models)
            self.slot_models.append(self.slot_model(slot))
        body = [self.node(n) for n in f.body]
        return s.FunctionModel(
            name=f.name,
            kind=f.kind,
            specialisation=f.specialisation,
            symbols=[
                s.SymbolModel(
                    name=name, kind=x.kind, value=x.value, origin=encode(x.origin, self.dim)
                )
                for name, x in f.symbols.items()
            ],
            statics=self.statics(f.statics),
            defaults=self.statics(f.defaults),
            inputs=self.ids(f.inputs),
            body=body,
            outputs=self.ids(f.outputs),
            output_names=list(f.output_names),
            owned=[self.slots[id(x)] for x in f.slots],
            references=[self.slots[id(x)] for x in f.references],
            requirements=[
                s.RequirementModel(
                    op=r.relation.op,
                    left=self.dim(r.relation.left),
                    right=self.dim(r.relation.right),
                    reason=r.reason,
                    code=r.code.name,
                    span=self.writer.span(r.span),
                )
                for r in f.requirements
            ],
            doc=f.doc,
            span=self.writer.span(f.span),
            of=None if f.of is None else self.writer.functions[id(f.of)],
            values=self.value_models,
            slots=self.slot_models,
        )

    def dim(self, dim: Dim) -> str:
        return dim.render(self.names)

    def dims(self, dims: Mapping[str, Dim]) -> dict[str, str]:
        return {name: self.dim(d) for name, d in dims.items()}

    def statics(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: encode(v, self.dim) for name, v in values.items()}

    def type(self, type_: TensorType) -> s.TypeModel:
        return s.TypeModel(dtype=type_.dtype.value, shape=[self.dim(d) for d in type_.shape])

    def ids(self, values: tuple[Value, ...]) -> list[int]:
        return [self.value(v) for v in values]

    def value(self, value: Value) -> int:
        found = self.values.get(id(value))
        if found is None:
            found = self.values[id(value)] = len(self.value_models)
            weight = value.weight and (self.slots[id(value.weight[0])], value.weight[1].name)
            self.value_models.append(
                s.ValueModel(
                    type=self.type(value.type),
                    name=value.name,
                    weight=weight,
                    span=self.writer.span(value.span),
                )
            )
        return found

    def slot_model(self, slot: Slot) -> Any:
        match slot:
            case Reference():
                return s.ReferenceModel(name=slot.name, target=self.slot_model(slot.target))
            case WeightSlot():
                return s.WeightSlotModel(
                    segment=(slot.segment.name, slot.segment.index), weight=self.weight(slot.weight)
                )
            case LayerSlot():
                return s.LayerSlotModel(
                    segment=(slot.segment.name, slot.segment.index),
                    layer=slot.layer,
                    attributes=self.statics(slot.attributes),
                    weights=[self.weight(w) for w in slot.weights.values()],
                    span=self.writer.span(slot.span),
                )
            case ChildSlot():
                return s.ChildSlotModel(
                    segment=(slot.segment.name, slot.segment.index),
                    function=self.writer.functions[id(slot.function)],
                    dims=self.dims(slot.dims),
                    statics=self.statics(slot.statics),
                    count=None if slot.count is None else self.dim(slot.count),
                    span=self.writer.span(slot.span),
                )

    def weight(self, weight: Weight) -> s.WeightModel:
        args = [(name, encode(v, self.dim)) for name, v in weight.init.args]
        return s.WeightModel(
            name=weight.name,
            type=self.type(weight.type),
            init=s.InitModel(kind=weight.init.kind, args=args),
            trainable=weight.trainable,
            span=self.writer.span(weight.span),
        )

    def node(self, node: Node) -> Any:
        span = self.writer.span(node.span)
        match node:
            case OpNode():
                attributes = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
                return s.OpModel(
                    op=type(node.op).__name__,
                    attributes=self.statics(attributes),
                    operands=self.ids(node.operands),
                    results=self.ids(node.results),
                    layer=None if node.layer is None else self.slots[id(node.layer)],
                    updates=[(self.value(a), self.value(b)) for a, b in node.updates],
                    span=span,
                )
            case ScanNode():
                return s.ScanModel(
                    slot=self.slots[id(node.slot)],
                    function=self.writer.functions[id(node.function)],
                    dims=self.dims(node.dims),
                    operands=self.ids(node.operands),
                    results=self.ids(node.results),
                    sequences=list(node.sequences),
                    states=list(node.states),
                    reverse=node.reverse,
                    refs=[self.slots[id(r)] for r in node.refs],
                    span=span,
                )
            case CallNode():
                return s.CallModel(
                    slot=self.slots[id(node.slot)],
                    function=self.writer.functions[id(node.function)],
                    dims=self.dims(node.dims),
                    operands=self.ids(node.operands),
                    results=self.ids(node.results),
                    refs=[self.slots[id(r)] for r in node.refs],
                    span=span,
                )
            case RepeatNode():
                return s.RepeatModel(
                    slot=self.slots[id(node.slot)],
                    function=self.writer.functions[id(node.function)],
                    dims=self.dims(node.dims),
                    count=self.dim(node.count),
                    carried=self.ids(node.carried),
                    held=self.ids(node.held),
                    results=self.ids(node.results),
                    refs=[self.slots[id(r)] for r in node.refs],
                    runs=[self.dims(run) for run in node.runs],
                    span=span,
                )
            case BranchNode():
                return s.BranchModel(
                    condition=encode(node.condition, self.dim),
                    taken=node.taken,
                    then=self.side(node.then),
                    orelse=self.side(node.orelse),
                    results=self.ids(node.results),
                    span=span,
                )

    def side(self, side: Side | None) -> s.SideModel | None:
        if side is None:
            return None
        body = [self.node(n) for n in side.body]
        slots = [self.slots[id(x)] for x in side.slots]
        return s.SideModel(body=body, yields=self.ids(side.yields), slots=slots)

    def data(self, data: DataSource) -> s.DataModel:
        return s.DataModel(
            fields=self.ids(data.fields),
            source=data.source,
            args=data.args,
            span=self.writer.span(data.span),
        )

    def training(self, training: Training) -> s.TrainingModel:
        return s.TrainingModel(
            data=[self.data(d) for d in training.data],
            minimize=[
                s.MinimizeModel(
                    loss=self.value(m.loss),
                    over=list(m.over),
                    optimizer=m.optimizer,
                    settings=m.settings,
                    schedule=m.schedule,
                    span=self.writer.span(m.span),
                    step=m.step,
                )
                for m in training.minimize
            ],
            reports=[
                s.ReportModel(
                    name=name,
                    value=self.value(v),
                    metric=metric.name,
                    settings=dict(metric.settings),  # type: ignore[arg-type]
                )
                for name, metric, v in training.reports
            ],
            evaluations=[(name, [self.data(d) for d in ds]) for name, ds in training.evaluations],
            settings=training.settings,
            scheduled=training.scheduled,
            frozen=list(training.frozen),
            loads=[
                s.LoadModel(path=x.path, file=x.file, names=x.names, span=self.writer.span(x.span))
                for x in training.loads
            ],
            sampling=Writer().document(training.sampling) if training.sampling else None,
            steps=[
                s.StepModel(
                    name=step.name,
                    slot=self.slots[id(step.slot)],
                    metrics=list(step.metrics),
                    times=step.times,
                    every=step.every,
                )
                for step in training.steps
            ],
        )
