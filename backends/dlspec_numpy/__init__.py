"""The NumPy backend: textbook classes with a derived backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlspec.codegen import Generated, Randomness, Unit


class Target:
    """Generates NumPy programs; see `dlspec.codegen.Target`."""

    name = "numpy"

    def generate(self, unit: Unit, *, randomness: Randomness = "framework") -> Generated:
        from dlspec_numpy.module import generate

        return generate(unit, draws=randomness == "inputs")
