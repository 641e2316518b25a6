"""The NumPy backend: textbook classes with a derived backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from dlspec.codegen import Generated, Randomness, Unit
    from dlspec.codegen.inference import Precision


class Target:
    """Generates NumPy programs; see `dlspec.codegen.Target`."""

    name = "numpy"
    inference: ClassVar[tuple[Precision, ...]] = ("float32",)

    def generate(self, unit: Unit, *, randomness: Randomness = "framework") -> Generated:
        from dlspec_numpy.module import generate

        return generate(unit, draws=randomness == "inputs")
