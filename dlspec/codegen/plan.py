"""Which constructor arguments each definition needs, and what they are called.

A parameter or dim is an argument only when something printed needs it: an attribute of a layer,
the shape of a weight, a condition, or an argument of a child that is itself needed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from dlspec.codegen import python
from dlspec.codegen.names import Names, class_case, snake
from dlspec.codegen.statics import names_of
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    ChildSlot,
    Function,
    LayerSlot,
    OpNode,
    RepeatNode,
    Side,
    Slot,
    WeightSlot,
    functions_below,
    walk,
)
from dlspec.ir.static import Known, Sequence

if TYPE_CHECKING:
    from dlspec.codegen.statics import StaticPrinter
    from dlspec.ir.graph import Node
    from dlspec.ir.static import StaticValue

TRAINING = "training"  # ParamRef of the mode, no constructor parameter


@dataclass(frozen=True)
class Argument:
    """A constructor argument. symbol: the parameter's or dim's name in the IR.

    default: the spec's, when it is a plain value; NO_DEFAULT otherwise.
    """

    symbol: str
    name: str
    annotation: str
    default: object


NO_DEFAULT = object()


@dataclass
class Plan:
    """How one definition is printed. dims: positions that bind a dim symbol, (input, axis)."""

    function: Function
    class_name: str
    arguments: list[Argument]
    constructor: set[str]  # symbols that the constructor's text needs
    forward: set[str]  # symbols that the body's text needs
    dims: dict[str, tuple[int, int]]

    def argument(self, symbol: str) -> Argument | None:
        return next((a for a in self.arguments if a.symbol == symbol), None)


@dataclass(frozen=True)
class Policy:
    """What a backend prints. Each yields the static values that one thing needs.

    slot: creating a layer or weight slot. op: an op or a repeat in the body.
    """

    slot: Callable[[Slot], Iterator[object]]
    op: Callable[[OpNode | RepeatNode], Iterator[object]]


def slot_statics(slot: Slot) -> Iterator[object]:
    """All attributes of a layer, the shapes of weights, the numbers of initialisers."""
    match slot:
        case LayerSlot():
            yield from slot.attributes.values()
        case WeightSlot(_, weight):
            yield weight.type.shape
            yield [value for _, value in weight.init.args]
        case _:
            return


def weight_statics(slot: Slot) -> Iterator[object]:
    """The shapes of all weights of a slot and the numbers of their initialisers."""
    weights = (
        slot.weights.values()
        if isinstance(slot, LayerSlot)
        else [slot.weight]
        if isinstance(slot, WeightSlot)
        else []
    )
    for weight in weights:
        yield weight.type.shape
        yield [value for _, value in weight.init.args]


def op_statics(node: OpNode | RepeatNode) -> Iterator[object]:
    """The fields of an op; the count of a repeat."""
    if isinstance(node, RepeatNode):
        yield node.count
        return
    for f in fields(node.op):
        yield getattr(node.op, f.name)


def free_op_statics(node: OpNode | RepeatNode) -> Iterator[object]:
    """As `op_statics`, but nothing where a framework's own layer knows it: for the op of a layer,
    and for a repeat over a stack, which is as long as its list."""
    if isinstance(node, RepeatNode):
        if not isinstance(node.slot, ChildSlot) or node.slot.count is None:
            yield node.count
    elif node.layer is None:
        yield from op_statics(node)


DEFAULT = Policy(slot_statics, free_op_statics)


def child_slots(function: Function) -> Iterator[tuple[ChildSlot, BranchNode | None]]:
    """The children with the branch that creates them."""
    for slot, branch in owned_slots(function):
        if isinstance(slot, ChildSlot):
            yield slot, branch


def owned_slots(function: Function) -> Iterator[tuple[Slot, BranchNode | None]]:
    """Slots in order with the branch of which one side creates them; None: always there.

    A branch on the mode creates both its sides: one instance serves both modes.
    """
    found: dict[int, tuple[Slot, BranchNode | None]] = {id(s): (s, None) for s in function.slots}

    def visit(nodes: list[Node], outer: BranchNode | None) -> None:
        for node in nodes:
            if not isinstance(node, BranchNode):
                continue
            sides = sides_of(node)
            modal = TRAINING in set(names_of(node.condition, function.symbols))
            guard = node if len(sides) == 2 and not modal else outer
            for side in sides:
                for slot in side.slots:
                    known = found.setdefault(id(slot), (slot, guard))
                    if known[1] is node and side is not sides[0] and slot in sides[0].slots:
                        found[id(slot)] = (slot, outer)  # both sides create it
                visit(side.body, guard)

    visit(function.body, None)
    yield from found.values()


def two_sided(function: Function) -> Iterator[BranchNode]:
    """The branches that are printed: both sides are there."""
    for node in walk(function.body):
        if isinstance(node, BranchNode) and node.then is not None and node.orelse is not None:
            yield node


def sides_of(node: BranchNode) -> list[Side]:
    return [side for side in (node.then, node.orelse) if side is not None]


def side_condition(branch: BranchNode, slot: Slot) -> tuple[object, bool]:
    """The condition of a branch, and whether the slot exists when it is true."""
    return branch.condition, branch.then is not None and slot in branch.then.slots


def plans(
    root: Function,
    policy: Policy = DEFAULT,
    *,
    also: tuple[Function, ...] = (),
    reserved: Iterable[str] = (),
) -> dict[int, Plan]:
    """A plan for root and every function below, by `id(function)`.

    reserved: names that the file uses itself, so that no class may have them.
    """
    below = [f for start in (root, *also) for f in functions_below(start)]
    functions = list({id(f): f for f in below}.values())
    direct = {id(f): _direct(f, policy) for f in functions}
    forward = {id(f): set(_forward(f, policy)) for f in functions}
    needed = {key: found | forward[key] for key, found in direct.items()}
    for f in functions:
        needed[id(f)] -= _bound_in_forward(f, direct[id(f)], forward[id(f)])
    _propagate(functions, direct, needed)
    taken = Names(reserved)
    found: dict[int, Plan] = {}
    for f in functions:
        title = class_name(f)
        if f.kind == "train" and title in taken.taken:
            title += "Training"
        title = taken.fresh(title)
        found[id(f)] = _plan(f, title, direct[id(f)], forward[id(f)], needed[id(f)])
    return found


def class_name(function: Function) -> str:
    """Residual, Residual2 for the second that could not be merged; MnistLong for the training
    section mnist_long."""
    name = class_case(function.name) if function.kind == "train" else function.name
    number = function.specialisation
    return name if not number else f"{name}{number + 1}"


def _direct(function: Function, policy: Policy) -> set[str]:
    """Symbols that the constructor needs, children's arguments aside."""
    needed: set[str] = set()
    for slot, branch in owned_slots(function):
        for value in policy.slot(slot):
            needed |= set(names_of(value, function.symbols))
        if isinstance(slot, ChildSlot) and slot.count is not None:
            needed |= set(names_of(slot.count, function.symbols))
        if branch is not None:
            needed |= set(names_of(branch.condition, function.symbols))
    return needed - {TRAINING}


def _forward(function: Function, policy: Policy) -> Iterator[str]:
    for node in walk(function.body):
        if isinstance(node, OpNode | RepeatNode):
            for value in policy.op(node):
                yield from names_of(value, function.symbols)
    for node in two_sided(function):
        yield from set(names_of(node.condition, function.symbols)) - {TRAINING}


def _bound_in_forward(function: Function, direct: set[str], forward: set[str]) -> set[str]:
    """Dims that only the body needs and can read from a shape."""
    dims = input_dims(function)
    conditions: set[str] = set()
    for node in two_sided(function):
        conditions |= set(names_of(node.condition, function.symbols))
    return {s for s in forward if s in dims and s not in direct and s not in conditions}


def input_dims(function: Function) -> dict[str, tuple[int, int]]:
    """Where each dim symbol of the inputs can be read: (input, axis) of its first bare place.

    Parameters are no such dims even where an input's shape names them.
    """
    found: dict[str, tuple[int, int]] = {}
    for position, value in enumerate(function.inputs):
        for axis, dim in enumerate(value.type.shape):
            if dim.is_const or len(dim.symbols) != 1:
                continue
            (symbol,) = dim.symbols
            kind = function.symbols[symbol].kind if symbol in function.symbols else "dim"
            if kind == "dim" and dim == Dim.symbol(symbol):
                found.setdefault(symbol, (position, axis))
    return found


def _propagate(
    functions: list[Function], direct: dict[int, set[str]], needed: dict[int, set[str]]
) -> None:
    """Adds what children's needed arguments take, until nothing changes (recursion)."""
    changed = True
    while changed:
        changed = False
        for f in functions:
            for slot, _ in child_slots(f):
                for symbol in needed[id(slot.function)]:
                    given = given_value(slot, symbol)
                    names = set(names_of(given, f.symbols)) - needed[id(f)]
                    extra = set(names_of(given, f.symbols)) - direct[id(f)]
                    if names or extra:
                        needed[id(f)] |= names
                        direct[id(f)] |= extra
                        changed = True


def given_value(slot: ChildSlot, symbol: str) -> object:
    """What a slot gives for a parameter or dim symbol of its function."""
    if symbol in slot.statics:
        return slot.statics[symbol]
    return slot.dims.get(symbol)


def _plan(
    function: Function, title: str, constructor: set[str], forward: set[str], needed: set[str]
) -> Plan:
    dims = input_dims(function)
    order = [s for s in dims if s in needed and s not in function.statics]
    order += [s for s in function.statics if s in needed]
    order += sorted(needed - set(order))
    names = Names(snake(s) for s in order if s in function.statics)
    arguments: list[Argument] = []
    for symbol in order:
        if symbol in function.statics:
            default = function.defaults.get(symbol, NO_DEFAULT)
            default = evaluated(default, function.values())
            if isinstance(default, list):  # Python would share it between instances
                default = NO_DEFAULT
            note = annotation(function.statics[symbol])
            arguments.append(Argument(symbol, snake(symbol), note, default))
        else:
            name = names.fresh(_dim_name(function, symbol, dims))
            arguments.append(Argument(symbol, name, "int", NO_DEFAULT))
    return Plan(function, title, _trailing_defaults(arguments), constructor, forward, dims)


def _trailing_defaults(arguments: list[Argument]) -> list[Argument]:
    """Python wants defaults last: earlier ones are dropped."""
    last = max((i for i, a in enumerate(arguments) if a.default is NO_DEFAULT), default=-1)
    return [
        Argument(a.symbol, a.name, a.annotation, NO_DEFAULT) if i < last else a
        for i, a in enumerate(arguments)
    ]


def _dim_name(function: Function, symbol: str, dims: dict[str, tuple[int, int]]) -> str:
    if symbol not in dims:
        return snake(symbol)
    position, axis = dims[symbol]
    rank = function.inputs[position].type.rank
    if rank >= 3 and axis == 1:
        return "in_channels"
    if axis == rank - 1 and rank < 3:
        return "in_features"
    return snake(symbol)


def annotation(value: StaticValue) -> str:
    """The type of a parameter as Python writes it."""
    match value:
        case Dim():
            return "int"
        case Known():
            return annotation(value.value)
        case Sequence():
            kinds = {annotation(item) for item in value.items}
            inner = kinds.pop() if len(kinds) == 1 else ""
            if value.is_list:
                return f"list[{inner}]" if inner else "list"
            return f"tuple[{inner}, ...]" if inner else "tuple"
        case None:
            return "object"
        case _:
            return type(value).__name__


def construction(
    slot: ChildSlot, plan: Plan, static: StaticPrinter
) -> tuple[list[ast.expr], dict[str, ast.expr]]:
    """Positional and keyword arguments that create a slot's instance; defaults are left out."""
    positional: list[ast.expr] = []
    keywords: dict[str, ast.expr] = {}
    for argument in plan.arguments:
        value = given_value(slot, argument.symbol)
        if value is None and argument.symbol not in slot.statics:
            if argument.symbol not in slot.function.defaults:
                raise KeyError(f"{slot.segment} gives nothing for {argument.symbol}")
            value = slot.function.defaults[argument.symbol]
        printed = static.value(value)
        if argument.default is NO_DEFAULT:
            positional.append(printed)
        elif python.flat(printed) != python.flat(python.constant(argument.default)):
            keywords[argument.name] = printed
    return positional, keywords


def root_arguments(plan: Plan) -> dict[str, object]:
    """The plain values that create the outermost instance, without those equal to a default."""
    function = plan.function
    values = function.values()
    given: dict[str, object] = {**values, **function.statics}
    found = {a.name: (evaluated(given[a.symbol], values), a.default) for a in plan.arguments}
    return {name: value for name, (value, default) in found.items() if value != default}


def evaluated(value: object, values: Mapping[str, int]) -> object:
    """A static value as plain Python, where the values of its symbols are known."""
    match value:
        case Dim():
            return value.evaluate(values)
        case Sequence(items=items, is_list=is_list):
            found = [evaluated(item, values) for item in items]
            return found if is_list else tuple(found)
        case Known():
            return value.value
        case _:
            return value
