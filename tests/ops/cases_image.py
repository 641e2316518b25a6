"""Cases of normalisation, transposed convolution, resizing and padding."""

from __future__ import annotations

from dlspec.ir.dims import Dim
from dlspec.ops import layernorm, padding, resize, response
from dlspec.ops.conv_transpose import ConvTranspose

from .cases import Case, d, of, pairs


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
    found.append(of(response.LocalResponseNorm(Dim.of(5)), "f[2,7,3,2]"))
    found.append(of(response.LocalResponseNorm(Dim.of(2), 0.3, 0.5, 2.0), "f[N,C,T]"))
    found.append(of(layernorm.GroupNorm(1e-3, True, True, Dim.of(1)), "f[N,C]", "f[C]", "f[C]"))
    return found


def transposed() -> list[Case]:
    zero = pairs((0, 0), (0, 0))
    plain = ConvTranspose(d(1, 1), zero, d(1, 1), Dim.of(1), d(0, 0))
    double = ConvTranspose(d(2, 2), pairs((1, 1), (1, 1)), d(1, 1), Dim.of(1), d(1, 1))
    mixed = ConvTranspose(d(2, 3), pairs((0, 0), (2, 2)), d(2, 1), Dim.of(2), d(0, 2))
    line = ConvTranspose(d(3), pairs((1, 1)), d(1), Dim.of(1), d(2))
    space = ConvTranspose(d(1, 2, 2), pairs((0, 0), (1, 1), (0, 0)), d(1, 1, 1), Dim.of(1))
    space = ConvTranspose(space.stride, space.padding, space.dilation, Dim.of(1), d(0, 1, 0))
    return [
        of(plain, "f[2,C,3,2]", "f[C,5,3,3]", "f[5]"),
        of(plain, "f[1,1,1,1]", "f[1,1,1,1]"),
        of(double, "f[2,3,4,3]", "f[3,2,3,3]", "f[2]"),
        of(double, "f[2,3,H,W]", "f[3,2,4,4]"),
        of(mixed, "f[N,4,3,4]", "f[4,3,2,5]", "f[6]"),
        of(line, "f[N,D,T]", "f[D,2,4]", "f[2]"),
        of(space, "f[1,2,2,3,2]", "f[2,3,2,3,2]", "f[3]"),
    ]


def sizes() -> list[Case]:
    found: list[Case] = []
    ways = [("nearest", False, False), ("area", False, False)]
    ways += [("linear", False, False), ("linear", True, False), ("linear", False, True)]
    ways += [("cubic", False, False), ("cubic", True, False), ("cubic", False, True)]
    for mode, corners, smooth in ways:
        for size in (d("2 * H", "W // 2"), d(1, 9), d("H", "W + 3")):
            op = resize.Resize(size, mode, corners, smooth)
            found.append(of(op, "f[2,3,H,W]"))
            grad = resize.ResizeGrad(d("H", "W"), mode, corners, smooth)
            inside = ",".join(str(n).replace(" ", "") for n in size)
            found.append(of(grad, f"f[2,3,{inside}]"))
    for mode in ("nearest", "linear", "area"):
        found.append(of(resize.Resize(d("3 * T"), mode), "f[N,D,T]"))
        found.append(of(resize.Resize(d(3, 2, 5), mode), "f[1,2,2,3,4]"))
    found.append(of(resize.PixelShuffle(Dim.of(2)), "f[N,4*C,H,W]"))
    found.append(of(resize.PixelShuffle(Dim.of(3)), "f[1,9,1,2]"))
    found.append(of(resize.PixelUnshuffle(Dim.of(2)), "f[N,C,2*H,4]"))
    return found


def paddings() -> list[Case]:
    found: list[Case] = []
    for mode in padding.MODES:
        found.append(of(padding.PadFrom(d(0, 0, 2, 1), d(0, 0, 0, 3), mode), "f[2,3,H,W]"))
        found.append(of(padding.PadFrom(d(0, 0, 1), d(0, 0, "T - 2"), mode), "f[2,3,T]"))
        found.append(of(padding.PadFrom(d(1, 2), d(0, 2), mode), "f[N,T]"))
    return found


def cases() -> list[Case]:
    return [*norms(), *transposed(), *sizes(), *paddings()]
