"""Cases of elementwise mathematics and of activations with bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import activations as act
from dlspec.ops import maths, thresholds

if TYPE_CHECKING:
    from dlspec.ops.base import Op
    from tests.ops.cases import Case


def cases() -> list[Case]:
    from tests.ops.cases import many, of

    anything: list[Op] = [maths.Atan(), maths.Sinh(), maths.Cosh(), maths.Asinh(), maths.Exp2()]
    anything += [maths.Erfc(), maths.Trunc(), maths.NanToNum(), maths.NanToNum(1.0, 2.0, -2.0)]
    anything += [maths.IsNan(), maths.IsInf(), maths.IsFinite()]
    inside: list[Op] = [maths.Tan(), maths.Asin(), maths.Acos(), maths.Atanh(), maths.Erfinv()]
    positive: list[Op] = [maths.Log2(), maths.Log10()]
    two: list[Op] = [maths.Atan2(), maths.Hypot(), maths.LogAddExp()]
    division: list[Op] = [maths.Remainder(), maths.Fmod()]
    found = many(anything, "f[N,D]") + many(inside, "u[N,1,D]") + many(positive, "p[N,D]")
    found.append(of(maths.Acosh(), "g[N,D]"))
    for left, right in (("[N,D]", "[N,D]"), ("[N,D]", "[]"), ("[D]", "[N,1,D]")):
        found += many(two, "f" + left, "f" + right)
        found += many(division, "f" + left, "p" + right)
    bounded: list[Op] = [act.HardTanh(-0.5, 0.75), thresholds.Celu(), thresholds.Celu(0.7)]
    bounded += [thresholds.HardShrink(), thresholds.HardShrink(0.2), thresholds.SoftShrink(0.25)]
    bounded += [thresholds.Threshold(), thresholds.Threshold(0.4, -2.0)]
    return [*found, *many(bounded, "f[N,D]"), *many(bounded, "d[N,D]")]
