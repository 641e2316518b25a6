"""Cases of patches and of images at given places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import patches, sampling

if TYPE_CHECKING:
    from tests.ops.cases import Case


def cases() -> list[Case]:
    from tests.ops.cases import d, of

    plain = (d(3, 2), d(1, 1), d(0, 0), d(1, 1))
    strided = (d(2, 3), d(2, 1), d(1, 2), d(1, 2))
    found = [
        of(patches.Unfold(*plain), "f[N,C,H,W]"),
        of(patches.Unfold(*strided), "f[2,1,5,6]"),
        of(patches.Unfold(d(1, 1), d(1, 1), d(0, 0), d(1, 1)), "f[1,1,1,1]"),
        of(patches.Fold(*plain, d("H", "W")), "f[N,6*C,(H-2)*(W-1)]"),
        of(patches.Fold(*strided, d(5, 6)), "f[2,12,18]"),
    ]
    for mode in ("bilinear", "nearest"):
        for padding in ("zeros", "border"):
            for align in (True, False):
                op = sampling.GridSample(mode, padding, align)
                found.append(of(op, "f[2,C,H,W]", "f[2,3,T,2]"))
    return [*found, of(sampling.GridSample(), "f[1,1,1,1]", "u[1,1,1,2]")]
