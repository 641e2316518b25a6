"""`init_block(rng, …)`: the parameters and buffers of one instance, as a tree."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.codegen import (
    NO_DEFAULT,
    Block,
    Line,
    StaticPrinter,
    construction,
    line,
    negated,
    owned_slots,
    python,
    side_condition,
    unsupported_at,
)
from dlspec.codegen.code import Statement, assign, block, returns
from dlspec.ir.dims import Dim
from dlspec.ir.graph import ChildSlot, LayerSlot, WeightSlot
from dlspec.ir.inits import DISTRIBUTIONS, TRUNCATED, VARIANCE
from dlspec.ir.static import plain
from dlspec.ir.types import DType
from dlspec.ops.rules import product
from dlspec_jax.table import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import BranchNode, Function, Slot, Weight
    from dlspec_jax.program import Program


RNG = python.name("rng")


def maker_function(program: Program, function: Function) -> Block:
    """`def init_block(rng, in_channels, channels, *, stride=1): …`"""
    plan = program.makers[id(function)]
    arguments = [a.name for a in plan.arguments if a.default is NO_DEFAULT]
    keywords = [
        f"{a.name}={default_text(a.default)}" for a in plan.arguments if a.default is not NO_DEFAULT
    ]
    rng = ["rng"] if program.traits[id(function)].drawn else []
    names = {a.symbol: python.name(a.name) for a in plan.arguments}
    static = StaticPrinter(function.symbols, names.__getitem__)
    parameters = ", ".join([*rng, *arguments, *keywords])
    body = _Maker(program, function, static).run()
    return block(f"def init_{program.names[id(function)]}({parameters}):", body)


def frozen(value: object) -> object:
    """Lists as tuples: a default must not be mutable."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value  # pyright: ignore


def default_text(default: object) -> str:
    """A default as a parameter list has it."""
    value = frozen(default)
    text = python.flat(python.constant(value))
    return f"({text})" if isinstance(value, tuple) else text


@dataclass
class _Maker:
    program: Program
    function: Function
    static: StaticPrinter
    out: list[Statement] = field(default_factory=list[Statement])

    def run(self) -> list[Statement]:
        slots = list(owned_slots(self.function))
        always = [slot for slot, branch in slots if branch is None and self._made(slot)]
        some = [(slot, branch) for slot, branch in slots if branch is not None and self._made(slot)]
        numbered = {slot.segment.name for slot, _ in some if slot.segment.index is not None}
        tree = self._tree(always, numbered)
        if not some:
            return [*self.out, returns(tree)]
        self.out.append(assign(["params"], tree))
        for slot, branch in some:
            self._sometimes(slot, branch)
        return [*self.out, line("return params")]

    def _made(self, slot: Slot) -> bool:
        if isinstance(slot, ChildSlot):
            return self.program.traits[id(slot.function)].made
        return isinstance(slot, LayerSlot | WeightSlot)

    def _tree(self, slots: Sequence[Slot], as_dict: set[str]) -> ast.expr:
        """{"stem": …, "conv": [.., ..]}; lists where all numbers are there."""
        groups: dict[str, list[Slot]] = {}
        for slot in slots:
            groups.setdefault(slot.segment.name, []).append(slot)
        for name in sorted(as_dict - groups.keys()):
            groups[name] = []
        items = [self._group(group, name in as_dict) for name, group in groups.items()]
        return ast.Dict([python.constant(n) for n in groups], items)

    def _group(self, group: Sequence[Slot], as_dict: bool) -> ast.expr:
        if not as_dict and group[0].segment.index is None and not _is_stack(group[0]):
            return self._made_slot(group[0])
        if as_dict or not _dense(group):
            entries = [self._dict_entry(slot) for slot in group]
            keys: list[ast.expr | None] = [key for key, _ in entries]
            return ast.Dict(keys, [value for _, value in entries])
        items: list[ast.expr] = []
        for slot in group:
            made = self._stack(slot) if _is_stack(slot) else self._made_slot(slot)
            items.append(ast.Starred(made, ast.Load()) if _is_stack(slot) else made)
        if len(items) == 1 and isinstance(items[0], ast.Starred):
            made = items[0].value
            return python.call("stacked", made) if id(group[0]) in self.program.stacks else made
        return python.list_of(*items)

    def _dict_entry(self, slot: Slot) -> tuple[ast.expr | None, ast.expr]:
        first = slot.segment.index or 0
        if not _is_stack(slot):
            return python.constant(first), self._made_slot(slot)
        numbered = python.call("enumerate", self._stack(slot), python.constant(first))
        return None, python.call("dict", numbered)

    def _stack(self, slot: Slot) -> ast.expr:
        """`[init_block(rng, …) for _ in range(depth)]`"""
        assert isinstance(slot, ChildSlot) and slot.count is not None
        source = python.call("range", self.static.dim(slot.count))
        loop = ast.comprehension(ast.Name("_", ast.Store()), source, [], 0)
        return ast.ListComp(self._child(slot), [loop])

    def _made_slot(self, slot: Slot) -> ast.expr:
        match slot:
            case ChildSlot():
                return self._child(slot)
            case LayerSlot():
                names: list[ast.expr | None] = [python.constant(n) for n in slot.weights]
                return ast.Dict(names, [self._weight(w) for w in slot.weights.values()])
            case WeightSlot():
                return self._weight(slot.weight)
            case _:
                raise TypeError(f"{slot.segment} has no weights of its own")

    def _child(self, slot: ChildSlot) -> ast.expr:
        plan = self.program.makers[id(slot.function)]
        positional, keywords = construction(slot, plan, self.static)
        rng = [RNG] if self.program.traits[id(slot.function)].drawn else []
        name = f"init_{self.program.names[id(slot.function)]}"
        return python.call(name, *rng, *positional, **keywords)

    def _sometimes(self, slot: Slot, branch: BranchNode) -> None:
        condition, when = side_condition(branch, slot)
        test = self.static.origin(condition)  # type: ignore[arg-type]
        place: ast.expr = python.expr(f"params[{python.flat(python.constant(slot.segment.name))}]")
        if _is_stack(slot):
            first = python.constant(slot.segment.index or 0)
            value = python.call("enumerate", self._stack(slot), first)
            update = ast.Attribute(place, "update", ast.Load())
            inner: Statement = Line(ast.Expr(ast.Call(update, [value], [])))
        else:
            if slot.segment.index is not None:
                place = ast.Subscript(place, python.constant(slot.segment.index), ast.Load())
            inner = assign([place], self._made_slot(slot))
        last = self.out[-1]
        test = test if when else negated(test)
        header = last.header.code if isinstance(last, Block) else None
        if isinstance(header, ast.If) and ast.dump(header.test) == ast.dump(test):
            assert isinstance(last, Block)
            last.body.append(inner)
            return
        self.out.append(Block(Line(ast.If(test, [], [])), [inner]))

    def _weight(self, weight: Weight) -> ast.expr:
        drawn = draw(weight, self.static)
        args = dict(weight.init.args)
        if "blank" in args:
            drawn = python.call("blank_row", drawn, self.static.value(args["blank"]))
        if weight.type.dtype not in (DType.FLOAT, DType.F32, DType.F64, DType.BF16):
            dtype = python.expr(DTYPES[weight.type.dtype])
            drawn = ast.Call(ast.Attribute(drawn, "astype", ast.Load()), [dtype], [])
        return drawn if weight.trainable else python.call("Buffer", drawn)


def _is_stack(slot: Slot) -> bool:
    return isinstance(slot, ChildSlot) and slot.count is not None


def _dense(group: Sequence[Slot]) -> bool:
    """Whether indices run 0, 1, 2 …, a stack at the end only."""
    indices = [slot.segment.index or 0 for slot in group]
    return indices == list(range(len(group))) and not any(map(_is_stack, group[:-1]))


def draw(weight: Weight, static: StaticPrinter) -> ast.expr:
    """The weight's initialiser as an expression."""
    args = dict(weight.init.args)
    shape = weight.type.shape
    dims = _shape(shape, static)
    kind = weight.init.kind
    fan_in, fan_out = _fans(shape, args, static)
    match kind:
        case "zeros" | "ones":
            return python.call(f"np.{kind}", dims)
        case "constant":
            return python.call("np.full", dims, static.value(args.get("value", 0.0)))
        case "normal" | "truncated_normal":
            if kind == "normal":
                drawn = python.call("rng.standard_normal", dims)
            else:
                low, high = (
                    static.value(args.get(n, d)) for n, d in (("low", -2.0), ("high", 2.0))
                )
                drawn = python.call("jax.random.truncated_normal", _key(), low, high, dims)
            return _affine(drawn, args.get("mean", 0.0), args.get("std", 1.0), static)
        case "uniform":
            low, high = (static.value(args.get(n, d)) for n, d in (("low", 0.0), ("high", 1.0)))
            return python.call("rng.uniform", low, high, dims)
        case "fan_in_uniform" | "kaiming_uniform" if _is_default(args):
            given = [static.value(args["fan_in"])] if "fan_in" in args else []
            if given and ast.dump(given[0]) == ast.dump(_fans(shape, {}, static)[0]):
                given = []
            return python.call("fan_in_uniform", RNG, dims, *given)
        case "signs":
            return python.call("rng.choice", python.expr("(-1.0, 1.0)"), dims)
        case "orthogonal" | "identity" if len(shape) >= 2:
            if kind == "identity":
                square = len(shape) == 2
                sizes = map(static.dim, shape) if square else (dims,)
                drawn = python.call("np.eye" if square else "dirac", *sizes)
            else:
                drawn = python.call(
                    python.call("jax.nn.initializers.orthogonal", column_axis=python.constant(0)),
                    _key(),
                    static.shape((shape[0], product(shape[1:]))),
                )
                if len(shape) > 2:
                    drawn = python.call(ast.Attribute(drawn, "reshape", ast.Load()), dims)
            return _affine(drawn, 0.0, args.get("gain", 1.0), static)
        case _:
            return _scaled(weight, kind, args, fan_in, fan_out, static)


def _scaled(
    weight: Weight,
    kind: str,
    args: Mapping[str, object],
    fan_in: ast.expr,
    fan_out: ast.expr,
    static: StaticPrinter,
) -> ast.expr:
    """Distributions whose variance is a number over a fan (Glorot, He, LeCun)."""
    family, shape_of = VARIANCE.get(kind) or tuple(kind.split("_", 1))
    both = ast.BinOp(fan_in, ast.Add(), fan_out)
    slope = plain(args.get("a", 0.0))  # type: ignore[arg-type]
    assert isinstance(slope, int | float)
    variances = {
        "glorot": (2.0, both),
        "he": (2.0, fan_in),
        "kaiming": (2.0 / (1.0 + slope * slope), fan_in),
        "lecun": (1.0, fan_in),
        "fan_in": (1.0, fan_in),
        "fan_out": (1.0, fan_out),
        "fan_avg": (2.0, both),
    }
    if family not in variances or shape_of not in DISTRIBUTIONS:
        raise unsupported_at("jax", f"the initialiser {kind}", weight.span)
    number, fan = variances[family]
    dims = _shape(weight.type.shape, static)
    if shape_of == "uniform":
        number *= 3
    spread = python.call("math.sqrt", ast.BinOp(python.constant(_short(number)), ast.Div(), fan))
    if shape_of == "normal":
        drawn = python.call("rng.standard_normal", dims)
    elif shape_of == "truncated_normal":
        low, high = python.expr("-2.0"), python.expr("2.0")
        drawn = python.call("jax.random.truncated_normal", _key(), low, high, dims)
        drawn = ast.BinOp(drawn, ast.Div(), python.constant(TRUNCATED))
    else:
        drawn = python.call("rng.uniform", python.expr("-1"), python.constant(1), dims)
    scaled = ast.BinOp(spread, ast.Mult(), drawn)
    return _affine(scaled, 0.0, args.get("gain", 1.0), static)


def _key() -> ast.expr:
    """A key for what NumPy has no distribution of."""
    return python.expr("jax.random.key(rng.integers(2**31))")


def _is_default(args: Mapping[str, object]) -> bool:
    """Whether `a` is √5, with which Kaiming's bound is 1 / √fan_in."""
    return args.get("a", math.sqrt(5.0)) == math.sqrt(5.0)


def _short(number: float) -> float:
    """2 for 2.0"""
    return int(number) if number == int(number) else number


def _shape(shape: Sequence[Dim], static: StaticPrinter) -> ast.expr:
    """A vector's length needs no tuple."""
    return static.shape(tuple(shape))


def _fans(
    shape: Sequence[Dim], args: Mapping[str, object], static: StaticPrinter
) -> tuple[ast.expr, ast.expr]:
    """(fan_in, fan_out) of a weight [out, in, *kernel]; a vector [n] has fan n both ways."""
    rows = shape[0] if shape else Dim.const(1)
    columns = shape[1] if len(shape) > 1 else rows
    receptive = Dim.const(1)
    for extent in shape[2:]:
        receptive = receptive * extent
    found = [args.get("fan_in", columns * receptive), args.get("fan_out", rows * receptive)]
    fan_in, fan_out = (static.value(value) for value in found)
    return fan_in, fan_out


def _affine(drawn: ast.expr, mean: object, scale: object, static: StaticPrinter) -> ast.expr:
    """mean + scale * drawn, without what changes nothing."""
    if scale != 1:
        drawn = ast.BinOp(static.value(scale), ast.Mult(), drawn)
    return drawn if mean == 0 else ast.BinOp(static.value(mean), ast.Add(), drawn)
