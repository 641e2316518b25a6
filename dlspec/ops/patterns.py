"""Axes by name: `rearrange`, `reduce` and `repeat`, with the patterns of einops (Rogozhnikov 2022).

A pattern is two lists of axes. A name is an axis, `1` an axis of extent one, `...` all axes that
are left, and brackets are axes that lie in one, the last the fastest. What a pattern does is
written in reshape, transpose, a reduction and broadcast_to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from dlspec.codes import BAD_ARGUMENT, NEGATIVE_SIZE, NOT_DIVISIBLE, RANK
from dlspec.ir.dims import Dim
from dlspec.ops import arguments as arg
from dlspec.ops import reduce
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.rules import ONE, ZERO, divisors, eq, ge, product, refuted, require_equal, text
from dlspec.ops.shape import BroadcastTo, Reshape, Transpose, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder, Op

TOKEN = re.compile(r"\s*(?:(\.\.\.)|([A-Za-z_]\w*)|(\d+)|([()]))")
REST = "..."
REDUCTIONS: dict[str, type[reduce.Reduction | reduce.BoolReduction]] = {
    "sum": reduce.Sum,
    "mean": reduce.Mean,
    "max": reduce.Max,
    "min": reduce.Min,
    "prod": reduce.Prod,
    "all": reduce.AllOf,
    "any": reduce.AnyOf,
}


@dataclass(frozen=True)
class Group:
    """One axis of a tensor: the atoms that lie in it. bare: it stands without brackets."""

    atoms: tuple[str, ...]
    bare: bool = False

    def __str__(self) -> str:
        inner = " ".join(atom.partition("#")[0] for atom in self.atoms)
        return inner if self.bare else f"({inner})"


@dataclass
class Pattern:
    """A pattern for one tensor. sizes: the extent of each atom that is known.

    An atom is an axis' name, `2#0` for the first number, or `...0` for the first axis that `...`
    stands for.
    """

    b: LayerBuilder
    name: str
    written: str
    left: list[Group] = field(default_factory=list[Group])
    right: list[Group] = field(default_factory=list[Group])
    sizes: dict[str, Dim] = field(default_factory=dict[str, Dim])

    def fail(self, message: str, *notes: str, help: str = "", code: Any = BAD_ARGUMENT) -> NoReturn:
        written = f'in "{self.written}"'
        raise self.b.fail(code, f"{self.name}: {message}", notes=[written, *notes], help=help)

    def bindings(self) -> list[str]:
        """`h=2 p=4`, what is known of the axes so far."""
        known = (f"{k}={v}" for k, v in self.sizes.items() if k[0] != "." and "#" not in k)
        line = " ".join(known)
        return [f"so far {line}"] if line else []

    # --- reading ---

    def read(self) -> None:
        sides = self.written.split("->")
        if len(sides) != 2:
            help = 'write "n (h p) c -> n h (p c)"'
            self.fail("a pattern has a left and a right side, with one `->` between", help=help)
        self.left, self.right = self.side(sides[0]), self.side(sides[1])

    def side(self, written: str) -> list[Group]:
        groups: list[Group] = []
        inside: list[str] | None = None
        for token in self.tokens(written):
            if token == "(":
                if inside is not None:
                    self.fail("brackets inside brackets")
                inside = []
            elif token == ")":
                if inside is None:
                    self.fail("`)` without `(`")
                groups.append(Group(tuple(inside)))
                inside = None
            elif inside is not None:
                inside.append(token)
            else:
                groups.append(Group((token,), bare=True))
        if inside is not None:
            self.fail("`(` is not closed")
        seen: set[str] = set()
        for atom in atoms_of(groups):
            if atom in seen:
                self.fail(f"`{atom}` stands twice on one side")
            seen.add(atom)
        return groups

    def tokens(self, written: str) -> Iterable[str]:
        place, numbers = 0, 0
        written = written.rstrip()
        while place < len(written):
            match = TOKEN.match(written, place)
            if match is None:
                self.fail(f"`{written[place:].strip()[:1]}` is no part of a pattern")
            place = match.end()
            token = match[0].strip()
            if match[3]:
                if int(token) < 1:
                    self.fail(f"an axis of extent {token}")
                token, numbers = f"{int(token)}#{numbers}", numbers + 1
            yield token

    # --- against a tensor ---

    def bind(self, x: Value, given: Mapping[str, Any]) -> None:
        """Finds the extent of every atom on the left; REST becomes atoms of its own."""
        self.open_rest(x)
        for atom in (*atoms_of(self.left), *atoms_of(self.right)):
            if "#" in atom:
                self.sizes[atom] = Dim.const(int(atom.partition("#")[0]))
        named = {a for a in (*atoms_of(self.left), *atoms_of(self.right)) if a[0] != "."}
        for axis, value in given.items():
            if axis not in named:
                self.fail(f"`{axis}` is no axis of the pattern")
            size = arg.dim(self.b, f"{self.name}: {axis}", value)
            if refuted(self.b, ge(size, ONE)):
                self.fail(f"`{axis}` is {size}, but must be 1 or more", code=NEGATIVE_SIZE)
            self.sizes[axis] = size
        for group, extent in zip(self.left, x.type.shape, strict=True):
            self.measure(group, extent)

    def open_rest(self, x: Value) -> None:
        given, rank = len(self.left), x.type.rank
        rest = any(REST in group.atoms for group in self.left)
        if rank != given and not (rest and rank >= given - 1):
            least = f"at least {given - 1}" if rest else str(given)
            message = f"the left side has {least} axes, the input {text(x.type.shape)} has {rank}"
            self.fail(message, code=RANK)
        if any(REST in group.atoms and not group.bare for group in self.left):
            self.fail("`...` in brackets on the left")
        if not rest and any(REST in group.atoms for group in self.right):
            self.fail("`...` stands on the right only")
        atoms = tuple(f"{REST}{i}" for i in range(rank - given + 1))
        self.left, self.right = opened(self.left, atoms), opened(self.right, atoms)

    def measure(self, group: Group, extent: Dim) -> None:
        unknown = [atom for atom in group.atoms if atom not in self.sizes]
        known = product(self.sizes[atom] for atom in group.atoms if atom not in unknown)
        if len(unknown) > 1:
            listed = " and ".join(unknown)
            help = f"give all but one: {unknown[-1]} = …"
            message = f"`{group}` is {extent}, but of {listed} none is known"
            self.fail(message, *self.bindings(), help=help)
        if unknown:
            self.divide(group, extent, known)
            self.sizes[unknown[0]] = extent // known
            return
        message = f"{self.name}: `{group}` is {known}, but the axis is {extent}"
        notes = [f'in "{self.written}"', *self.bindings()]
        require_equal(self.b, known, extent, message, notes)

    def divide(self, group: Group, extent: Dim, known: Dim) -> None:
        relation = eq(extent % known, ZERO)
        message = f"`{group}` is {extent}, which does not divide by {known}"
        if refuted(self.b, relation):
            self.fail(message, *self.bindings(), help=divisors(extent), code=NOT_DIVISIBLE)
        self.b.require(relation, f"{self.name}: {message}", NOT_DIVISIBLE)

    # --- carrying out ---

    def shape(self, atoms: Iterable[str]) -> tuple[Dim, ...]:
        return tuple(self.sizes[atom] for atom in atoms)

    def apart(self, x: Value, atoms: Sequence[str]) -> Value:
        """x with an axis for each atom."""
        if [group.atoms for group in self.left] == [(atom,) for atom in atoms]:
            return x
        return self.b.emit(Reshape(self.shape(atoms)), x)

    def ordered(self, x: Value, atoms: Sequence[str], wanted: Sequence[str]) -> Value:
        perm = tuple(atoms.index(atom) for atom in wanted)
        return x if perm == tuple(range(len(perm))) else self.b.emit(Transpose(perm), x)

    def together(self, x: Value, atoms: Sequence[str]) -> Value:
        """The axes of the right side of x with an axis for each atom."""
        if [group.atoms for group in self.right] == [(atom,) for atom in atoms]:
            return x
        return self.b.emit(Reshape(tuple(product(self.shape(g.atoms)) for g in self.right)), x)


def atoms_of(groups: Iterable[Group]) -> list[str]:
    return [atom for group in groups for atom in group.atoms]


def is_one(atom: str) -> bool:
    return atom.startswith("1#")


def opened(groups: Sequence[Group], rest: tuple[str, ...]) -> list[Group]:
    """The groups with the axes that REST stands for."""
    found: list[Group] = []
    for group in groups:
        if group.bare and group.atoms == (REST,):
            found += [Group((atom,), bare=True) for atom in rest]
        else:
            parts = [rest if atom == REST else (atom,) for atom in group.atoms]
            found.append(Group(tuple(a for part in parts for a in part), group.bare))
    return found


def pattern(
    b: LayerBuilder, name: str, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> tuple[Pattern, Value]:
    found = Pattern(b, name, str(arg.plain(statics["pattern"])))
    found.read()
    x: Value = tensors["tensor"]
    found.bind(x, statics["**sizes"])
    return found, x


def no_numbers(p: Pattern, groups: Sequence[Group]) -> None:
    for atom in atoms_of(groups):
        if "#" in atom and not is_one(atom):
            number = atom.partition("#")[0]
            help = f"name the axis, and give its size: k = {number}"
            p.fail(f"an axis of extent {number} has no name", help=help)


def same_axes(p: Pattern, some: Sequence[Group], others: Sequence[Group], side: str) -> None:
    """An axis of some that is not in others is an error."""
    lacking = [a for a in atoms_of(some) if a not in atoms_of(others) and "#" not in a]
    if lacking:
        shown = REST if lacking[0].startswith(REST) else lacking[0]
        p.fail(f"`{shown}` stands on the {side} only", *p.bindings())


def _rearrange(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    p, x = pattern(b, "rearrange", tensors, statics)
    no_numbers(p, (*p.left, *p.right))
    same_axes(p, p.left, p.right, "left")
    same_axes(p, p.right, p.left, "right")
    atoms = [atom for atom in atoms_of(p.left) if not is_one(atom)]
    wanted = [atom for atom in atoms_of(p.right) if not is_one(atom)]
    return p.together(p.ordered(p.apart(x, atoms), atoms, wanted), wanted)


def _reduce(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    p, x = pattern(b, "reduce", tensors, statics)
    kind = arg.word(b, "reduce: reduction", statics["reduction"], tuple(REDUCTIONS))
    no_numbers(p, p.right)
    same_axes(p, p.right, p.left, "right")
    atoms = [atom for atom in atoms_of(p.left) if not is_one(atom)]
    wanted = [atom for atom in atoms_of(p.right) if not is_one(atom)]
    gone = tuple(i for i, atom in enumerate(atoms) if atom not in wanted)
    y = p.apart(x, atoms)
    if gone:
        op: Op = REDUCTIONS[kind](gone, False)
        y = b.emit(op, y)
    kept = [atom for atom in atoms if atom in wanted]
    return p.together(p.ordered(y, kept, wanted), wanted)


def _repeat(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    p, x = pattern(b, "repeat", tensors, statics)
    no_numbers(p, p.left)
    same_axes(p, p.left, p.right, "left")
    atoms = [atom for atom in atoms_of(p.left) if not is_one(atom)]
    wanted = [atom for atom in atoms_of(p.right) if not is_one(atom)]
    for atom in wanted:
        if atom not in p.sizes:
            p.fail(f"how often `{atom}`?", *p.bindings(), help=f"give its size: {atom} = …")
    new = tuple(i for i, atom in enumerate(wanted) if atom not in atoms)
    y = p.ordered(p.apart(x, atoms), atoms, [atom for atom in wanted if atom in atoms])
    if new:
        y = b.emit(BroadcastTo(p.shape(wanted)), b.emit(Unsqueeze(new), y))
    return p.together(y, wanted)


_PATTERN = StaticParam("pattern", kinds=("string",))
_SIZES = StaticParam("**sizes", (), ("int",))

BUILTINS = (
    Builtin(
        "rearrange",
        ("tensor",),
        _rearrange,
        (_PATTERN, _SIZES),
        doc='Axes split, moved and merged by name: "n (h p) c -> n h (p c)".',
    ),
    Builtin(
        "reduce",
        ("tensor",),
        _reduce,
        (_PATTERN, StaticParam("reduction", kinds=("string",)), _SIZES),
        doc="The axes that the right side leaves out are reduced: by sum, mean, max, min, prod, "
        "all or any.",
    ),
    Builtin(
        "repeat",
        ("tensor",),
        _repeat,
        (_PATTERN, _SIZES),
        doc="The elements again along the axes that the right side adds.",
    ),
)
