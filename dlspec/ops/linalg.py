"""Matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.types import TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.base import Builtin, Op, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import Add, reduce_to
from dlspec.ops.initialisers import bias_default, chosen, weight_default
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import (
    ZERO,
    broadcast,
    check_float,
    check_rank,
    product,
    require_equal,
    text,
)
from dlspec.ops.shape import BroadcastTo, Reshape, Squeeze, Unsqueeze, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.dims import Dim
    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes


def rows(b: Builder, value: Value) -> Value:
    """All axes but the last as one."""
    shape = value.type.shape
    if len(shape) == 2:
        return value
    return b.emit(Reshape((product(shape[:-1]), shape[-1])), value)


def transposed(b: Builder, value: Value) -> Value:
    return b.emit(swapped(value.type.rank), value)


@dataclass(frozen=True)
class MatMul(Op):
    """x @ y over the last two axes; the axes before them broadcast. Both of rank 2 or more."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, y = operands
        dtype = check_float(shapes, "matmul", x, y)
        check_rank(shapes, "matmul", x, 2, "left side")
        check_rank(shapes, "matmul", y, 2, "right side")
        message = f"matmul: {text(x.shape)} @ {text(y.shape)} does not fit"
        notes = [f"the left has {x.shape[-1]} columns, the right {y.shape[-2]} rows"]
        require_equal(shapes, x.shape[-1], y.shape[-2], message, notes=notes)
        batch = broadcast(shapes, "matmul", x.shape[:-2], y.shape[:-2])
        return (TensorType(dtype, (*batch, x.shape[-2], y.shape[-1])),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, y) = grads, operands
        if g is None:
            return (None, None)
        dx = reduce_to(b, b.emit(self, g, transposed(b, y)), x)
        if y.type.rank == 2:  # one product over all rows instead of a sum over the batch
            return dx, b.emit(self, transposed(b, rows(b, x)), rows(b, g))
        return dx, reduce_to(b, b.emit(self, transposed(b, x), g), y)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.macs(operands, results)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(results[0].shape) * operands[0].shape[-1]


@dataclass(frozen=True)
class Linear(Op):
    """y = x Wᵀ + b over the last axis. Operands: x [..., I], weight [O, I], bias [O] or none."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, weight = operands[:2]
        dtype = check_float(shapes, "dense", *operands)
        check_rank(shapes, "dense", x, 1)
        units, features = weight.shape
        message = f"dense: the weight {text(weight.shape)} does not fit the input {text(x.shape)}"
        require_equal(shapes, x.shape[-1], features, message)
        return (TensorType(dtype, (*x.shape[:-1], units)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, weight) = grads, operands[:2]
        if g is None:
            return (None,) * len(operands)
        dx = _like(b, b.emit(MatMul(), _matrix(b, g), weight), x)
        flat = rows(b, _matrix(b, g))
        dweight = b.emit(MatMul(), transposed(b, flat), rows(b, _matrix(b, x)))
        if len(operands) == 2:
            return dx, dweight
        return dx, dweight, b.emit(Sum((0,)), flat)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        bias = product(results[0].shape) if len(operands) == 3 else ZERO
        return 2 * self.macs(operands, results) + bias

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(results[0].shape) * operands[0].shape[-1]


def _matrix(b: Builder, value: Value) -> Value:
    """A vector as one row."""
    return b.emit(Unsqueeze((0,)), value) if value.type.rank == 1 else value


def _like(b: Builder, value: Value, x: Value) -> Value:
    return b.emit(Squeeze((0,)), value) if x.type.rank == 1 else value


@dataclass(frozen=True)
class Einsum(Op):
    """Einstein's sum, `"nkhw,kd->ndhw"`: one letter an axis, the output always written out, no
    letter twice in one operand."""

    equation: str

    @property
    def terms(self) -> tuple[list[str], str]:
        """The letters of each operand, and those of the result."""
        left, right = self.equation.split("->")
        return left.split(","), right

    def sizes(self, operands: Sequence[TensorType]) -> dict[str, Dim]:
        inputs, _ = self.terms
        found: dict[str, Dim] = {}
        for letters, operand in zip(inputs, operands, strict=True):
            for letter, size in zip(letters, operand.shape, strict=True):
                found.setdefault(letter, size)
        return found

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        dtype = check_float(shapes, "einsum", *operands)
        inputs, output = self.terms
        for letters, operand in zip(inputs, operands, strict=True):
            if len(letters) != operand.rank:
                shapes.fail(
                    RANK, f"einsum: `{letters}` names {len(letters)} axes of {text(operand.shape)}"
                )
        sizes = self.sizes(operands)
        for letters, operand in zip(inputs, operands, strict=True):
            for letter, size in zip(letters, operand.shape, strict=True):
                message = f"einsum: `{letter}` is {sizes[letter]} and {size}"
                require_equal(shapes, sizes[letter], size, message)
        return (TensorType(dtype, tuple(sizes[letter] for letter in output)),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return (None,) * len(operands)
        return tuple(self._pullback(b, operands, g, i) for i in range(len(operands)))

    def _pullback(self, b: Builder, operands: Sequence[Value], g: Value, index: int) -> Value:
        """The sum of g and the other operands; letters that only this one has are repeated."""
        inputs, output = self.terms
        own = inputs[index]
        others = [letters for i, letters in enumerate(inputs) if i != index]
        known = "".join(letter for letter in own if letter in output + "".join(others))
        values = [v for i, v in enumerate(operands) if i != index]
        equation = f"{','.join([output, *others])}->{known}"
        found = b.emit(Einsum(equation), g, *values)
        if known == own:
            return found
        new = tuple(i for i, letter in enumerate(own) if letter not in known)
        return b.emit(BroadcastTo(operands[index].type.shape), b.emit(Unsqueeze(new), found))

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.macs(operands, results)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(self.sizes(operands).values())


@dataclass(frozen=True)
class Bilinear(Composite):
    """z[o] = xᵀ W[o] y + b[o] over the last axes. Operands: x [..., I], y [..., J],
    weight [O, I, J], bias [O] or none."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, y, weight = operands[:3]
        dtype = check_float(shapes, "bilinear", *operands)
        check_rank(shapes, "bilinear", x, 1)
        message = f"bilinear: {text(x.shape)} and {text(y.shape)} differ before the last axis"
        if x.rank != y.rank:
            shapes.fail(RANK, message)
        for own, other in zip(x.shape[:-1], y.shape[:-1], strict=True):
            require_equal(shapes, own, other, message)
        units, left, right = weight.shape
        message = f"bilinear: the weight {text(weight.shape)} does not fit"
        require_equal(shapes, x.shape[-1], left, f"{message} {text(x.shape)}")
        require_equal(shapes, y.shape[-1], right, f"{message} {text(y.shape)}")
        return (TensorType(dtype, (*x.shape[:-1], units)),)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, y, weight, *bias = operands
        lead = "abcdefgh"[: x.type.rank - 1]
        found = b.emit(Einsum(f"{lead}i,oij,{lead}j->{lead}o"), x, weight, y)
        return (b.emit(Add(), found, bias[0]) if bias else found,)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 2 * self.macs(operands, results)

    def macs(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return product(operands[0].shape[:-1]) * product(operands[2].shape)


# --- the language ---


def _dense(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x: Value = tensors["x"]
    check_rank(b, "dense", x.type, 1)
    check_float(b, "dense", x.type)
    units, features = statics["units"], x.type.shape[-1]
    arg.at_least(b, "dense", "units", (units,), 1)
    b.attributes(in_features=features, units=units, bias=statics["bias"])
    init = chosen(statics["init"], weight_default(features), features, units)
    operands = [x, b.weight("weight", (units, features), init)]
    if arg.flag(statics["bias"]):
        operands.append(b.weight("bias", (units,), bias_default(features)))
    return b.emit(Linear(), *operands)


def matmul(b: Builder, x: Value, y: Value) -> Value:
    """x @ y, where a vector is a row on the left and a column on the right (NumPy)."""
    row, column = x.type.rank == 1, y.type.rank == 1
    left = b.emit(Unsqueeze((0,)), x) if row else x
    right = b.emit(Unsqueeze((1,)), y) if column else y
    found = b.emit(MatMul(), left, right)
    gone = ((-2,) if row else ()) + ((-1,) if column else ())
    return b.emit(Squeeze(gone), found) if gone else found


def _matmul(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    return matmul(b, tensors["x"], tensors["y"])


def _einsum(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    xs: tuple[Value, ...] = tensors["*xs"]
    equation = str(arg.plain(statics["equation"])).replace(" ", "")
    left, arrow, right = equation.partition("->")
    inputs = left.split(",")
    letters = "".join(inputs)
    if not all(c.isascii() and c.isalpha() for c in letters + right):
        b.fail(BAD_ARGUMENT, f"einsum: `{equation}` is not letters, commas and one `->`")
    if not arrow:
        right = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if len(inputs) != len(xs):
        message = f"einsum: `{equation}` takes {len(inputs)} tensors, but there are {len(xs)}"
        b.fail(BAD_ARGUMENT, message)
    for term in (*inputs, right):
        if len(set(term)) != len(term):
            b.fail(BAD_ARGUMENT, f"einsum: a letter stands twice in `{term}`")
    for letter in right:
        if letter not in letters:
            b.fail(BAD_ARGUMENT, f"einsum: `{letter}` is in no input of `{equation}`")
    return b.emit(Einsum(f"{left}->{right}"), *xs)


def _bilinear(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, y, units = tensors["x"], tensors["y"], statics["units"]
    for value in (x, y):
        check_rank(b, "bilinear", value.type, 1)
    arg.at_least(b, "bilinear", "units", (units,), 1)
    left, right = x.type.shape[-1], y.type.shape[-1]
    b.attributes(in_features=left, other_features=right, units=units, bias=statics["bias"])
    init = chosen(statics["init"], bias_default(left), left, units)
    operands = [x, y, b.weight("weight", (units, left, right), init)]
    if arg.flag(statics["bias"]):
        operands.append(b.weight("bias", (units,), bias_default(left)))
    return b.emit(Bilinear(), *operands)


BUILTINS = (
    Builtin(
        "bilinear",
        ("x", "y"),
        _bilinear,
        (
            StaticParam("units", kinds=("int",)),
            StaticParam("bias", True, arg.FLAG),
            StaticParam("init", None, ("init", "none")),
        ),
        owns_weights=True,
        doc="y[o] = xᵀ W[o] y + b[o] over the last axes.",
    ),
    Builtin(
        "dense",
        ("x",),
        _dense,
        (
            StaticParam("units", kinds=("int",)),
            StaticParam("bias", True, arg.FLAG),
            StaticParam("init", None, ("init", "none")),
        ),
        owns_weights=True,
        doc="y = x Wᵀ + b over the last axis.",
    ),
    Builtin("matmul", ("x", "y"), _matmul, doc="x @ y over the last two axes."),
    Builtin(
        "einsum",
        ("*xs",),
        _einsum,
        (StaticParam("equation", kinds=("string",)),),
        doc="Einstein's sum over named axes.",
    ),
)
