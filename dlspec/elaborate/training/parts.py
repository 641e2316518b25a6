"""What an optimizer trains: whole networks, or what lies below a path inside one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate import static
from dlspec.elaborate.values import Named_, Shared, Unknown
from dlspec.ir.dims import Dim
from dlspec.ir.tree import cover, network_path, weight_paths, within
from dlspec.passes.freeze import freeze
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.elaborate.training.section import Section
    from dlspec.ir.graph import Minimize, Slot, Training
    from dlspec.source import Span


@dataclass(frozen=True)
class Part:
    """`net.encoder.conv[0]`: a shared network of the section, and the path below it."""

    shared: Shared
    below: str
    span: Span

    @property
    def slot(self) -> Slot:
        """Its slot of the training function, once it has been used."""
        assert self.shared.slot is not None
        return self.shared.slot


@dataclass(frozen=True)
class Wanted:
    """What a `minimize` is to train, until all networks are known. rest: what no other optimizer
    of the statement does; neither parts nor rest: all. reached: slots that the loss depends on."""

    minimize: Minimize
    parts: tuple[Part, ...]
    rest: bool
    span: Span
    reached: tuple[Slot, ...]


def read_parts(
    section: Section, clause: ast.Clause, reached: Mapping[int, Slot]
) -> tuple[Part, ...]:
    parts = tuple(read_part(section, arg, "over") for arg in clause.args)
    for part in parts:
        used(section, part)
        if id(part.slot) not in reached:
            with section.scope.at(part.span):
                section.fail(
                    codes.NOTHING_TO_LEARN,
                    f"the loss does not reach `{part.slot.segment}`",
                    "its gradient is zero: nothing would be learnt",
                )
    return parts


def read_part(section: Section, expr: ast.Expr, word: str) -> Part:
    """A shared network, or a path inside one."""
    base, below = expr, list[str]()
    while isinstance(base, ast.Attribute | ast.Subscript):
        below.insert(0, segment(section, base))
        base = base.value
    value = section.evaluator.evaluate(base)
    while isinstance(value, Named_):
        value = value.layer
    with section.scope.at(expr.span):
        if not isinstance(value, Shared):
            if isinstance(value, Unknown):
                section.fail(codes.TRAINING_FORM, f"`{word}` names shared networks")
            section.fail(
                codes.TRAINING_FORM,
                f"`{word}` names shared networks, not {static.describe(value)}",
                f"share net = Model(), then: {EXAMPLES[word]}",
            )
    return Part(value, ".".join(below), expr.span)


EXAMPLES = {
    "over": "minimize … over net using …",
    "freeze": "freeze net",
    "load": 'load net from "…"',
}


def used(section: Section, part: Part) -> None:
    if part.shared.slot is None:
        with section.scope.at(part.span):
            section.fail(codes.NOTHING_TO_LEARN, f"`{part.shared.name}` is never used")


def freeze_verb(section: Section, statement: ast.Verb) -> None:
    """`freeze net.encoder`: no gradient for its weights, and inference mode inside."""
    with section.scope.at(statement.name_span):
        if section.step is not None:
            section.fail(
                codes.TRAINING_FORM,
                "`freeze` stands outside of steps",
                "in a step, `over` says what is trained",
            )
        if not statement.args:
            section.fail(codes.TRAINING_FORM, "`freeze` needs a network", "write: freeze net")
    section.frozen += [read_part(section, arg, "freeze") for arg in statement.args]


def freeze_networks(section: Section) -> None:
    """Put what is frozen into inference mode, once all its uses are known."""
    below: dict[int, set[str]] = {}
    for part in section.frozen:
        used(section, part)
        below.setdefault(id(part.slot), set()).add(part.below)
    freeze(section.function, {slot: frozenset(paths) for slot, paths in below.items()})


def segment(section: Section, expr: ast.Attribute | ast.Subscript) -> str:
    """`encoder` of `net.encoder`, `0` of `net.layers[0]`."""
    if isinstance(expr, ast.Attribute):
        return expr.name
    with section.scope.at(expr.span):
        item = expr.items[0]
        if len(expr.items) == 1 and not isinstance(item, ast.Slice):
            found = static.raw(section.evaluator.evaluate(item))
            if isinstance(found, Dim) and section.scope.known(found) >= 0:
                return str(section.scope.known(found))
        section.fail(codes.TRAINING_FORM, "a part is numbered from 0: net.layers[0]")


def resolve(section: Section, training: Training) -> None:
    """Give each `minimize` the paths of what it trains."""
    every = weight_paths(training)
    training.frozen = tuple(frozen_paths(section, training, every))
    free = {path: own for path, own in every.items() if not within(path, training.frozen)}
    owners: dict[str, dict[str, Wanted]] = {}
    for wanted in section.wanted:
        mine = owners.setdefault(wanted.minimize.step, {})
        if not wanted.rest:
            paths = part_paths(section, training, wanted, every)
            claim(section, wanted, [p for p in free if within(p, paths)], mine)
    for wanted in section.wanted:
        mine = owners[wanted.minimize.step]
        if wanted.rest:
            claim(section, wanted, [path for path in free if path not in mine], mine)
        chosen = [path for path in every if mine.get(path) is wanted]
        check_chosen(section, training, wanted, [path for path in chosen if every[path]])
        found = cover(chosen, [path for path in every if path not in chosen])
        wanted.minimize.over = () if found == ("",) else found


def check_chosen(section: Section, training: Training, wanted: Wanted, chosen: list[str]) -> None:
    """An optimizer has something to train."""
    with section.scope.at(wanted.minimize.span or wanted.span):
        if not chosen and wanted.rest:
            section.fail(
                codes.NOTHING_TO_LEARN,
                "nothing is left for this optimizer",
                "the others train all that there is",
            )
        reached = [network_path(training, slot) for slot in wanted.reached]
        if not any(within(path, reached) for path in chosen):
            section.fail(
                codes.NOTHING_TO_LEARN,
                "all that this could train is frozen",
                "a `minimize` needs a network that is not",
            )


def frozen_paths(section: Section, training: Training, every: Mapping[str, bool]) -> list[str]:
    found: list[str] = []
    for part in section.frozen:
        above = network_path(training, part.slot)
        path = ".".join(filter(None, (above, part.below)))
        with section.scope.at(part.span):
            if not any(within(other, (path,)) for other in every):
                missing_path(section, path, above, every)
        found.append(path)
    return found


def part_paths(
    section: Section, training: Training, wanted: Wanted, every: Mapping[str, bool]
) -> list[str]:
    if not wanted.parts:
        return [""]
    found: list[str] = []
    for part in wanted.parts:
        above = network_path(training, part.slot)
        path = ".".join(filter(None, (above, part.below)))
        with section.scope.at(part.span):
            check_path(section, path, above, every)
            if any(within(path, (other,)) or within(other, (path,)) for other in found):
                section.fail(codes.TRAINING_FORM, f"`{part.span.text}` is named twice here")
        found.append(path)
    return found


def check_path(section: Section, path: str, above: str, every: Mapping[str, bool]) -> None:
    below = [trainable for other, trainable in every.items() if within(other, (path,))]
    if any(below):
        return
    if below:
        section.fail(codes.NOTHING_TO_LEARN, "nothing in it is trainable")
    missing_path(section, path, above, every)


def missing_path(section: Section, path: str, above: str, every: Mapping[str, bool]) -> NoReturn:
    # the longest part that is there tells what could follow
    known, _, missing = path.rpartition(".")
    while known != above and not any(within(other, (known,)) for other in every):
        known, _, missing = known.rpartition(".")
    start = f"{known}." if known else ""
    names = dict.fromkeys(p.removeprefix(start).split(".")[0] for p in every if p.startswith(start))
    section.fail(
        codes.UNDEFINED,
        f"there is no `{missing}` in it",
        close_to(missing, names) or f"there are {', '.join(names)}",
    )


def claim(section: Section, wanted: Wanted, paths: list[str], owners: dict[str, Wanted]) -> None:
    """Take weights for one optimizer; in one step each has at most one."""
    for path in paths:
        other = owners.setdefault(path, wanted)
        if other is wanted:
            continue
        with section.scope.at(wanted.minimize.span or wanted.span):
            if other.span == wanted.span:
                section.fail(
                    codes.TRAINING_FORM,
                    f"two optimizers train `{path}`",
                    "the parts of one `minimize` may not overlap",
                )
            section.fail(
                codes.TRAINING_FORM,
                "two `minimize` of one step train the same network",
                "say which networks each trains: minimize … over net using …",
            )
