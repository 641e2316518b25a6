"""One class for each definition: constructor, inference, saving forward, backward."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import (
    NO_DEFAULT,
    Line,
    Statement,
    StaticPrinter,
    assign,
    blank,
    block,
    construction,
    docstring,
    negated,
    python,
)
from dlspec.codegen.plan import owned_slots
from dlspec.ir.graph import BranchNode, ChildSlot, LayerSlot, Reference, WeightSlot
from dlspec.ir.inits import VARIANCE
from dlspec.ops.rules import product
from dlspec_numpy.methods import BackwardMethod, ForwardMethod
from dlspec_numpy.program import DTYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.ir.graph import Function, Node, Slot, Weight
    from dlspec_numpy.program import Group, Program

FAN_KINDS = frozenset(
    {
        "glorot_uniform",
        "glorot_normal",
        "he_uniform",
        "he_normal",
        "lecun_uniform",
        "lecun_normal",
        "kaiming_uniform",
        "fan_in_uniform",
        *VARIANCE,
    }
)
BOTH_FANS = frozenset({"glorot_uniform", "glorot_normal", *VARIANCE})
SQRT_5 = 5**0.5


def definition(
    program: Program, function: Function, *, trains: bool
) -> tuple[list[Statement], list[Node]]:
    """The class of a function, and the nodes that need no line."""
    stored: set[str] = set()
    methods, taken = methods_of(program, function, stored, trains=trains)
    for other in program.others(function):
        methods += methods_of(program, other, stored, trains=trains)[0]
    body: list[Statement] = [docstring(function.doc)] if function.doc else []
    start = constructor(program, function, stored)
    for part in [*([start] if start else []), *methods]:
        body += [*(blank() if body else []), part]
    return [block(f"class {program.plan(function).class_name}:", body)], taken


def methods_of(
    program: Program, function: Function, stored: set[str], *, trains: bool
) -> tuple[list[Statement], list[Node]]:
    """What runs a function on an instance: inference, saving forward, backward."""

    def method(name: str, arguments: Sequence[str], body: list[Statement]) -> Statement:
        header = f"def {program.method(function, name)}({', '.join(['self', *arguments])}):"
        return block(header, body)

    inference = ForwardMethod(program, function, stored, training=False)
    inference.records = not trains
    methods = [method("__call__", inference.arguments, inference.run())]
    if not trains:
        return methods, inference.mode.taken
    draft = ForwardMethod(program, function, set(), training=True)
    draft.run()
    backward = None
    backward_lines: list[Statement] = []
    if function in program.backwards:
        backward = BackwardMethod(program, function, stored, draft)
        backward_lines = backward.run()
    forward = ForwardMethod(program, function, stored, training=True)
    forward.records = True
    wanted = ([], []) if backward is None else (backward.dims, list(backward.shape_names))
    methods.append(method("forward", forward.arguments, forward.run(*wanted)))
    if backward is not None:
        methods.append(method("backward", backward.arguments, backward_lines))
    return methods, forward.mode.taken


def constructor(program: Program, function: Function, stored: set[str]) -> Statement | None:
    """`__init__`: what methods read, then the instances in source order."""
    plan = program.plan(function)
    by_symbol = {a.symbol: python.name(a.name) for a in plan.arguments}
    static = StaticPrinter(function.symbols, lambda symbol: by_symbol[symbol])
    body: list[Statement] = [
        Line(f"self.{a.name} = {a.name}") for a in plan.arguments if a.symbol in stored
    ]
    branches = {id(slot): branch for slot, branch in owned_slots(function)}
    renamed: dict[str, str] = {}
    for group in program.groups[function].values():
        attribute = program.attribute(function, group.name)
        if attribute != group.name:
            renamed[attribute] = group.name
        body += created(program, group, attribute, static, branches)
    if DTYPE in stored:
        program.typed = True
        body.insert(0, Line(f'self.{DTYPE} = np.dtype("float32")'))
    if renamed:
        body.insert(0, assign(["self.segments"], python.constant(renamed)))
    if not body:  # callers give what the plan says, even where no method came to read it
        body = [Line(f"self.{a.name} = {a.name}") for a in plan.arguments]
    if not body:
        return None
    arguments = ["self"]
    for a in plan.arguments:
        default = (
            "" if a.default is NO_DEFAULT else f"={python.flat(python.constant(a.default), 0)}"
        )
        arguments.append(f"{a.name}{default}")
    return block(f"def __init__({', '.join(arguments)}):", body)


def created(
    program: Program,
    group: Group,
    attribute: str,
    static: StaticPrinter,
    branches: dict[int, BranchNode | None],
) -> list[Statement]:
    """The statements that make a group's instances."""
    target = f"self.{attribute}"
    found: list[Statement] = []
    if not group.numbered:
        for slot in group.slots:
            value = instance(program, slot, static)
            if value is not None:
                found += guarded([assign([target], value)], branches.get(id(slot)), slot, static)
        return found
    if not group.conditional:
        items = [item(program, slot, static) for slot in group.slots]
        if len(items) == 1 and isinstance(items[0], ast.Starred):
            return [assign([target], comprehension(items[0]))]
        return [assign([target], python.list_of(*items))]
    found.append(assign([target], python.expr("{}")))
    for slot in group.slots:
        value = instance(program, slot, static)
        assert value is not None
        place = group.places[id(slot)]
        index = ast.Subscript(python.expr(target), static.dim(place), ast.Load())
        statement: Statement = assign([index], value)
        if isinstance(slot, ChildSlot) and slot.count is not None:
            stop = python.flat(static.dim(place + slot.count))
            header = f"for i in range({python.flat(static.dim(place))}, {stop}):"
            statement = block(header, [assign([python.expr(f"{target}[i]")], value)])
        found += guarded([statement], branches.get(id(slot)), slot, static)
    return found


def comprehension(starred: ast.Starred) -> ast.expr:
    generator = starred.value
    assert isinstance(generator, ast.GeneratorExp)
    return ast.ListComp(generator.elt, generator.generators)


def item(program: Program, slot: Slot, static: StaticPrinter) -> ast.expr:
    """One instance, or a starred run of equal ones."""
    value = instance(program, slot, static)
    assert value is not None
    if not isinstance(slot, ChildSlot) or slot.count is None:
        return value
    count = static.dim(slot.count)
    loop = python.expr("(made for _ in range(count))")
    return ast.Starred(python.substitute(loop, {"made": value, "count": count}), ast.Load())


def guarded(
    statements: list[Statement], branch: BranchNode | None, slot: Slot, static: StaticPrinter
) -> list[Statement]:
    """Under the condition of the side that makes the slot."""
    if branch is None or branch.then is None or branch.orelse is None:
        return statements
    condition = static.origin(branch.condition)
    if slot not in branch.then.slots:
        condition = negated(condition)
    return [block(ast.If(condition, [], []), statements)]


def instance(program: Program, slot: Slot, static: StaticPrinter) -> ast.expr | None:
    match slot:
        case WeightSlot():
            return python.call("Weights", value=array(slot.weight, static))
        case LayerSlot():
            if not slot.weights:
                return None
            arrays = {name: array(w, static) for name, w in slot.weights.items()}
            return python.call("Weights", **arrays)
        case ChildSlot():
            plan = program.plan(slot.function)
            positional, keywords = construction(slot, plan, static)
            return python.call(plan.class_name, *positional, **keywords)
        case Reference():
            return None


def array(weight: Weight, static: StaticPrinter) -> ast.expr:
    """`Array((120, 400), kaiming_uniform())`"""
    extra = {} if weight.trainable else {"trainable": python.constant(False)}
    shape = static.shape(weight.type.shape)
    return python.call("Array", shape, initialiser(weight, static), **extra)


def initialiser(weight: Weight, static: StaticPrinter) -> ast.expr:
    kind = weight.init.kind
    shape = weight.type.shape
    keywords: dict[str, ast.expr] = {}
    blank: ast.expr | None = None
    for name, value in weight.init.args:
        if name == "blank":
            blank = static.value(value)
            continue
        if name in ("fan_in", "fan_out"):
            implied = len(shape) > 1 and name == "fan_in" and value == product(shape[1:])
            if kind not in FAN_KINDS or implied or (name == "fan_out" and kind not in BOTH_FANS):
                continue
        if kind == "kaiming_uniform" and name == "a" and value == SQRT_5:
            continue
        keywords[name] = static.value(value)
    if kind in VARIANCE:
        words = zip(("mode", "distribution"), VARIANCE[kind], strict=True)
        keywords = {**keywords, **{name: python.constant(word) for name, word in words}}
        kind = "variance_scaling"
    made = python.call(kind, **keywords)
    return python.call("blank_row", made, blank) if blank is not None else made
