"""What sizes are made of: atoms, and products of them."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from dlspec.ir.polynomial import Dim


class Kind(IntEnum):
    SYMBOL = 0
    FLOOR = 1
    MAX = 2
    MIN = 3
    POWER = 4


class Atom:
    """What a polynomial is made of; interned, so equality is identity."""

    __slots__ = ("__weakref__", "args", "depth", "key", "kind", "name", "symbols")

    kind: Kind
    name: str
    args: tuple[Dim, ...]
    key: tuple[object, ...]
    symbols: frozenset[str]
    depth: int

    def __reduce__(self) -> tuple[Callable[..., Atom], tuple[Kind, str, tuple[Dim, ...]]]:
        return atom_of, (self.kind, self.name, self.args)


Monomial: TypeAlias = tuple[tuple[Atom, int], ...]

ONE: Monomial = ()


class DimLimit(ValueError):
    """A size grew beyond what is computed with: too deep, too many terms, too large."""


_MAX_DEPTH = 50
_INTERNED: WeakValueDictionary[tuple[Kind, str, tuple[Dim, ...]], Atom] = WeakValueDictionary()


def atom_of(kind: Kind, name: str, args: tuple[Dim, ...]) -> Atom:
    identity = (kind, name, args)
    atom = _INTERNED.get(identity)
    if atom is None:
        atom = Atom()
        atom.kind, atom.name, atom.args = kind, name, args
        atom.depth = 1 + max((a.depth for arg in args for a in arg.atoms), default=0)
        if atom.depth > _MAX_DEPTH:
            raise DimLimit(f"a size nested more than {_MAX_DEPTH} deep")
        atom.key = (int(kind), name, *(arg.key for arg in args))
        named = frozenset((name,)) if kind is Kind.SYMBOL else frozenset[str]()
        atom.symbols = named.union(*(arg.symbols for arg in args))
        _INTERNED[identity] = atom
    return atom


def _by_key(power: tuple[Atom, int]) -> tuple[object, ...]:
    return power[0].key


def times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, exponent in b:
        powers[atom] = powers.get(atom, 0) + exponent
    return tuple(sorted(powers.items(), key=_by_key))


def over(a: Monomial, b: Monomial) -> Monomial | None:
    """a / b, or None when b does not divide a."""
    if not b:
        return a
    powers = dict(a)
    for atom, exponent in b:
        left = powers.get(atom, 0) - exponent
        if left < 0:
            return None
        if left:
            powers[atom] = left
        else:
            del powers[atom]
    return tuple(powers.items())


def monomial_key(monomial: Monomial) -> tuple[object, ...]:
    """Orders high degrees first, the constant last."""
    return (-sum(n for _, n in monomial), tuple((atom.key, n) for atom, n in monomial))
