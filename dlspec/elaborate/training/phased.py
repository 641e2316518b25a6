"""The statement `phase name { … }`, and the names in a section that has some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.names import repeated_names
from dlspec.elaborate.statements import execute
from dlspec.ir.dims import Dim
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dlspec.elaborate.training.section import Section


def phases_of(statements: Sequence[ast.Stmt]) -> Iterator[ast.Verb]:
    """The phases of a section in the order of its text."""
    for statement in statements:
        match statement:
            case ast.Verb(name="phase"):
                yield statement
            case ast.If():
                yield from phases_of(statement.then)
                yield from phases_of(statement.orelse)
            case ast.For():
                yield from phases_of(statement.body)
            case _:
                pass


def without_phases(statements: Sequence[ast.Stmt]) -> Iterator[ast.Stmt]:
    for statement in statements:
        match statement:
            case ast.Verb(name="phase"):
                pass
            case ast.If():
                then, orelse = map(without_phases, (statement.then, statement.orelse))
                yield replace(statement, then=tuple(then), orelse=tuple(orelse))
            case ast.For():
                yield replace(statement, body=tuple(without_phases(statement.body)))
            case _:
                yield statement


def views(body: Sequence[ast.Stmt]) -> list[tuple[ast.Stmt, ...]]:
    """The statements that each phase sees: those outside of phases, and its own."""
    outer = tuple(without_phases(body))
    return [(*outer, *(phase.body or ())) for phase in phases_of(body)] or [tuple(body)]


def repeated_in(body: Sequence[ast.Stmt]) -> frozenset[str]:
    """Names that stand at several places for some phase: they are numbered in all of them."""
    return frozenset[str]().union(*map(repeated_names, views(body)))


def phase_verb(section: Section, statement: ast.Verb) -> None:
    with section.scope.at(statement.name_span):
        if section.step is not None or section.inside_phase:
            section.fail(codes.TRAINING_FORM, "a phase stands in no step and in no other phase")
        if len(statement.args) != 1 or statement.body is None:
            section.fail(
                codes.TRAINING_FORM,
                "a phase has a name and a body",
                "write: phase head { minimize … using adam(1e-3) }",
            )
    name = read_name(section, statement.args[0])
    with section.scope.at(statement.args[0].span):
        if name in section.phases:
            section.fail(codes.DUPLICATE, f"there are two phases `{name}`")
    section.phases.append(name)
    if section.phase == len(section.phases) - 1:
        enter_phase(section, statement)


def enter_phase(section: Section, statement: ast.Verb) -> None:
    assert statement.body is not None
    e = section.evaluator
    outer, names = section.settings, dict(e.env.names)
    loop, section.scope.loop = section.scope.loop, 0  # what it names is not numbered by a loop
    section.settings, section.inside_phase = {}, True
    try:
        found = execute(e, statement.body)
    finally:
        section.own_settings, section.settings = section.settings, outer
        section.inside_phase, section.scope.loop = False, loop
        e.env.names.clear()
        e.env.names.update(names)
    if found is not None:
        with section.scope.at(found.span):
            section.fail(codes.TRAINING_FORM, "`return` stands in definitions only")


def read_name(section: Section, arg: ast.Expr) -> str:
    """`head`, or `grow[level]` in a loop: grow_0, grow_1 …"""
    if isinstance(arg, ast.Name):
        return arg.id
    with section.scope.at(arg.span):
        if isinstance(arg, ast.Subscript) and isinstance(arg.value, ast.Name):
            item = arg.items[0] if len(arg.items) == 1 else None
            if item is not None and not isinstance(item, ast.Slice):
                index = static.raw(section.evaluator.evaluate(item))
                if isinstance(index, Dim) and section.scope.known(index) >= 0:
                    return f"{arg.value.id}_{section.scope.known(index)}"
        section.fail(codes.TRAINING_FORM, "a phase is named, or numbered from 0: phase grow[level]")
