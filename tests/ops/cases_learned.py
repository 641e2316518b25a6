"""Cases of activations with weights, and of buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import prelu, state

if TYPE_CHECKING:
    from tests.ops.cases import Case


def cases() -> list[Case]:
    from tests.ops.cases import of

    op = prelu.PRelu()
    return [
        of(op, "f[N,C,H,W]", "f[C]"),
        of(op, "f[N,C]", "f[C]"),
        of(op, "f[N,T,D]", "f[1]"),
        of(op, "f[D]", "f[1]"),
        of(op, "d[N,C,T]", "f[C]"),
        of(state.Read(), "f[N,D]"),
        of(state.Update(), "f[N,D]"),
    ]
