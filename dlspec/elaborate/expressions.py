"""Evaluation of expressions, in one scope and one environment of names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from dlspec import codes
from dlspec.diagnostics import Failure, close_to
from dlspec.elaborate import static
from dlspec.elaborate.inner import below
from dlspec.elaborate.names import callee_name
from dlspec.elaborate.patterns import same_type
from dlspec.elaborate.resolve import LATER, SPECIAL, is_lost, not_yet, suggestion
from dlspec.elaborate.values import (
    UNKNOWN,
    BuiltinLayer,
    Chosen,
    Composed,
    Group,
    InitValue,
    Inner,
    Named_,
    Namespace,
    Shared,
    StaticFunction,
    Unknown,
    is_layer,
    is_static,
    is_tensor,
)
from dlspec.ir.dims import Dim, DimLimit
from dlspec.ir.graph import BranchNode, Init, Node, Side, Slot, Value
from dlspec.ir.inits import INIT_KINDS
from dlspec.ir.static import TRAINS, Apply, Known, ParamRef, Sequence
from dlspec.ops import plugins, registry
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.apply import Applier
    from dlspec.elaborate.files import Module
    from dlspec.elaborate.scope import Scope
    from dlspec.elaborate.session import Session
    from dlspec.elaborate.values import AnyValue

TRAINING = Known(True, TRAINS)
MAX_STEPS = 2_000_000

TENSOR_OPS = {
    "+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "//": "FloorDiv", "%": "Mod", "**": "Pow",
    "==": "Equal", "!=": "NotEqual", "<": "Less", "<=": "LessEqual", ">": "Greater",
    ">=": "GreaterEqual", "&": "LogicalAnd", "|": "LogicalOr",
}  # fmt: skip

Segmented = tuple[str, bool, "int | None"]


class Env:
    """Names and their values; a comprehension's names live in a child."""

    def __init__(self, parent: Env | None = None) -> None:
        self.names: dict[str, Any] = {}
        self.measured: set[str] = set()  # extents that the type of a binding named
        self.parent = parent

    def find(self, name: str) -> Any:
        env: Env | None = self
        while env is not None:
            if name in env.names:
                return env.names[name]
            env = env.parent
        return MISSING

    def all(self) -> set[str]:
        return set(self.names) | (self.parent.all() if self.parent else set())


MISSING: Any = object()


class Evaluator:
    """Evaluates the expressions of one definition, for one instance of it."""

    def __init__(self, session: Session, module: Module, scope: Scope, env: Env) -> None:
        from dlspec.elaborate.apply import Applier

        self.session = session
        self.module = module
        self.scope = scope
        self.env = env
        self.applier: Applier = Applier(self)

    def evaluate(self, expr: ast.Expr) -> AnyValue:
        with self.scope.at(expr.span):
            try:
                return HANDLERS[type(expr)](self, expr)
            except DimLimit as limit:
                self.scope.fail(codes.LIMIT, str(limit))

    # --- names ---

    def name(self, expr: ast.Name) -> AnyValue:
        value = self.lookup(expr.id)
        if value is MISSING:
            self.undefined(expr.id)
        local = self.env.find(expr.id) is not MISSING
        if local and is_layer(value) and not isinstance(value, Shared):
            return Named_(value, callee_name(expr) or expr.id, None, expr.span)
        return value

    def lookup(self, name: str) -> AnyValue:
        found = self.env.find(name)
        if found is not MISSING:
            return found
        if name == "training":
            return False if self.scope.inference else TRAINING
        found = self.session.module_value(self.module, name, self.scope.span)
        if found is not None:
            return found
        return self.predefined(name)

    def predefined(self, name: str) -> AnyValue:
        builtin = None if name in SPECIAL else registry.own(name)
        if builtin is not None:
            return BuiltinLayer(builtin, (), (), self.scope.span)
        if name in static.STATIC_NAMES or name in SPECIAL:
            return StaticFunction(name)
        if name in INIT_KINDS:
            return InitValue(Init(name))
        if name in LATER:
            self.scope.fail(codes.NOT_SUPPORTED, not_yet(name))
        if is_lost(self.module, name):
            return UNKNOWN
        builtin = plugins.find(name)
        return MISSING if builtin is None else BuiltinLayer(builtin, (), (), self.scope.span)

    def undefined(self, name: str) -> None:
        help = suggestion(self.module, name, self.env.all())
        self.scope.fail(codes.UNDEFINED, f"`{name}` is not defined", help=help)

    def attribute(self, expr: ast.Attribute) -> AnyValue:
        value = self.evaluate(expr.value)
        if isinstance(value, Unknown):
            return UNKNOWN
        if isinstance(value, Namespace):
            found = self.session.module_value(value.module, expr.name, expr.span)
            if found is None and is_lost(value.module, expr.name):
                return UNKNOWN
            if found is None:
                self.scope.fail(
                    codes.NOT_IN_FILE,
                    f"the file does not define `{expr.name}`",
                    help=close_to(expr.name, value.module.names),
                )
            return found
        if isinstance(value, Group) and expr.name in value.names:
            return value.items[value.names.index(expr.name)]
        if isinstance(value, Shared | Inner):
            return below(self, value, expr.name)
        extra = ""
        if isinstance(value, Group) and value.names:
            extra = f"it has {', '.join(value.names)}"
        self.scope.fail(
            codes.UNDEFINED, f"{static.describe(value)} has no `{expr.name}`", help=extra
        )

    # --- plain values ---

    def literal(self, expr: ast.Literal_) -> AnyValue:
        value = expr.value
        if isinstance(value, int) and not isinstance(value, bool):
            return Dim.const(value)
        return value

    def ellipsis(self, expr: ast.EllipsisExpr) -> AnyValue:
        self.scope.fail(codes.STATIC_TYPE, "`...` stands only in types and slices")

    def list(self, expr: ast.ListExpr) -> AnyValue:
        return self.items(expr.items, True)

    def tuple(self, expr: ast.TupleExpr) -> AnyValue:
        return self.items(expr.items, False)

    def items(self, exprs: tuple[ast.Expr, ...], is_list: bool) -> AnyValue:
        values = tuple(self.evaluate(item) for item in exprs)
        if any(isinstance(v, Unknown) for v in values):
            return UNKNOWN
        return static.sequence(values, is_list)

    def comprehension(self, expr: ast.Comprehension) -> AnyValue:
        iterable = self.evaluate(expr.iterable)
        if isinstance(iterable, Unknown):
            return UNKNOWN
        outer = self.env
        self.env = Env(outer)
        self.scope.loop += 1
        found: list[AnyValue] = []
        try:
            for item in static.items_of(self.scope, iterable, "a comprehension"):
                self.session.tick(self.scope)
                self.bind(expr.target, item)
                if expr.condition is None or static.truth(
                    self.scope, self.evaluate(expr.condition)
                ):
                    found.append(self.evaluate(expr.element))
        finally:
            self.env = outer
            self.scope.loop -= 1
        if any(isinstance(v, Unknown) for v in found):
            return UNKNOWN
        return static.sequence(tuple(found), True)

    def bind(self, target: ast.Target, value: AnyValue) -> None:
        """Bind a name, or several from a tuple or list."""
        if target.name is not None:
            if target.name != "_":
                self.env.names[target.name] = value
                if isinstance(value, Value) and not value.name and value.weight is None:
                    value.name = target.name
            return
        if isinstance(value, Unknown):
            for item in target.items:
                self.bind(item, UNKNOWN)
            return
        with self.scope.at(target.span):
            if not isinstance(value, Group | Sequence):
                self.scope.fail(
                    codes.STATIC_TYPE,
                    f"{len(target.items)} names cannot be bound to {static.describe(value)}",
                )
            if len(value.items) != len(target.items):
                self.scope.fail(
                    codes.STATIC_VALUE,
                    f"{len(target.items)} names cannot be bound to {len(value.items)} values",
                )
        for item, part in zip(target.items, value.items, strict=True):
            self.bind(item, part)

    # --- operators ---

    def unary(self, expr: ast.Unary) -> AnyValue:
        value = self.evaluate(expr.operand)
        if isinstance(value, Unknown):
            return UNKNOWN
        if isinstance(value, Value):
            return self.tensor_unary(expr, value)
        if expr.op == "not":
            origin = Apply("not", (static.origin_of(value),))
            return static.made(
                self.scope, not static.truth(self.scope, value), origin, static.has_origin(value)
            )
        if expr.op == "-":
            return static.negate(self.scope, value)
        if expr.op == "+":
            static.number(self.scope, value, "`+`")
            return value
        static.wrong_kind(
            self.scope, f"`~` needs a tensor of booleans, not {static.describe(value)}"
        )

    def tensor_unary(self, expr: ast.Unary, value: Value) -> AnyValue:
        from dlspec.ops import elementwise

        if expr.op == "-":
            return self.scope.emit(elementwise.Neg(), value)
        if expr.op == "~":
            return self.scope.emit(elementwise.LogicalNot(), value)
        if expr.op == "+":
            return value
        static.wrong_kind(self.scope, "`not` is for static conditions", "write ~x for a tensor")

    def binary(self, expr: ast.Binary) -> AnyValue:
        if expr.op in ("and", "or"):
            return self.logic(expr)
        left, right = self.evaluate(expr.left), self.evaluate(expr.right)
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return UNKNOWN
        if isinstance(left, Value) or isinstance(right, Value):
            return self.tensor_binary(expr.op, left, right)
        for side in (left, right):
            if isinstance(side, Group) and is_tensor(side) and not side.is_list:
                self.scope.fail(
                    codes.STATIC_TYPE,
                    f"`{expr.op}` does not work on {static.describe(side)}",
                    help="take one of its tensors, or concat them",
                )
        if expr.op in static.COMPARISONS:
            return static.compare(self.scope, expr.op, left, right)
        if expr.op in ("@", "&", "|"):
            static.wrong_kind(
                self.scope,
                f"`{expr.op}` needs tensors, not {static.describe(left)} "
                f"and {static.describe(right)}",
                "static conditions are joined with `and` and `or`" if expr.op != "@" else "",
            )
        if expr.op == "**" and open_power(left, right, self.scope):
            return left**right
        if self.is_open(left, right) and expr.op in ("/", "**"):
            return self.tensor_binary(expr.op, self.tensor(left), self.tensor(right))
        return static.binary(self.scope, expr.op, left, right)

    def is_open(self, *values: AnyValue) -> bool:
        """Whether a size among the numbers is known only when the program runs."""
        sizes = [v for v in map(static.raw, values) if isinstance(v, Dim)]
        numbers = all(isinstance(static.raw(v), Dim | float) for v in values)
        return numbers and any(self.scope.peek(v) is None for v in sizes)

    def tensor_binary(self, op: str, left: AnyValue, right: AnyValue) -> AnyValue:
        from dlspec.ops import elementwise

        if op in ("==", "!=") and (static.raw(left) is None or static.raw(right) is None):
            return op == "!="
        if op == "@":
            for side in (left, right):
                if not isinstance(side, Value):
                    static.wrong_kind(self.scope, f"`@` needs tensors, not {static.describe(side)}")
            builtin = registry.find("matmul")
            assert builtin is not None
            return builtin.apply(
                self.scope, dict(zip(builtin.tensors, (left, right), strict=True)), {}
            )
        like = left if isinstance(left, Value) else right
        left, right = self.tensor(left, like), self.tensor(right, like)
        return self.scope.emit(getattr(elementwise, TENSOR_OPS[op])(), left, right)

    def tensor(self, value: AnyValue, like: Value | None = None) -> Value:
        """A tensor, or a number as a scalar of the dtype of `like`."""
        if isinstance(value, Value):
            return value
        found = static.raw(value)
        if isinstance(found, Dim | float | int):
            return self.scope.constant(value, like)
        static.wrong_kind(self.scope, f"a tensor is needed here, not {static.describe(value)}")

    def logic(self, expr: ast.Binary) -> AnyValue:
        left = self.evaluate(expr.left)
        if isinstance(left, Unknown):
            return UNKNOWN
        first = static.truth(self.scope, left)
        decided = first == (expr.op == "or")
        right = self.other_condition(expr.right) if decided else self.evaluate(expr.right)
        if isinstance(right, Unknown):
            return left if decided else UNKNOWN
        result = first if decided else static.truth(self.scope, right)
        origin = Apply(expr.op, (static.origin_of(left), static.origin_of(right)))
        tracked = static.has_origin(left) or static.has_origin(right)
        return static.made(self.scope, result, origin, tracked)

    def other_condition(self, expr: ast.Expr) -> AnyValue:
        """The side of a decided `and` or `or` that does not count: for its origin only, so that
        all specialisations of a definition have one condition."""
        try:
            value = self.evaluate(expr)
        except Failure:
            return UNKNOWN
        return value if isinstance(static.raw(value), bool) else UNKNOWN

    def conditional(self, expr: ast.Conditional) -> AnyValue:
        condition = self.evaluate(expr.condition)
        if isinstance(condition, Unknown):
            return UNKNOWN
        with self.scope.at(expr.condition.span):
            taken = static.truth(self.scope, condition)
        if not static.has_origin(condition):
            return self.evaluate(expr.then if taken else expr.orelse)
        origin = static.origin_of(condition)
        if mentions_training(origin):
            return self.both_sides(expr, origin)
        value, side = self.one_side(expr.then if taken else expr.orelse)
        if is_tensor(value):
            return self.branch(origin, taken, value, side)
        self.scope.body.extend(side.body)
        self.scope.slots.extend(side.slots)
        if is_layer(value):
            return Chosen(origin, taken, value, expr.span)
        return self.either(expr, origin, taken, value)

    def one_side(self, expr: ast.Expr, trains: bool = False) -> tuple[AnyValue, Side]:
        body: list[Node] = []
        slots: list[Slot] = []
        with self.scope.side(body, slots, trains):
            value = self.evaluate(expr)
        return value, Side(body, (), tuple(slots))

    def branch(self, origin: Any, taken: bool, value: AnyValue, side: Side) -> AnyValue:
        """The node of a static choice between tensors, of which one side is known."""
        flat = self.tensors(value, side)
        side.yields = tuple(flat)
        results = tuple(Value(v.type, v.name, v.span) for v in flat)
        sides = (side, None) if taken else (None, side)
        self.scope.append(BranchNode(origin, taken, *sides, results, self.scope.span))
        return rebuild(value, list(results))

    def tensors(self, value: AnyValue, side: Side) -> list[Value]:
        """What a side yields; numbers become scalars there."""
        with self.scope.side(side.body, list(side.slots)):
            return [self.tensor(v) for v in flatten(value)]

    def both_sides(self, expr: ast.Conditional, origin: Any) -> AnyValue:
        then, first = self.one_side(expr.then, origin == TRAINS)
        orelse, second = self.one_side(expr.orelse)
        if isinstance(then, Unknown) or isinstance(orelse, Unknown):
            return UNKNOWN
        if not is_tensor(then) and not is_tensor(orelse):
            static.wrong_kind(self.scope, "`training` can choose between tensors only")
        return self.join(origin, (then, first), (orelse, second))

    def join(
        self, origin: Any, then: tuple[AnyValue, Side], orelse: tuple[AnyValue, Side]
    ) -> AnyValue:
        """The node of a choice by mode: both sides are there."""
        flats: list[list[Value]] = []
        for value, side in (then, orelse):
            flat = self.tensors(value, side)
            side.yields = tuple(flat)
            flats.append(flat)
        if len(flats[0]) != len(flats[1]):
            self.scope.fail(codes.SHAPE, "the two sides give different numbers of tensors")
        for a, b in zip(*flats, strict=True):
            same_type(self.scope, a.type, b.type, "the two sides of `training` differ")
        results = tuple(Value(v.type, v.name, v.span) for v in flats[0])
        self.scope.append(BranchNode(origin, None, then[1], orelse[1], results, self.scope.span))
        return rebuild(then[0], list(results))

    def either(self, expr: ast.Conditional, origin: Any, taken: bool, value: AnyValue) -> AnyValue:
        """A static value that a static condition chose, with the whole choice as its origin."""
        if not is_static(value):
            return value
        try:
            other = self.one_side(expr.orelse if taken else expr.then)[0]
        except Failure:
            return value
        if not is_static(other):
            return value
        then, orelse = (value, other) if taken else (other, value)
        whole = Apply("if", (static.origin_of(then), origin, static.origin_of(orelse)))
        if isinstance(value, Dim):
            known = self.scope.peek(value)
            return value if known is None else static.made(self.scope, known, whole, True)
        if isinstance(value, Sequence):
            return Sequence(value.items, whole, value.is_list)
        return Known(static.raw(value), whole)

    # --- calls and pipes ---

    def defines(self, name: str) -> bool:
        """Whether the spec or the language gives a name a meaning here."""
        return self.lookup(name) is not MISSING

    def call(self, expr: ast.Call) -> AnyValue:
        if self.session.training is not None:
            from dlspec.elaborate.training.scheduled import scheduled

            if (found := scheduled(self, expr)) is not None:
                return found
        return self.applier.call(expr, (), None)

    def named(self, expr: ast.As) -> AnyValue:
        return self.applier.stage(expr, (), None)

    def pipe(self, expr: ast.Pipe) -> AnyValue:
        first = self.evaluate(expr.stages[0])
        if isinstance(first, StaticFunction):
            first = self.applier.as_layer(first)
        if is_layer(first):
            stages = [first]
            for stage in expr.stages[1:]:
                layer = self.evaluate(stage)
                if isinstance(layer, Unknown):
                    return UNKNOWN
                with self.scope.at(stage.span):
                    stages.append(self.applier.as_layer(layer))
            return Composed(tuple(stages), expr.span)
        if not isinstance(first, Unknown) and not is_tensor(first):
            with self.scope.at(expr.stages[0].span):
                static.wrong_kind(
                    self.scope,
                    f"a pipe starts with a tensor or a layer, not {static.describe(first)}",
                )
        value = first
        for stage in expr.stages[1:]:
            if isinstance(value, Unknown):
                return UNKNOWN
            self.session.tick(self.scope)
            with self.scope.at(stage.span):
                value = self.applier.stage(stage, spread(value), None)
        return value

    # --- subscripts ---

    def subscript(self, expr: ast.Subscript) -> AnyValue:
        value = self.evaluate(expr.value)
        if isinstance(value, Unknown):
            return UNKNOWN
        if not expr.items:
            self.scope.fail(codes.STATIC_TYPE, "a subscript in empty brackets picks nothing")
        if isinstance(value, Value):
            from dlspec.elaborate.slices import index_tensor

            return index_tensor(self, value, expr)
        if isinstance(value, Inner):
            (item, *rest) = expr.items
            if rest or isinstance(item, ast.Slice):
                static.wrong_kind(self.scope, "a part of a network takes one number: net.layers[0]")
            index = static.integer(self.scope, self.evaluate(item), "a number in a path")
            return below(self, value, str(self.scope.known(index)))
        if not isinstance(value, Sequence | Group):
            static.wrong_kind(self.scope, f"{static.describe(value)} cannot be indexed")
        if len(expr.items) != 1:
            static.wrong_kind(self.scope, f"{static.describe(value)} takes one index")
        item = expr.items[0]
        if isinstance(item, ast.Slice):
            return self.slice(value, item)
        return self.element(value, item)

    def element(self, value: Sequence | Group, item: ast.Expr) -> AnyValue:
        index = self.evaluate(item)
        at = self.scope.known(static.integer(self.scope, index, "an index"))
        size = len(value.items)
        if not -size <= at < size:
            self.scope.fail(codes.STATIC_VALUE, f"the index {at} is outside a list of {size}")
        return value.items[at]

    def slice(self, value: Sequence | Group, item: ast.Slice) -> AnyValue:
        bounds: list[int | None] = []
        origins: list[Any] = []
        for part in (item.start, item.stop, item.step):
            found = None if part is None else self.evaluate(part)
            origins.append(None if found is None else static.origin_of(found))
            dim = None if found is None else static.integer(self.scope, found, "a slice")
            bounds.append(None if dim is None else self.scope.known(dim))
        if bounds[2] == 0:
            self.scope.fail(codes.STATIC_VALUE, "the step of a slice is zero")
        items = value.items[slice(*bounds)]
        if isinstance(value, Sequence):
            known = None
            if value.origin is not None:
                known = Apply("slice", (value.origin, *origins))
            return Sequence(items, known, value.is_list)
        return static.sequence(items, value.is_list)


def open_power(base: AnyValue, exponent: AnyValue, scope: Scope) -> bool:
    """A whole power of a size that is known only when the program runs."""
    both = isinstance(base, Dim) and isinstance(exponent, Dim)
    if not both or scope.peek(base) is not None:
        return False
    return exponent.is_const and exponent.value >= 0


def mentions_training(origin: Any) -> bool:
    if isinstance(origin, ParamRef):
        return origin.name == "training"
    return isinstance(origin, Apply) and any(map(mentions_training, origin.args))


def flatten(value: AnyValue) -> list[AnyValue]:
    """The tensors of a value in order."""
    if isinstance(value, Group):
        return [leaf for item in value.items for leaf in flatten(item)]
    if isinstance(value, Sequence):
        return [leaf for item in value.items for leaf in flatten(item)]
    return [value]


def rebuild(value: AnyValue, leaves: list[Any]) -> AnyValue:
    """The same structure with other tensors; consumes leaves from the front."""
    leaves.reverse()

    def take(part: AnyValue) -> AnyValue:
        if isinstance(part, Group | Sequence):
            names = part.names if isinstance(part, Group) else ()
            return Group(tuple(take(item) for item in part.items), part.is_list, names)
        return leaves.pop()

    return take(value)


def spread(value: AnyValue) -> tuple[AnyValue, ...]:
    """What a value gives to the layer on its right: a tuple is spread, a list never."""
    if isinstance(value, Group | Sequence) and not value.is_list:
        return value.items
    return (value,)


def passed_on(value: AnyValue) -> tuple[AnyValue, ...]:
    """What the next of several stages takes: the arguments of the first, or a result."""
    return cast("tuple[Any, ...]", value) if isinstance(value, tuple) else spread(value)


HANDLERS: dict[type, Callable[[Any, Any], AnyValue]] = {
    ast.Name: Evaluator.name,
    ast.Literal_: Evaluator.literal,
    ast.EllipsisExpr: Evaluator.ellipsis,
    ast.ListExpr: Evaluator.list,
    ast.TupleExpr: Evaluator.tuple,
    ast.Comprehension: Evaluator.comprehension,
    ast.Call: Evaluator.call,
    ast.Pipe: Evaluator.pipe,
    ast.As: Evaluator.named,
    ast.Binary: Evaluator.binary,
    ast.Unary: Evaluator.unary,
    ast.Conditional: Evaluator.conditional,
    ast.Attribute: Evaluator.attribute,
    ast.Subscript: Evaluator.subscript,
}
