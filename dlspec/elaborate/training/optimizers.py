"""Optimizers and their learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec import codes, schedules
from dlspec.diagnostics import close_to
from dlspec.elaborate import static
from dlspec.elaborate.builtins import unknown_argument
from dlspec.ir.static import Sequence
from dlspec.ops import optimizers
from dlspec.schedules import SCHEDULES
from dlspec.schemas import REQUIRED
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.elaborate.training.section import Section
    from dlspec.elaborate.values import AnyValue

OPTIMIZERS: dict[str, dict[str, object]] = {
    name: {"lr": REQUIRED if kind.rate is None else kind.rate, **kind().settings()}
    for name, kind in optimizers.OPTIMIZERS.items()
}


def read_optimizer(
    section: Section, expr: ast.Expr
) -> tuple[str, dict[str, Any], dict[str, object] | None]:
    callee = expr.callee if isinstance(expr, ast.Call) else expr
    with section.scope.at(callee.span):
        name = callee.id if isinstance(callee, ast.Name) else ""
        if name not in OPTIMIZERS:
            section.fail(
                codes.UNDEFINED,
                f"there is no optimizer `{callee.span.text}`",
                close_to(name, OPTIMIZERS) or f"there are {', '.join(OPTIMIZERS)}",
            )
    given = words(section, expr, OPTIMIZERS[name], name)
    schedule = None
    settings: dict[str, Any] = {}
    for key, default in OPTIMIZERS[name].items():
        arg = given.get(key)
        if arg is None:
            if default is REQUIRED:
                with section.scope.at(expr.span):
                    section.fail(
                        codes.MISSING_ARGUMENT, f"{name} needs a learning rate: {name}(0.1)"
                    )
            settings[key] = default
        elif key == "lr" and is_schedule(section, arg):
            schedule = read_schedule(section, arg)
        else:
            settings[key] = setting_value(section, name, key, default, arg)
    for problem in optimizers.optimizer_of(name, settings).problems():
        with section.scope.at(expr.span):
            section.fail(codes.BAD_ARGUMENT, f"{name}: {problem}")
    return name, settings, schedule


def words(
    section: Section, expr: ast.Expr, known: Mapping[str, object], callee: str
) -> dict[str, ast.Expr]:
    """Arguments by name, checked against a list of parameters."""
    if not isinstance(expr, ast.Call):
        return {}
    with section.scope.at(expr.span):
        if len(expr.args) > len(known):
            section.fail(codes.BAD_ARGUMENT, f"{callee} takes at most {len(known)} arguments")
    given = dict(zip(known, expr.args, strict=False))
    for word in expr.keywords:
        with section.scope.at(word.name_span):
            if word.name not in known:
                unknown_argument(section.evaluator, callee, word.name, tuple(known))
            if word.name in given:
                section.fail(codes.BAD_ARGUMENT, f"`{word.name}` of {callee} is given twice")
        given[word.name] = word.value
    return given


def setting_value(section: Section, callee: str, key: str, default: object, arg: ast.Expr) -> Any:
    value = static.raw(section.evaluator.evaluate(arg))
    with section.scope.at(arg.span):
        if isinstance(default, bool):
            if not isinstance(value, bool):
                section.fail(codes.BAD_ARGUMENT, f"`{key}` of {callee} is true or false")
            return value
        number = float(static.number(section.scope, value, f"`{key}` of {callee}"))
        if optimizers.range_problem(key, number):
            section.fail(codes.BAD_ARGUMENT, f"`{key}` of {callee} cannot be {number:g}")
        return number


def is_schedule(section: Section, arg: ast.Expr) -> bool:
    return (
        isinstance(arg, ast.Call)
        and isinstance(arg.callee, ast.Name)
        and arg.callee.id in SCHEDULES
    )


def read_schedule(section: Section, expr: ast.Expr) -> dict[str, object]:
    assert isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Name)
    kind = expr.callee.id
    known = SCHEDULES[kind].parameters
    given = words(section, expr, known, kind)
    found: dict[str, object] = {"kind": kind}
    for key, default in known.items():
        if key in given:
            with section.scope.at(given[key].span):
                value = section.evaluator.evaluate(given[key])
                if key in SCHEDULES[kind].lists:
                    found[key] = number_list(section, value, f"`{key}` of {kind}")
                else:
                    found[key] = static.number(section.scope, value, f"`{key}` of {kind}")
        elif default is schedules.REQUIRED:
            with section.scope.at(expr.span):
                section.fail(codes.MISSING_ARGUMENT, f"{kind} needs `{key}`")
    if wrong := schedules.problem(found):
        with section.scope.at(expr.span):
            section.fail(codes.BAD_ARGUMENT, f"{kind}: {wrong}")
    return found


def number_list(section: Section, value: AnyValue, what: str) -> list[float]:
    found = static.raw(value)
    if not isinstance(found, Sequence):
        static.wrong_kind(section.scope, f"{what} is a list, not {static.describe(value)}")
    return [static.number(section.scope, item, what) for item in found.items]
