"""A LayerBuilder over one function, for tests: applies built-ins without the elaborator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, LayerSlot, Segment, Value, Weight
from dlspec.ir.types import DType, TensorType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.registry import find

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.ir.graph import Init


class Layers(FunctionBuilder):
    """`weight` and `buffer` make inputs of the function; `slot` remembers what was made."""

    def __init__(self, function: Function | None = None, facts: Any = None) -> None:
        super().__init__(function or Function("f", "block"), facts)
        self.slot = LayerSlot(Segment("layer"), "layer", {}, {})

    def input(self, *shape: int | str | Dim, dtype: DType = DType.FLOAT) -> Value:
        dims = tuple(Dim.parse(n) if isinstance(n, str) else Dim.of(n) for n in shape)
        value = Value(TensorType(dtype, dims))
        self.function.inputs = (*self.function.inputs, value)
        return value

    def weight(
        self, name: str, shape: Sequence[Dim | int], init: Init, *, dtype: DType | None = None
    ) -> Value:
        return self._own(name, shape, init, dtype, True)

    def buffer(
        self, name: str, shape: Sequence[Dim | int], init: Init, *, dtype: DType | None = None
    ) -> Value:
        return self._own(name, shape, init, dtype, False)

    def _own(
        self,
        name: str,
        shape: Sequence[Dim | int],
        init: Init,
        dtype: DType | None,
        trainable: bool,
    ) -> Value:
        type = TensorType(dtype or DType.FLOAT, tuple(Dim.of(n) for n in shape))
        self.slot.weights[name] = Weight(name, type, init, trainable)
        value = Value(type, name)
        self.function.inputs = (*self.function.inputs, value)
        return value

    def update(self, buffer: Value, result: Value) -> None:
        node: Any = self.body[-1]
        assert any(result is r for r in node.results)
        node.updates = (*node.updates, (buffer, result))

    def owner_of(self, read: Value) -> Value | None:
        return None

    def in_training(self, then: Callable[[], Value], orelse: Callable[[], Value]) -> Value:
        orelse()
        return then()

    def attributes(self, **values: Any) -> None:
        self.slot.attributes.update(values)


def apply(b: Layers, name: str, *tensors: Value, **named: Any) -> Any:
    """A built-in applied as a spec would: tensors in order, the rest by name."""
    builtin = find(name)
    assert builtin is not None, name
    if builtin.tensors[:1] and builtin.tensors[0].startswith("*"):
        given: dict[str, Any] = {builtin.tensors[0]: tensors}
    else:
        given = dict(zip(builtin.tensors, tensors, strict=True))
    given |= {key: named.pop(key, None) for key in builtin.optional}
    statics = {p.name: p.default for p in builtin.statics}
    for key, value in named.items():
        assert key in statics, key
        plain_int = isinstance(value, int) and not isinstance(value, bool)
        statics[key] = Dim.const(value) if plain_int else value
    return builtin.apply(b, given, statics)
