"""One row or more for each op class: attributes, operands, the sizes of symbolic dims.

An operand is a kind and a shape: f normal, p positive, g above 1, u within (0, 1), d distinct and
apart, b bool, i5 integers from 0 and j5 integers from 1, both below 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Value
from dlspec.ir.types import DType, TensorType
from dlspec.ops import activations as act
from dlspec.ops import conv, indexing, linalg, loss, norm, pool, random, reduce, shape
from dlspec.ops import elementwise as ew
from dlspec.ops.gradient import Watch

if TYPE_CHECKING:
    from dlspec.ops.base import Op

SIZES = {"N": 3, "C": 4, "H": 7, "W": 6, "T": 5, "D": 4, "K": 5}


def d(*sizes: int | str) -> tuple[Dim, ...]:
    return tuple(Dim.parse(n) if isinstance(n, str) else Dim.of(n) for n in sizes)


def pairs(*sides: tuple[int, int]) -> tuple[tuple[Dim, Dim], ...]:
    return tuple((Dim.of(low), Dim.of(high)) for low, high in sides)


def parts(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    found, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and not depth:
            found.append("")
        else:
            found[-1] += c
    return [part for part in found if part]


@dataclass(frozen=True)
class Case:
    op: Op
    operands: tuple[str, ...]
    sizes: dict[str, int] = field(default_factory=lambda: SIZES)

    @property
    def id(self) -> str:
        op = self.op
        return f"{type(op).__name__}({', '.join(map(str, vars(op).values()))}) {self.operands}"

    def kinds(self) -> list[tuple[str, TensorType]]:
        found = []
        for text in self.operands:
            match = re.fullmatch(r"([a-z]\d*)\[(.*)\]", text)
            assert match
            kind, inside = match.groups()
            dims = tuple(Dim.parse(part) for part in parts(inside))
            dtype = {"b": DType.BOOL, "i": DType.I64, "j": DType.I64}.get(kind[0], DType.FLOAT)
            found.append((kind, TensorType(dtype, dims)))
        return found

    def values(self) -> list[Value]:
        return [Value(type) for _, type in self.kinds()]

    def tensors(self, seed: int = 0) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [self._tensor(kind, type, generator) for kind, type in self.kinds()]

    def _tensor(self, kind: str, type: TensorType, generator: torch.Generator) -> torch.Tensor:
        size = [extent.evaluate(self.sizes) for extent in type.shape]

        def uniform() -> torch.Tensor:
            return torch.rand(size, generator=generator, dtype=torch.float64)

        match kind[0]:
            case "f":
                return torch.randn(size, generator=generator, dtype=torch.float64)
            case "p":
                return uniform() * 1.5 + 0.5
            case "g":
                return uniform() * 2.0 + 1.1
            case "u":
                return uniform() * 0.8 + 0.1
            case "d":
                count = torch.Size(size).numel()
                order = torch.randperm(count, generator=generator).to(torch.float64)
                return (order * 0.37 - 0.21 * count).reshape(size)
            case "b":
                return uniform() < 0.6
            case "j":
                return torch.randint(1, int(kind[1:]), size, generator=generator)
            case "i":
                return torch.randint(int(kind[1:]), size, generator=generator)
            case _:
                raise ValueError(kind)


def of(op: Op, *operands: str, **sizes: int) -> Case:
    return Case(op, operands, {**SIZES, **sizes})


def many(ops: list[Op], *operands: str) -> list[Case]:
    return [of(op, *operands) for op in ops]


def elementwise() -> list[Case]:
    anything: list[Op] = [ew.Neg(), ew.Square(), ew.Exp(), ew.Expm1(), ew.Abs(), ew.Sign()]
    anything += [ew.Sin(), ew.Cos(), ew.Erf(), ew.Floor(), ew.Ceil(), ew.Round()]
    anything += [ew.Clip(-0.5, 0.7), ew.Clip(None, 0.1), ew.Clip(0.0), ew.StopGradient(), Watch()]
    anything += [ew.Cast(DType.FLOAT), ew.Cast(DType.I64), ew.Cast(DType.F64)]
    positive: list[Op] = [ew.Log(), ew.Log1p(), ew.Sqrt(), ew.Rsqrt(), ew.Reciprocal()]
    arithmetic: list[Op] = [ew.Add(), ew.Sub(), ew.Mul(), ew.Maximum(), ew.Minimum()]
    compare: list[Op] = [ew.Equal(), ew.NotEqual(), ew.Less(), ew.LessEqual(), ew.Greater()]
    compare += [ew.GreaterEqual()]
    logic: list[Op] = [ew.LogicalAnd(), ew.LogicalOr(), ew.LogicalXor()]
    found = many(anything, "f[N,D]") + many(positive, "p[N,1,D]")
    for left, right in (
        ("[N,D]", "[N,D]"),
        ("[N,D]", "[]"),
        ("[D]", "[N,1,D]"),
        ("[N,1]", "[1,D]"),
    ):
        found += many(arithmetic, "f" + left, "f" + right)
        found += many([ew.Div(), ew.Pow()], "p" + left, "p" + right)
        found += many(compare, "i3" + left, "i3" + right)
        found += many(logic, "b" + left, "b" + right)
    found += many([ew.FloorDiv(), ew.Mod()], "i9[N,D]", "j4[N,D]")
    found += [
        of(ew.LogicalNot(), "b[N,D]"),
        of(ew.Where(), "b[N,D]", "f[N,D]", "f[N,D]"),
        of(ew.Where(), "b[N,1]", "f[D]", "f[]"),
        of(ew.Where(), "b[]", "f[N,D]", "f[N,1]"),
        of(ew.Constant(2.5)),
        of(ew.Constant(Dim.parse("N * D - 1"))),
        of(ew.Constant(((1, 2), (3, 4), (5, 6)), DType.I64)),
        of(ew.Constant(True, DType.BOOL)),
        of(ew.Neg(), "f[]"),
        of(ew.Add(), "i5[N]", "i5[N]"),
    ]
    return found


def activations() -> list[Case]:
    ops: list[Op] = [act.Relu(), act.Relu6(), act.HardTanh(), act.HardSigmoid(), act.Step()]
    ops += [act.Sigmoid(), act.LogSigmoid(), act.Tanh(), act.Softplus(), act.Softsign()]
    ops += [act.Elu(), act.Elu(0.7), act.Selu(), act.LeakyRelu(), act.LeakyRelu(0.3), act.Silu()]
    ops += [act.HardSwish(), act.Mish(), act.Gelu(), act.Gelu("tanh")]
    along: list[Op] = [act.Softmax(), act.LogSoftmax(), act.Softmax(1), act.LogSoftmax(0)]
    slopes = [of(act.GeluGrad(a), "f[N,D]", "f[N,D]") for a in ("none", "tanh")]
    return [*many(ops, "d[N,D]"), *many(ops, "f[N,D]"), *many(along, "f[N,D,T]"), *slopes]


def reductions() -> list[Case]:
    found: list[Case] = []
    for axes in ((), (0,), (-1,), (0, 2), (0, 1, 2)):
        for keep in (False, True):
            ops: list[Op] = [reduce.Sum(axes, keep), reduce.Mean(axes, keep)]
            ops += [reduce.Max(axes, keep), reduce.Min(axes, keep)]
            if axes:
                ops += [reduce.LogSumExp(axes, keep), reduce.Norm(axes, keep)]
            found += many(ops, "d[N,T,D]")
            found.append(of(reduce.Prod(axes, keep), "p[N,T,D]"))
            if axes:
                found += many([reduce.AllOf(axes, keep), reduce.AnyOf(axes, keep)], "b[N,T,D]")
    for axis in (0, -1):
        found += many([reduce.ArgMax(axis), reduce.ArgMin(axis, True)], "d[N,T,D]")
        found += many([reduce.CumSum(axis), reduce.CumSum(axis, True)], "f[N,T,D]")
    found.append(of(reduce.Sum((0,)), "i5[N,D]"))
    found.append(of(reduce.FirstEqual((0, 2)), "i2[N,T,D]", "i2[1,T,1]"))
    found.append(of(reduce.FirstEqual((-1,)), "i2[N,T,D]", "i2[N,T,1]"))
    return found


def movements() -> list[Case]:
    return [
        of(shape.Reshape(d("N * D", "T")), "f[N,T,D]"),
        of(shape.Reshape(d("N", "T", 2, "D // 2")), "f[N,T,2*(D//2)]"),
        of(shape.Reshape(()), "f[1,1]"),
        of(shape.Flatten(), "f[N,C,H,W]"),
        of(shape.Flatten(-2), "f[N,C,H,W]"),
        of(shape.Flatten(), "f[N]"),
        of(shape.Unsqueeze((1,)), "f[N,D]"),
        of(shape.Unsqueeze((0, -1)), "f[N,D]"),
        of(shape.Squeeze((1,)), "f[N,1,D]"),
        of(shape.Squeeze((-1, 0)), "f[1,N,1]"),
        of(shape.Transpose((2, 0, 1)), "f[N,T,D]"),
        of(shape.Transpose((0, -1, 1, 2)), "f[N,C,H,W]"),
        of(shape.BroadcastTo(d("N", "T", "D")), "f[D]"),
        of(shape.BroadcastTo(d("N", "T", "D")), "f[N,1,D]"),
        of(shape.BroadcastTo(d("N", 2)), "f[]"),
        of(shape.Concat(), "f[N,D]", "f[N,T]", "f[N,1]"),
        of(shape.Concat(1), "f[N,C,H]", "f[N,2,H]"),
        of(shape.Concat(0), "f[N,D]"),
        of(shape.Stack(), "f[N,D]", "f[N,D]"),
        of(shape.Stack(-1), "f[N,D]", "f[N,D]", "f[N,D]"),
        of(shape.Stack(1), "f[N,D]"),
        of(shape.Split(d(1, "T - 1")), "f[N,T]"),
        of(shape.Split(d(2, 2, "H - 4"), 1), "f[N,H,W]"),
        of(shape.Slice(d(0, 1), d("N", "T"), d(1, 1)), "f[N,T]"),
        of(shape.Slice(d(1, 0), d("N", "T - 1"), d(1, 2)), "f[N,T]"),
        of(shape.Slice(d(0), d(5), d(3)), "f[H]"),
        of(shape.Unslice(d("N", "T"), d(1, 0), d("N", "T - 1"), d(1, 2)), "f[N-1,(T-1+1)//2]"),
        of(shape.Pad(d(0, 2), d(1, 0)), "f[N,T]"),
        of(shape.Pad(d(1), d("D"), -1.5), "f[N]"),
        of(shape.Flip((0,)), "f[N,D]"),
        of(shape.Flip((0, -1)), "f[N,T,D]"),
        of(shape.Arange(*d(0, "T", 1), DType.I64)),
        of(shape.Arange(*d(2, "T + 4", 3), DType.I64)),
    ]


def products() -> list[Case]:
    return [
        of(linalg.MatMul(), "f[N,D]", "f[D,T]"),
        of(linalg.MatMul(), "f[N,T,D]", "f[D,K]"),
        of(linalg.MatMul(), "f[N,T,D]", "f[N,D,K]"),
        of(linalg.MatMul(), "f[N,1,T,D]", "f[C,D,K]"),
        of(linalg.MatMul(), "f[T,D]", "f[N,D,1]"),
        of(linalg.MatMul(), "f[1,1]", "f[1,1]"),
        of(linalg.Linear(), "f[N,D]", "f[K,D]", "f[K]"),
        of(linalg.Linear(), "f[N,T,D]", "f[K,D]"),
        of(linalg.Linear(), "f[N,T,2,D]", "f[K,D]", "f[K]"),
        of(linalg.Linear(), "f[D]", "f[K,D]", "f[K]"),
        of(linalg.Einsum("nkhw,kd->ndhw"), "f[N,C,H,W]", "f[C,D]"),
        of(linalg.Einsum("ij,jk,k->i"), "f[N,T]", "f[T,D]", "f[D]"),
        of(linalg.Einsum("ij->j"), "f[N,T]"),
        of(linalg.Einsum("ijk->ki"), "f[N,T,D]"),
        of(linalg.Einsum("ij,ij->"), "f[N,T]", "f[N,T]"),
    ]


def convolutions() -> list[Case]:
    found: list[Case] = []
    one = d(1)

    def add(op: conv.Conv, x: str, w: str, bias: str = "", **sizes: int) -> None:
        case = of(op, x, w, *([bias] if bias else []), **sizes)
        found.append(case)
        (_, xt), (_, wt) = case.kinds()[:2]
        y = build(case).outputs[0].type
        dy = "f" + "[" + ",".join(str(n).replace(" ", "") for n in y.shape) + "]"
        found.append(of(op.input_grad(xt), dy, w, **sizes))
        found.append(of(op.weight_grad(wt), x, dy, **sizes))

    zero = pairs((0, 0), (0, 0))
    add(conv.Conv(d(1, 1), zero, d(1, 1)), "f[N,C,H,W]", "f[5,C,3,3]", "f[5]")
    add(conv.Conv(d(1, 1), zero, d(1, 1)), "f[N,C,H,W]", "f[5,C,1,1]")
    add(conv.Conv(d(2, 2), pairs((1, 1), (1, 1)), d(1, 1)), "f[N,3,H,W]", "f[2,3,3,3]", "f[2]")
    add(conv.Conv(d(2, 3), pairs((3, 3), (0, 2)), d(1, 2)), "f[N,2,H,W]", "f[3,2,5,3]")
    add(conv.Conv(d(1, 1), "same", d(1, 1)), "f[2,2,H,W]", "f[3,2,4,3]", "f[3]")
    add(conv.Conv(d(2, 2), "same", d(1, 1)), "f[2,2,H,W]", "f[3,2,3,3]")
    add(conv.Conv(d(2, 3), "same", d(2, 1)), "f[2,2,H,W]", "f[3,2,2,2]", H=9, W=11)
    add(conv.Conv(d(3, 3), "same", d(1, 1)), "f[1,1,H,W]", "f[1,1,1,1]", H=8)
    add(conv.Conv(d(1, 1), zero, d(1, 1), Dim.of(2)), "f[N,4,H,W]", "f[6,2,3,3]", "f[6]")
    depthwise = conv.Conv(d(2, 1), pairs((1, 1), (1, 1)), d(1, 1), Dim.symbol("C"))
    add(depthwise, "f[N,C,H,W]", "f[C,1,3,3]")
    add(depthwise, "f[N,C,H,W]", "f[2*C,1,3,3]", "f[2*C]")
    add(conv.Conv(one, pairs((1, 0)), one), "f[N,D,T]", "f[2,D,2]", "f[2]")
    add(conv.Conv(d(2), pairs((2, 2)), d(2)), "f[N,D,H]", "f[2,D,3]")
    three = conv.Conv(d(1, 2, 1), pairs((1, 1), (0, 1), (0, 0)), d(1, 1, 1))
    add(three, "f[1,2,3,4,5]", "f[2,2,2,3,2]", "f[2]")
    add(conv.Conv(d(1, 1), zero, d(1, 1)), "f[1,1,1,1]", "f[1,1,1,1]", "f[1]")
    return found


def pools() -> list[Case]:
    found: list[Case] = []
    settings: list[tuple[Any, ...]] = [
        (d(2, 2), d(2, 2), pairs((0, 0), (0, 0)), False),
        (d(3, 3), d(2, 2), pairs((1, 1), (1, 1)), False),
        (d(3, 2), d(1, 2), pairs((1, 0), (0, 1)), False),
        (d(2, 2), d(2, 2), pairs((0, 0), (0, 0)), True),
        (d(3, 3), d(2, 2), pairs((1, 1), (1, 1)), True),
        (d(2, 3), d(3, 3), pairs((1, 1), (0, 0)), True),
        (d(3, 3), d(2, 2), "same", False),
        (d(2, 2), d(3, 2), "same", False),
        (d(1, 1), d(1, 1), pairs((0, 0), (0, 0)), False),
    ]
    for setting in settings:
        found += _pool_cases("[2,C,H,W]", setting)
    for dilated in (
        (d(2, 3), d(1, 2), pairs((1, 1), (0, 1)), False, d(2, 1)),
        (d(2, 2), d(2, 2), pairs((0, 0), (1, 1)), True, d(1, 3)),
        (d(2, 3), d(2, 1), "same", False, d(2, 2)),
    ):
        found += _pool_cases("[2,C,H,W]", dilated)
    found += _pool_cases("[N,C,T]", (d(2), d(1), pairs((1, 1)), False))
    found += _pool_cases(
        "[1,2,4,3,5]", (d(2, 2, 2), d(2, 1, 2), pairs((0, 0), (0, 0), (1, 1)), False)
    )
    return found


def _pool_cases(x: str, setting: tuple[Any, ...]) -> list[Case]:
    largest = of(pool.MaxPool(*setting), "d" + x)
    y = build(largest).outputs[0].type
    inside = "[" + ",".join(str(n).replace(" ", "") for n in y.shape) + "]"
    size = largest.kinds()[0][1].shape[2:]
    found = [
        largest,
        of(pool.MaxPoolGrad(*setting), "d" + x, "f" + inside, "f" + inside),
        of(pool.MaxPoolSelect(*setting), "d" + x, "f" + inside, "f" + x),
    ]
    if len(setting) > 4:
        return found
    for counted in (True, False):
        found.append(of(pool.AvgPool(*setting, counted), "f" + x))
        found.append(of(pool.AvgPoolGrad(*setting, counted, size), "f" + inside))
    return found


def norms() -> list[Case]:
    found: list[Case] = []
    for x in ("f[N,C]", "f[N,C,T]", "f[N,C,H,W]"):
        both = ((True, True), (False, False)), ((True, True), (True, False), (False, True))
        for scale, shift in both[x == "f[N,C]"]:
            factors = ["f[C]"] * (scale + shift)
            flags = {"scale": scale, "shift": shift}
            op = norm.BatchNorm(1e-5, 0.1, **flags)
            found.append(of(op, x, "f[C]", "p[C]", *factors))
            found.append(of(norm.BatchNormInference(1e-3, **flags), x, "f[C]", "p[C]", *factors))
            given = ["f[C]"] * scale
            found.append(of(norm.BatchNormGrad(**flags), x, "f[C]", "p[C]", x, *given))
    return found


def indices() -> list[Case]:
    return [
        of(indexing.Take(0), "f[5,D]", "i5[N,T]"),
        of(indexing.Take(-1), "f[N,D,5]", "i5[T]"),
        of(indexing.Take(1), "f[N,5,D]", "i5[]"),
        of(indexing.ScatterAdd(0, Dim.of(5)), "i5[N,T]", "f[N,T,D]"),
        of(indexing.ScatterAdd(1, Dim.of(5)), "i5[T]", "f[N,T,D]"),
        of(indexing.Embedding(), "i5[N,T]", "f[5,D]"),
        of(indexing.Embedding(), "i1[N]", "f[1,D]"),
        of(indexing.TakeAlong(), "f[N,5]", "i5[N,T]"),
        of(indexing.TakeAlong(0), "f[5,D]", "i5[1,D]"),
        of(indexing.ScatterAddAlong(1, Dim.of(5)), "i5[N,T]", "f[N,T]"),
        of(indexing.OneHot(Dim.symbol("K")), "i5[N,T]"),
        of(indexing.OneHot(Dim.of(3), DType.I64), "i5[N]"),
    ]


def losses() -> list[Case]:
    found: list[Case] = []
    for reduction in ("mean", "sum", "none"):
        for target in ("[N,D]", "[]"):
            found.append(of(loss.MseLoss(reduction), "f[N,D]", "f" + target))
            found.append(of(loss.MaeLoss(reduction), "f[N,D]", "f" + target))
            found.append(of(loss.HuberLoss(reduction, 0.8), "f[N,D]", "f" + target))
            found.append(of(loss.BceWithLogits(reduction), "f[N,D]", "u" + target))
            found.append(of(loss.BceLoss(reduction), "u[N,D]", "u" + target))
        for smoothing in (0.0, 0.1):
            for ignore in (None, Dim.of(1)):
                for weighted, masked in ((False, False), (True, False), (True, True)):
                    if reduction == "mean" or weighted == (ignore is not None):
                        settings = (reduction, smoothing, ignore, -1, weighted, masked)
                        found += _class_cases(settings, "[N,K]", "[N]")
        found += _class_cases((reduction, 0.1, Dim.of(1), 1, True, True), "[N,K,T]", "[N,T]")
        found += _class_cases((reduction, 0.0, None, 1, False, False), "[N,K,H,W]", "[N,H,W]")
        found += _class_cases((reduction, 0.0, Dim.of(0), -1, False, False), "[N,T,K]", "[N,T]")
    found += _class_cases(("mean", 0.0, Dim.of(0), -1, False, False), "[N,1]", "[N]", "i1")
    return found


def _class_cases(settings: tuple[Any, ...], x: str, labels: str, kind: str = "i5") -> list[Case]:
    reduction, _, _, _, weighted, masked = settings
    operands = ["f" + x, kind + labels]
    operands += ["p[K]"] * weighted + ["b" + labels] * masked
    forward = of(loss.CrossEntropy(*settings), *operands)
    g = "f" + labels if reduction == "none" else "f[]"
    return [forward, of(loss.CrossEntropyGrad(*settings), *operands, g)]


def build(case: Case) -> Any:
    """The function that applies a case's op to inputs."""
    from dlspec.ir.graph import Function
    from dlspec.ops.build import FunctionBuilder

    function = Function("f", "block", inputs=tuple(case.values()))
    function.outputs = FunctionBuilder(function).emit_all(case.op, *function.inputs)
    return function


RANDOM = [
    of(random.Dropout(0.3), "f[N,D]"),
    of(
        random.RandomNormal(d("N", 2)),
    ),
    of(random.RandomUniform(d("N", 2), -1.0, 2.0)),
]

from . import (  # noqa: E402  (needs the names above)
    cases_image,
    cases_index,
    cases_learned,
    cases_maths,
    cases_patches,
    cases_recurrent,
    cases_statistics,
)

CASES: list[Case] = [
    *elementwise(),
    *activations(),
    *reductions(),
    *movements(),
    *products(),
    *convolutions(),
    *pools(),
    *norms(),
    *indices(),
    *losses(),
    *cases_index.cases(),
    *cases_image.cases(),
    *cases_maths.cases(),
    *cases_learned.cases(),
    *cases_patches.cases(),
    *cases_statistics.cases(),
    *cases_recurrent.cases(),
]
