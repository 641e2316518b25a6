"""`minimize loss over networks using optimizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import Failure
from dlspec.elaborate import static
from dlspec.elaborate.training.optimizers import read_optimizer
from dlspec.elaborate.values import Named_, Shared, Unknown
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    Minimize,
    OpNode,
    RepeatNode,
    Slot,
    Value,
    WeightSlot,
    all_slots,
    walk,
)

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section
    from dlspec.syntax import ast


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
        using = section.clause(statement, "using")
        if len(statement.args) != 1 or using is None or len(using.args) != 1:
            section.fail(
                codes.TRAINING_FORM,
                "`minimize` needs one loss and one optimizer",
                "write: minimize loss using sgd(0.1)",
            )
    try:
        loss = read_loss(section, statement.args[0])
    except Failure as failure:  # the optimizer may have a problem of its own
        section.session.report(failure)
        loss = None
    optimizer, settings, schedule = read_optimizer(section, using.args[0])
    if loss is None:
        section.broken = True
        return
    over = read_over(section, statement)
    made = Minimize(loss, over, optimizer, settings, schedule, statement.span)
    if section.step is not None:
        add_to_step(section, made)
    section.minimized.append(made)


def add_to_step(section: Section, made: Minimize) -> None:
    assert section.step is not None
    made.step = section.step.name
    mine = [m for m in section.minimized if m.step == made.step]
    taken = {id(slot) for m in mine for slot in m.over}
    with section.scope.at(made.span or section.scope.span):
        if mine and (not made.over or any(id(s) in taken for s in made.over)
                     or not all(m.over for m in mine)):  # fmt: skip
            section.fail(
                codes.TRAINING_FORM,
                "two `minimize` of one step train the same network",
                "say which networks each trains: minimize … over net using …",
            )
    if not any(loss is made.loss for loss in section.step.losses.values()):
        number = len(section.step.losses)
        name = f"{made.step}_loss" + (f"{number + 1}" if number else "")
        section.step.losses[name] = made.loss


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
        learnable(section, loss)
    return loss


def learnable(section: Section, loss: Value) -> None:
    """The loss must depend on some trainable weight."""
    nodes = list(walk(section.function.body))
    made = {id(r): n for n in nodes for r in n.results}
    todo: list[Value] = [loss]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if value.weight is not None and value.weight[1].trainable:
            return
        node = made.get(id(value))
        if isinstance(node, CallNode | RepeatNode) and trainable(node.function):
            return
        if isinstance(node, OpNode | CallNode):
            todo.extend(node.operands)
        elif isinstance(node, RepeatNode):
            todo.extend((*node.carried, *node.held))
        elif node is not None:
            for side in (node.then, node.orelse):
                todo.extend(side.yields if side else ())
    section.fail(
        codes.NOTHING_TO_LEARN,
        "the loss reaches no trainable parameter",
        "compute it from the output of a network",
    )


def read_over(section: Section, statement: ast.Verb) -> tuple[Slot, ...]:
    clause = section.clause(statement, "over")
    if clause is None:
        return ()
    slots: list[Slot] = []
    for arg in clause.args:
        value = section.evaluator.evaluate(arg)
        while isinstance(value, Named_):
            value = value.layer
        with section.scope.at(arg.span):
            if not isinstance(value, Shared):
                section.fail(
                    codes.TRAINING_FORM,
                    f"`over` names shared networks, not {static.describe(value)}",
                    "share net = Model(), then: minimize … over net using …",
                )
            if value.slot is None:
                section.fail(codes.NOTHING_TO_LEARN, f"`{value.name}` is never used")
            slots.append(value.slot)
    if len({id(s) for s in slots}) < len(slots):
        with section.scope.at(clause.span):
            section.fail(codes.DUPLICATE, "`over` names a network twice")
    if section.step is None and {id(s) for s in slots} != {id(s) for s in section.function.slots}:
        with section.scope.at(clause.span):
            section.fail(
                codes.NOT_SUPPORTED,
                "training only some of the networks outside of steps is not supported yet",
                "put the `minimize` into a step: step main { minimize … over net using … }",
            )
    return tuple(slots)


def trainable(function: Function) -> bool:
    """Whether an instance, with all below it, has a trainable weight."""
    for slot in (*all_slots(function), *(r.target for r in function.references)):
        match slot:
            case WeightSlot() if slot.weight.trainable:
                return True
            case LayerSlot() if any(w.trainable for w in slot.weights.values()):
                return True
            case ChildSlot() if trainable(slot.function):
                return True
            case _:
                pass
    return False
