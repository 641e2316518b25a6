"""Definitions as `nn.Module` classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from dlspec.codegen import (
    NO_DEFAULT,
    Block,
    Body,
    DimScope,
    Lowered,
    Names,
    Plan,
    Policy,
    Statement,
    StaticPrinter,
    assign,
    blank,
    block,
    construction,
    docstring,
    drawing,
    has_effect,
    line,
    negated,
    op_statics,
    owned_slots,
    python,
    side_condition,
    unsupported_at,
    updating,
)
from dlspec.codegen.derivatives import gives_weight, method_name, passes_on
from dlspec.codegen.guards import guards
from dlspec.codegen.names import KEYWORDS, identifier
from dlspec.codegen.paths import watched_weights
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    BranchNode,
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    Node,
    OpNode,
    Reference,
    RepeatNode,
    ScanNode,
    Slot,
    Value,
    WeightSlot,
)
from dlspec.ir.types import DType
from dlspec.ops.conv import Conv
from dlspec.ops.elementwise import Constant, Where
from dlspec.ops.gradient import Grad
from dlspec.ops.pool import Pooling
from dlspec.ops.recurrent import Recurrent
from dlspec.ops.rules import same_pairs
from dlspec.ops.shape import Split
from dlspec_torch.chains import chain, length, operands
from dlspec_torch.layers import (
    blank_row,
    initialiser,
    is_own_default,
    layer,
    pads_outside,
    without,
)
from dlspec_torch.progressions import INDEX, Progression, grouped
from dlspec_torch.rows import recurrent
from dlspec_torch.rows.gradient import decorators
from dlspec_torch.rows.windows import depends, dilation_of, padded, same
from dlspec_torch.table import MODE, TORCH, WITH_NUMBERS, Dialect

if TYPE_CHECKING:
    from dlspec.codegen.plan import Argument

RESERVED = (
    "np",
    "torch",
    "nn",
    "F",
    "Tensor",
    "draws",
    "where_there",
    "layer_of",
    "gradient",
    "joint_gradient",
    "with_weights",
    "pad_same",
)
LIKE = "self.like"
DTYPES = {
    DType.F32: "torch.float32",
    DType.F64: "torch.float64",
    DType.BF16: "torch.bfloat16",
    DType.I64: "torch.int64",
    DType.I32: "torch.int32",
    DType.BOOL: "torch.bool",
}
# What nn.Module uses itself: a slot of that name gets `_` behind, and its weights are renamed.
MODULE_NAMES = frozenset(
    """T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter
    get_submodule half ipu like load_state_dict modules mtia named_buffers named_children
    named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu
    zero_grad""".split()  # noqa: SIM905
)


def attribute(segment: str) -> str:
    """The attribute that holds a slot."""
    return f"{segment}_" if segment in KEYWORDS or segment in MODULE_NAMES else segment


def own(name: str, owner: str = "self") -> ast.expr:
    return python.expr(f"{owner}.{name}")


@dataclass(frozen=True)
class Effects:
    """Which functions draw, and which update buffers, by id. in_place: the ids of nodes that write
    over their first operand."""

    draws: dict[int, bool]
    updates: dict[int, bool]
    in_place: frozenset[int] = frozenset()

    @staticmethod
    def below(*roots: Function) -> Effects:
        draws: dict[int, bool] = {}
        updates: dict[int, bool] = {}
        for root in roots:
            draws |= drawing(root)
            updates |= updating(root)
        return Effects(draws, updates)

    def on(self, function: Function) -> bool:
        return self.draws[id(function)] or self.updates[id(function)]


@dataclass
class Module:
    """One class being written. given_draws: what draws takes an argument `draws`."""

    plan: Plan
    plans: dict[int, Plan]
    effects: Effects
    given_draws: bool = False
    dialect: Dialect = TORCH

    @property
    def function(self) -> Function:
        return self.plan.function

    def statements(self) -> list[Statement]:
        body: list[Statement] = []
        if self.function.doc:
            body += [docstring(self.function.doc), *blank()]
        methods = self.forward()
        for variant in self.variants:
            if passes_on(variant) is None and not gives_weight(variant):  # or it stands inline
                methods += [*blank(), *self.forward(variant)]
        constructor = self.constructor()
        if constructor:
            body += [*constructor, *blank()]
        body += methods
        return [block(f"class {self.plan.class_name}(nn.Module):", body)]

    # --- __init__ ---

    def constructor(self) -> list[Statement]:
        arguments = [parameter(a) for a in self.plan.arguments]
        lines: list[Statement] = [line("super().__init__()")]
        for a in self.plan.arguments:
            if a.symbol in self.stored:
                lines.append(line(f"self.{self.field_of(a)} = {a.name}"))
        slots = self.slots()
        if self.like:
            slots.append(line('self.register_buffer("like", torch.empty(0), persistent=False)'))
        if not slots and not arguments:
            return []
        header = f"def __init__({', '.join(['self', *arguments])}) -> None:"
        return [block(header, lines + slots)]

    def field_of(self, argument: Argument) -> str:
        """The attribute that keeps an argument: not that of a slot, nor nn.Module's own."""
        slots = {attribute(slot.segment.name) for slot, _ in owned_slots(self.function)}
        return Names(slots | MODULE_NAMES).fresh(argument.name)

    def static(self) -> StaticPrinter:
        """Statics inside the constructor, where arguments are plain names."""
        names = {a.symbol: python.name(a.name) for a in self.plan.arguments}
        return StaticPrinter(self.function.symbols, lambda symbol: names[symbol])

    @property
    def stored(self) -> set[str]:
        """Arguments that the body needs: attributes of the module."""
        return {a.symbol for a in self.plan.arguments if a.symbol in self.used}

    used: set[str] = field(default_factory=set[str])  # found while forward is written

    def owned(self) -> list[tuple[Slot, BranchNode | None]]:
        """The slots that the constructor makes."""
        return list(owned_slots(self.function))

    def slots(self) -> list[Statement]:
        static = self.static()
        owned = self.owned()
        lists = {s.segment.name for s, _ in owned if is_numbered(s)}
        lines: list[Statement] = []
        started: set[str] = set()
        for name in dict.fromkeys(s.segment.name for s, _ in owned if s.segment.name in lists):
            first = next(branch for s, branch in owned if s.segment.name == name)
            if name in self.keyed or first is not None:
                started.add(name)
                lines.append(self.started(name, []))
        listed: set[int] = set()
        for branch, group in groupby(owned, key=lambda pair: pair[1]):
            slots = [slot for slot, _ in group]
            made: dict[bool, list[Statement]] = {True: [], False: []}
            for slot in slots:
                there = made[branch is None or side_condition(branch, slot)[1]]
                name = slot.segment.name
                if name not in lists:
                    there += self.single(slot, static)
                elif name not in started:
                    started.add(name)
                    together = [s for s in slots if s.segment.name == name]
                    listed |= {id(s) for s in together}
                    there.append(self.started(name, together))
                elif id(slot) not in listed:
                    there.append(self.added(slot, static))
                there += self.filled(slot, static)
            lines += _conditional(branch, made, static)
        return lines

    @cached_property
    def keyed(self) -> frozenset[str]:
        """Numbered names whose places in a list would not be their numbers."""
        return keyed_names(self.function)

    def started(self, name: str, slots: Sequence[Slot]) -> Statement:
        """`self.name = nn.ModuleList([…])`"""
        static = self.static()
        all_of_it = [s for s, _ in owned_slots(self.function) if s.segment.name == name]
        kind = "Parameter" if isinstance(all_of_it[0], WeightSlot) else "Module"
        kind += "Dict" if name in self.keyed else "List"
        items: list[ast.expr] = []
        for part in grouped(slots, self.plans):
            if isinstance(part, Progression):
                items.append(self.counted(part))
            else:
                items += [self.item(slot, static) for slot in part]
        content = [python.list_of(*items)] if items else []
        if len(items) == 1 and isinstance(items[0], ast.Starred):
            content = [items[0].value]
        return assign([own(attribute(name))], python.call(f"nn.{kind}", *content))

    def item(self, slot: Slot, static: StaticPrinter) -> ast.expr:
        """An element of a ModuleList; a stack is starred."""
        if isinstance(slot, ChildSlot) and slot.count is not None:
            one = self.made(slot, static)
            count = python.call("range", static.dim(slot.count))
            clause = ast.comprehension(python.name("_"), count, [], 0)
            return ast.Starred(ast.GeneratorExp(one, [clause]), ast.Load())
        return self.made(slot, static)

    def counted(self, part: Progression) -> ast.expr:
        """Members whose sizes grow evenly, starred."""
        names = {a.symbol: python.name(a.name) for a in self.plan.arguments}
        taken = Names({a.name for a in self.plan.arguments})
        index = taken.fresh("i")
        number = python.expr(f"{index} + {part.start}" if part.start else index)
        static = StaticPrinter(self.function.symbols, {**names, str(INDEX): number}.__getitem__)
        count = python.call("range", python.constant(part.count))
        clause = ast.comprehension(python.name(index), count, [], 0)
        return ast.Starred(ast.GeneratorExp(self.made(part.slot, static), [clause]), ast.Load())

    def added(self, slot: Slot, static: StaticPrinter) -> Statement:
        item = self.item(slot, static)
        name = slot.segment.name
        if name in self.keyed:
            if isinstance(item, ast.Starred):
                raise unsupported_at("torch", f"a stack in the middle of {name}", None)
            return assign([self.place(slot)], item)
        stack = isinstance(item, ast.Starred)
        value = item.value if isinstance(item, ast.Starred) else item
        place = own(attribute(name))
        method = ast.Attribute(place, "extend" if stack else "append", ast.Load())
        return line(ast.Expr(python.call(method, value)))

    def place(self, slot: Slot) -> ast.expr:
        return slot_expr(slot, self.keyed)

    def single(self, slot: Slot, static: StaticPrinter) -> list[Statement]:
        name = attribute(slot.segment.name)
        if isinstance(slot, WeightSlot) and not slot.weight.trainable:
            made = self.tensor(slot, static)
            call = python.call("self.register_buffer", python.constant(name), made)
            return [line(ast.Expr(call))]
        return [assign([own(name)], self.made(slot, static))]

    def made(self, slot: Slot, static: StaticPrinter) -> ast.expr:
        match slot:
            case LayerSlot():
                return layer(slot, static)
            case ChildSlot():
                plan = self.plans[id(slot.function)]
                positional, keywords = construction(slot, plan, static)
                return python.call(plan.class_name, *positional, **keywords)
            case WeightSlot():
                if not slot.weight.trainable:
                    why = "torch has no list of buffers: give it a name of its own"
                    raise unsupported_at("torch", "a numbered buffer", slot.weight.span, why)
                return python.call("nn.Parameter", self.tensor(slot, static))
            case Reference():
                raise TypeError("a reference belongs to somebody else")

    def tensor(self, slot: WeightSlot, static: StaticPrinter) -> ast.expr:
        kind = slot.weight.init.kind
        maker = kind if kind in ("zeros", "ones") else "empty"
        extents = [static.dim(d) for d in slot.weight.type.shape] or [python.constant(())]
        pinned = slot.weight.type.dtype
        extra = {} if pinned is DType.FLOAT else {"dtype": python.expr(DTYPES[pinned])}
        return python.call(f"torch.{maker}", *extents, **extra)

    def filled(self, slot: Slot, static: StaticPrinter) -> list[Statement]:
        """Initial weights that torch would not draw itself."""
        place = self.place(slot)
        if isinstance(slot, WeightSlot):
            if slot.weight.init.kind in ("zeros", "ones"):
                return []
            return [line(ast.Expr(initialiser(slot.weight, place, static)))]
        if not isinstance(slot, LayerSlot):
            return []
        lines: list[Statement] = [line(statement) for statement in without(slot, place)]
        for weight in slot.weights.values():
            if not is_own_default(slot, weight):
                target = ast.Attribute(place, weight.name, ast.Load())
                lines.append(line(ast.Expr(initialiser(weight, target, static))))
                lines += blank_row(weight, target, static)
        return lines

    # --- forward ---

    def forward(self, variant: Function | None = None) -> list[Statement]:
        """`forward`, or the method that runs a variant on the same weights."""
        function = variant or self.function
        plan = self.plans[id(function)]
        names = Names(RESERVED)
        inputs = [names.fresh(v.name or "x") for v in function.inputs]
        references = [names.fresh(r.name) for r in function.references]

        def parameter_of(symbol: str) -> ast.expr | None:
            found = self.plan.argument(symbol)
            if found is None or (variant is not None and symbol in plan.dims):
                return None
            self.used.add(symbol)
            return own(self.field_of(found))

        scope = DimScope(plan, names, inputs, parameter_of)
        lowering = TorchBody(function, self.dialect.table, names, scope.static)
        lowering.called = self.dialect.name
        lowering.enter(inputs, references, self.effects, self.given_draws)
        body = lowering.run()
        draws = (
            ["draws: Iterator[Tensor]"]
            if self.given_draws and self.effects.draws[id(function)]
            else []
        )
        hints = [f"{i}: Tensor" for i in inputs]
        hints += [f"{n}: {_hint(r)}" for n, r in zip(references, function.references, strict=True)]
        name = "forward" if variant is None else method(variant, self.function)
        header = f"def {name}({', '.join(['self', *hints, *draws])}) -> {result_hint(function)}:"
        self.taken += lowering.taken_branches
        self.like |= lowering.dtype_used and lowering.dtype_of.startswith(LIKE)
        checks = guards(function, lowering.static)
        whole = block(header, [*lowering.prelude(scope), *checks, *body])
        return [*decorators(function), whole]

    like: bool = False  # nothing else tells the element type: an empty buffer that moves along
    taken: list[BranchNode] = field(default_factory=list[BranchNode])
    variants: list[Function] = field(default_factory=list[Function])


def method(variant: Function, owner: Function) -> str:
    """The name of a variant's method: none of a slot, nor of nn.Module's own."""
    slots = {attribute(slot.segment.name) for slot, _ in owned_slots(owner)}
    return Names(slots | MODULE_NAMES).fresh(method_name(variant))


def _hint(reference: Reference) -> str:
    return "Tensor" if isinstance(reference.target, WeightSlot) else "nn.Module"


def result_hint(function: Function) -> str:
    if len(function.outputs) == 1:
        return "Tensor"
    return f"tuple[{', '.join(['Tensor'] * len(function.outputs))}]"


def _conditional(
    branch: BranchNode | None, made: dict[bool, list[Statement]], static: StaticPrinter
) -> list[Statement]:
    if branch is None:
        return made[True]
    condition = static.origin(branch.condition)
    if not made[True]:
        if not made[False]:
            return []
        return [block(ast.If(negated(condition), [], []), made[False])]
    lines: list[Statement] = [block(ast.If(condition, [], []), made[True])]
    if made[False]:
        lines.append(block("else:", made[False]))
    return lines


def is_numbered(slot: Slot) -> bool:
    stack = isinstance(slot, ChildSlot) and slot.count is not None
    return slot.segment.index is not None or stack


def keyed_names(function: Function) -> frozenset[str]:
    """Names of slots that live in a dict: one that may be missing comes before another, or the
    numbers have gaps."""
    by_name: dict[str, list[tuple[Slot, BranchNode | None]]] = {}
    for slot, branch in owned_slots(function):
        if is_numbered(slot):
            by_name.setdefault(slot.segment.name, []).append((slot, branch))
    found: set[str] = set()
    for name, slots in by_name.items():
        indices = [slot.segment.index or 0 for slot, _ in slots]
        slots = sorted(slots, key=lambda pair: pair[0].segment.index or 0)
        may_lack = [branch is not None for _, branch in slots]
        stacks = any(isinstance(s, ChildSlot) and s.count is not None for s, _ in slots)
        gaps = indices != list(range(len(indices))) and not stacks
        if gaps or any(may_lack[:-1]):
            found.add(name)
    return frozenset(found)


def slot_expr(slot: Slot, keyed: frozenset[str], owner: str = "self") -> ast.expr:
    """`self.conv`, `self.conv[2]`."""
    place = own(attribute(slot.segment.name), owner)
    index = slot.segment.index
    if index is None:
        return place
    key = str(index) if slot.segment.name in keyed else index
    return ast.Subscript(place, python.constant(key), ast.Load())


def parameter(argument: Argument) -> str:
    head = f"{argument.name}: {argument.annotation}"
    if argument.default is NO_DEFAULT:
        return head
    return f"{head} = {python.flat(python.constant(argument.default), 0)}"


def owns_weights(function: Function, seen: set[int]) -> bool:
    """Whether an instance has trained weights, its own or its children's."""
    if id(function) in seen:
        return False
    seen.add(id(function))
    return any(
        (isinstance(s, LayerSlot) and any(w.trainable for w in s.weights.values()))
        or (isinstance(s, WeightSlot) and s.weight.trainable)
        or (isinstance(s, ChildSlot) and owns_weights(s.function, seen))
        for s, _ in owned_slots(function)
    )


class TorchBody(Body):
    """The body of a forward method."""

    backend: ClassVar[str] = "torch"
    owner = "self"  # the module whose attributes the function's slots are

    def enter(
        self,
        inputs: Sequence[str],
        references: Sequence[str],
        effects: Effects,
        given_draws: bool,
    ) -> None:
        """given_draws: what draws takes an argument `draws`."""
        self.given_draws = given_draws
        self.places: dict[int, ast.expr] = {}
        self.chained: dict[int, ast.expr] = {}  # stacks that a row of calls is, by their ids
        self.keyed = keyed_names(self.function.of or self.function)
        self.effects = effects
        self.mode: ast.expr = own("training")
        self.dtype_of = ""  # whose element type is the working one
        self.numbers: set[Value] = set()  # scalars that are printed as Python numbers
        self.dtype_used = False
        for value, name in zip(self.function.inputs, inputs, strict=True):
            self.bind(value, name)
            if value.type.dtype is DType.FLOAT and not self.dtype_of:
                self.dtype_of = f"{name}.dtype"
        if not self.dtype_of:
            owner = owns_weights(self.function, set())
            self.dtype_of = "next(self.parameters()).dtype" if owner else f"{LIKE}.dtype"
        for reference, name in zip(self.function.references, references, strict=True):
            self.places[id(reference)] = python.name(name)
        self.static.dtype = self.dtype
        lookup = self.static.lookup
        self.static.lookup = lambda name: self.mode if name == MODE else lookup(name)

    def prelude(self, scope: DimScope) -> list[Statement]:
        lines = scope.prelude()
        if self.dtype_used:
            lines.append(line(f"dtype = {self.dtype_of}"))
        return lines

    def dtype(self, dtype: DType) -> ast.expr:
        if dtype is not DType.FLOAT:
            return python.expr(DTYPES[dtype])
        self.dtype_used = True
        self.names.taken.add("dtype")
        return python.name("dtype")

    def place(self, slot: Slot) -> ast.expr:
        if id(slot) not in self.places:
            self.places[id(slot)] = slot_expr(slot, self.keyed, self.owner)
        return self.places[id(slot)]

    def weight(self, value: Value) -> ast.expr:
        assert value.weight is not None
        slot, weight = value.weight
        place = self.place(slot)
        target = slot.target if isinstance(slot, Reference) else slot
        if isinstance(target, WeightSlot):
            return place
        return ast.Attribute(place, weight.name, ast.Load())

    def op(self, node: OpNode, operands: Sequence[ast.expr]) -> Lowered:
        slot = node.layer
        target = slot.target if isinstance(slot, Reference) else slot
        effect = has_effect(node)
        if isinstance(node.op, Recurrent) and slot is not None:
            return self._recurrent(node, node.op, self.layer_of(node, slot, operands), operands)
        if slot is not None and isinstance(target, LayerSlot):
            inputs = self.layer_inputs(node, target, operands)
            call = python.call(self.layer_of(node, slot, operands), *inputs)
            return Lowered(call, effect=effect, first_only=True)
        if node.updates:  # layers do so themselves
            return self.update(node, operands[0])
        if isinstance(node.op, Constant) and not isinstance(node.op.value, tuple):
            self.numbers.update(node.results)
        of_numbers = isinstance(node.op, Where) and self.numbers.issuperset(node.operands[1:])
        if of_numbers and node.results[0].type.dtype.is_float:
            # of two numbers torch.where makes a tensor of its default type
            operands = [operands[0], self.tensor(operands[1], node.operands[1]), operands[2]]
        if type(node.op) not in WITH_NUMBERS:
            operands = self.tensors(operands, node.operands)
        expr = super().op(node, operands).expr
        if id(node) in self.effects.in_place:
            expr = overwriting(expr)
        first_only = not isinstance(node.op, Split | Grad)
        expr = python.substitute(expr, {MODE: self.mode})
        return Lowered(expr, effect=effect, first_only=first_only)

    @cached_property
    def watched(self) -> dict[Value, Value]:
        return watched_weights(self.function)

    def layer_of(self, node: OpNode, slot: Slot, operands: Sequence[ast.expr]) -> ast.expr:
        """torch's layer; `with_weights(layer, weight=…)` where gradients are taken for some."""
        place = self.place(slot)
        weights = {
            self.watched[v].weight[1].name: x  # type: ignore[index]
            for x, v in zip(operands, node.operands, strict=True)
            if v in self.watched
        }
        return python.call("with_weights", place, **weights) if weights else place

    def _recurrent(
        self, node: OpNode, op: Recurrent, module: ast.expr, operands: Sequence[ast.expr]
    ) -> Lowered:
        """`y, (h, c) = self.lstm(x)`, `self.lstm(x)[0]`"""
        expr = recurrent.run(op, module, operands)
        if any(self._left[v] for v in node.results[1:]):
            return Lowered(expr, all_but=1, nested=len(op.states) > 1)
        return Lowered(ast.Subscript(expr, python.constant(0), ast.Load()), first_only=True)

    def update(self, node: OpNode, value: ast.expr) -> Lowered:
        """`self.buffer = value`: the old tensor stays for the backward that may have saved it."""
        ((buffer, _),) = node.updates
        expr = super().op(node, [value]).expr
        return Lowered(expr, (self.weight(buffer),), effect=True, all_but=1)

    def tensors(self, exprs: Sequence[ast.expr], values: Sequence[Value]) -> list[ast.expr]:
        """Numbers as tensors."""
        pairs = zip(exprs, values, strict=True)
        return [self.tensor(x, v) if v in self.numbers else x for x, v in pairs]

    def result(self, value: ast.expr) -> ast.expr:
        outputs = self.function.outputs
        if len(outputs) == 1:
            return self.tensors([value], outputs)[0]
        assert isinstance(value, ast.Tuple)
        return python.tuple_of(*self.tensors(value.elts, outputs))

    def tensor(self, number: ast.expr, value: Value) -> ast.expr:
        return python.call("torch.tensor", number, dtype=self.dtype(value.type.dtype))

    def layer_inputs(
        self, node: OpNode, slot: LayerSlot, operands: Sequence[ast.expr]
    ) -> list[ast.expr]:
        """What torch's layer is called with: operands that are no weights, padded if need be."""
        pairs = zip(operands, node.operands, strict=True)
        inputs = [x for x, v in pairs if v.weight is None and v not in self.watched]
        if slot.layer == "bilinear":
            return inputs
        x = inputs[0]
        if slot.layer == "conv" and pads_outside(slot):
            assert isinstance(node.op, Conv)
            image, weight = (v.type.shape for v in node.operands[:2])
            around = same(x, node.op, image[2:], weight[2:], 0.0, self.static)
            if around is not None:
                return [around]
            return [padded(x, node.op.pairs(image[2:], weight[2:]), 0.0, self.static)]
        return [x]

    def _arguments(self, node: CallNode | RepeatNode) -> list[ast.expr]:
        refs = [self.place(s) for s in node.refs]
        takes = self.given_draws and self.effects.draws[id(node.function)]
        return [*refs, python.name("draws")] if takes else refs

    def callee(self, node: CallNode) -> ast.expr:
        """The instance, or its method that runs a variant."""
        place, owner = self.place(node.slot), node.function.of
        if owner is None:
            return place
        return ast.Attribute(place, method(node.function, owner), ast.Load())

    def inside(self, place: ast.expr, function: Function) -> ast.expr:
        """What reads the weights of an instance: `net.encode.weight`, `net.encode.l2()`."""
        assert function.of is not None
        keyed, text = keyed_names(function.of), python.flat(place)
        if (node := passes_on(function)) is not None:
            return self.inside(slot_expr(node.slot, keyed, text), node.function)
        if not gives_weight(function):
            called = ast.Attribute(place, method(function, function.of), ast.Load())
            return python.call(called)
        (value,) = function.outputs
        assert value.weight is not None
        slot, weight = value.weight
        place = slot_expr(slot, keyed, text)
        return (
            place if isinstance(slot, WeightSlot) else ast.Attribute(place, weight.name, ast.Load())
        )

    def call(self, node: CallNode, operands: Sequence[ast.expr]) -> Lowered:
        if passes_on(node.function) is not None or gives_weight(node.function):
            return Lowered(self.inside(self.place(node.slot), node.function))
        expr = python.call(self.callee(node), *operands, *self._arguments(node))
        effect = self.effects.on(node.function)
        return Lowered(expr, effect=effect)

    def scan(
        self, node: ScanNode, operands: Sequence[ast.expr], targets: Sequence[str]
    ) -> list[Statement]:
        """A loop over the steps, which `unbind` gives."""
        names = self.names.child()
        outputs, states = targets[: node.stacked], targets[node.stacked :]
        own = [identifier(node.function.inputs[p].name) for p in node.states]
        pairs = zip(states, own, strict=True)
        current = [s if s != "_" else names.fresh(name) for s, name in pairs]
        steps = [names.fresh("step") for _ in node.sequences]
        rows = [r if r == "_" else names.fresh("rows") for r in outputs]
        values = [r if r == "_" else names.fresh("y") for r in outputs]
        inputs = list(operands)
        for position, step in zip(node.sequences, steps, strict=True):
            inputs[position] = python.name(step)
        start = [operands[p] for p in node.states]
        for position, state in zip(node.states, current, strict=True):
            inputs[position] = python.name(state)
        expr = python.call(self.callee(node), *inputs, *self._arguments(node))
        body = [assign([*values, *current], expr, node)]
        found: list[Statement] = []
        for row, value, target in zip(rows, values, outputs, strict=True):
            if target != "_":
                found.append(assign([row], python.list_of()))
                body.append(line(f"{row}.append({value})"))
        found.append(assign(current, start[0] if len(start) == 1 else python.tuple_of(*start)))
        runs = [python.flat(operands[p]) + ".unbind(1)" for p in node.sequences]
        if node.reverse:
            runs = [f"reversed({run})" for run in runs]
        run = runs[0] if len(runs) == 1 else f"zip({', '.join(runs)}, strict=True)"
        found.append(block(f"for {', '.join(steps)} in {run}:", body))
        for row, target in zip(rows, outputs, strict=True):
            if target != "_":
                order = f"{row}[::-1]" if node.reverse else row
                found.append(line(f"{target} = torch.stack({order}, 1)"))
        return found

    def repeat(
        self, node: RepeatNode, carried: Sequence[ast.expr], held: Sequence[ast.expr]
    ) -> list[Statement]:
        arguments = [*carried, *held, *self._arguments(node)]
        targets = list(carried)
        if not isinstance(node.slot, ChildSlot) or node.slot.count is None:
            again = assign(targets, python.call(self.place(node.slot), *arguments))
            times = python.call("range", self.static.dim(node.count))
            return [block(ast.For(python.name("_"), times, [], []), [again], node)]
        name = self.names.child().fresh(node.slot.segment.name)
        stack = self.chained.get(id(node.slot)) or self.stack(node.slot)
        run: ast.expr = python.name(name)
        if node.function.of is not None:
            run = ast.Attribute(run, method(node.function, node.function.of), ast.Load())
        again = assign(targets, python.call(run, *arguments))
        return [block(ast.For(python.name(name), stack, [], []), [again], node)]

    def stack(self, slot: ChildSlot) -> ast.expr:
        """The part of a ModuleList that a stack fills."""
        assert slot.count is not None
        return self.part(slot.segment.name, slot.segment.index or 0, slot.count, [slot])

    def part(self, name: str, start: int, count: Dim, slots: Sequence[Slot]) -> ast.expr:
        """A part of a ModuleList: all, from its start, or up to its end. The counts of the stacks
        before it may be arguments of the constructor."""
        place = own(attribute(name), self.owner)
        own_slots = {slot.segment for slot in slots}
        before = Dim.const(0)
        last = True
        for other, _ in owned_slots(self.function.of or self.function):
            if other.segment.name != name or other.segment in own_slots:
                continue
            if (other.segment.index or 0) > start:
                last = False
            elif isinstance(other, ChildSlot):
                before = before + (1 if other.count is None else other.count)
            else:
                before = before + 1
        if last and before == Dim.const(0):
            return place
        lower = None if before == Dim.const(0) else self.static.dim(before)
        upper = None if last else self.static.dim(before + count)
        return ast.Subscript(place, ast.Slice(lower, upper), ast.Load())

    def _nodes(self, nodes: Sequence[Node]) -> None:
        listed = {
            id(slot)
            for slot, branch in owned_slots(self.function)
            if branch is None and is_numbered(slot) and slot.segment.name not in self.keyed
        }
        done = 0
        while done < len(nodes):
            row = chain(nodes, done, listed, lambda v: self._left[v] == 1, self._alike)
            if row:
                self._loop(row)
            else:
                super()._nodes(nodes[done : done + 1])
            done += len(row) or 1

    def _alike(self, a: CallNode | RepeatNode, b: CallNode | RepeatNode) -> bool:
        pairs = [[python.flat(x) for x in self._arguments(node)] for node in (a, b)]
        return pairs[0] == pairs[1]

    def _loop(self, row: Sequence[CallNode | RepeatNode]) -> None:
        """The row as one loop over its part of the list."""
        first, slots = row[0], [node.slot for node in row]
        slot, count = slots[0], Dim.const(0)
        assert isinstance(slot, ChildSlot)
        for node in row:
            count = count + length(node)
        name, index = slot.segment.name, slot.segment.index or 0
        whole = replace(slot, count=count)
        self.chained[id(whole)] = self.part(name, index, count, slots)
        given, results = operands(first), row[-1].results
        self._repeat(
            RepeatNode(whole, first.function, first.dims, count, given, (), results, first.refs)
        )
        written = self.out[-1]
        assert isinstance(written, Block)
        written.header = replace(written.header, nodes=tuple(row))


def overwriting(expr: ast.expr) -> ast.expr:
    """`a.add_(b)` for `a + b`, `F.relu(x, inplace=True)` for `F.relu(x)`."""
    if isinstance(expr, ast.BinOp):
        return python.call(ast.Attribute(expr.left, "add_", ast.Load()), expr.right)
    if isinstance(expr, ast.Call):
        keyword = ast.keyword("inplace", python.constant(True))
        return ast.Call(expr.func, expr.args, [*expr.keywords, keyword])
    return expr


def policy_slot(slot: Slot) -> Iterator[object]:
    """The statics that creating a slot prints."""
    match slot:
        case LayerSlot():
            yield from slot.attributes.values()
            for weight in slot.weights.values():
                if not is_own_default(slot, weight):
                    yield [value for _, value in weight.init.args]
        case WeightSlot(_, weight):
            yield weight.type.shape
            yield [value for _, value in weight.init.args]
        case _:
            return


def policy_node(node: OpNode | RepeatNode) -> Iterator[object]:
    """The statics that a node of the body prints."""
    if isinstance(node, RepeatNode):
        if not isinstance(node.slot, ChildSlot) or node.slot.count is None:
            yield node.count
        return
    target = node.layer.target if isinstance(node.layer, Reference) else node.layer
    if not isinstance(target, LayerSlot):
        yield from op_statics(node)
    op = node.op
    if isinstance(op, Conv | Pooling) and isinstance(op.padding, str):
        image = node.operands[0].type.shape[2:]
        kernel = node.operands[1].type.shape[2:] if isinstance(op, Conv) else op.kernel
        if depends(op, image, kernel):
            yield kernel, op.stride, dilation_of(op)
        else:
            yield same_pairs(image, kernel, op.stride, dilation_of(op))
    elif isinstance(op, Conv) and isinstance(target, LayerSlot) and pads_outside(target):
        yield op.padding


POLICY = Policy(policy_slot, policy_node)
