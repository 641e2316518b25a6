"""Bodies as statements: what is used once goes inline while the line stays readable."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlspec.codegen import (
    Line,
    Names,
    Statement,
    StaticPrinter,
    assign,
    identifier,
    lower,
    python,
    shape_text,
)
from dlspec.codegen.tables import Template, read_twice, row_of
from dlspec.ir.dims import Dim
from dlspec.ir.types import DType
from dlspec.ops import elementwise, indexing, layernorm, norm, random, recurrent, shape
from dlspec_numpy.ops import AttentionWithWeights, CrossEntropyWithGradient, GeluWithSlope
from dlspec_numpy.table import DTYPES, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dlspec.ir.graph import Node, OpNode, Value
    from dlspec.ir.static import Symbol
    from dlspec.ops.base import Op

RESULTS: dict[type, tuple[str, ...]] = {  # names for ops of several results; "" as for any other
    norm.BatchNorm: ("", "new_mean", "new_var", "mean", "rstd"),
    norm.BatchNormGrad: ("", "d_scale", "d_shift"),
    layernorm.LayerNormGrad: ("", "d_scale", "d_shift"),
    layernorm.RmsNormGrad: ("", "d_scale"),
    random.Dropout: ("", "mask"),
    recurrent.Lstm: ("", "h_n", "c_n", "steps"),
    recurrent.Gru: ("", "h_n", "steps"),
    recurrent.Rnn: ("", "h_n", "steps"),
    CrossEntropyWithGradient: ("loss", "d_logits"),
    GeluWithSlope: ("", "slope"),
    AttentionWithWeights: ("", "weights"),
}
UNKNOWN = "_"  # the symbol of extents that differ between merged specialisations
MAX_PIECE = 52  # characters that may go inline
MAX_INLINE = 64  # of all that goes inline into one expression


@dataclass(slots=True)
class Piece:
    """An expression, the variables it reads and the nodes it carries out."""

    expr: ast.expr
    reads: tuple[Value, ...] = ()
    nodes: tuple[Node, ...] = ()

    @property
    def size(self) -> int:
        return len(python.flat(self.expr))


# What Python's own numbers stay numbers under: np.float64 would make every array one of its type.
ARITHMETIC = frozenset(
    {
        *(elementwise.Neg, elementwise.Add, elementwise.Sub, elementwise.Mul, elementwise.Div),
        *(elementwise.FloorDiv, elementwise.Mod, elementwise.Pow, elementwise.Reciprocal),
    }
)
ON_NUMBERS: dict[type[Op], str] = {
    elementwise.Exp: "x: math.exp(x)",
    elementwise.Log: "x: math.log(x)",
    elementwise.Log1p: "x: math.log1p(x)",
    elementwise.Expm1: "x: math.expm1(x)",
    elementwise.Sqrt: "x: math.sqrt(x)",
    elementwise.Rsqrt: "x: 1 / math.sqrt(x)",
    elementwise.Square: "x: x**2",
    elementwise.Abs: "x: abs(x)",
    elementwise.Sin: "x: math.sin(x)",
    elementwise.Cos: "x: math.cos(x)",
    elementwise.Maximum: "a, b: max(a, b)",
    elementwise.Minimum: "a, b: min(a, b)",
}


@dataclass
class Lowering:
    """Prints one method's body. lookup: a parameter or dim symbol as an expression.

    uses: how often each value is read. records: whether lines name their nodes.
    gradients: whether this is a backward.
    """

    names: Names
    symbols: Mapping[str, Symbol]
    lookup: Callable[[str], ast.expr]
    uses: Counter[Value]
    draws: bool = False
    records: bool = True
    gradients: bool = False
    out: list[Statement] = field(default_factory=list[Statement])
    place: dict[Value, ast.expr] = field(default_factory=dict["Value", ast.expr])
    pending: dict[Value, Piece] = field(default_factory=dict["Value", Piece])
    holder: dict[str, Value] = field(default_factory=dict[str, "Value"])
    scratch: set[str] = field(default_factory=set[str])
    shapes: dict[tuple[Dim, ...], Value] = field(default_factory=dict[tuple[Dim, ...], "Value"])
    measured: list[Value] = field(default_factory=list["Value"])  # whose shape the op reads
    numbers: set[Value] = field(default_factory=set["Value"])  # Python numbers
    waiting: tuple[Node, ...] = ()
    preferred: dict[Value, str] = field(default_factory=dict["Value", str])
    last: Value | None = None  # what the method returns, when it is one value

    def __post_init__(self) -> None:
        self.static = StaticPrinter(self.symbols, self.lookup)

    # --- values ---

    def weight(self, value: Value) -> ast.expr:
        raise NotImplementedError

    def default_name(self, value: Value) -> str:
        """The name of a value that the spec does not name."""
        return "h"

    def bind(self, value: Value, name: str) -> None:
        """value is in variable `name` from here on."""
        self.place[value] = python.name(name)
        self.holder[name] = value
        if value.type.rank:
            self.shapes[value.type.shape] = value

    def piece(self, value: Value) -> Piece:
        """What stands for a value."""
        if value in self.pending:
            return self.pending.pop(value)
        if value in self.place:
            expr = self.place[value]
            return Piece(expr, (value,) if isinstance(expr, ast.Name) else ())
        if value.weight is not None:
            return Piece(self.weight(value))
        raise KeyError(f"value {value.name or value.type} has no place")

    def pieces(self, values: Sequence[Value]) -> list[Piece]:
        """What stands for values, bound first where the whole would be too long."""
        waiting = [v for v in values if v in self.pending and v is not self.last]
        total = sum(self.pending[v].size for v in waiting)
        while waiting and total > MAX_INLINE:
            longest = max(waiting, key=lambda v: self.pending[v].size)
            waiting.remove(longest)
            total -= self.pending[longest].size
            self.settle(longest)
        return [self.piece(v) for v in values]

    def settle(self, value: Value) -> None:
        """Binds a pending value to a name."""
        if value in self.pending:
            piece = self.pending.pop(value)
            self.assign((value,), piece)

    def settle_all(self) -> None:
        for value in list(self.pending):
            self.settle(value)

    def give(self, value: Value, piece: Piece, *, effect: bool = False) -> None:
        """value is piece: inline if it is read once and short, else bound."""
        if isinstance(piece.expr, ast.Constant | ast.UnaryOp) and not piece.reads:
            self.place[value] = piece.expr
            self.waiting = (*self.waiting, *piece.nodes)
            return
        once = self.uses[value] == 1 and not value.name and not effect
        if once and (piece.size <= MAX_PIECE or value is self.last):
            self.pending[value] = piece
            return
        self.assign((value,), piece)

    def assign(self, values: Sequence[Value], piece: Piece, *extra: str) -> None:
        """values, extra = piece, as a statement."""
        self.spend(piece.reads)
        targets: list[ast.expr] = [self.target(v, piece.reads) for v in values]
        whole: list[ast.expr | str] = list(targets)
        if extra:
            whole = [python.tuple_of(*targets) if len(targets) > 1 else targets[0], *extra]
        shown = [v for v in values if v.type.rank and self.uses[v] > 0]
        comment = ", ".join(map(shape_text, shown))
        self.say(assign(whole, piece.expr, comment=comment), piece.nodes)

    def target(self, value: Value, reads: Sequence[Value]) -> ast.expr:
        if self.uses[value] <= 0:
            return python.name("_")
        name = self.choose(value, reads)
        self.bind(value, name)
        return python.name(name)

    def choose(self, value: Value, reads: Sequence[Value]) -> str:
        """The spec's name, that of an operand that dies here, or a new one."""
        if value.name:
            return self.names.fresh(identifier(value.name))
        for read in reads:
            expr = self.place.get(read)
            if isinstance(expr, ast.Name) and expr.id in self.scratch and self.is_free(expr.id):
                return expr.id
        name = self.names.fresh(self.preferred.get(value) or self.default_name(value))
        self.scratch.add(name)
        return name

    def is_free(self, name: str) -> bool:
        holder = self.holder[name]
        return self.uses[holder] <= 0 and not any(holder in p.reads for p in self.pending.values())

    def spend(self, reads: Iterable[Value]) -> None:
        for value in reads:
            self.uses[value] -= 1

    def say(self, line: Line, nodes: Sequence[Node] = ()) -> None:
        if self.records:
            line.nodes = (*line.nodes, *self.once((*self.waiting, *nodes)))
        self.waiting = ()
        self.out.append(line)

    def once(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        return tuple(nodes)

    def shape(self, result: Value) -> ast.expr:
        """The shape of a result: `x.shape` of a variable that has it, or written out."""
        dims = result.type.shape
        if all(d.is_const for d in dims):
            return self.static.shape(dims)
        value = self.shapes.get(dims)
        if value is not None and self.holds(value) and UNKNOWN not in symbols_of(dims):
            self.uses[value] += 1  # its variable stays until the line is written
            self.measured.append(value)
            return ast.Attribute(self.place[value], "shape", ast.Load())
        known = self.shape_like(result)
        return self.static.shape(dims) if known is None else known

    def shape_like(self, result: Value) -> ast.expr | None:
        """The shape of what `result` is the gradient of (in backward bodies)."""
        return None

    def holds(self, value: Value) -> bool:
        expr = self.place.get(value)
        return isinstance(expr, ast.Name) and self.holder.get(expr.id) is value

    def spatial(self, result: Value) -> ast.expr:
        """The spatial extents of a result: `x.shape[2:]`, or written out."""
        size = result.type.shape[2:]
        if all(d.is_const for d in size):
            return self.static.shape(size)
        whole = self.shape(result)
        if isinstance(whole, ast.Tuple):
            return self.static.shape(size)
        return ast.Subscript(whole, ast.Slice(python.constant(2)), ast.Load())

    # --- ops ---

    def op(self, node: OpNode) -> None:
        """One op, by the table, or where it needs to know its surroundings by a method here."""
        for value in read_twice(row_of(TABLE, "numpy", node.op), node.operands):
            self.settle(value)  # it must not be computed twice
        operands = self.pieces(node.operands)
        exprs = [p.expr for p in operands]
        self.measured = []
        special = _SPECIAL.get(type(node.op))
        expr = special(self, node, exprs) if special is not None else None
        if self.is_number(node):
            self.numbers.add(node.results[0])
            if type(node.op) in ON_NUMBERS:
                expr = Template.parse(ON_NUMBERS[type(node.op)]).fill(node, exprs, self.static)
        if expr is None:
            expr = lower(TABLE, "numpy", node, exprs, self.static)
        reads = (*(v for p in operands for v in p.reads), *self.measured)
        nodes = (*(n for p in operands for n in p.nodes), node)
        piece = Piece(expr, reads, nodes)
        if len(node.results) == 1:
            self.give(node.results[0], piece, effect=node.op.random or node.op.ordered)
        elif any(self.uses[v] > 0 for v in node.results):
            names = RESULTS.get(type(node.op), ())
            self.preferred.update((v, n) for v, n in zip(node.results, names, strict=False) if n)
            self.assign(node.results, piece)

    def is_number(self, node: OpNode) -> bool:
        """Whether the result is a Python number: made of numbers, by what `ON_NUMBERS` or Python
        itself computes."""
        if isinstance(node.op, elementwise.Constant):
            return not isinstance(node.op.value, tuple)
        arithmetic = type(node.op) in ON_NUMBERS or type(node.op) in ARITHMETIC
        return arithmetic and all(v in self.numbers for v in node.operands)

    def dtype(self, dtype: DType) -> ast.expr:
        """An element type; the working float's is that of a variable."""
        if dtype in DTYPES:
            return python.expr(DTYPES[dtype])
        for value in list(self.place):
            if value.type.dtype is DType.FLOAT and value.type.rank and self.holds(value):
                return ast.Attribute(self.place[value], "dtype", ast.Load())
        return self.working_dtype()

    def working_dtype(self) -> ast.expr:
        """The working float type, where no variable tells it."""
        raise NotImplementedError


def symbols_of(dims: tuple[Dim, ...]) -> set[str]:
    return {symbol for dim in dims for symbol in dim.symbols}


def _reshape(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr:
    op = node.op
    assert isinstance(op, shape.Reshape)
    method = ast.Attribute(operands[0], "reshape", ast.Load())
    open_ = [i for i, d in enumerate(op.shape) if not d.is_const]
    if len(open_) <= 1 and op.shape:
        dims = [
            python.expr("-1") if i in open_ else body.static.dim(d) for i, d in enumerate(op.shape)
        ]
        return python.call(method, *dims)
    whole = body.shape(node.results[0])
    if isinstance(whole, ast.Tuple) and whole.elts:
        return python.call(method, *whole.elts)
    return python.call(method, whole)


def _broadcast(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr:
    shape_ = body.shape(node.results[0])
    if isinstance(operands[0], ast.Constant):
        number = operands[0].value
        dtype = body.dtype(node.results[0].type.dtype)
        if number == 0:
            return python.call("np.zeros", shape_, dtype)
        return python.call("np.full", shape_, operands[0], dtype)
    return python.call("np.broadcast_to", operands[0], shape_)


def _cast(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr:
    op = node.op
    assert isinstance(op, elementwise.Cast)
    if isinstance(operands[0], ast.Constant) or node.operands[0].type.dtype is op.dtype:
        return operands[0]
    method = ast.Attribute(operands[0], "astype", ast.Load())
    return python.call(method, body.dtype(op.dtype))


def _one_hot(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr:
    op = node.op
    assert isinstance(op, indexing.OneHot)
    return python.call("one_hot", operands[0], body.static.dim(op.classes), body.dtype(op.dtype))


def _draw(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr:
    if body.draws:
        return python.expr("next(draws)")
    op = node.op
    dims = body.static.shape(node.results[0].type.shape)
    dtype = body.dtype(node.results[0].type.dtype)
    if isinstance(op, random.RandomNormal):
        numbers = {"mean": body.static.value(op.mean), "std": body.static.value(op.std)}
        return python.call("random_normal", python.name("rng"), dims, dtype, **numbers)
    assert isinstance(op, random.RandomUniform)
    bounds = {"low": body.static.value(op.low), "high": body.static.value(op.high)}
    return python.call("random_uniform", python.name("rng"), dims, dtype, **bounds)


def _dropout(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr | None:
    if body.draws:
        return python.call("apply_mask", operands[0], python.expr("next(draws)"))
    return None


def _where(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr | None:
    """The gradient of a ReLU as a product with its mask: a third of the time of `np.where`."""
    condition, gradient, other = operands
    zero = isinstance(other, ast.Constant) and other.value == 0
    if body.gradients and zero and isinstance(condition, ast.Compare):
        return ast.BinOp(gradient, ast.Mult(), condition)
    return None


def _sized(body: Lowering, node: OpNode, operands: Sequence[ast.expr]) -> ast.expr:
    """A gradient that must be told the spatial extents of its result."""
    size = body.spatial(node.results[0])
    return lower(TABLE, "numpy", node, [*operands, size], body.static)


def _register() -> dict[type, Callable[[Lowering, OpNode, Sequence[ast.expr]], ast.expr | None]]:
    from dlspec.ops import conv, pool, resize

    return {
        shape.Reshape: _reshape,
        shape.BroadcastTo: _broadcast,
        elementwise.Cast: _cast,
        elementwise.Where: _where,
        indexing.OneHot: _one_hot,
        random.RandomNormal: _draw,
        random.RandomUniform: _draw,
        random.Dropout: _dropout,
        conv.ConvInputGrad: _sized,
        pool.AvgPoolGrad: _sized,
        resize.ResizeGrad: _sized,
    }


_SPECIAL = _register()
