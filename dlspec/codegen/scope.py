"""How a body names dims and parameters."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.codegen.code import Line, Statement, assign, render
from dlspec.codegen.names import snake
from dlspec.codegen.statics import StaticPrinter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.codegen.names import Names
    from dlspec.codegen.plan import Plan


class DimScope:
    """The names of dims and parameters inside one body.

    A symbol that `parameter` knows is printed so (`self.kernel`); any other is read from an
    input's shape, once, at the top of the body: `prelude()`, to be asked for after the body.
    """

    def __init__(
        self,
        plan: Plan,
        names: Names,
        inputs: Sequence[str],
        parameter: Callable[[str], ast.expr | None],
    ) -> None:
        self.plan = plan
        self.names = names
        self.inputs = inputs
        self.parameter = parameter
        self.bound: dict[str, str] = {}
        self.static = StaticPrinter(plan.function.symbols, self.lookup)

    def lookup(self, symbol: str) -> ast.expr:
        known = self.parameter(symbol)
        if known is not None:
            return known
        if symbol not in self.bound:
            if symbol not in self.plan.dims:
                raise KeyError(f"{self.plan.class_name} cannot tell {symbol} from its inputs")
            self.bound[symbol] = self.names.fresh(snake(symbol))
        return python.name(self.bound[symbol])

    def prelude(self, body: Sequence[Statement] | None = None) -> list[Statement]:
        """`h, w = x.shape[2:]` where neighbours are needed, else `n = x.shape[0]`.

        body: what follows, where not all that was asked for is printed in the end.
        """
        text = None if body is None else "\n".join(render(body)[0])
        by_input: dict[int, dict[int, str]] = {}
        for symbol, name in self.bound.items():
            if text is not None and not re.search(rf"\b{name}\b", text):
                continue
            position, axis = self.plan.dims[symbol]
            by_input.setdefault(position, {})[axis] = name
        lines: list[Line] = []
        for position, axes in sorted(by_input.items()):
            shape = python.expr(f"{self.inputs[position]}.shape")
            rank = self.plan.function.inputs[position].type.rank
            if len(axes) > 1 and (part := together(shape, sorted(axes), rank)):
                lines.append(assign([axes[a] for a in sorted(axes)], part))
                continue
            for axis, name in sorted(axes.items()):
                index = ast.Subscript(shape, python.constant(axis), ast.Load())
                lines.append(assign([name], index))
        return list(lines)


def together(shape: ast.expr, axes: Sequence[int], rank: int) -> ast.expr | None:
    """`shape`, `shape[2:]` or `shape[:2]`, where the axes are that."""
    first, count = axes[0], len(axes)
    if [*axes] != [*range(first, first + count)]:
        return None
    if count == rank:
        return shape
    if first + count == rank:
        return ast.Subscript(shape, ast.Slice(python.constant(first), None), ast.Load())
    if first == 0:
        return ast.Subscript(shape, ast.Slice(None, python.constant(count)), ast.Load())
    return None
