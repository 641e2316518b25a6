"""What an op is, and what a built-in function or layer of the language is.

An `Op` is one frozen class: attributes, shape rule, gradient rule, FLOPs, docstring with the
formula. A `Builtin` is a name of the language: its signature, and how it builds ops (and, for a
layer, weights). Backends know ops; the elaborator knows built-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dlspec.ir.dims import Dim

if TYPE_CHECKING:
    from dlspec.codes import Code
    from dlspec.ir.facts import Relation, Truth
    from dlspec.ir.graph import Init, Metric, Value
    from dlspec.ir.types import DType, TensorType
    from dlspec.ops.whole import Mean, Pooled


class Shapes(Protocol):
    """What a shape rule may ask. Implemented by the elaborator, and by `ops.build` for passes."""

    def decide(self, relation: Relation) -> Truth:
        """Three-valued, with all that is known here."""
        ...

    def require(self, relation: Relation, reason: str, code: Code | None = None) -> None:
        """Proved: nothing. Unknown: becomes a requirement. Refuted: raises Failure."""
        ...

    def fail(self, code: Code, message: str, *, notes: Sequence[str] = (), help: str = "") -> Any:
        """Raises Failure at the current place."""
        ...


@dataclass(frozen=True)
class Op:
    """Base of all ops. Attributes are dataclass fields; ints may be `Dim`s."""

    random: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    ordered: ClassVar[bool] = False  # it reads what another node may change
    modal: ClassVar[bool] = False  # training and inference differ: see `inference`
    # what it is on each backend, of an op that no backend's own table knows
    rows: ClassVar[Mapping[str, Any]] = {}

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        """Result types. Raises Failure through `shapes`."""
        raise NotImplementedError

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        """The operands' gradients from the results' gradients, as IR; None means zero."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient rule")

    def inference(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value | None]:
        """What a modal op is in inference mode, as IR; None for results that nothing there may
        use."""
        raise NotImplementedError(f"{type(self).__name__} is the same in both modes")

    def draws(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> TensorType:
        """What a random op draws, so that a pass can make the draw an input."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")

    def given(self, b: Builder, operands: Sequence[Value], draw: Value) -> Sequence[Value]:
        """The results of a random op whose draw is given."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        """Floating-point operations; elementwise default one an element of the first result."""
        total = Dim.const(1)
        for extent in results[0].shape:
            total = total * extent
        return total

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        """Multiply-accumulates of matrix products and convolutions; zero for all others."""
        return Dim.const(0)


class Builder(Protocol):
    """Appends nodes to a function. Shape errors inside passes are bugs and raise."""

    def emit(self, op: Op, *operands: Value) -> Value:
        """One op with one result."""
        ...

    def emit_all(self, op: Op, *operands: Value) -> tuple[Value, ...]:
        """One op with any number of results."""
        ...

    def constant(self, value: float, like: Value | None = None) -> Value:
        """A scalar of `like`'s dtype (FLOAT without)."""
        ...

    def decide(self, relation: Relation) -> Truth:
        """Three-valued, with all that is known here."""
        ...


class LayerBuilder(Builder, Shapes, Protocol):
    """What a built-in may use while it is applied."""

    def weight(
        self, name: str, shape: Sequence[Dim | int], init: Init, *, dtype: DType | None = None
    ) -> Value:
        """A trainable weight of this layer's slot; reused where the layer is shared."""
        ...

    def buffer(
        self, name: str, shape: Sequence[Dim | int], init: Init, *, dtype: DType | None = None
    ) -> Value: ...

    def update(self, buffer: Value, result: Value) -> None:
        """In training, buffer becomes result (a result of the last emitted op)."""
        ...

    def known(self, dim: Dim) -> int:
        """The value of a dim made of constructor parameters; else fails UNDECIDED."""
        ...

    def owner_of(self, read: Value) -> Value | None:
        """The buffer that a value was read from."""
        ...

    def in_training(self, then: Callable[[], Value], orelse: Callable[[], Value]) -> Value:
        """What `then` gives in training, else what `orelse` gives, which is of the same type."""
        ...

    def attributes(self, **values: object) -> None:
        """Attributes of the LayerSlot, for frameworks' own layers."""
        ...


REQUIRED: Any = object()


@dataclass(frozen=True)
class StaticParam:
    """A static parameter of a built-in. kinds: "int", "float", "bool", "string", "none", "ints"
    (int or sequence of ints), "dims" (a list of dims), "init", "any". A name "**sizes", the last,
    takes all keywords that no other does, as a mapping."""

    name: str
    default: Any = REQUIRED
    kinds: tuple[str, ...] = ("any",)


@dataclass(frozen=True, eq=False)
class Statistic:
    """What a metric that is no mean of batches gives: an array of a batch, from which the
    built-in's `whole` makes the value of a source. Only a report may use it."""

    value: Value
    metric: Metric


Applied = Any  # Value | tuple[Value, ...] | list[Value] | Statistic


@dataclass(frozen=True)
class Builtin:
    """A function or layer of the language.

    tensors: required tensor inputs in order ("*xs": any number, from a list or tuple; behind
    others: one, or a tuple of several);
    optional: tensor inputs given by name only; statics in order. apply(b, tensors, statics):
    tensors by name (absent optional: None; "*xs": tuple), statics by name: int parameters are
    `Dim`s, others `StaticValue`s. scalars: names of tensor inputs that accept a number.
    whole: of a metric, how batches are put together; None for a mean.
    """

    name: str
    tensors: tuple[str, ...]
    apply: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Applied]
    statics: tuple[StaticParam, ...] = ()
    optional: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    owns_weights: bool = False
    output_names: tuple[str, ...] = ()
    doc: str = ""
    whole: Mean | Pooled | None = None
