"""An optimizer's rule for one weight as a Python function, for any library of arrays."""

from __future__ import annotations

import ast
from collections import Counter
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.codegen.code import Statement, Text, assign, block, returns
from dlspec.ir.graph import OpNode
from dlspec.ir.static import Apply, Known, ParamRef
from dlspec.ops import elementwise as ew
from dlspec.ops.reduce import Sum

if TYPE_CHECKING:
    from dlspec.ir.graph import Value
    from dlspec.ir.static import Origin
    from dlspec.ops.base import Op
    from dlspec.ops.optimizers import Optimizer

OPERATORS: dict[type[Op], ast.operator] = {
    ew.Add: ast.Add(),
    ew.Sub: ast.Sub(),
    ew.Mul: ast.Mult(),
    ew.Div: ast.Div(),
}
FUNCTIONS: dict[type[Op], str] = {
    ew.Sqrt: "sqrt",
    ew.Square: "square",
    ew.Sign: "sign",
    ew.Abs: "abs",
    ew.Maximum: "maximum",
    ew.Where: "where",
    Sum: "sum",
}


def rule_function(
    optimizer: Optimizer,
    name: str,
    library: str,
    *,
    traced: bool = False,
    annotated: bool = False,
) -> Statement:
    """`def name(weight, grad, slots…, step): …`, which gives the direction and the new slots.

    library: "np", "jnp" or "torch". traced: `step` is an array, on which Python cannot decide.
    """
    rule = optimizer.rule()
    count = Counter(v for node in rule.body if isinstance(node, OpNode) for v in node.operands)
    count.update(rule.outputs)
    known: dict[Value, ast.expr] = {v: python.name(v.name) for v in rule.inputs}
    settings = {k: python.constant(v) for k, v in optimizer.settings().items()}
    lines: list[Statement] = [Text(f'"""The direction of {optimizer.name}, and its state."""')]
    for scalar, text in optimizer.scalars:
        value = python.substitute(python.expr(text), settings)
        lines.append(assign([scalar], _Traced().visit(value) if traced else value))
    outputs = dict(zip(rule.outputs, rule.output_names, strict=True))
    for node in rule.body:
        assert isinstance(node, OpNode)
        (result,) = node.results
        value = _expression(node, known, settings, library)
        if isinstance(node.op, ew.Constant) or (count[result] == 1 and result not in outputs):
            known[result] = value
            continue
        fresh = f"new_{outputs[result]}" if result in outputs else f"x{len(lines)}"
        lines.append(assign([fresh], value))
        known[result] = python.name(fresh)
    lines.append(returns(python.tuple_of(*(known[v] for v in rule.outputs))))
    names = ["weight", "grad", *optimizer.slots]
    if annotated:
        hints = ", ".join([*(f"{n}: Tensor" for n in names), "step: float"])
        return block(f"def {name}({hints}) -> tuple[Tensor, ...]:", lines)
    return block(f"def {name}({', '.join([*names, 'step'])}):", lines)


class _Traced(ast.NodeTransformer):
    """Decisions and `max` as functions of arrays."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        inner = (node.test, node.body, node.orelse)
        return python.call("jnp.where", *(self.visit(n) for n in inner))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return python.call("jnp.maximum", *(self.visit(a) for a in node.args))


def _expression(
    node: OpNode, known: dict[Value, ast.expr], settings: dict[str, ast.expr], library: str
) -> ast.expr:
    operands = [known[v] for v in node.operands]
    match node.op:
        case ew.Constant(value=Known() as value):
            return _origin(value.origin, settings)
        case ew.Constant(value=value):
            return python.constant(value)
        case ew.Equal():
            return ast.Compare(operands[0], [ast.Eq()], operands[1:])
        case op if type(op) in OPERATORS:
            return ast.BinOp(operands[0], OPERATORS[type(op)], operands[1])
        case op:
            return python.call(f"{library}.{FUNCTIONS[type(op)]}", *operands)


def _origin(origin: Origin, settings: dict[str, ast.expr]) -> ast.expr:
    match origin:
        case ParamRef(name=name):
            return settings[name]
        case Apply(op="-", args=(_, ParamRef(name=name))):
            return ast.BinOp(python.constant(1), ast.Sub(), settings[name])
        case _:
            raise TypeError(f"no setting: {origin!r}")
