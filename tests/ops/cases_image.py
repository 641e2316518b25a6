"""Cases of normalisation, transposed convolution, resizing and padding."""

from __future__ import annotations

from dlspec.ir.dims import Dim
from dlspec.ops import layernorm

from .cases import Case, of


def norms() -> list[Case]:
    found: list[Case] = []
    flags = ((True, True), (True, False), (False, True), (False, False))
    for axes, factor, xs in (
        ((-1,), "[D]", ("[N,T,D]", "[N,D]")),
        ((-2, -1), "[T,D]", ("[N,T,D]", "[T,D]")),
    ):
        for x in xs:
            for scale, shift in flags[: 4 if x == "[N,T,D]" else 1]:
                given = ["f" + factor] * scale
                op = layernorm.LayerNorm(1e-5, scale, shift, axes)
                found.append(of(op, "f" + x, *given, *["f" + factor] * shift))
                grad = layernorm.LayerNormGrad(1e-3, scale, shift, axes)
                found.append(of(grad, "f" + x, "f" + x, *given))
            for scale in (True, False):
                given = ["f" + factor] * scale
                found.append(of(layernorm.RmsNorm(1e-6, scale, False, axes), "f" + x, *given))
                grad = layernorm.RmsNormGrad(1e-2, scale, False, axes)
                found.append(of(grad, "f" + x, "f" + x, *given))
    for scale, shift in flags:
        for x in ("f[N,C,H,W]", "f[2,C,T]"):
            given = ["f[C]"] * (scale + shift)
            found.append(of(layernorm.InstanceNorm(1e-5, scale, shift), x, *given))
            found.append(of(layernorm.GroupNorm(1e-5, scale, shift, Dim.of(2)), x, *given))
    found.append(of(layernorm.GroupNorm(1e-3, True, True, Dim.of(1)), "f[N,C]", "f[C]", "f[C]"))
    return found


def cases() -> list[Case]:
    return norms()
