"""What training writes into buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT
from dlspec.ops.base import Builtin, Op
from dlspec.ops.rules import ZERO, check_same, require_equal, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Value
    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Passing(Op):
    """x, and nothing flows back."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return ZERO


@dataclass(frozen=True)
class Read(Passing):
    """A buffer as it is where the node stands."""

    ordered: ClassVar[bool] = True


@dataclass(frozen=True)
class Update(Passing):
    """x, as the new value of the buffer that the node updates."""


def _update(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    buffer, value = tensors["buffer"], tensors["value"]
    owner = b.owner_of(buffer) or b.fail(
        BAD_ARGUMENT,
        "update: the first argument is no buffer of this definition",
        help="a buffer is made here: u = buffer([4], init = zeros)",
    )
    check_same(b, "update", buffer.type, value.type)
    have, want = buffer.type.shape, value.type.shape
    message = f"update: the buffer is {text(have)}, the value {text(want)}"
    if len(have) != len(want):
        b.fail(BAD_ARGUMENT, message)
    for left, right in zip(have, want, strict=True):
        require_equal(b, left, right, message)

    def written() -> Value:
        b.update(owner, b.emit(Update(), value))
        return value

    return b.in_training(written, lambda: buffer)


BUILTINS = (
    Builtin(
        "update",
        ("buffer", "value"),
        _update,
        doc="In training the buffer becomes the value, and the result is the value; in inference "
        "it is the buffer. Nothing flows back through the buffer.",
    ),
)
