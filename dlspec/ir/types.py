"""Element types and tensor types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.ir.dims import Dim


class DType(StrEnum):
    """FLOAT is the working float type: float32, bfloat16 or float64, as the run says."""

    FLOAT = "float"
    F32 = "f32"
    F64 = "f64"
    BF16 = "bf16"
    I64 = "i64"
    I32 = "i32"
    BOOL = "bool"

    @property
    def is_float(self) -> bool:
        return self in (DType.FLOAT, DType.F32, DType.F64, DType.BF16)

    @property
    def is_int(self) -> bool:
        return self in (DType.I64, DType.I32)


@dataclass(frozen=True)
class TensorType:
    """An element type and a symbolic shape."""

    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def substitute(self, mapping: Mapping[str, Dim | int]) -> TensorType:
        return TensorType(self.dtype, tuple(d.substitute(mapping) for d in self.shape))

    def __str__(self) -> str:
        prefix = "" if self.dtype is DType.FLOAT else self.dtype.value
        return f"{prefix}[{', '.join(map(str, self.shape))}]"
