"""What a model requires of its inputs' sizes, as checks at its entry."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.codegen.code import Block, Line
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Facts
from dlspec.ir.requirements import simplify_requirements

if TYPE_CHECKING:
    from dlspec.codegen.code import Statement
    from dlspec.codegen.statics import StaticPrinter
    from dlspec.ir.facts import Relation
    from dlspec.ir.graph import Function


def guards(function: Function, static: StaticPrinter) -> list[Statement]:
    """`if h % 16 != 0: raise ValueError(f"… {h}")`, for what a model requires; none for a block.

    The dims that they read are bound by the scope's prelude, to be asked for afterwards.
    """
    if function.kind != "model":
        return []
    relations = [r.relation for r in function.requirements]
    return [guard(function.name, r, static) for r in simplify_requirements(relations, Facts())]


def guard(name: str, relation: Relation, static: StaticPrinter) -> Statement:
    broken = relation.negated()
    shape = python.expr(f"a {broken.op} b")
    assert isinstance(shape, ast.Compare)
    test = ast.Compare(static.dim(broken.left), shape.ops, [static.dim(broken.right)])
    told: list[ast.expr] = [ast.Constant(f"{name} needs {relation}")]
    for symbol in sorted(relation.left.symbols | relation.right.symbols):
        told.append(ast.Constant(f"; {symbol} is "))
        told.append(ast.FormattedValue(static.dim(Dim.symbol(symbol)), conversion=-1))
    error = python.call("ValueError", ast.JoinedStr(told))
    return Block(Line(ast.If(test, [], [])), [Line(ast.Raise(error, None))])
