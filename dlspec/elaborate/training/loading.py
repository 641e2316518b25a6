"""`load net.body from "file.safetensors" using "map.toml"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.training.parts import check_path, read_part, used
from dlspec.ir.graph import Load
from dlspec.ir.tree import network_path, weight_paths

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section
    from dlspec.ir.graph import Training
    from dlspec.syntax import ast


def load_verb(section: Section, statement: ast.Verb) -> None:
    with section.scope.at(statement.name_span):
        if section.step is not None:
            section.fail(codes.TRAINING_FORM, "`load` stands outside of steps")
        clause = section.clause(statement, "from")
        if len(statement.args) != 1 or clause is None:
            section.fail(
                codes.TRAINING_FORM,
                "`load` needs a network and a file",
                'write: load net from "weights.safetensors"',
            )
    file = read_text(section, clause)
    using = section.clause(statement, "using")
    names = None if using is None else read_text(section, using)
    part = read_part(section, statement.args[0], "load")
    section.loads.append((part, file, names, statement.span))


def read_text(section: Section, clause: ast.Clause) -> str:
    found = [static.raw(section.evaluator.evaluate(arg)) for arg in clause.args]
    with section.scope.at(clause.span):
        if len(found) != 1 or not isinstance(found[0], str) or not found[0]:
            section.fail(codes.TRAINING_FORM, f'a file name follows `{clause.word}`: "…"')
        return found[0]


def resolve_loads(section: Section, training: Training) -> None:
    every = weight_paths(training)
    loads: list[Load] = []
    for part, file, names, span in section.loads:
        used(section, part)
        above = network_path(training, part.slot)
        path = ".".join(filter(None, (above, part.below)))
        with section.scope.at(part.span):
            check_path(section, path, above, every)
        loads.append(Load(path, file, names, span))
    training.loads = tuple(loads)
