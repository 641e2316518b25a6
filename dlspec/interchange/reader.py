"""JSON to graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pydantic import ValidationError

from dlspec import ops
from dlspec.codes import CODES
from dlspec.interchange import schema as s
from dlspec.interchange.statics import decode
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Relation
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    DataSource,
    Function,
    Init,
    LayerSlot,
    Load,
    Metric,
    Minimize,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    Requirement,
    ScanNode,
    Segment,
    Side,
    Slot,
    Step,
    Training,
    Value,
    Weight,
    WeightSlot,
)
from dlspec.ir.static import Symbol
from dlspec.ir.types import DType, TensorType
from dlspec.ops import plugins
from dlspec.ops.base import Op
from dlspec.source import Source, Span


def load(text: str) -> Function | Training:
    """The graph of a document. ValueError says what is wrong with it."""
    from dlspec.passes.verifier import verify_graph

    try:
        document = s.Document.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(str(error)) from None
    try:
        graph = Reader(document).graph()
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"the document does not hold together: {error!r}") from None
    problems = verify_graph(graph)
    if problems:
        raise ValueError("; ".join(problems[:5]))
    return graph


@cache
def op_classes() -> dict[str, type[Op]]:
    """All ops by class name."""
    found: dict[str, type[Op]] = {}
    for module in iter_modules(ops.__path__):
        names = vars(import_module(f"dlspec.ops.{module.name}"))
        for value in names.values():
            if isinstance(value, type) and issubclass(value, Op) and value is not Op:
                found[value.__name__] = value
    return found


class Reader:
    def __init__(self, document: s.Document) -> None:
        self.document = document
        self.sources = [Source(x.name, x.text) for x in document.sources]
        self.functions: list[Function] = []

    def graph(self) -> Function | Training:
        reader = None
        for model in self.document.functions:
            reader = FunctionReader(self, model)
            self.functions.append(reader.read())
        if reader is None:
            raise ValueError("the document has no function")
        training = self.document.training
        return reader.function if training is None else reader.training(training)

    def span(self, span: s.SpanModel) -> Span | None:
        return None if span is None else Span(self.sources[span[0]], span[1], span[2])


class FunctionReader:
    def __init__(self, reader: Reader, model: s.FunctionModel) -> None:
        self.reader = reader
        self.model = model
        self.names = {f"s{i}": Dim.symbol(x.name) for i, x in enumerate(model.symbols)}
        self.slots: list[Slot] = []
        self.values: list[Value] = []
        self.function = Function(model.name, model.kind)

    def read(self) -> Function:
        m, f = self.model, self.function
        f.specialisation = m.specialisation
        f.symbols = {x.name: Symbol(x.kind, x.value, decode(x.origin, self.dim)) for x in m.symbols}
        f.statics, f.defaults = self.statics(m.statics), self.statics(m.defaults)
        self.slots = [self.slot(x) for x in m.slots]
        self.values = [self.value(x) for x in m.values]
        f.slots = [self.slots[i] for i in m.owned]
        f.references = [self.reference(i) for i in m.references]
        f.inputs, f.outputs = self.pick(m.inputs), self.pick(m.outputs)
        f.body = [self.node(n) for n in m.body]
        f.output_names = tuple(m.output_names)
        f.requirements = [self.requirement(r) for r in m.requirements]
        f.doc, f.span = m.doc, self.reader.span(m.span)
        f.of = None if m.of is None else self.reader.functions[at(m.of)]
        return f

    def dim(self, text: str) -> Dim:
        return Dim.parse(text).substitute(self.names)

    def dims(self, dims: Mapping[str, str]) -> dict[str, Dim]:
        return {name: self.dim(text) for name, text in dims.items()}

    def statics(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: decode(v, self.dim) for name, v in values.items()}

    def type(self, model: s.TypeModel) -> TensorType:
        return TensorType(DType(model.dtype), tuple(map(self.dim, model.shape)))

    def pick(self, ids: list[int]) -> tuple[Value, ...]:
        return tuple(self.values[at(i)] for i in ids)

    def value(self, model: s.ValueModel) -> Value:
        value = Value(self.type(model.type), model.name, self.reader.span(model.span))
        if model.weight is not None:
            slot = self.slots[at(model.weight[0])]
            target = slot.target if isinstance(slot, Reference) else slot
            if isinstance(target, LayerSlot):
                value.weight = (slot, target.weights[model.weight[1]])
            elif isinstance(target, WeightSlot):
                value.weight = (slot, target.weight)
            else:
                raise ValueError("a block has no weight of its own")
        return value

    def reference(self, index: int) -> Reference:
        slot = self.slots[at(index)]
        if not isinstance(slot, Reference):
            raise ValueError("a reference is a slot of its own kind")
        return slot

    def slot(self, model: Any) -> Slot:
        match model:
            case s.ReferenceModel():
                target = self.slot(model.target)
                assert not isinstance(target, Reference)
                return Reference(model.name, target)
            case s.WeightSlotModel():
                return WeightSlot(Segment(*model.segment), self.weight(model.weight))
            case s.LayerSlotModel():
                weights = {w.name: self.weight(w) for w in model.weights}
                attributes = self.statics(model.attributes)
                span = self.reader.span(model.span)
                return LayerSlot(Segment(*model.segment), model.layer, attributes, weights, span)
            case s.ChildSlotModel():
                return ChildSlot(
                    Segment(*model.segment),
                    self.reader.functions[at(model.function)],
                    self.dims(model.dims),
                    self.statics(model.statics),
                    None if model.count is None else self.dim(model.count),
                    self.reader.span(model.span),
                )
            case _:
                raise TypeError(type(model).__name__)

    def weight(self, model: s.WeightModel) -> Weight:
        args = tuple((name, decode(v, self.dim)) for name, v in model.init.args)
        init = Init(model.init.kind, args)
        span = self.reader.span(model.span)
        return Weight(model.name, self.type(model.type), init, model.trainable, span)

    def op(self, model: s.OpModel) -> Op:
        cls = op_classes().get(model.op) or plugins.op_classes().get(model.op)
        if cls is None:
            raise ValueError(f"there is no op {model.op}")
        known = {f.name for f in fields(cls)}
        if set(model.attributes) != known:
            raise ValueError(f"{model.op} has the attributes {sorted(known)}")
        return cls(**self.statics(model.attributes))

    def node(self, model: Any) -> Node:
        span = self.reader.span(model.span)
        match model:
            case s.OpModel():
                layer = None if model.layer is None else self.slots[at(model.layer)]
                updates = tuple((self.values[at(a)], self.values[at(b)]) for a, b in model.updates)
                operands, results = self.pick(model.operands), self.pick(model.results)
                return OpNode(self.op(model), operands, results, layer, updates, span)
            case s.CallModel():
                return CallNode(
                    self.slots[at(model.slot)],
                    self.reader.functions[at(model.function)],
                    self.dims(model.dims),
                    self.pick(model.operands),
                    self.pick(model.results),
                    tuple(self.slots[at(i)] for i in model.refs),
                    span,
                )
            case s.ScanModel():
                return ScanNode(
                    self.slots[at(model.slot)],
                    self.reader.functions[at(model.function)],
                    self.dims(model.dims),
                    self.pick(model.operands),
                    self.pick(model.results),
                    tuple(self.slots[at(i)] for i in model.refs),
                    span,
                    tuple(at(i) for i in model.sequences),
                    tuple(at(i) for i in model.states),
                    model.reverse,
                )
            case s.RepeatModel():
                return RepeatNode(
                    self.slots[at(model.slot)],
                    self.reader.functions[at(model.function)],
                    self.dims(model.dims),
                    self.dim(model.count),
                    self.pick(model.carried),
                    self.pick(model.held),
                    self.pick(model.results),
                    tuple(self.slots[at(i)] for i in model.refs),
                    tuple(self.dims(run) for run in model.runs),
                    span,
                )
            case s.BranchModel():
                return BranchNode(
                    decode(model.condition, self.dim),
                    model.taken,
                    self.side(model.then),
                    self.side(model.orelse),
                    self.pick(model.results),
                    span,
                )
            case _:
                raise TypeError(type(model).__name__)

    def side(self, model: s.SideModel | None) -> Side | None:
        if model is None:
            return None
        body = [self.node(n) for n in model.body]
        return Side(body, self.pick(model.yields), tuple(self.slots[at(i)] for i in model.slots))

    def requirement(self, model: s.RequirementModel) -> Requirement:
        if model.op not in ("==", "!=", "<", "<=", ">", ">="):
            raise ValueError(f"{model.op} is no comparison")
        relation = Relation(model.op, self.dim(model.left), self.dim(model.right))  # type: ignore[arg-type]
        span = self.reader.span(model.span)
        return Requirement(relation, span, model.reason, CODES[model.code])

    def data(self, model: s.DataModel) -> DataSource:
        span = self.reader.span(model.span)
        return DataSource(self.pick(model.fields), model.source, model.args, span)

    def training(self, model: s.TrainingModel) -> Training:
        minimize = tuple(
            Minimize(
                self.values[at(m.loss)],
                tuple(m.over),
                m.optimizer,
                m.settings,
                m.schedule,
                self.reader.span(m.span),
                m.step,
            )
            for m in model.minimize
        )
        reports = tuple(
            (r.name, Metric(r.metric, tuple(r.settings.items())), self.values[at(r.value)])
            for r in model.reports
        )
        evaluations = tuple((name, tuple(map(self.data, d))) for name, d in model.evaluations)
        data = tuple(map(self.data, model.data))
        steps = tuple(map(self.step, model.steps))
        return Training(
            self.function, data, minimize, reports, evaluations, model.settings, steps,
            self.sampling(model.sampling), model.scheduled, tuple(model.frozen),
            loads=tuple(
                Load(m.path, m.file, m.names, self.reader.span(m.span)) for m in model.loads
            ),
        )  # fmt: skip

    def sampling(self, document: s.Document | None) -> Function | None:
        found = None if document is None else Reader(document).graph()
        if isinstance(found, Training):
            raise TypeError("what a training samples is a model")
        return found

    def step(self, model: s.StepModel) -> Step:
        slot = self.slots[at(model.slot)]
        assert isinstance(slot, ChildSlot)
        return Step(model.name, slot, tuple(model.metrics), model.times, model.every)


def at(index: int) -> int:
    """A position in a table; negative ones are none."""
    if index < 0:
        raise IndexError(f"no entry {index}")
    return index
