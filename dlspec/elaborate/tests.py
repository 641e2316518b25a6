"""`test "…" { assert … }`: run in the elaborator, failures are diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.elaborate import static
from dlspec.elaborate.expressions import Env, Evaluator
from dlspec.elaborate.values import Unknown
from dlspec.ir.dims import Dim
from dlspec.ir.static import Sequence
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.files import Module
    from dlspec.elaborate.session import Session


def run_tests(session: Session, module: Module) -> int:
    """Run all tests of a file. Returns how many passed."""
    passed = 0
    for item in module.file.items:
        if isinstance(item, ast.Test):
            passed += run_test(session, module, item)
    return passed


def run_test(session: Session, module: Module, test: ast.Test) -> bool:
    scope = session.free_scope("test")
    e = Evaluator(session, module, scope, Env())
    errors = session.diagnostics.told
    for statement in test.body:
        try:
            with scope.at(statement.span):
                if isinstance(statement, ast.Assert):
                    check(e, statement)
                elif isinstance(statement, ast.Binding):
                    e.bind(statement.target, e.evaluate(statement.value))
                else:
                    scope.fail(codes.STATIC_TYPE, "a test has bindings and asserts only")
        except Failure as failure:
            session.report(failure)
    return session.diagnostics.told == errors


def check(e: Evaluator, statement: ast.Assert) -> None:
    condition = e.evaluate(statement.condition)
    if isinstance(condition, Unknown) or static.truth(e.scope, condition):
        return
    notes: tuple[str, ...] = ()
    expr = statement.condition
    if isinstance(expr, ast.Binary) and expr.op in static.COMPARISONS:
        sides = [static.raw(e.evaluate(x)) for x in (expr.left, expr.right)]
        shown = [text(side) for side in sides]
        notes = (f"the left side is {shown[0]}, the right side is {shown[1]}",)
    e.session.diagnostics.add(
        Diagnostic(codes.ASSERTION, "the assertion does not hold", statement.span, notes=notes)
    )


def text(value: object) -> str:
    if isinstance(value, Sequence):
        return f"[{', '.join(text(static.raw(item)) for item in value.items)}]"
    return f"{value.value:,}" if isinstance(value, Dim) and value.is_const else str(value)
