"""Recurrent layers of several steps, layers and directions: LSTM, GRU and the plain RNN."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT, DTYPE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Relu, Sigmoid, Tanh
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Less, Term
from dlspec.ops.initialisers import bias_default
from dlspec.ops.linalg import Linear
from dlspec.ops.random import Dropout
from dlspec.ops.rules import (
    ONE,
    check_float,
    le,
    product,
    require_equal,
    require_positive,
    text,
)
from dlspec.ops.shape import Arange, BroadcastTo, Concat, Reshape, Slice, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.static import Known
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Recurrent(Op):
    """A recurrent network over x [N, T, D]: layers on top of each other, each in one or both
    directions.

    Operands: x; mask bool[N, T] where `masked` (a step that is not there keeps the states and
    gives 0); the initial states [layers · directions, N, _] where `held` (else zero); then for
    each layer and direction, in the order of `suffixes`, the weights of `weight_names`.
    Results: y [N, T, directions · P], the final states, and what the gradient needs.
    first: the number of the first layer, for its weights' names. single: whether it is but one
    layer of a network.
    """

    name: ClassVar[str]
    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[int]  # rows of a weight, in units of hidden

    layers: int = 1
    bidirectional: bool = False
    biases: int = 1
    masked: bool = False
    held: bool = False
    first: int = 0
    single: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def inputs(self) -> int:
        """How many operands are no weights."""
        return 1 + self.masked + (len(self.states) if self.held else 0)

    @property
    def cells(self) -> list[tuple[int, str]]:
        """Layer and suffix of each cell."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        last = self.first + self.layers
        return [(k, f"_l{k}{end}") for k in range(self.first, last) for end in ends]

    def sizes(self, hidden: Dim, output: Dim) -> tuple[Dim, ...]:
        """The extents of the states."""
        return (output,)

    def saved(self, hidden: Dim, output: Dim) -> Dim:
        """How many numbers of a step the gradient needs."""
        raise NotImplementedError

    def step(
        self, gates: Term, states: Sequence[Term], weights: Sequence[Value]
    ) -> tuple[Term, ...]:
        """The next states. gates: W x + b; weights: those of a cell but W and its bias."""
        raise NotImplementedError

    def weight_shapes(
        self, hidden: Dim, output: Dim, features: Dim
    ) -> Iterator[tuple[str, tuple[Dim, ...]]]:
        """The weights of one cell, with torch's names, and their shapes."""
        rows = self.gates * hidden
        yield "weight_ih", (rows, features)
        yield "weight_hh", (rows, output)
        for name in ("bias_ih", "bias_hh")[: self.biases]:
            yield name, (rows,)

    @property
    def names(self) -> list[str]:
        """The names of all weights, in order."""
        one = Dim.const(1)
        return [name for name, _ in self.weights(one, one, one)]

    def weights(
        self, hidden: Dim, output: Dim, features: Dim
    ) -> Iterator[tuple[str, tuple[Dim, ...]]]:
        """Names and shapes of all weights, in order."""
        for layer, suffix in self.cells:
            wide = features if layer == self.first else self.directions * output
            for name, shape in self.weight_shapes(hidden, output, wide):
                yield name + suffix, shape

    def widths(self, operands: Sequence[TensorType]) -> tuple[Dim, Dim]:
        """The extents of the cell and of its output."""
        recurrent = operands[self.inputs + 1]
        hidden = recurrent.shape[1]
        return hidden, hidden

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x = operands[0]
        if x.rank != 3:
            message = f"{self.name}: the input is [N, T, D], and this is {text(x.shape)}"
            shapes.fail(RANK, message)
        floats = [x, *operands[1 + self.masked :]]
        dtype = check_float(shapes, self.name, *floats)
        batch, steps, features = x.shape
        require_positive(shapes, steps, f"{self.name}: {text(x.shape)} has no step")
        hidden, output = self.widths(operands)
        if self.masked:
            self._check_mask(shapes, x, operands[1])
        count = Dim.const(self.layers * self.directions)
        states = [(count, batch, size) for size in self.sizes(hidden, output)]
        if self.held:
            given = operands[1 + self.masked : self.inputs]
            for name, state, shape in zip(self.states, given, states, strict=True):
                self._check_shape(shapes, f"the state `{name}`", state.shape, shape)
        expected = self.weights(hidden, output, features)
        for weight, (name, shape) in zip(operands[self.inputs :], expected, strict=True):
            self._check_shape(shapes, f"the weight {name}", weight.shape, shape)
        last = self.directions * output
        kept = (count, steps, batch, self.saved(hidden, output))
        shapes_of = [(batch, steps, last), *states, kept]
        return tuple(TensorType(dtype, shape) for shape in shapes_of)

    def _check_mask(self, shapes: Shapes, x: TensorType, mask: TensorType) -> None:
        message = f"{self.name}: the mask is bool[N, T], and this is {mask}"
        if mask.dtype is not DType.BOOL:
            shapes.fail(DTYPE, message)
        if mask.rank != 2:
            shapes.fail(RANK, message)
        for have, want in zip(mask.shape, x.shape, strict=False):
            require_equal(shapes, have, want, message)

    def _check_shape(
        self, shapes: Shapes, what: str, have: tuple[Dim, ...], want: tuple[Dim, ...]
    ) -> None:
        message = f"{self.name}: {what} is {text(have)}, and must be {text(want)}"
        if len(have) != len(want):
            shapes.fail(RANK, message)
        for a, b in zip(have, want, strict=True):
            require_equal(shapes, a, b, message)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        *given, _ = grads  # nothing else reads what was saved
        present = [g for g in given if g is not None]
        if not present:
            return [None] * len(operands)
        op = RecurrentGrad(self, tuple(g is not None for g in given))
        found: list[Value | None] = [*b.emit_all(op, *operands, results[-1], *present)]
        if self.masked:
            found.insert(1, None)
        return found

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.macs(operands, results)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        steps = product(operands[0].shape[:2])
        matrices = (w.shape for w in operands[self.inputs :] if w.rank == 2)
        return steps * sum(map(product, matrices), start=Dim.const(0))


def _product(x: Term, *weights: Value) -> Term:
    return Term(x.b, x.b.emit(Linear(), x.value, *weights))


def _parts(x: Term, count: int, axis: int = -1) -> list[Term]:
    """Equal parts along an axis."""
    shape = x.value.type.shape
    sizes = (shape[axis] // count,) * count
    return [Term(x.b, part) for part in x.b.emit_all(Split(sizes, axis), x.value)]


@dataclass(frozen=True)
class Lstm(Recurrent):
    """i, f, o = σ(W x + U h + b), g = tanh(…), c' = f c + i g, h' = o tanh(c') (Hochreiter and
    Schmidhuber 1997; Gers et al. 2000), gates in the order i, f, g, o.

    projected: h' = V (o tanh(c')) with V [P, hidden] (Sak et al. 2014), after the biases.
    """

    name: ClassVar[str] = "lstm"
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    gates: ClassVar[int] = 4

    projected: bool = False

    def step(
        self, gates: Term, states: Sequence[Term], weights: Sequence[Value]
    ) -> tuple[Term, ...]:
        h, c = states
        hidden = len(weights) - self.projected
        i, f, g, o = _parts(gates + _product(h, *weights[:hidden]), 4)
        c = f.apply(Sigmoid()) * c + i.apply(Sigmoid()) * g.apply(Tanh())
        h = o.apply(Sigmoid()) * c.apply(Tanh())
        return (_product(h, weights[-1]) if self.projected else h), c

    def weight_shapes(
        self, hidden: Dim, output: Dim, features: Dim
    ) -> Iterator[tuple[str, tuple[Dim, ...]]]:
        yield from super().weight_shapes(hidden, output, features)
        if self.projected:
            yield "weight_hr", (output, hidden)

    def widths(self, operands: Sequence[TensorType]) -> tuple[Dim, Dim]:
        if not self.projected:
            return super().widths(operands)
        projection = operands[self.inputs + 2 + self.biases]
        return projection.shape[1], projection.shape[0]

    def sizes(self, hidden: Dim, output: Dim) -> tuple[Dim, ...]:
        return (output, hidden)

    def saved(self, hidden: Dim, output: Dim) -> Dim:
        return 5 * hidden + output


@dataclass(frozen=True)
class Gru(Recurrent):
    """r, z = σ(W x + U h + b), n = tanh(Wₙ x + r (Uₙ h)), h' = (1 - z) n + z h (Cho et al. 2014),
    gates in the order r, z, n.

    reset_after: as above and in cuDNN; else the reset comes first, n = tanh(Wₙ x + Uₙ (r h)).
    A second bias stands with U.
    """

    name: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3

    reset_after: bool = True

    def step(
        self, gates: Term, states: Sequence[Term], weights: Sequence[Value]
    ) -> tuple[Term, ...]:
        (h,) = states
        x_r, x_z, x_n = _parts(gates, 3)
        if self.reset_after:
            h_r, h_z, h_n = _parts(_product(h, *weights), 3)
            r, z = (x_r + h_r).apply(Sigmoid()), (x_z + h_z).apply(Sigmoid())
            n = (x_n + r * h_n).apply(Tanh())
        else:
            rows = [_parts(Term(h.b, w), 3, 0) for w in weights]
            of_r, of_z, of_n = ([part.value for part in parts] for parts in zip(*rows, strict=True))
            r = (x_r + _product(h, *of_r)).apply(Sigmoid())
            z = (x_z + _product(h, *of_z)).apply(Sigmoid())
            n = (x_n + _product(r * h, *of_n)).apply(Tanh())
        return ((1.0 - z) * n + z * h,)

    def saved(self, hidden: Dim, output: Dim) -> Dim:
        return 5 * hidden


@dataclass(frozen=True)
class Rnn(Recurrent):
    """h' = act(W x + U h + b) (Elman 1990), act tanh or relu."""

    name: ClassVar[str] = "rnn"
    gates: ClassVar[int] = 1

    act: str = "tanh"

    def step(
        self, gates: Term, states: Sequence[Term], weights: Sequence[Value]
    ) -> tuple[Term, ...]:
        total = gates + _product(states[0], *weights)
        return (total.apply(Tanh() if self.act == "tanh" else Relu()),)

    def saved(self, hidden: Dim, output: Dim) -> Dim:
        return hidden


@dataclass(frozen=True)
class RecurrentGrad(Op):
    """The gradients of a recurrent network by its float operands, backwards through time.

    Operands: those of `forward`, what it saved, then those gradients of y and of the
    final states that are `present`.
    """

    forward: Recurrent
    present: tuple[bool, ...]

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        raise NotImplementedError(f"the second derivative of {self.forward.name} as one op")

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        count = len(operands) - 1 - sum(self.present)
        return tuple(t for t in operands[:count] if t.dtype.is_float)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.macs(operands, results)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.forward.macs(operands, results)


# --- the language ---


def _states(
    b: LayerBuilder, op: Recurrent, x: Value, tensors: Mapping[str, Any], sizes: Sequence[Dim]
) -> list[Value]:
    """The initial states where one is given; zero for the other."""
    given: list[Value | None] = [tensors[name] for name in op.states]
    if all(state is None for state in given):
        return []
    count = Dim.const(op.layers * op.directions)
    return [
        b.emit(BroadcastTo((count, x.type.shape[0], size)), b.constant(0.0, x))
        if state is None
        else state
        for state, size in zip(given, sizes, strict=True)
    ]


def _mask(b: LayerBuilder, name: str, x: Value, tensors: Mapping[str, Any]) -> Value | None:
    mask, lengths = tensors["mask"], tensors["lengths"]
    if lengths is None or mask is not None:
        if lengths is not None:
            b.fail(BAD_ARGUMENT, f"{name} takes `lengths` or `mask`, not both")
        return mask
    if not lengths.type.dtype.is_int or lengths.type.rank != 1:
        b.fail(
            DTYPE if lengths.type.rank == 1 else RANK,
            f"`lengths` of {name} is i64[N], and this is {lengths.type}",
        )
    batch, steps = x.type.shape[:2]
    message = f"{name}: {lengths.type} lengths do not fit the input {text(x.type.shape)}"
    require_equal(b, lengths.type.shape[0], batch, message)
    time = b.emit(Arange(Dim.const(0), steps, ONE, lengths.type.dtype))
    return b.emit(Less(), time, b.emit(Reshape((batch, ONE)), lengths))


def _layers(
    b: LayerBuilder,
    op: Recurrent,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
    output: Dim,
) -> Any:
    """The network of `op`'s kind that the arguments ask for."""
    x: Value = tensors["x"]
    name, hidden = op.name, statics["hidden"]
    if x.type.rank != 3:
        b.fail(RANK, f"{name}: the input is [N, T, D], and this is {text(x.type.shape)}")
    mask = _mask(b, name, x, tensors)
    states = _states(b, op, x, tensors, op.sizes(hidden, output))
    op = replace(op, masked=mask is not None, held=bool(states))
    weights = {
        path: b.weight(path, shape, bias_default(hidden))
        for path, shape in op.weights(hidden, output, x.type.shape[2])
    }
    y, *final = _run(b, op, x, mask, states, list(weights.values()), _dropout(b, op, statics))
    if not arg.flag(statics["final"]):
        return y
    joined = [parts[0] if len(parts) == 1 else b.emit(Concat(0), *parts) for parts in final]
    return (y, *joined)


def _dropout(b: LayerBuilder, op: Recurrent, statics: Mapping[str, Any]) -> float | Known:
    p = arg.number(b, statics["dropout"])
    if not 0 <= arg.bare(b, p) <= 1:
        b.fail(BAD_ARGUMENT, f"{op.name}: dropout is {arg.bare(b, p)}, not between 0 and 1")
    if arg.bare(b, p) and op.layers == 1:
        b.fail(
            BAD_ARGUMENT,
            f"{op.name}: dropout acts between layers, and there is one",
            help=f"apply it to the result: {op.name}(…) -> dropout(…)",
        )
    return p


def _run(
    b: LayerBuilder,
    op: Recurrent,
    x: Value,
    mask: Value | None,
    states: Sequence[Value],
    weights: Sequence[Value],
    dropout: float | Known,
) -> tuple[Any, ...]:
    """One op for all layers; with dropout between them, one for each. The parts of each final
    state follow y."""
    masks = [] if mask is None else [mask]
    if not arg.bare(b, dropout):
        y, *final, _ = b.emit_all(op, x, *masks, *states, *weights)
        return (y, *((state,) for state in final))
    each, rows = len(weights) // op.layers, op.directions
    parts: list[tuple[Value, ...]] = []
    for k in range(op.layers):
        if k:
            x = b.emit_all(Dropout(dropout), x)[0]
        own = [_rows(b, state, k * rows, (k + 1) * rows) for state in states]
        layer = replace(op, layers=1, first=k, single=True)
        x, *ends, _ = b.emit_all(layer, x, *masks, *own, *weights[k * each : (k + 1) * each])
        parts.append(tuple(ends))
    return (x, *zip(*parts, strict=True))


def _rows(b: LayerBuilder, x: Value, start: int, stop: int) -> Value:
    """x[start:stop]"""
    starts = (Dim.const(start), *(Dim.const(0) for _ in x.type.shape[1:]))
    stops = (Dim.const(stop), *x.type.shape[1:])
    return b.emit(Slice(starts, stops, (ONE,) * x.type.rank), x)


def _common(b: LayerBuilder, name: str, statics: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of every kind, checked."""
    arg.at_least(b, name, "hidden", (statics["hidden"],), 1)
    layers, biases = (arg.integer(b, statics[key]) for key in ("layers", "biases"))
    if layers < 1:
        b.fail(BAD_ARGUMENT, f"{name}: {layers} layers, but there must be 1 or more")
    if not 0 <= biases <= 2:
        b.fail(
            BAD_ARGUMENT,
            f"{name}: biases is {biases}, but must be 0, 1 or 2",
            help="2 is for torch's checkpoints: one bias with the input, one with the state",
        )
    both = arg.flag(statics["bidirectional"])
    return {"layers": layers, "bidirectional": both, "biases": biases}


def _attributes(b: LayerBuilder, x: Value, statics: Mapping[str, Any], **more: Any) -> None:
    names = ("hidden", "layers", "bidirectional", "biases")
    features = x.type.shape[-1] if x.type.rank else ONE
    b.attributes(features=features, **{name: statics[name] for name in names}, **more)


def _lstm(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Any:
    hidden, output = statics["hidden"], statics["hidden"]
    projected = arg.plain(statics["projection"]) is not None
    if projected:
        output = arg.dim(b, "lstm: projection", statics["projection"])
        arg.at_least(b, "lstm", "projection", (output,), 1)
        message = f"lstm: projection is {output}, but must be less than hidden, which is {hidden}"
        b.require(le(output, hidden - 1), message, BAD_ARGUMENT)
    op = Lstm(**_common(b, "lstm", statics), projected=projected)
    _attributes(b, tensors["x"], statics, projection=output if projected else None)
    return _layers(b, op, tensors, statics, output)


def _gru(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Any:
    after = arg.flag(statics["reset_after"])
    op = Gru(**_common(b, "gru", statics), reset_after=after)
    _attributes(b, tensors["x"], statics, reset_after=after)
    return _layers(b, op, tensors, statics, statics["hidden"])


def _rnn(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Any:
    act = arg.word(b, "rnn: act", statics["act"], ("tanh", "relu"))
    op = Rnn(**_common(b, "rnn", statics), act=act)
    _attributes(b, tensors["x"], statics, act=act)
    return _layers(b, op, tensors, statics, statics["hidden"])


def _builtin(
    name: str, apply: Callable[..., Any], doc: str, states: tuple[str, ...], *own: StaticParam
) -> Builtin:
    statics = (
        StaticParam("hidden", kinds=("int",)),
        StaticParam("layers", Dim.const(1), ("int",)),
        StaticParam("bidirectional", False, arg.FLAG),
        StaticParam("dropout", 0.0, arg.NUMBER),
        StaticParam("biases", Dim.const(1), ("int",)),
        *own,
        StaticParam("final", False, arg.FLAG),
    )
    optional = (*states, "lengths", "mask")
    return Builtin(name, ("x",), apply, statics, optional, owns_weights=True, doc=doc)


BUILTINS = (
    _builtin(
        "lstm",
        _lstm,
        "Long short-term memory over [N, T, D].",
        ("h", "c"),
        StaticParam("projection", None, ("int", "none")),
    ),
    _builtin(
        "gru",
        _gru,
        "Gated recurrent units over [N, T, D].",
        ("h",),
        StaticParam("reset_after", True, arg.FLAG),
    ),
    _builtin(
        "rnn",
        _rnn,
        "The plain recurrent network over [N, T, D].",
        ("h",),
        StaticParam("act", "tanh", ("string",)),
    ),
)
