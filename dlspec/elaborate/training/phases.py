"""`phase name { … }`: a training section is elaborated once for each of its phases.

Each becomes a training of its own, of what stands outside the phases and what stands in it. A run
hands the weights from one to the next by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Failure, Label
from dlspec.elaborate.names import shared_names
from dlspec.elaborate.statements import execute
from dlspec.elaborate.training.build import build_training, enter
from dlspec.elaborate.training.phased import phases_of, views
from dlspec.elaborate.training.section import Section
from dlspec.ir.graph import ChildSlot, LayerSlot
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.elaborate.files import Module
    from dlspec.elaborate.session import Session
    from dlspec.elaborate.values import AnyValue
    from dlspec.ir.graph import Training
    from dlspec.source import Span


def build_phases(
    session: Session, module: Module, train: ast.Train, overrides: Mapping[str, AnyValue]
) -> list[tuple[str, Training]] | None:
    """The phases of a section in order, or the section itself under the name "". None where
    there are errors (reported)."""
    if next(phases_of(train.body), None) is None:
        training = build_training(session, module, train, overrides)
        return None if training is None else [("", training)]
    names = phase_names(session, module, train, overrides)
    found: list[tuple[str, Training]] = []
    for number, name in enumerate(names or ()):
        training = build_training(session, module, train, overrides, number)
        if training is not None:
            found.append((name, training))
    if not names or len(found) != len(names):
        return None
    try:
        check_names(train, [training for _, training in found])
    except Failure as failure:
        session.report(failure)
        return None
    return found


def check_names(train: ast.Train, phases: Sequence[Training]) -> None:
    """A network that is not shared may not be taken for another phase's of its name."""
    shared = frozenset[str]().union(*map(shared_names, views(train.body)))
    seen: dict[str, Span] = {}
    for training in phases:
        steps = {id(step.slot) for step in training.steps}
        for slot in training.function.slots:
            if id(slot) in steps or not isinstance(slot, ChildSlot | LayerSlot):
                continue
            if slot.segment.name in shared or slot.span is None:
                continue
            first = seen.setdefault(str(slot.segment), slot.span)
            if first != slot.span:
                raise Failure(
                    Diagnostic(
                        codes.TRAINING_FORM,
                        f"two phases have a network `{slot.segment}` each",
                        slot.span,
                        labels=(Label(first, "the first is here"),),
                        help="share the network of both under a name, or name one with `as`",
                    )
                )


def phase_names(
    session: Session, module: Module, train: ast.Train, overrides: Mapping[str, AnyValue]
) -> list[str] | None:
    """The phases that the statements outside of them come by, in order."""
    errors = session.diagnostics.told
    section = Section(session, module, train)
    session.restart()
    outer, session.training = session.training, section
    try:
        with section.scope.at(train.name_span):
            enter(section, overrides)
            execute(section.evaluator, train.body)
            if not section.phases and session.diagnostics.told == errors:
                section.fail(codes.TRAINING_FORM, "no phase is ever reached")
    except Failure as failure:
        session.report(failure)
    finally:
        session.training = outer
    return None if session.diagnostics.told > errors else section.phases
