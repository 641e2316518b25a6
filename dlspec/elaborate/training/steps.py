"""`step name times k every n { … }`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.statements import execute
from dlspec.elaborate.training.divide import Draft
from dlspec.ir.dims import Dim
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section


def step_verb(section: Section, statement: ast.Verb) -> None:
    e = section.evaluator
    args = statement.args
    with section.scope.at(statement.name_span):
        if section.step is not None:
            section.fail(codes.TRAINING_FORM, "a step stands in no other step")
        if len(args) != 1 or not isinstance(args[0], ast.Name) or statement.body is None:
            section.fail(
                codes.TRAINING_FORM,
                "a step has a name and a body",
                "write: step critic { minimize … using adam(1e-4) }",
            )
        if section.minimized and not section.steps:
            section.fail(
                codes.TRAINING_FORM,
                "there is a `minimize` outside the steps",
                "put it into a step of its own",
            )
    name = args[0].id
    with section.scope.at(args[0].span):
        if any(d.name == name for d in section.steps):
            section.fail(codes.DUPLICATE, f"there are two steps `{name}`")
    times, every = (read_count(section, statement, word) for word in ("times", "every"))
    section.step = Draft(name, args[0].span, times, every)
    outer, before = dict(e.env.names), section.session.diagnostics.told
    try:
        found = execute(e, statement.body)
    finally:
        draft, section.step = section.step, None
        e.env.names.clear()
        e.env.names.update(outer)
    if found is not None:
        with section.scope.at(found.span):
            section.fail(codes.TRAINING_FORM, "`return` stands in definitions only")
    if not draft.losses and not section.broken and section.session.diagnostics.told == before:
        with section.scope.at(args[0].span):
            section.fail(
                codes.TRAINING_FORM,
                f"the step `{name}` minimizes nothing",
                "give it a loss: minimize … using adam(1e-4)",
            )
    section.steps.append(draft)


def read_count(section: Section, statement: ast.Verb, word: str) -> int:
    """`times 5`, `every 2`: a whole number; one where it is not given."""
    clause = section.clause(statement, word)
    if clause is None:
        return 1
    with section.scope.at(clause.span):
        found = static.raw(section.evaluator.evaluate(clause.args[0])) if clause.args else None
        number = section.scope.known(found) if isinstance(found, Dim) else 0
        if len(clause.args) != 1 or number < 1:
            section.fail(codes.BAD_SETTING, f"`{word}` is a whole number of at least 1")
        return number
