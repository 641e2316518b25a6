"""Execution of the statements of a body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Failure
from dlspec.elaborate import static
from dlspec.elaborate.expressions import Evaluator, flatten, mentions_training, rebuild
from dlspec.elaborate.names import is_weight
from dlspec.elaborate.patterns import same_type
from dlspec.elaborate.values import UNKNOWN, Group, Named_, Shared, Unknown, is_layer, is_tensor
from dlspec.ir.graph import BranchNode, Node, Side, Slot, Value
from dlspec.ir.static import TRAINS
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.elaborate.values import AnyValue
    from dlspec.source import Span


class Returned:
    """What a body returned."""

    def __init__(self, value: AnyValue, span: Span) -> None:
        self.value = value
        self.span = span


def execute(e: Evaluator, statements: Sequence[ast.Stmt]) -> Returned | None:
    """Run statements in order; a failed one is reported and what it binds is unknown."""
    for at, statement in enumerate(statements):
        e.session.tick(e.scope)
        try:
            with e.scope.at(statement.span):
                if isinstance(statement, ast.If):
                    found = run_if(e, statement, statements[at + 1 :])
                    if found is not CONTINUE:
                        return found
                    continue
                found = run(e, statement)
        except Failure as failure:
            if failure is e.session.exhausted:
                raise
            e.session.report(failure)
            if isinstance(statement, ast.Return):
                return Returned(UNKNOWN, statement.span)
            poison(e, statement)
            continue
        if found is not None:
            return found
    return None


CONTINUE: Any = object()


def poison(e: Evaluator, statement: ast.Stmt) -> None:
    """Everything that the failed statement may have bound is unknown."""
    match statement:
        case ast.Binding():
            unknown(e, statement.target)
        case ast.For():
            unknown(e, statement.target)
            for inner in statement.body:
                poison(e, inner)
        case ast.If():
            for inner in (*statement.then, *statement.orelse):
                poison(e, inner)
        case ast.Verb(name="data"):
            names = [f.name for f in statement.fields]
            names += [a.id for a in statement.args if isinstance(a, ast.Name)]
            e.env.names.update(dict.fromkeys(names, UNKNOWN))
        case _:
            pass


def unknown(e: Evaluator, target: ast.Target) -> None:
    if target.name is not None:
        e.env.names[target.name] = UNKNOWN
    for item in target.items:
        unknown(e, item)


def run(e: Evaluator, statement: ast.Stmt) -> Returned | None:
    match statement:
        case ast.Binding():
            bind(e, statement)
        case ast.Return():
            return Returned(e.evaluate(statement.value), last_stage(statement.value))
        case ast.For():
            return run_for(e, statement)
        case ast.If():
            raise AssertionError("handled by execute")
        case ast.Assert():
            e.scope.fail(codes.TRAINING_FORM, "`assert` stands in tests only")
        case ast.Verb():
            e.session.verb(e, statement)
    return None


def bind(e: Evaluator, statement: ast.Binding) -> None:
    if statement.shared:
        share(e, statement)
        return
    value = evaluate_bound(e, statement)
    if statement.annotation is not None and not isinstance(value, Unknown):
        with e.scope.at(last_stage(statement.value)):
            e.session.check_type(e, statement.annotation, value, codes.SHAPE, "the binding")
    e.bind(statement.target, value)


def last_stage(expr: ast.Expr) -> Span:
    """The place that gives the value: of a pipe, its last stage."""
    return expr.stages[-1].span if isinstance(expr, ast.Pipe) else expr.span


def evaluate_bound(e: Evaluator, statement: ast.Binding) -> AnyValue:
    """`weight = param(…)`: the weight takes the name that it is bound to."""
    expr, name = statement.value, statement.target.name
    if name is not None and isinstance(expr, ast.Call) and is_weight(expr):
        repeated = name in e.scope.names.repeated
        with e.scope.at(expr.span):
            return e.applier.call(expr, (), (name, repeated or e.scope.loop > 0, None))
    return e.evaluate(expr)


def share(e: Evaluator, statement: ast.Binding) -> None:
    name = statement.target.name
    if name is None:
        e.scope.fail(codes.STATIC_TYPE, "`share` binds one name")
    value = e.evaluate(statement.value)
    if isinstance(value, Unknown):
        e.env.names[name] = UNKNOWN
        return
    index = None
    while isinstance(value, Named_):
        value, index = value.layer, value.index
    if not is_layer(value):
        if isinstance(value, Group):
            message = f"`share` needs a layer, not {static.describe(value)}"
            e.scope.fail(codes.NOT_CALLABLE, message)
        value = e.applier.as_layer(value)
    if isinstance(value, Shared):
        e.env.names[name] = value
        return
    e.env.names[name] = Shared(
        name, value, e.scope, statement.span, index, index is None and e.scope.loop > 0
    )


def run_for(e: Evaluator, statement: ast.For) -> Returned | None:
    iterable = e.evaluate(statement.iterable)
    if isinstance(iterable, Unknown):
        poison(e, statement)
        return None
    with e.scope.at(statement.iterable.span):
        items = static.items_of(e.scope, iterable, "`for`")
    e.scope.loop += 1
    before = frozenset(e.env.measured)
    try:
        for item in items:
            e.session.tick(e.scope)
            for name in e.env.measured - before:  # each turn measures anew
                e.env.names.pop(name, None)
            e.env.measured &= before
            e.bind(statement.target, item)
            found = execute(e, statement.body)
            if found is not None:
                return found
    finally:
        e.scope.loop -= 1
    return None


def returns(statements: Sequence[ast.Stmt]) -> bool:
    """Whether a `return` stands anywhere in the statements."""
    for statement in statements:
        if isinstance(statement, ast.Return):
            return True
        if isinstance(statement, ast.For) and returns(statement.body):
            return True
        if isinstance(statement, ast.If) and returns((*statement.then, *statement.orelse)):
            return True
    return False


def run_if(e: Evaluator, statement: ast.If, rest: Sequence[ast.Stmt]) -> Any:
    condition = e.evaluate(statement.condition)
    if isinstance(condition, Unknown):
        poison(e, statement)
        ends = returns((*statement.then, *statement.orelse))
        return Returned(UNKNOWN, statement.span) if ends else CONTINUE
    with e.scope.at(statement.condition.span):
        taken = static.truth(e.scope, condition)
    if not static.has_origin(condition):
        found = execute(e, statement.then if taken else statement.orelse)
        return CONTINUE if found is None else found
    origin = static.origin_of(condition)
    both = mentions_training(origin)
    ends = returns((*statement.then, *statement.orelse))
    sides = [
        run_side(e, body, rest if ends else (), wanted and origin == TRAINS)
        for body, wanted in ((statement.then, True), (statement.orelse, False))
        if both or wanted == taken
    ]
    if ends:
        return finish_return(e, origin, taken, sides, both)
    finish_bindings(e, origin, taken, sides, both)
    return CONTINUE


class Ran:
    """One side after it ran: its nodes, its names, what it returned."""

    def __init__(self, side: Side, names: dict[str, Any], found: Returned | None) -> None:
        self.side = side
        self.names = names
        self.found = found


def run_side(e: Evaluator, body: Sequence[ast.Stmt], rest: Sequence[ast.Stmt], trains: bool) -> Ran:
    before = dict(e.env.names)
    nodes: list[Node] = []
    slots: list[Slot] = []
    with e.scope.side(nodes, slots, trains):
        found = execute(e, body)
        if found is None and rest:
            found = execute(e, rest)
    names = e.env.names
    e.env.names = before
    return Ran(Side(nodes, (), tuple(slots)), names, found)


def finish_return(e: Evaluator, origin: Any, taken: bool, sides: list[Ran], both: bool) -> Any:
    for ran in sides:
        if ran.found is None:
            e.scope.fail(codes.MIXED_DEFINITION, "this path of the body returns nothing")
        if isinstance(ran.found.value, Unknown):
            return Returned(UNKNOWN, ran.found.span)
    values = [ran.found.value for ran in sides if ran.found is not None]
    span = next(ran.found.span for ran in sides if ran.found is not None)
    if not all(map(is_tensor, values)):
        for ran in sides:
            e.scope.body.extend(ran.side.body)
            e.scope.slots.extend(ran.side.slots)
        return Returned(values[0], span)
    if both:
        joined = e.join(origin, (values[0], sides[0].side), (values[1], sides[1].side))
        return Returned(joined, span)
    return Returned(e.branch(origin, taken, values[0], sides[0].side), span)


def finish_bindings(e: Evaluator, origin: Any, taken: bool, sides: list[Ran], both: bool) -> None:
    """Names that a side rebinds to tensors come out of the branch; others are plain rebinding."""
    before = e.env.names
    changed = [
        name
        for name in sides[-1].names | sides[0].names
        if any(ran.names.get(name) is not before.get(name) for ran in sides)
    ]
    tensors = [n for n in changed if all(is_tensor(ran.names.get(n)) for ran in sides)]
    for name in changed:
        if name not in tensors:
            found = [ran.names[name] for ran in sides if name in ran.names]
            before[name] = found[0] if not both or len(found) == 1 else UNKNOWN
            if both and len(found) == 2 and isinstance(before[name], Unknown):
                e.scope.fail(
                    codes.STATIC_TYPE, f"`training` can choose between tensors only, not `{name}`"
                )
    values = [[ran.names[n] for n in tensors] for ran in sides]
    if not tensors and not any(ran.side.body for ran in sides):
        for ran in sides:
            e.scope.slots.extend(ran.side.slots)
        return
    flats = [
        [leaf for value in row for leaf in e.tensors(value, ran.side)]
        for row, ran in zip(values, sides, strict=True)
    ]
    if both:
        for a, b in zip(*flats, strict=True):
            same_type(e.scope, a.type, b.type, "the two sides of `training` differ")
    for ran, flat in zip(sides, flats, strict=True):
        ran.side.yields = tuple(flat)
    results = tuple(Value(v.type, v.name, v.span) for v in flats[0])
    pair = (
        (sides[0].side, sides[1].side)
        if both
        else ((sides[0].side, None) if taken else (None, sides[0].side))
    )
    mode = None if both else taken
    e.scope.append(BranchNode(origin, mode, pair[0], pair[1], results, e.scope.span))
    leaves = list(results)
    for name, value in zip(tensors, values[0], strict=True):
        count = len(flatten(value))
        e.env.names[name] = rebuild(value, leaves[:count])
        leaves = leaves[count:]
