"""What a training section tells: reports, and evaluation on other data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.names import snake
from dlspec.elaborate.training.datasets import read_source
from dlspec.elaborate.values import Statistic, Unknown
from dlspec.ir.graph import DataSource, Metric, Value
from dlspec.schemas import CHANGES, SOURCES
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section

RESERVED_METRICS = frozenset({"loss", "step", "epoch", "split", "lr"})


def report_verb(section: Section, statement: ast.Verb) -> None:
    with section.scope.at(statement.name_span):
        if not statement.args:
            section.fail(
                codes.TRAINING_FORM,
                "`report` needs a value",
                "write: report accuracy(logits, label)",
            )
    for arg in statement.args:
        report_one(section, arg)


def report_one(section: Section, arg: ast.Expr) -> None:
    name = arg.name if isinstance(arg, ast.As) else report_name(arg)
    inner = arg.value if isinstance(arg, ast.As) else arg
    value = section.evaluator.evaluate(inner)
    if isinstance(value, Unknown):
        return
    with section.scope.at(arg.span):
        pooled = isinstance(value, Statistic)
        if not pooled and (not isinstance(value, Value) or value.type.rank):
            section.fail(codes.SHAPE, f"a report is a scalar, not {static.describe(value)}")
        losses = {n for draft in (*section.steps, section.step) if draft for n in draft.losses}
        if name in RESERVED_METRICS | losses | {n for n, _, _ in section.reports}:
            section.fail(
                codes.DUPLICATE, f"there is a report `{name}` already", "name it: … as other"
            )
        metric, made = mean_of(section, value) if not pooled else (value.metric, value.value)
        section.reports.append((name, metric, made))
        if section.step is not None:
            section.step.reports[name] = made


def evaluate_verb(section: Section, statement: ast.Verb) -> None:
    clause = section.clause(statement, "on")
    with section.scope.at(statement.name_span):
        if clause is None or not clause.args or len(statement.args) > 1:
            section.fail(
                codes.TRAINING_FORM,
                "`evaluate` needs a source",
                'write: evaluate on mnist5k(split = "test")',
            )
        if not section.data:
            section.fail(codes.TRAINING_FORM, "`evaluate` stands after `data`")
        if len(clause.args) != len(section.data):
            section.fail(
                codes.TRAINING_FORM,
                f"`evaluate` has {len(clause.args)} sources, and training {len(section.data)}",
                "one for each `data`, in order: evaluate on a(…), b(…)",
            )
    name = "test"
    if statement.args:
        arg = statement.args[0]
        if not isinstance(arg, ast.Name):
            with section.scope.at(arg.span):
                section.fail(codes.TRAINING_FORM, "`evaluate` takes a name")
        name = arg.id
    elif section.evaluations:
        section.fail(codes.DUPLICATE, "name the second evaluation: evaluate dev on …")
    pairs = zip(clause.args, section.data, strict=True)
    section.evaluations.append((name, tuple(read_evaluation(section, a, d) for a, d in pairs)))


def read_evaluation(section: Section, arg: ast.Expr, data: DataSource) -> DataSource:
    """A source that stands for one of the training's."""
    source, args = read_source(section, arg)
    with section.scope.at(arg.span):
        for name in CHANGES:
            if args.get(name):
                section.fail(
                    codes.BAD_DATA,
                    f"`{name}` changes the images of the training data alone",
                    "leave it out: what is evaluated is the images as they are",
                )
        same_fields(section, source, args, data)
    return DataSource(data.fields, source, args, arg.span)


def same_fields(section: Section, source: str, args: dict[str, object], data: DataSource) -> None:
    known = list(SOURCES[source].fields(args))
    if known and len(known) != len(data.fields):
        section.fail(
            codes.BAD_DATA,
            f"{source} has {len(known)} fields, and training has {len(data.fields)}",
        )
    for have, want in zip(known, data.fields, strict=False):
        ranks = have.shape is not None and len(have.shape) != want.type.rank
        if ranks or (have.dtype is not None and have.dtype is not want.type.dtype):
            section.fail(
                codes.BAD_DATA, f"`{have.name}` of {source} is not like the training data's"
            )


def mean_of(section: Section, value: Value) -> tuple[Metric, Value]:
    """A scalar, and what knows how its batches are averaged: the built-in that made it."""
    return section.session.metrics.get(value, Metric()), value


def report_name(arg: ast.Expr, other: str = "report") -> str:
    if isinstance(arg, ast.Name):
        return arg.id
    if isinstance(arg, ast.Call) and isinstance(arg.callee, ast.Name):
        return snake(arg.callee.id)
    return other
