"""A training section, statement by statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Failure
from dlspec.elaborate.advice import advise
from dlspec.elaborate.gradients import watch
from dlspec.elaborate.inner import settle
from dlspec.elaborate.moving import enter_static
from dlspec.elaborate.statements import execute
from dlspec.elaborate.training.datasets import data_verb
from dlspec.elaborate.training.divide import divide
from dlspec.elaborate.training.loading import load_verb, resolve_loads
from dlspec.elaborate.training.objectives import minimize_verb
from dlspec.elaborate.training.parts import freeze_networks, freeze_verb, resolve
from dlspec.elaborate.training.phased import phase_verb
from dlspec.elaborate.training.reports import evaluate_verb, report_verb
from dlspec.elaborate.training.samples import sample_verb, sampling, without_samples
from dlspec.elaborate.training.section import Section
from dlspec.elaborate.training.settings import SETTINGS, assign, check_settings, setting
from dlspec.elaborate.training.steps import step_verb
from dlspec.elaborate.training.stopping import check_stop, stop_verb
from dlspec.elaborate.values import Group, Unknown, is_layer
from dlspec.ir.graph import Step, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dlspec.elaborate.files import Module
    from dlspec.elaborate.session import Session
    from dlspec.elaborate.values import AnyValue
    from dlspec.syntax import ast

HANDLERS: dict[str, Callable[[Section, ast.Verb], None]] = {
    "data": data_verb,
    "minimize": minimize_verb,
    "report": report_verb,
    "evaluate": evaluate_verb,
    "step": step_verb,
    "freeze": freeze_verb,
    "sample": sample_verb,
    "early_stop": stop_verb,
    "phase": phase_verb,
    "load": load_verb,
    **dict.fromkeys(SETTINGS, setting),
}
VERBS = tuple(HANDLERS)
LATER = {
    "images": "length in images",
}  # fmt: skip
CLAUSES = {
    "data": ("from",),
    "minimize": ("over", "using"),
    "evaluate": ("on",),
    "load": ("from", "using"),
    "early_stop": ("patience",),
    "step": ("times", "every"),
}


def build_training(
    session: Session,
    module: Module,
    train: ast.Train,
    overrides: Mapping[str, AnyValue],
    phase: int | None = None,
) -> Training | None:
    """The training section, or one of its phases; None where it has errors (reported)."""
    errors = session.diagnostics.told
    section = Section(session, module, train, phase)
    session.restart()
    outer, session.training = session.training, section
    try:
        with section.scope.at(train.name_span):
            found = read_section(section, overrides)
    except Failure as failure:
        session.report(failure)
        return None
    finally:
        session.training = outer
    if found is None or session.diagnostics.told > errors:
        return None
    advise(session.diagnostics, found)
    return found if session.diagnostics.told == errors else None


def read_section(section: Section, overrides: Mapping[str, AnyValue]) -> Training | None:
    errors = section.session.diagnostics.told
    rest = enter(section, overrides)
    found = execute(section.evaluator, section.train.body)
    if found is not None:
        with section.scope.at(found.span):
            section.fail(codes.TRAINING_FORM, "`return` stands in definitions only")
    if section.own_settings.keys() & {"epochs", "steps"}:  # the phase says how long it is
        section.settings.pop("epochs", None)
        section.settings.pop("steps", None)
    section.settings |= section.own_settings
    if ("epochs" in rest) != ("steps" in rest):  # how long is said anew, in either way
        section.settings.pop("epochs", None)
        section.settings.pop("steps", None)
    for name, value in rest.items():
        if name not in SETTINGS:
            known = (*SETTINGS, *(p.name for p in section.train.params))
            section.bad_setting(name, known)
        assign(section, name, value)
    if section.broken or section.session.diagnostics.told > errors:
        return None
    if not section.data:
        section.fail(codes.TRAINING_FORM, "a training section needs data: data (x, y) from …")
    if not section.minimized:
        section.fail(
            codes.TRAINING_FORM, "a training section needs a loss: minimize … using sgd(0.1)"
        )
    check_settings(section)
    settle(section.scope)
    freeze_networks(section)
    watch(section.scope)
    samples = sampling(section)
    steps = divided(section) if section.steps else ()
    if not steps:
        section.function.outputs = (section.minimized[0].loss, *(v for _, _, v in section.reports))
        section.function.output_names = ("loss", *(name for name, _, _ in section.reports))
    without_samples(section, samples)
    found = Training(
        section.function, tuple(section.data), tuple(section.minimized), tuple(section.reports),
        tuple(section.evaluations), section.settings, steps, samples,
        section.scheduled,
    )  # fmt: skip
    resolve(section, found)
    check_stop(section, found)
    resolve_loads(section, found)
    return found


def divided(section: Section) -> tuple[Step, ...]:
    """The steps as functions; reports outside them are the last step's."""
    inside = {name for draft in section.steps for name in draft.reports}
    section.steps[-1].reports.update(
        {name: value for name, _, value in section.reports if name not in inside}
    )
    steps, outputs = divide(section.function, section.steps)
    for minimize in section.minimized:
        minimize.loss = outputs[id(minimize.loss)]
    section.reports = [(n, metric, outputs[id(v)]) for n, metric, v in section.reports]
    return tuple(steps)


def enter(section: Section, overrides: Mapping[str, AnyValue]) -> dict[str, AnyValue]:
    """Bind the section's parameters; what is left must be settings."""
    e, rest = section.evaluator, dict(overrides)
    for param in section.train.params:
        if param.name in rest:
            value = rest.pop(param.name)
        elif param.default is not None:
            value = e.evaluate(param.default)
        else:
            with section.scope.at(param.span):
                section.fail(codes.MISSING_ARGUMENT, f"`{section.train.name}` needs `{param.name}`")
        if is_layer(value) or isinstance(value, Group | Unknown):
            e.env.names[param.name] = value
        else:
            e.env.names[param.name] = enter_static(section.scope, param.name, value)
    return rest


def read_verb(section: Section, statement: ast.Verb) -> None:
    """One statement of a training section that is no binding."""
    name = statement.name
    with section.scope.at(statement.name_span):
        if name in LATER:
            section.fail(codes.NOT_SUPPORTED, f"{LATER[name]} (`{name}`) is not supported yet")
        if name not in VERBS:
            section.bad_setting(name, VERBS)
        check_clauses(section, statement)
    HANDLERS[name](section, statement)


def check_clauses(section: Section, statement: ast.Verb) -> None:
    allowed = CLAUSES.get(statement.name, ())
    seen: set[str] = set()
    for clause in statement.clauses:
        with section.scope.at(clause.span):
            if clause.word not in allowed:
                section.fail(
                    codes.TRAINING_FORM, f"`{statement.name}` has no `{clause.word}` clause"
                )
            if clause.word in seen and statement.name != "minimize":
                section.fail(
                    codes.NOT_SUPPORTED,
                    f"a second `{clause.word}` in one `{statement.name}` is not supported yet",
                )
            seen.add(clause.word)
    if statement.body is not None and statement.name not in ("step", "phase"):
        section.fail(codes.TRAINING_FORM, f"`{statement.name}` has no body")
    if statement.fields and statement.name != "data":
        section.fail(codes.TRAINING_FORM, f"`{statement.name}` declares no fields")
