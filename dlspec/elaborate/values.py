"""What an expression may be worth while a spec is elaborated.

Static values are those of `dlspec.ir.static`; tensors are `dlspec.ir.graph.Value`. The rest is
here: groups, layers as values, initialisers, modules, and the unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlspec.ir.graph import Init, Value
from dlspec.ir.static import StaticValue
from dlspec.ops.base import Statistic as Statistic
from dlspec.passes.variants import Use

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.elaborate.files import Module
    from dlspec.elaborate.inner import Read
    from dlspec.elaborate.scope import Scope
    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import CallNode, Function, Slot
    from dlspec.ir.static import Origin
    from dlspec.ops.base import Builtin
    from dlspec.source import Span
    from dlspec.syntax import ast


@dataclass(frozen=True, eq=False)
class Unknown:
    """The value of what failed; it causes no second error."""


UNKNOWN = Unknown()


@dataclass(frozen=True, eq=False)
class Group:
    """A tuple or list with a tensor, a layer or another group in it. names: of outputs."""

    items: tuple[AnyValue, ...]
    is_list: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Places:
    """Where the arguments of a call stand: the last positional ones, and those by name."""

    args: tuple[Span, ...] = ()
    words: Mapping[str, Span] = field(default_factory=dict[str, "Span"])

    def of(self, position: int, count: int) -> Span | None:
        """The place of a positional argument of `count`."""
        at = position - count
        return self.args[at] if -len(self.args) <= at < 0 else None


@dataclass(frozen=True, eq=False)
class BuiltinLayer:
    """A built-in with the arguments given so far; what they fill is settled at application."""

    builtin: Builtin
    args: tuple[AnyValue, ...]
    keywords: tuple[tuple[str, AnyValue], ...]
    span: Span
    places: Places = Places()


@dataclass(frozen=True, eq=False)
class DefinedLayer:
    """A block or model with the static arguments and held tensors given so far."""

    definition: ast.Definition
    module: Module
    args: tuple[AnyValue, ...]
    keywords: tuple[tuple[str, AnyValue], ...]
    span: Span
    places: Places = Places()


@dataclass(frozen=True, eq=False)
class Composed:
    """One layer after the other."""

    stages: tuple[LayerValue, ...]
    span: Span


@dataclass(frozen=True, eq=False)
class Repeated:
    """`repeat(count, layer)`: count layers of one kind in a row."""

    count: StaticValue
    layer: LayerValue
    span: Span


@dataclass(frozen=True, eq=False)
class Scanned:
    """`scan(cell)`: the cell at every step along axis 1. final: the final states too.

    lengths, mask: the steps of each sequence that are there; decoding: `greedy`, … if it is one;
    both: a cell each way, results side by side.
    """

    layer: LayerValue
    reverse: bool
    final: bool
    span: Span
    lengths: Value | None = None
    mask: Value | None = None
    decoding: str = ""
    both: bool = False


@dataclass(frozen=True, eq=False)
class Forked:
    """`fork(A, B, …)`: the same input to each, a tuple out."""

    branches: tuple[LayerValue, ...]
    span: Span


@dataclass(frozen=True, eq=False)
class Named_:
    """A layer under a segment of its own: `layer as name`, or a layer reached through a name."""

    layer: LayerValue
    segment: str
    index: int | None
    span: Span
    numbered: bool = False


@dataclass(frozen=True, eq=False)
class Chosen:
    """The layer that a static condition chose."""

    condition: Origin
    taken: bool
    layer: LayerValue
    span: Span


@dataclass(eq=False)
class Shared:
    """One instance that every use shares. scope: the function that owns it; slot: made at the
    first use, when the input is known."""

    name: str
    layer: LayerValue
    scope: Scope
    span: Span
    index: int | None = None
    numbered: bool = False  # `share` stands in a loop
    slot: Slot | None = None
    function: Function | None = None
    inference: bool = False  # what `function` was built for
    uses: list[Use] = field(default_factory=list["Use"])  # the calls of a definition

    reads: list[Read] = field(default_factory=list["Read"])  # of weights inside it

    def used(self, node: CallNode, dims: dict[str, Dim]) -> None:
        self.uses.append(Use(node, dims))


@dataclass(frozen=True, eq=False)
class Adjusted:
    """A shared instance of a definition with other static arguments at this use."""

    shared: Shared
    args: tuple[AnyValue, ...]
    keywords: tuple[tuple[str, AnyValue], ...]
    span: Span
    places: Places = Places()


@dataclass(frozen=True, eq=False)
class Inner:
    """A part of a shared network: `net.encoder`, `net.layers[0]`."""

    shared: Shared
    path: tuple[str, ...]


LayerValue = (
    BuiltinLayer
    | DefinedLayer
    | Composed
    | Repeated
    | Scanned
    | Forked
    | Named_
    | Chosen
    | Shared
    | Adjusted
)

LAYERS = (
    BuiltinLayer, DefinedLayer, Composed, Repeated, Scanned, Forked, Named_, Chosen, Shared,
    Adjusted,
)  # fmt: skip


@dataclass(frozen=True)
class InitValue:
    """An initialiser: a maker without its shape."""

    init: Init


@dataclass(frozen=True, eq=False)
class Namespace:
    """`use "blocks.dls" as b`."""

    module: Module


@dataclass(frozen=True, eq=False)
class StaticFunction:
    """A function of static code: len, range, zip, …"""

    name: str


AnyValue = Any  # StaticValue | Value | Group | LayerValue | InitValue | Namespace | Unknown …


def is_tensor(value: AnyValue) -> bool:
    """A tensor, or a group with a tensor in it."""
    if isinstance(value, Value):
        return True
    return isinstance(value, Group) and any(is_tensor(item) for item in value.items)


def is_layer(value: AnyValue) -> bool:
    return isinstance(value, LAYERS)


def is_static(value: AnyValue) -> bool:
    from dlspec.ir.dims import Dim
    from dlspec.ir.static import Known, Sequence

    return value is None or isinstance(value, Dim | Known | Sequence | bool | int | float | str)
