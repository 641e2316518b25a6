"""`minimize loss over part using optimizer over part using optimizer …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Failure
from dlspec.elaborate import static
from dlspec.elaborate.training.optimizers import read_optimizer
from dlspec.elaborate.training.parts import Wanted, read_parts
from dlspec.elaborate.values import Unknown
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    Minimize,
    OpNode,
    RepeatNode,
    Value,
    WeightSlot,
    all_slots,
    walk,
)
from dlspec.ops.elementwise import StopGradient

if TYPE_CHECKING:
    from dlspec.elaborate.training.divide import Draft
    from dlspec.elaborate.training.section import Section
    from dlspec.ir.graph import Slot
    from dlspec.syntax import ast

FORM = "write: minimize loss using sgd(0.1)"


def minimize_verb(section: Section, statement: ast.Verb) -> None:
    with section.scope.at(statement.name_span):
        if section.step is None and section.steps:
            section.fail(
                codes.TRAINING_FORM,
                "there is a `minimize` outside the steps",
                "put it into a step of its own",
            )
        if section.step is None and section.minimized:
            section.fail(
                codes.TRAINING_FORM,
                "two `minimize` outside of steps",
                "put them into steps: one after the other in steps of their own, or "
                "simultaneously in one",
            )
        if len(statement.args) != 1:
            section.fail(codes.TRAINING_FORM, "`minimize` needs one loss and one optimizer", FORM)
        groups = paired(section, statement)
    try:
        loss = read_loss(section, statement.args[0])
    except Failure as failure:  # the optimizer may have a problem of its own
        section.session.report(failure)
        loss = None
    chosen = [read_optimizer(section, using.args[0]) for _, using in groups]
    if loss is None:
        section.broken = True
        return
    slots = reached(section, loss)
    for (over, using), (optimizer, settings, schedule) in zip(groups, chosen, strict=True):
        span = statement.span if len(groups) == 1 else using.span
        made = Minimize(loss, (), optimizer, settings, schedule, span)
        parts = read_parts(section, over, slots) if over is not None else ()
        rest = over is None and len(groups) > 1
        section.wanted.append(Wanted(made, parts, rest, statement.name_span, tuple(slots.values())))
        if section.step is not None:
            made.step = section.step.name
        section.minimized.append(made)
    if section.step is not None:
        add_loss(section.step, loss)


def paired(section: Section, statement: ast.Verb) -> list[tuple[ast.Clause | None, ast.Clause]]:
    """(over, using) of each optimizer. Only the last may stand without `over`: it trains the
    rest, or all if it is the only one."""
    groups: list[tuple[ast.Clause | None, ast.Clause]] = []
    open_: ast.Clause | None = None
    for clause in statement.clauses:
        if clause.word == "using":
            if len(clause.args) != 1:
                section.fail(
                    codes.TRAINING_FORM, "`minimize` needs one loss and one optimizer", FORM
                )
            groups.append((open_, clause))
            open_ = None
        elif open_ is None:
            open_ = clause
        else:
            with section.scope.at(clause.span):
                section.fail(
                    codes.TRAINING_FORM,
                    "two `over` for one optimizer",
                    "name all parts in one, with commas: over net.a, net.b using …",
                )
    if open_ is not None and [over for over, _ in groups] == [None]:
        return [(open_, groups[0][1])]  # minimize … using … over …
    if not groups or open_ is not None:
        section.fail(codes.TRAINING_FORM, "`minimize` needs one loss and one optimizer", FORM)
    for over, using in groups[:-1]:
        if over is None:
            with section.scope.at(using.span):
                section.fail(
                    codes.TRAINING_FORM,
                    "an optimizer before the last needs `over`",
                    "only the last may go without: it trains what the others do not",
                )
    return groups


def add_loss(step: Draft, loss: Value) -> None:
    if not any(known is loss for known in step.losses.values()):
        number = len(step.losses)
        step.losses[f"{step.name}_loss" + (f"{number + 1}" if number else "")] = loss


def read_loss(section: Section, expr: ast.Expr) -> Value | None:
    """A scalar that depends on a trainable weight; None where it cannot be known."""
    loss = section.evaluator.evaluate(expr)
    if isinstance(loss, Unknown):
        return None
    with section.scope.at(expr.span):
        if not isinstance(loss, Value):
            static.wrong_kind(section.scope, f"a loss is a tensor, not {static.describe(loss)}")
        if loss.type.rank:
            section.fail(
                codes.SHAPE, f"a loss is a scalar, and this is {loss.type}", "take its mean"
            )
        if not loss.type.dtype.is_float:
            section.fail(codes.DTYPE, f"a loss is a floating-point number, not {loss.type.dtype}")
        if not any(map(has_weights, reached(section, loss).values())):
            section.fail(
                codes.NOTHING_TO_LEARN,
                "the loss reaches no trainable parameter",
                "compute it from the output of a network",
            )
    return loss


def reached(section: Section, loss: Value) -> dict[int, Slot]:
    """The slots that a loss's gradient reaches, by id."""
    made = {id(r): n for n in walk(section.function.body) for r in n.results}
    todo: list[Value] = [loss]
    seen: set[int] = set()
    found: dict[int, Slot] = {}
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if value.weight is not None:
            found[id(value.weight[0])] = value.weight[0]
        match made.get(id(value)):
            case OpNode(op=StopGradient()) | None:
                pass
            case OpNode() as node:
                todo.extend(node.operands)
                if node.layer is not None:
                    found[id(node.layer)] = node.layer
            case CallNode() as node:
                found |= {id(slot): slot for slot in (node.slot, *node.refs)}
                todo.extend(node.operands)
            case RepeatNode() as node:
                found |= {id(slot): slot for slot in (node.slot, *node.refs)}
                todo.extend((*node.carried, *node.held))
            case node:
                for side in (node.then, node.orelse):
                    todo.extend(side.yields if side else ())
    return found


def has_weights(slot: Slot) -> bool:
    """Whether a slot, with all below it, has a trainable weight."""
    match slot:
        case WeightSlot():
            return slot.weight.trainable
        case LayerSlot():
            return any(w.trainable for w in slot.weights.values())
        case ChildSlot():
            return trainable(slot.function)
        case _:
            return has_weights(slot.target)


def trainable(function: Function) -> bool:
    """Whether an instance, with all below it, has a trainable weight."""
    return any(map(has_weights, (*all_slots(function), *function.references)))
