"""The graph IR: functions over an instance tree.

A `Function` is one definition of a spec (block, model, training loss), specialised as far as its
static arguments demand. Its *slots* are what an instance owns: weights, built-in layers and child
instances, in source order; a slot's segment is its part of a weight's path. Its *body* is a list
of nodes in SSA order. Dims inside a function are expressions over its own `symbols`; a call gives
the callee's dim symbols (`dims`) and constructor parameters (`statics`) in the caller's terms.

Shared instances. A slot may be used by several nodes (`share`). Passed to another definition, it
is a `Reference` there: the caller hands the instance over at the call (`refs`), so its owner
alone stores and saves it.

Effects. A node that reads or changes state outside its operands says so: `random` draws,
`updates` of buffers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dlspec.codes import Code
    from dlspec.ir.dims import Dim
    from dlspec.ir.facts import Relation
    from dlspec.ir.static import Origin, StaticValue, Symbol
    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Op
    from dlspec.source import Span


@dataclass(eq=False, slots=True)
class Value:
    """A tensor in a function. name: the spec's own name for it, or "" (codegen chooses).

    weight: set when the value is a weight of one of the function's slots.
    """

    type: TensorType
    name: str = ""
    span: Span | None = None
    weight: tuple[Slot, Weight] | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a weight path: `conv`, or `conv.2`. index: None when not numbered."""

    name: str
    index: int | None = None

    def __str__(self) -> str:
        return self.name if self.index is None else f"{self.name}.{self.index}"


@dataclass(frozen=True, slots=True)
class Init:
    """An initialiser: kind of `dlspec.weights.initialisers`, numeric arguments by name.

    fan_in, fan_out are given by the layer where the shape alone does not tell.
    """

    kind: str
    args: tuple[tuple[str, float | Dim], ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Weight:
    """A parameter (trainable) or buffer of a slot."""

    name: str  # "weight", "bias", "running_mean"; the slot's own name for param and buffer
    type: TensorType
    init: Init
    trainable: bool
    span: Span | None = None


@dataclass(eq=False, slots=True)
class WeightSlot:
    """`param(…)` or `buffer(…)`: a weight of the instance itself."""

    segment: Segment
    weight: Weight


@dataclass(eq=False, slots=True)
class LayerSlot:
    """A built-in layer that owns weights (conv, dense, batch_norm, embedding).

    layer: its name; attributes: the arguments a framework's own layer wants, after defaults
    (for conv: in_channels, channels, kernel, stride, padding, dilation, groups, bias …).
    """

    segment: Segment
    layer: str
    attributes: dict[str, StaticValue]
    weights: dict[str, Weight]
    span: Span | None = None


@dataclass(eq=False, slots=True)
class ChildSlot:
    """An instance of another definition. count: for a stack of equal instances, numbered from
    segment.index; None for a single instance."""

    segment: Segment
    function: Function
    dims: Mapping[str, Dim]
    statics: Mapping[str, StaticValue]
    count: Dim | None = None
    span: Span | None = None


@dataclass(eq=False, slots=True)
class Element(ChildSlot):
    """One instance of a stack, for a pass that writes out its runs. place: from 0."""

    stack: Slot = field(kw_only=True)
    place: int = field(kw_only=True)


@dataclass(eq=False, slots=True)
class Reference:
    """An instance that belongs to somebody else, handed over at the call.

    name: unique among the function's references. target: what it is, in this function's terms.
    """

    name: str
    target: LayerSlot | ChildSlot | WeightSlot

    @property
    def segment(self) -> Segment:
        return Segment(self.name)


Slot = WeightSlot | LayerSlot | ChildSlot | Reference


@dataclass(eq=False, slots=True)
class OpNode:
    """results = op(operands). layer: the slot of the built-in layer that this op carries out.

    updates: (buffer value, result) pairs: in training, the buffer becomes the result.
    """

    op: Op
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    layer: Slot | None = None
    updates: tuple[tuple[Value, Value], ...] = ()
    span: Span | None = None


@dataclass(eq=False, slots=True)
class CallNode:
    """results = instance(operands), one run of slot's function.

    refs: one slot of the caller for each of the callee's references, in order.
    """

    slot: Slot  # a ChildSlot, or a Reference to one
    function: Function
    dims: Mapping[str, Dim]
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    refs: tuple[Slot, ...] = ()
    span: Span | None = None


@dataclass(eq=False, slots=True)
class ScanNode(CallNode):
    """A call of a cell for each step along axis 1, with one instance.

    sequences: positions of the operands [N, T, …] that each step takes one [N, …] of; states:
    positions of the inputs that a step's last results replace; all others are the same for each
    step. Results: the outputs of all steps, stacked along axis 1, then the final states.
    reverse: from the last step to the first; outputs keep the order of the sequence.
    """

    sequences: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    reverse: bool = False

    @property
    def length(self) -> Dim:
        return self.operands[self.sequences[0]].type.shape[1]

    @property
    def stacked(self) -> int:
        """How many of the results are outputs of all steps."""
        return len(self.results) - len(self.states)


@dataclass(eq=False, slots=True)
class RepeatNode:
    """count runs of one function, one after the other, each with its own instance of the slot
    (a ChildSlot with count; a shared instance where slot.count is None).

    carried: operands that each run's results replace (as many as results); held: the same for
    each run. The function's inputs are carried, then held.
    """

    slot: Slot
    function: Function
    dims: Mapping[str, Dim]
    count: Dim
    carried: tuple[Value, ...]
    held: tuple[Value, ...]
    results: tuple[Value, ...]
    refs: tuple[Slot, ...] = ()
    runs: tuple[Mapping[str, Dim], ...] = ()  # dims of each run, where they differ (H shrinks)
    span: Span | None = None


@dataclass(eq=False, slots=True)
class BranchNode:
    """A static `if` that codegen may need to print.

    condition: over constructor parameters and dims; ParamRef("training") is the mode.
    taken: the side elaboration chose; None when both are there (`training`, or after merging).
    A side is its nodes and what it yields for `results`, in order; a side that was not
    elaborated is None. Results of a side may be values from outside the branch.
    """

    condition: Origin
    taken: bool | None
    then: Side | None
    orelse: Side | None
    results: tuple[Value, ...]
    span: Span | None = None


@dataclass(eq=False, slots=True)
class Side:
    """slots: those of the function that only this side creates."""

    body: list[Node]
    yields: tuple[Value, ...]
    slots: tuple[Slot, ...] = ()


Node = OpNode | CallNode | RepeatNode | BranchNode


@dataclass(frozen=True, slots=True)
class Requirement:
    """A relation that the caller must satisfy, with the place that needs it."""

    relation: Relation
    span: Span | None
    reason: str
    code: Code
    chain: tuple[Span, ...] = ()  # calls on the way, innermost first


@dataclass(eq=False)
class Function:
    """One definition, specialised. `specialisation` numbers those of one definition from 0.

    statics: the constructor parameters in the spec's order with their values (a Dim here is a
    constant or the symbol of the parameter itself); defaults: the spec's defaults where they are
    plain values. symbols: all symbols that occur in its dims.
    of: the function on whose instances it runs (`dlspec.passes.variants`); None: on its own.
    """

    name: str
    kind: Literal["block", "model", "cell", "train", "layer"]
    specialisation: int = 0
    statics: dict[str, StaticValue] = field(default_factory=dict[str, "StaticValue"])
    defaults: dict[str, StaticValue] = field(default_factory=dict[str, "StaticValue"])
    symbols: dict[str, Symbol] = field(default_factory=dict[str, "Symbol"])
    inputs: tuple[Value, ...] = ()
    references: list[Reference] = field(default_factory=list[Reference])
    slots: list[Slot] = field(default_factory=list[Slot])
    body: list[Node] = field(default_factory=list[Node])
    outputs: tuple[Value, ...] = ()
    output_names: tuple[str, ...] = ()  # empty when not named
    requirements: list[Requirement] = field(default_factory=list[Requirement])
    doc: str | None = None
    span: Span | None = None
    of: Function | None = None

    @property
    def has_buffers(self) -> bool:
        """Whether an instance, with all below it, holds buffers."""
        return any(_has_buffers(slot) for slot in self.slots)

    def values(self) -> dict[str, int]:
        """The known values of its symbols."""
        return {name: s.value for name, s in self.symbols.items() if s.value is not None}


def _has_buffers(slot: Slot) -> bool:
    match slot:
        case WeightSlot():
            return not slot.weight.trainable
        case LayerSlot():
            return any(not w.trainable for w in slot.weights.values())
        case ChildSlot():
            return slot.function.has_buffers
        case Reference():
            return False


@dataclass(eq=False)
class Minimize:
    """`minimize loss over nets using optimizer`; one for each optimizer of the statement.

    over: paths of the weights it trains (see `dlspec.ir.tree`); empty means all. optimizer: name
    in `dlspec.ops.optimizers`, settings as plain values. step: the name of its step, where the
    section has steps.
    """

    loss: Value
    over: tuple[str, ...]
    optimizer: str
    settings: dict[str, float | bool]
    schedule: dict[str, object] | None
    span: Span | None = None
    step: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`step name times n every k`. slot: its place in the training function, which calls it once:
    a function of its own, whose outputs are its losses, then its reports.

    metrics: the names of its outputs.
    """

    name: str
    slot: ChildSlot
    metrics: tuple[str, ...]
    times: int = 1
    every: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """`load net from file using names`. path: of what takes the weights, "" for all; files as
    the spec names them."""

    path: str
    file: str
    names: str | None = None
    span: Span | None = None


@dataclass(eq=False)
class DataSource:
    """`data (fields) from source(args)`. A batch has one array a field, in order."""

    fields: tuple[Value, ...]
    source: str
    args: dict[str, object]  # plain values; "batch" is among them
    span: Span | None = None

    @property
    def batch_extent(self) -> Dim | None:
        """The first axis of its fields, where that is an open size."""
        extents = [field.type.shape[0] for field in self.fields if field.type.rank]
        return next((extent for extent in extents if not extent.is_const), None)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a report is: the built-in that says how batches are put together ("" for their mean),
    and the settings of that, plain values by name."""

    name: str = ""
    settings: tuple[tuple[str, object], ...] = ()


@dataclass(eq=False)
class Training:
    """A training section. function: inputs are the fields of all data sources, outputs the
    loss and then the reports; its slots are the networks.

    With steps, the function calls each of them once, in order, and hands them the networks; its
    outputs are theirs, one step after the other. sampling: a model with the same networks, whose
    outputs are what `sample` shows. scheduled: schedules by the input, a scalar, that holds the
    value at this step. frozen: paths of weights whose functions are in inference mode already.
    weights: whether each weight is trainable, by its path, once merged functions cannot tell:
    there a static condition may decide whether a recursion goes on.
    loads: what a run begins with.
    """

    function: Function
    data: tuple[DataSource, ...]
    minimize: tuple[Minimize, ...]
    reports: tuple[tuple[str, Metric, Value], ...]
    evaluations: tuple[tuple[str, tuple[DataSource, ...]], ...]  # a source for each of `data`
    settings: dict[str, object]
    steps: tuple[Step, ...] = ()
    sampling: Function | None = None
    scheduled: dict[str, dict[str, object]] = field(default_factory=dict[str, "dict[str, object]"])
    frozen: tuple[str, ...] = ()
    weights: dict[str, bool] | None = None
    loads: tuple[Load, ...] = ()

    @property
    def half(self) -> bool:
        """Whether networks compute in bfloat16 (`precision bfloat16`)."""
        return self.settings.get("precision") == "bfloat16"

    @property
    def accumulate(self) -> int:
        """How many batches make an update."""
        found = self.settings.get("accumulate", 1)
        assert isinstance(found, int)
        return found

    @property
    def ema(self) -> float | None:
        """The decay of the averaged weights, where there are any."""
        found = self.settings.get("ema")
        assert found is None or isinstance(found, float)
        return found

    @property
    def networks(self) -> list[ChildSlot]:
        """The slots that are networks, in order."""
        steps = {id(step.slot) for step in self.steps}
        return [s for s in self.function.slots if isinstance(s, ChildSlot) and id(s) not in steps]

    @property
    def scalars_only(self) -> bool:
        """Whether each of the function's outputs is one number."""
        return not any(v.type.rank for v in self.function.outputs)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the function's outputs."""
        if not self.steps:
            return ("loss", *(name for name, _, _ in self.reports))
        return tuple(name for step in self.steps for name in step.metrics)


def walk(nodes: list[Node]) -> Iterator[Node]:
    """All nodes of a body, those inside branches too, in order."""
    for node in nodes:
        yield node
        if isinstance(node, BranchNode):
            for side in (node.then, node.orelse):
                if side is not None:
                    yield from walk(side.body)


def functions_below(root: Function) -> list[Function]:
    """root and every function it calls, callees first, each once; a variant after its owner."""
    order: list[Function] = []
    seen: set[int] = set()
    stack: list[tuple[Function, bool]] = [(root, False)]
    while stack:
        function, done = stack.pop()
        if done:
            order.append(function)
            continue
        if id(function) in seen:
            continue
        seen.add(id(function))
        stack.append((function, True))
        callees = [n.function for n in walk(function.body) if isinstance(n, CallNode | RepeatNode)]
        if function.of is not None:
            callees.insert(0, function.of)
        stack.extend((f, False) for f in reversed(callees) if id(f) not in seen)
    return order


def constructor_symbols(function: Function) -> frozenset[str]:
    """The symbols that an instance depends on: those of its weights, its layers' attributes and
    its children. Other dims differ from call to call of one instance."""
    found = _CONSTRUCTOR.get(function)
    if found is None:
        found = frozenset(s for slot in all_slots(function) for s in _slot_symbols(slot))
        _CONSTRUCTOR[function] = found
    return found


_CONSTRUCTOR: WeakKeyDictionary[Function, frozenset[str]] = WeakKeyDictionary()


def all_slots(function: Function) -> Iterator[Slot]:
    """The slots of a function, those that only one side of a branch creates too."""
    yield from function.slots
    for node in walk(function.body):
        if isinstance(node, BranchNode):
            for side in (node.then, node.orelse):
                if side is not None:
                    yield from side.slots


def _slot_symbols(slot: Slot) -> Iterator[str]:
    match slot:
        case WeightSlot():
            for extent in slot.weight.type.shape:
                yield from extent.symbols
        case LayerSlot():
            for weight in slot.weights.values():
                for extent in weight.type.shape:
                    yield from extent.symbols
        case ChildSlot():
            inner = constructor_symbols(slot.function)
            for name, extent in slot.dims.items():
                if name in inner:
                    yield from extent.symbols
        case Reference():
            return
