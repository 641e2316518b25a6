"""Elementwise mathematics in torch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.ops import maths, special, statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.codegen import StaticPrinter
    from dlspec.codegen.tables import Row
    from dlspec.ir.graph import OpNode
    from dlspec.ops.base import Op


def _number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant)


def tensors(name: str) -> Callable[..., ast.expr]:
    """A function that takes tensors only: a number becomes one."""

    def row(node: OpNode, operands: Sequence[ast.expr], static: StaticPrinter) -> ast.expr:
        a, b = operands
        if _number(a) and not _number(b):
            a = python.call(ast.Attribute(b, "new_tensor", ast.Load()), a)
        elif _number(b) and not _number(a):
            b = python.call(ast.Attribute(a, "new_tensor", ast.Load()), b)
        return python.call(f"torch.{name}", a, b)

    return row


ROWS: dict[type[Op], Row] = {
    special.Lgamma: "x: torch.lgamma(x)",
    special.Digamma: "x: torch.digamma(x)",
    special.Polygamma: "x: torch.polygamma(order, x)",
    statistics.CumMax: "x: x.cummax(axis).values",
    statistics.SearchSorted: "order, x: torch.searchsorted(order, x, right=right)",
    maths.Tan: "x: torch.tan(x)",
    maths.Asin: "x: torch.asin(x)",
    maths.Acos: "x: torch.acos(x)",
    maths.Atan: "x: torch.atan(x)",
    maths.Sinh: "x: torch.sinh(x)",
    maths.Cosh: "x: torch.cosh(x)",
    maths.Asinh: "x: torch.asinh(x)",
    maths.Acosh: "x: torch.acosh(x)",
    maths.Atanh: "x: torch.atanh(x)",
    maths.Log2: "x: torch.log2(x)",
    maths.Log10: "x: torch.log10(x)",
    maths.Exp2: "x: torch.exp2(x)",
    maths.Erfc: "x: torch.erfc(x)",
    maths.Erfinv: "x: torch.erfinv(x)",
    maths.Trunc: "x: torch.trunc(x)",
    maths.NanToNum: "x: torch.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)",
    maths.IsNan: "x: torch.isnan(x)",
    maths.IsInf: "x: torch.isinf(x)",
    maths.IsFinite: "x: torch.isfinite(x)",
    maths.Atan2: tensors("atan2"),
    # torch.hypot has no gradient at the origin, a vector's norm has 0
    maths.Hypot: "a, b: torch.stack(torch.broadcast_tensors(a, b)).norm(dim=0)",
    maths.LogAddExp: tensors("logaddexp"),
    maths.Remainder: tensors("remainder"),
    maths.Fmod: tensors("fmod"),
}

# those of them that take a number where others take a tensor
WITH_NUMBERS: frozenset[type[Op]] = frozenset(
    {maths.Atan2, maths.LogAddExp, maths.Remainder, maths.Fmod}
)
