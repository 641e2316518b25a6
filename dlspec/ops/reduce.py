"""Reductions over axes. `axes` and `axis` may count from the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import DTYPE
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.elementwise import Cast, Mul, Sqrt, StopGradient, Term
from dlspec.ops.rules import (
    ONE,
    axis_of,
    check_axes,
    check_axis,
    check_float,
    name_of,
    product,
    require_positive,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


def reduced(shape: Sequence[Dim], axes: Sequence[int], keepdims: bool) -> tuple[Dim, ...]:
    """The shape after a reduction. axes count from 0."""
    if keepdims:
        return tuple(ONE if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


@dataclass(frozen=True)
class Reduction(Op):
    """A reduction of a float tensor over `axes`."""

    axes: tuple[int, ...]
    keepdims: bool = False

    floats: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        if self.floats:
            check_float(shapes, name_of(self), x)
        elif x.dtype is DType.BOOL:
            shapes.fail(DTYPE, f"{name_of(self)}: needs numbers, but the input is bool")
        axes = check_axes(shapes, name_of(self), self.axes, x.rank)
        return (TensorType(x.dtype, reduced(x.shape, axes, self.keepdims)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x,), (y,) = grads, operands, results
        if g is None or not g.type.dtype.is_float:
            return (None,)
        return (self.pullback(b, x, y, g),)

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        raise NotImplementedError

    def widened(self, b: Builder, value: Value, x: Value) -> Value:
        """A result with the reduced axes back as ones, so that it broadcasts over x."""
        from dlspec.ops.shape import Reshape

        axes = [axis_of(axis, x.type.rank) for axis in self.axes]
        if self.keepdims or not axes:
            return value
        return b.emit(Reshape(reduced(x.type.shape, axes, True)), value)

    def count(self, x: TensorType) -> Dim:
        return product(x.shape[axis] for axis in self.axes)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[0].shape)


@dataclass(frozen=True)
class Sum(Reduction):
    """Σ x, of floats or integers."""

    floats: ClassVar[bool] = False

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        from dlspec.ops.shape import BroadcastTo

        return b.emit(BroadcastTo(x.type.shape), self.widened(b, g, x))


@dataclass(frozen=True)
class Mean(Reduction):
    """Σ x / n"""

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        from dlspec.ops.shape import BroadcastTo

        share = Term(b, self.widened(b, g, x)) / self.count(x.type)
        return b.emit(BroadcastTo(x.type.shape), share.value)


@dataclass(frozen=True)
class Extremum(Reduction):
    """The gradient goes to the first of equal elements, in row-major order."""

    floats: ClassVar[bool] = False

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        mask = b.emit(FirstEqual(self.axes), x, self.widened(b, y, x))
        return b.emit(Mul(), b.emit(Cast(x.type.dtype), mask), self.widened(b, g, x))


@dataclass(frozen=True)
class Max(Extremum):
    """max x, gradient to the first of equal elements."""


@dataclass(frozen=True)
class Min(Extremum):
    """min x, gradient to the first of equal elements."""


@dataclass(frozen=True)
class FirstEqual(Op):
    """Where x equals y for the first time along `axes`, in row-major order over them: bool.

    x: any shape; y: broadcasts to it.
    """

    axes: tuple[int, ...]

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_axes(shapes, "first_equal", self.axes, operands[0].rank)
        return (TensorType(DType.BOOL, operands[0].shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None, None)


@dataclass(frozen=True)
class Prod(Reduction):
    """Π x. The gradient is g y / x, so no element may be 0."""

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        whole = Term(b, self.widened(b, g, x)) * Term(b, self.widened(b, y, x))
        return (whole / Term(b, x)).value


@dataclass(frozen=True)
class Norm(Reduction):
    """√(Σ x²), gradient 0 where the norm is 0 (torch)."""

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        norm = Term(b, self.widened(b, y, x))
        zero = norm == 0.0
        safe = zero.where(norm.like(1.0), norm)
        scale = zero.where(norm.like(0.0), Term(b, self.widened(b, g, x)) / safe)
        return (Term(b, x) * scale).value


@dataclass(frozen=True)
class LogSumExp(Reduction):
    """ln Σ e^x, by ln Σ e^(x - m) + m with m = max x."""

    def pullback(self, b: Builder, x: Value, y: Value, g: Value) -> Value:
        share = (Term(b, x) - Term(b, self.widened(b, y, x))).exp()
        return (share * Term(b, self.widened(b, g, x))).value


@dataclass(frozen=True)
class ArgReduction(Op):
    axis: int = -1
    keepdims: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        axis = check_axis(shapes, name_of(self), self.axis, x.rank)
        return (TensorType(DType.I64, reduced(x.shape, (axis,), self.keepdims)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,)


@dataclass(frozen=True)
class ArgMax(ArgReduction):
    """The index of the largest element along `axis`, the first of equal ones."""


@dataclass(frozen=True)
class ArgMin(ArgReduction):
    """The index of the smallest element along `axis`, the first of equal ones."""


@dataclass(frozen=True)
class BoolReduction(Op):
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype is not DType.BOOL:
            shapes.fail(DTYPE, f"{name_of(self)}: needs bools, but the input is {x.dtype.value}")
        axes = check_axes(shapes, name_of(self), self.axes, x.rank)
        return (TensorType(DType.BOOL, reduced(x.shape, axes, self.keepdims)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,)


@dataclass(frozen=True)
class AllOf(BoolReduction):
    """Whether all hold."""


@dataclass(frozen=True)
class AnyOf(BoolReduction):
    """Whether any holds."""


@dataclass(frozen=True)
class CumSum(Op):
    """y[i] = Σ x[j] over j <= i along `axis` (j >= i when reverse)."""

    axis: int = -1
    reverse: bool = False

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_axis(shapes, "cumsum", self.axis, operands[0].rank)
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        return (b.emit(CumSum(self.axis, not self.reverse), g) if g is not None else None,)


@dataclass(frozen=True)
class CumProd(Op):
    """y[i] = Π x[j] over j <= i along `axis`. The gradient divides by x: no element may be 0."""

    axis: int = -1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, "cumprod", operands[0])
        check_axis(shapes, "cumprod", self.axis, operands[0].rank)
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x,), (y,) = grads, operands, results
        if g is None:
            return (None,)
        later = (Term(b, g) * Term(b, y)).apply(CumSum(self.axis, True))
        return ((later / Term(b, x)).value,)


@dataclass(frozen=True)
class LogCumSumExp(Op):
    """y[i] = ln Σ e^x[j] over j <= i along `axis`, without overflow."""

    axis: int = -1

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, "logcumsumexp", operands[0])
        check_axis(shapes, "logcumsumexp", self.axis, operands[0].rank)
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x,), (y,) = grads, operands, results
        if g is None:
            return (None,)
        # Σ over i >= j of g[i] e^(x[j] - y[i]); the largest x taken out of both powers
        top = Term(b, b.emit(StopGradient(), b.emit(Max((self.axis,), True), x)))
        later = (Term(b, g) * (top - Term(b, y)).exp()).apply(CumSum(self.axis, True))
        return ((later * (Term(b, x) - top).exp()).value,)


# --- the language ---


def _reduce(
    op: type[Op],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    x = tensors["x"]
    axes = arg.axes(b, name, statics["axis"], x.type.rank)
    return b.emit(op(axes, arg.flag(statics["keepdims"])), x)  # type: ignore[call-arg]


def _centred(
    b: LayerBuilder, name: str, x: Value, axes: tuple[int, ...], correction: Any
) -> tuple[Term, Dim]:
    """x less its mean, and the number of elements less the correction."""
    check_float(b, name, x.type)
    mean = Term(b, b.emit(Mean(axes, True), x))
    count = product(x.type.shape[axis] for axis in axes) - correction
    require_positive(b, count, f"{name}: {text(x.type.shape)} has too few elements")
    return Term(b, x) - mean, count


def _var(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, keep = tensors["x"], arg.flag(statics["keepdims"])
    axes = arg.axes(b, "var", statics["axis"], x.type.rank)
    centred, count = _centred(b, "var", x, axes, statics["correction"])
    return (centred.square().apply(Sum(axes, keep)) / count).value


def _std(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, keep = tensors["x"], arg.flag(statics["keepdims"])
    axes = arg.axes(b, "std", statics["axis"], x.type.rank)
    centred, count = _centred(b, "std", x, axes, statics["correction"])
    # the norm, not the root of the variance: its gradient at 0 is 0
    norm = centred.apply(Norm(axes, keep))
    return (norm / norm.like(count).apply(Sqrt())).value


def _arg(
    op: type[ArgReduction],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    x = tensors["x"]
    axis = arg.axis(b, name, statics["axis"], x.type.rank)
    return b.emit(op(axis, arg.flag(statics["keepdims"])), x)


def _cumsum(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x = tensors["x"]
    axis = arg.axis(b, "cumsum", statics["axis"], x.type.rank)
    return b.emit(CumSum(axis, arg.flag(statics["reverse"])), x)


def _running(
    op: type[CumProd | LogCumSumExp],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    x = tensors["x"]
    return b.emit(op(arg.axis(b, name, statics["axis"], x.type.rank)), x)


_AXIS = StaticParam("axis", None, arg.AXES)
_KEEP = StaticParam("keepdims", False, arg.FLAG)
_LAST = StaticParam("axis", Dim.const(-1), ("int",))
_CORRECTION = StaticParam("correction", Dim.const(1), ("int",))


def _reduction(name: str, op: type[Op], doc: str) -> Builtin:
    return Builtin(name, ("x",), partial(_reduce, op, name), (_AXIS, _KEEP), doc=doc)


BUILTINS = (
    _reduction("sum", Sum, "Σ x over axes, over all without `axis`."),
    _reduction("mean", Mean, "The mean over axes, over all without `axis`."),
    _reduction("max", Max, "The largest element over axes, over all without `axis`."),
    _reduction("min", Min, "The smallest element over axes, over all without `axis`."),
    _reduction("prod", Prod, "Π x over axes; the gradient needs elements other than 0."),
    _reduction("amax", Max, "As `max`: the gradient goes to the first of equal elements."),
    _reduction("amin", Min, "As `min`: the gradient goes to the first of equal elements."),
    _reduction("logsumexp", LogSumExp, "ln Σ e^x over axes, without overflow."),
    _reduction("all", AllOf, "Whether all hold."),
    _reduction("any", AnyOf, "Whether any holds."),
    Builtin("var", ("x",), _var, (_AXIS, _KEEP, _CORRECTION), doc="Σ (x - μ)² / (n - correction)."),
    Builtin("std", ("x",), _std, (_AXIS, _KEEP, _CORRECTION), doc="The root of the variance."),
    Builtin(
        "argmax",
        ("x",),
        partial(_arg, ArgMax, "argmax"),
        (_LAST, _KEEP),
        doc="The index of the largest.",
    ),
    Builtin(
        "argmin",
        ("x",),
        partial(_arg, ArgMin, "argmin"),
        (_LAST, _KEEP),
        doc="The index of the smallest.",
    ),
    Builtin(
        "cumsum",
        ("x",),
        _cumsum,
        (_LAST, StaticParam("reverse", False, arg.FLAG)),
        doc="Running sums along an axis.",
    ),
    Builtin(
        "cumprod",
        ("x",),
        partial(_running, CumProd, "cumprod"),
        (_LAST,),
        doc="Running products along an axis; the gradient needs elements other than 0.",
    ),
    Builtin(
        "logcumsumexp",
        ("x",),
        partial(_running, LogCumSumExp, "logcumsumexp"),
        (_LAST,),
        doc="ln of the running sums of e^x along an axis, without overflow.",
    ),
)
