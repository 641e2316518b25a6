"""Elementwise arithmetic, comparison and logic, with NumPy's broadcasting.

`Term` writes gradient rules as formulas: `(g * y * (1 - y)).value`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT, DTYPE
from dlspec.ir.dims import Dim
from dlspec.ir.static import Known, plain
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.rules import (
    ONE,
    broadcast,
    check_float,
    check_same,
    eq,
    name_of,
    proved,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

Number = float | bool | Dim | Known
Numbers = Number | tuple["Numbers", ...]


# --- leaves ---


@dataclass(frozen=True)
class Constant(Op):
    """A number, or an array of numbers as nested tuples. A `Dim` is the size it stands for."""

    elementwise: ClassVar[bool] = True

    value: Numbers
    dtype: DType = DType.FLOAT

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (TensorType(self.dtype, tuple(Dim.const(n) for n in _nesting(self.value))),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return ()

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return Dim.const(0)


def _nesting(value: Numbers) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        return ()
    return (len(value), *(_nesting(value[0]) if value else ()))


# --- base classes ---


@dataclass(frozen=True)
class Unary(Op):
    """y = f(x) on floats, element by element. Subclasses give `derivative`."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, name_of(self), operands[0])
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return (None,)
        found = self.pullback(Term(b, operands[0]), Term(b, results[0]), Term(b, g))
        return (found.value if found is not None else None,)

    def pullback(self, x: Term, y: Term, g: Term) -> Term | None:
        """g f'(x); None where f' is zero everywhere."""
        raise NotImplementedError


@dataclass(frozen=True)
class Binary(Op):
    """z = f(x, y), broadcast. Both of one element type."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        left, right = operands
        name = name_of(self)
        dtype = check_same(shapes, name, left, right)
        if dtype is DType.BOOL:
            shapes.fail(DTYPE, f"{name}: needs numbers, but the inputs are bool")
        return (TensorType(dtype, broadcast(shapes, name, left.shape, right.shape)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None or not g.type.dtype.is_float:
            return (None, None)
        x, y = operands
        terms = self.pullback(Term(b, x), Term(b, y), Term(b, results[0]), Term(b, g))
        return tuple(
            reduce_to(b, term.value, operand) if term is not None else None
            for term, operand in zip(terms, operands, strict=True)
        )

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term | None, Term | None]:
        raise NotImplementedError


@dataclass(frozen=True)
class Compare(Op):
    """A comparison, broadcast; the result is bool."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        left, right = operands
        check_same(shapes, name_of(self), left, right)
        shape = broadcast(shapes, name_of(self), left.shape, right.shape)
        return (TensorType(DType.BOOL, shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,) * len(operands)


@dataclass(frozen=True)
class Logic(Compare):
    """Logic on bools, broadcast."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        for operand in operands:
            if operand.dtype is not DType.BOOL:
                word = name_of(self)
                shapes.fail(DTYPE, f"{word}: needs bools, but the input is {operand.dtype.value}")
        return super().infer(operands, shapes)


# --- arithmetic ---


@dataclass(frozen=True)
class Neg(Unary):
    """-x"""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        if operands[0].dtype is DType.BOOL:
            shapes.fail(DTYPE, "neg: needs numbers, but the input is bool")
        return (operands[0],)

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return -g


@dataclass(frozen=True)
class Add(Binary):
    """x + y"""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g, g


@dataclass(frozen=True)
class Sub(Binary):
    """x - y"""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g, -g


@dataclass(frozen=True)
class Mul(Binary):
    """x y"""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g * y, g * x


@dataclass(frozen=True)
class Div(Binary):
    """x / y, floats only."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        check_float(shapes, name_of(self), *operands)
        return super().infer(operands, shapes)

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return g / y, -g * z / y


@dataclass(frozen=True)
class FloorDiv(Binary):
    """floor(x / y) on integers, as Python's `//`."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        _check_integers(shapes, name_of(self), operands)
        return super().infer(operands, shapes)


@dataclass(frozen=True)
class Mod(Binary):
    """x - y floor(x / y) on integers, as Python's `%`."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        _check_integers(shapes, name_of(self), operands)
        return super().infer(operands, shapes)


def _check_integers(shapes: Shapes, name: str, operands: Sequence[TensorType]) -> None:
    for operand in operands:
        if not operand.dtype.is_int:
            shapes.fail(DTYPE, f"{name}: needs integers, but the input is {operand.dtype.value}")


@dataclass(frozen=True)
class Pow(Binary):
    """x ** y. The gradient of y is zero where x is 0 (torch)."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        # the constant 1 stands in for x = 0, whose logarithm is infinite
        log = (x == 0).where(x.like(1.0), x).apply(Log())
        return g * y * x ** (y - 1), g * z * log


@dataclass(frozen=True)
class Maximum(Binary):
    """max(x, y). Equal elements share the gradient by halves (torch, JAX)."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return _share(g, x, y, x > y, y > x)


@dataclass(frozen=True)
class Minimum(Binary):
    """min(x, y). Equal elements share the gradient by halves (torch, JAX)."""

    def pullback(self, x: Term, y: Term, z: Term, g: Term) -> tuple[Term, Term]:
        return _share(g, x, y, x < y, y < x)


def _share(g: Term, x: Term, y: Term, first: Term, second: Term) -> tuple[Term, Term]:
    half, none = g * 0.5, g.like(0.0)
    shared = (x == y).where(half, none)
    return first.where(g, shared), second.where(g, shared)


@dataclass(frozen=True)
class Square(Unary):
    """x²"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * 2.0 * x


@dataclass(frozen=True)
class Reciprocal(Unary):
    """1 / x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return -g * y.square()


@dataclass(frozen=True)
class Exp(Unary):
    """e^x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * y


@dataclass(frozen=True)
class Log(Unary):
    """ln x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / x


@dataclass(frozen=True)
class Log1p(Unary):
    """ln(1 + x), exact near 0."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g / (x + 1.0)


@dataclass(frozen=True)
class Expm1(Unary):
    """e^x - 1, exact near 0."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (y + 1.0)


@dataclass(frozen=True)
class Sqrt(Unary):
    """√x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * 0.5 / y


@dataclass(frozen=True)
class Rsqrt(Unary):
    """1 / √x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * -0.5 * y / x


@dataclass(frozen=True)
class Abs(Unary):
    """|x|, gradient 0 at 0 (torch)."""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Sign())


@dataclass(frozen=True)
class Sign(Unary):
    """-1, 0 or 1."""

    def pullback(self, x: Term, y: Term, g: Term) -> None:
        return None


@dataclass(frozen=True)
class Floor(Unary):
    """The largest integer that is not above x, as a float."""

    def pullback(self, x: Term, y: Term, g: Term) -> None:
        return None


@dataclass(frozen=True)
class Ceil(Unary):
    """The smallest integer that is not below x, as a float."""

    def pullback(self, x: Term, y: Term, g: Term) -> None:
        return None


@dataclass(frozen=True)
class Round(Unary):
    """The nearest integer, halves to even, as a float."""

    def pullback(self, x: Term, y: Term, g: Term) -> None:
        return None


@dataclass(frozen=True)
class Sin(Unary):
    """sin x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * x.apply(Cos())


@dataclass(frozen=True)
class Cos(Unary):
    """cos x"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return -g * x.apply(Sin())


@dataclass(frozen=True)
class Erf(Unary):
    """2/√π ∫₀ˣ e^(-t²) dt"""

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        return g * (2.0 / sqrt(pi)) * (-x.square()).exp()


@dataclass(frozen=True)
class Clip(Unary):
    """min(max(x, low), high); None leaves a side open. The gradient passes inside and on the
    bounds (torch)."""

    low: float | Known | None = None
    high: float | Known | None = None

    def pullback(self, x: Term, y: Term, g: Term) -> Term:
        # clipped means moved: inside and on the bounds y is x
        return (x == y).where(g, g.like(0.0))


# --- comparison and logic ---


@dataclass(frozen=True)
class Equal(Compare):
    """x == y"""


@dataclass(frozen=True)
class NotEqual(Compare):
    """x != y"""


@dataclass(frozen=True)
class Less(Compare):
    """x < y"""


@dataclass(frozen=True)
class LessEqual(Compare):
    """x <= y"""


@dataclass(frozen=True)
class Greater(Compare):
    """x > y"""


@dataclass(frozen=True)
class GreaterEqual(Compare):
    """x >= y"""


@dataclass(frozen=True)
class LogicalAnd(Logic):
    """x and y"""


@dataclass(frozen=True)
class LogicalOr(Logic):
    """x or y"""


@dataclass(frozen=True)
class LogicalXor(Logic):
    """x or y, but not both."""


@dataclass(frozen=True)
class LogicalNot(Op):
    """not x"""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        if operands[0].dtype is not DType.BOOL:
            have = operands[0].dtype.value
            shapes.fail(DTYPE, f"logical_not: needs bools, but the input is {have}")
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,)


@dataclass(frozen=True)
class Where(Op):
    """x where the condition holds, else y; all three broadcast."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        condition, x, y = operands
        if condition.dtype is not DType.BOOL:
            shapes.fail(DTYPE, f"where: the condition is {condition.dtype.value}, not bool")
        dtype = check_same(shapes, "where", x, y)
        shape = broadcast(shapes, "where", x.shape, y.shape)
        return (TensorType(dtype, broadcast(shapes, "where", condition.shape, shape)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None or not g.type.dtype.is_float:
            return (None, None, None)
        condition, x, y = operands
        zero = b.constant(0.0, like=g)
        return (
            None,
            reduce_to(b, b.emit(Where(), condition, g, zero), x),
            reduce_to(b, b.emit(Where(), condition, zero, g), y),
        )


# --- types ---


@dataclass(frozen=True)
class Cast(Op):
    """x as another element type. Between floats the gradient is cast back, else it is zero."""

    elementwise: ClassVar[bool] = True

    dtype: DType

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (TensorType(self.dtype, operands[0].shape),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x,) = grads, operands
        if g is None or not (self.dtype.is_float and x.type.dtype.is_float):
            return (None,)
        return (b.emit(Cast(x.type.dtype), g),)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return Dim.const(0)


@dataclass(frozen=True)
class StopGradient(Op):
    """x, whose gradient is zero."""

    elementwise: ClassVar[bool] = True

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[0],)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        return (None,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return Dim.const(0)


# --- formulas ---


@dataclass(frozen=True, eq=False)
class Term:
    """A value in a formula. Numbers become constants of the value's own element type."""

    b: Builder
    value: Value

    def like(self, number: float | Dim) -> Term:
        if isinstance(number, Dim):
            return Term(self.b, self.b.emit(Constant(number, self.value.type.dtype)))
        return Term(self.b, self.b.constant(number, like=self.value))

    def static(self, number: float | Known) -> Term:
        """A constant that keeps its origin."""
        return Term(self.b, self.b.emit(Constant(number, self.value.type.dtype)))

    def _with(self, op: Op, other: Term | float | Dim, reverse: bool = False) -> Term:
        term = other if isinstance(other, Term) else self.like(other)
        pair = (term.value, self.value) if reverse else (self.value, term.value)
        return Term(self.b, self.b.emit(op, *pair))

    def apply(self, op: Op, *others: Term) -> Term:
        return Term(self.b, self.b.emit(op, self.value, *(o.value for o in others)))

    def where(self, yes: Term, no: Term) -> Term:
        return self.apply(Where(), yes, no)

    def square(self) -> Term:
        return self.apply(Square())

    def exp(self) -> Term:
        return self.apply(Exp())

    def __neg__(self) -> Term:
        return self.apply(Neg())

    def __add__(self, other: Term | float | Dim) -> Term:
        return self._with(Add(), other)

    def __radd__(self, other: float) -> Term:
        return self._with(Add(), other, reverse=True)

    def __sub__(self, other: Term | float | Dim) -> Term:
        return self._with(Sub(), other)

    def __rsub__(self, other: float) -> Term:
        return self._with(Sub(), other, reverse=True)

    def __mul__(self, other: Term | float | Dim) -> Term:
        return self._with(Mul(), other)

    def __truediv__(self, other: Term | float | Dim) -> Term:
        return self._with(Div(), other)

    def __pow__(self, other: Term | float) -> Term:
        return self._with(Pow(), other)

    def __eq__(self, other: Term | float) -> Term:  # type: ignore[override]
        return self._with(Equal(), other)

    __hash__ = object.__hash__

    def __gt__(self, other: Term | float) -> Term:
        return self._with(Greater(), other)

    def __ge__(self, other: Term | float) -> Term:
        return self._with(GreaterEqual(), other)

    def __lt__(self, other: Term | float) -> Term:
        return self._with(Less(), other)


def reduce_to(b: Builder, g: Value, operand: Value) -> Value:
    """The gradient of an operand that was broadcast: g summed over the axes that grew."""
    from dlspec.ops.reduce import Sum

    shape, grown = operand.type.shape, g.type.shape
    lead = len(grown) - len(shape)
    if lead < 0:
        raise ValueError(f"gradient {g.type} is of lower rank than its operand {operand.type}")
    if lead:
        g = b.emit(Sum(tuple(range(lead)), False), g)
        grown = grown[lead:]
    axes = tuple(
        axis
        for axis, (own, other) in enumerate(zip(shape, grown, strict=True))
        if own != other and proved(b, eq(own, ONE))
    )
    return b.emit(Sum(axes, True), g) if axes else g


# --- the language ---


def _unary(
    op: Op, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    return b.emit(op, tensors["x"])


def simple(name: str, op: Op, doc: str = "") -> Builtin:
    """A built-in that is one op of one tensor x, without arguments."""
    return Builtin(name, ("x",), partial(_unary, op), doc=doc or _first_line(op))


def _first_line(op: Op) -> str:
    return (type(op).__doc__ or "").split("\n\n")[0]


def _binary(
    op: Op, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    return b.emit(op, tensors["x"], tensors["y"])


def pair(name: str, op: Op) -> Builtin:
    """A built-in that is one op of two tensors, either of which may be a number."""
    return Builtin(name, ("x", "y"), partial(_binary, op), scalars=("x", "y"), doc=_first_line(op))


def _where(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return b.emit(Where(), tensors["condition"], tensors["x"], tensors["y"])


def _clip(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    low, high = (
        None if plain(statics[key]) is None else arg.number(b, statics[key])
        for key in ("low", "high")
    )
    if low is None and high is None:
        b.fail(BAD_ARGUMENT, "clip: neither low nor high is given")
    if low is not None and high is not None and arg.bare(b, low) > arg.bare(b, high):
        b.fail(BAD_ARGUMENT, f"clip: low {arg.bare(b, low)} is above high {arg.bare(b, high)}")
    return b.emit(Clip(low, high), tensors["x"])


def _cast(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    kinds = tuple(kind.value for kind in DType)
    return b.emit(Cast(DType(arg.word(b, "cast: dtype", statics["dtype"], kinds))), tensors["x"])


BUILTINS = (
    simple("exp", Exp()),
    simple("log", Log()),
    simple("log1p", Log1p()),
    simple("expm1", Expm1()),
    simple("sqrt", Sqrt()),
    simple("rsqrt", Rsqrt()),
    simple("square", Square()),
    simple("reciprocal", Reciprocal()),
    simple("abs", Abs()),
    simple("sign", Sign()),
    simple("floor", Floor()),
    simple("ceil", Ceil()),
    simple("round", Round()),
    simple("sin", Sin()),
    simple("cos", Cos()),
    simple("erf", Erf()),
    simple("logical_not", LogicalNot()),
    simple("stop_gradient", StopGradient()),
    pair("maximum", Maximum()),
    pair("minimum", Minimum()),
    pair("pow", Pow()),
    Builtin("logical_xor", ("x", "y"), partial(_binary, LogicalXor()), doc="x or y, not both."),
    Builtin(
        "where",
        ("condition", "x", "y"),
        _where,
        scalars=("x", "y"),
        doc="x where the condition holds, else y.",
    ),
    Builtin(
        "clip",
        ("x",),
        _clip,
        (
            StaticParam("low", None, (*arg.NUMBER, "none")),
            StaticParam("high", None, (*arg.NUMBER, "none")),
        ),
        doc="x kept between low and high.",
    ),
    Builtin(
        "cast",
        ("x",),
        _cast,
        (StaticParam("dtype", kinds=("string",)),),
        doc='x as another element type: "float", "f32", "i64", "bool", …',
    ),
)
