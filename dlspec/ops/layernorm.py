"""Normalisation of each example by itself: layer, group, instance and root-mean-square norm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.conv import check_groups
from dlspec.ops.elementwise import Rsqrt, Term
from dlspec.ops.initialisers import ONES, ZEROS
from dlspec.ops.norm import per_channel
from dlspec.ops.reduce import Mean, Sum
from dlspec.ops.rules import ONE, check_float, check_rank, name_of, product, require_equal, text
from dlspec.ops.shape import Reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ir.static import Known
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


@dataclass(frozen=True)
class Standard(Composite):
    """What the norms have in common. Operands: x, then scale and shift where flagged."""

    eps: float | Known = 1e-5
    scale: bool = True
    shift: bool = True

    def factor_shape(self, x: TensorType) -> tuple[Dim, ...]:
        """The extents of scale and shift: the channels."""
        return (x.shape[1],)

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, *factors = operands
        name = name_of(self)
        check_float(shapes, name, *operands)
        for factor in factors:
            wanted = self.factor_shape(x)
            message = f"{name}: {text(factor.shape)} does not fit {text(wanted)}"
            if factor.rank != len(wanted):
                shapes.fail(RANK, message)
            for left, right in zip(factor.shape, wanted, strict=True):
                require_equal(shapes, left, right, message)
        return (x,)

    def affine(self, b: Builder, y: Term, factors: Sequence[Value]) -> Term:
        """y · scale + shift, of which each is [C]."""
        wide = [Term(b, per_channel(b, f, y.value.type.rank)) for f in factors]
        if self.scale:
            y = y * wide.pop(0)
        return y + wide[0] if self.shift else y

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 8 * product(results[0].shape)


# --- over the last axes ---


@dataclass(frozen=True)
class LastAxes(Standard):
    """axes: the last one or more, counted from the end. Scale and shift have their extents."""

    axes: tuple[int, ...] = (-1,)

    def factor_shape(self, x: TensorType) -> tuple[Dim, ...]:
        return x.shape[-len(self.axes) :]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_rank(shapes, name_of(self), operands[0], len(self.axes))
        return super().infer(operands, shapes)

    def affine(self, b: Builder, y: Term, factors: Sequence[Value]) -> Term:
        rest = [Term(b, f) for f in factors]
        if self.scale:
            y = y * rest.pop(0)
        return y + rest[0] if self.shift else y


def _mean(x: Term, axes: tuple[int, ...]) -> Term:
    return x.apply(Mean(axes, True))


def _standard(b: Builder, x: Value, eps: float | Known, axes: tuple[int, ...]) -> tuple[Term, Term]:
    """(x - μ) / √(σ² + eps), and 1 / √(σ² + eps)."""
    centred = Term(b, x) - _mean(Term(b, x), axes)
    var = _mean(centred.square(), axes)
    rstd = (var + var.static(eps)).apply(Rsqrt())
    return centred * rstd, rstd


@dataclass(frozen=True)
class LayerNorm(LastAxes):
    """y = (x - μ) / √(σ² + eps) · scale + shift over the last axes, σ² biased, in two passes (Ba
    et al. 2016)."""

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, *factors = operands
        y, _ = _standard(b, x, self.eps, self.axes)
        return (self.affine(b, y, factors).value,)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (dy,) = grads
        if dy is None:
            return (None,) * len(operands)
        op = LayerNormGrad(self.eps, self.scale, self.shift, self.axes)
        return b.emit_all(op, operands[0], dy, *operands[1 : 1 + self.scale])


@dataclass(frozen=True)
class LayerNormGrad(LastAxes):
    """The gradient of LayerNorm by x, and by scale and shift where it has them.

    Operands: x, dy, then scale where there is one. With x̂ = (x - μ) / √(σ² + eps), g = scale dy:
    dshift = Σ dy, dscale = Σ dy x̂, dx = (g - mean(g) - x̂ mean(g x̂)) / √(σ² + eps).
    """

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x = operands[0]
        factor = TensorType(x.dtype, self.factor_shape(x))
        return (x, *(factor for flag in (self.scale, self.shift) if flag))

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, dy, *scale = operands
        normal, rstd = _standard(b, x, self.eps, self.axes)
        g = Term(b, dy) * Term(b, scale[0]) if scale else Term(b, dy)
        centred = g - _mean(g, self.axes) - normal * _mean(g * normal, self.axes)
        found = [(centred * rstd).value]
        if self.scale:
            found.append(self.to_factor(b, Term(b, dy) * normal))
        if self.shift:
            found.append(self.to_factor(b, Term(b, dy)))
        return found

    def to_factor(self, b: Builder, each: Term) -> Value:
        """The sum over the axes that the factors have not."""
        axes = tuple(range(each.value.type.rank - len(self.axes)))
        return b.emit(Sum(axes), each.value) if axes else each.value

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 14 * product(results[0].shape)


@dataclass(frozen=True)
class RmsNorm(LastAxes):
    """y = x / √(mean(x²) + eps) · scale over the last axes (Zhang and Sennrich 2019)."""

    shift: bool = False

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, *factors = operands
        y = Term(b, x) * _root(Term(b, x), self.eps, self.axes)
        return (self.affine(b, y, factors).value,)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (dy,) = grads
        if dy is None:
            return (None,) * len(operands)
        op = RmsNormGrad(self.eps, self.scale, False, self.axes)
        return b.emit_all(op, operands[0], dy, *operands[1:])


def _root(x: Term, eps: float | Known, axes: tuple[int, ...]) -> Term:
    """1 / √(mean(x²) + eps)"""
    return (_mean(x.square(), axes) + x.static(eps)).apply(Rsqrt())


@dataclass(frozen=True)
class RmsNormGrad(LayerNormGrad):
    """The gradient of RmsNorm by x, and by scale where it has one.

    Operands: x, dy, then scale where there is one. With r = 1 / √(mean(x²) + eps), x̂ = x r and
    g = scale dy: dscale = Σ dy x̂, dx = (g - x̂ mean(g x̂)) r.
    """

    shift: bool = False

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, dy, *scale = operands
        rstd = _root(Term(b, x), self.eps, self.axes)
        normal = Term(b, x) * rstd
        g = Term(b, dy) * Term(b, scale[0]) if scale else Term(b, dy)
        dx = (g - normal * _mean(g * normal, self.axes)) * rstd
        if not self.scale:
            return (dx.value,)
        return dx.value, self.to_factor(b, Term(b, dy) * normal)


# --- over channels and space ---


def _over_groups(b: Builder, x: Value, eps: float | Known, groups: Dim) -> Term:
    """x [N, C, *S], standardised over each group of its channels."""
    batch, channels, *size = x.type.shape
    parts = b.emit(Reshape((batch, groups, channels // groups * product(size))), x)
    normal = b.emit(LayerNorm(eps, False, False), parts)
    return Term(b, b.emit(Reshape(x.type.shape), normal))


@dataclass(frozen=True)
class GroupNorm(Standard):
    """Each group of channels of [N, C, *S] standardised over its channels and all of S, then
    scaled and shifted by channel (Wu and He 2018)."""

    groups: Dim = ONE

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_rank(shapes, name_of(self), operands[0], 2)
        return super().infer(operands, shapes)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, *factors = operands
        y = _over_groups(b, x, self.eps, self.groups)
        return (self.affine(b, y, factors).value,)


@dataclass(frozen=True)
class InstanceNorm(Standard):
    """Each channel of [N, C, *S] standardised over S (Ulyanov et al. 2016)."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_rank(shapes, name_of(self), operands[0], 3)
        return super().infer(operands, shapes)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, *factors = operands
        y = _over_groups(b, x, self.eps, x.type.shape[1])
        return (self.affine(b, y, factors).value,)


# --- the language ---


def _eps(b: LayerBuilder, name: str, value: Any) -> float | Known:
    eps = arg.number(b, value)
    if arg.bare(b, eps) < 0:
        b.fail(BAD_ARGUMENT, f"{name}: eps is {arg.bare(b, eps)}, but must not be negative")
    return eps


def _factors(
    b: LayerBuilder, extents: Sequence[Dim], statics: Mapping[str, Any], **attributes: object
) -> tuple[bool, bool, list[Value]]:
    """Whether there are a scale and a shift, and their weights: without them there is no layer."""
    scale = arg.flag(statics["scale"])
    shift = arg.flag(statics.get("shift", False))
    if scale or shift:
        b.attributes(**attributes)
    factors = [b.weight("weight", extents, ONES)] if scale else []
    if shift:
        factors.append(b.weight("bias", extents, ZEROS))
    return scale, shift, factors


def _trailing(b: LayerBuilder, name: str, value: Any, x: Value) -> tuple[int, ...]:
    """Axes that are the last ones, counted from the end."""
    axes = arg.axes(b, name, value, x.type.rank)
    found = tuple(sorted(a % x.type.rank - x.type.rank for a in axes))
    if not found or found != tuple(range(-len(found), 0)):
        b.fail(
            BAD_ARGUMENT,
            f"{name}: the axes {', '.join(map(str, axes))} are not the last ones",
            help="group_norm and instance_norm normalise [N, C, …] over channels and space",
        )
    return found


def _last_axes(
    op: type[LastAxes],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    x: Value = tensors["x"]
    check_rank(b, name, x.type, 1)
    eps = _eps(b, name, statics["eps"])
    axes = _trailing(b, name, statics["axis"], x)
    shape = x.type.shape[-len(axes) :]
    scale, shift, factors = _factors(b, shape, statics, shape=shape, eps=eps)
    return b.emit(op(eps, scale, shift, axes), x, *factors)


def _group_norm(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_rank(b, "group_norm", x.type, 2)
    groups, channels = statics["groups"], x.type.shape[1]
    arg.at_least(b, "group_norm", "groups", (groups,), 1)
    check_groups(b, "group_norm", channels, "input", groups)
    eps = _eps(b, "group_norm", statics["eps"])
    given = {"features": channels, "groups": groups, "eps": eps}
    scale, shift, factors = _factors(b, (channels,), statics, **given)
    return b.emit(GroupNorm(eps, scale, shift, groups), x, *factors)


def _instance_norm(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    rank = arg.spatial_rank(b, "instance_norm", x)
    eps = _eps(b, "instance_norm", statics["eps"])
    channels = x.type.shape[1]
    given = {"features": channels, "eps": eps, "rank": rank}
    scale, shift, factors = _factors(b, (channels,), statics, **given)
    return b.emit(InstanceNorm(eps, scale, shift), x, *factors)


_AXIS = StaticParam("axis", Dim.const(-1), arg.INTS)
_EPS = StaticParam("eps", 1e-5, arg.NUMBER)


def _flags(default: bool) -> tuple[StaticParam, StaticParam]:
    return StaticParam("scale", default, arg.FLAG), StaticParam("shift", default, arg.FLAG)


BUILTINS = (
    Builtin(
        "layer_norm",
        ("x",),
        partial(_last_axes, LayerNorm, "layer_norm"),
        (_AXIS, _EPS, *_flags(True)),
        owns_weights=True,
        doc="Standardises the last axis, or the last few, then scales and shifts each element.",
    ),
    Builtin(
        "rms_norm",
        ("x",),
        partial(_last_axes, RmsNorm, "rms_norm"),
        (_AXIS, StaticParam("eps", 1e-6, arg.NUMBER), StaticParam("scale", True, arg.FLAG)),
        owns_weights=True,
        doc="Divides the last axis, or the last few, by the root of its mean square, then scales.",
    ),
    Builtin(
        "group_norm",
        ("x",),
        _group_norm,
        (StaticParam("groups", kinds=("int",)), _EPS, *_flags(True)),
        owns_weights=True,
        doc="Standardises each group of channels over channels and space.",
    ),
    Builtin(
        "instance_norm",
        ("x",),
        _instance_norm,
        (_EPS, *_flags(False)),
        owns_weights=True,
        doc="Standardises each channel over space; without scale and shift unless asked.",
    ),
)
