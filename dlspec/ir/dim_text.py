"""Sizes as text: readable Python, and back."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, TypeAlias

from dlspec.ir.atoms import Atom, Kind, Monomial, monomial_key, over

if TYPE_CHECKING:
    from dlspec.ir.polynomial import Dim

_MAX_TEXT = 20_000
_MAX_NODES = 5_000

_Names: TypeAlias = Mapping[str, str]

_SUM, _PRODUCT, _POWER, _PRIMARY = range(4)  # how tightly a printed piece holds together


def remainders(dim: Dim) -> tuple[list[tuple[Dim, Dim, Dim]], Dim]:
    """([(factor, a, b), …], rest): dim is the sum of factor * (a % b), and the rest."""
    found: list[tuple[Dim, Dim, Dim]] = []
    while (step := _remainder(dim)) is not None:
        factor, a, b = step
        found.append(step)
        dim = dim - factor * (a % b)
    return found, dim


def _remainder(dim: Dim) -> tuple[Dim, Dim, Dim] | None:
    if len(dim.terms) < 2:
        return None
    for monomial, coefficient in sorted(dim.terms.items(), key=lambda t: monomial_key(t[0])):
        for atom, exponent in monomial:
            if atom.kind is not Kind.FLOOR or exponent != 1:
                continue
            cofactor = over(monomial, ((atom, 1),))
            candidate = cofactor is not None and _candidate(atom, coefficient, cofactor)
            if candidate:
                factor, a, b = candidate
                if len((dim - factor * (a % b)).terms) + 1 < len(dim.terms):
                    return candidate
    return None


def _candidate(atom: Atom, coefficient: int, cofactor: Monomial) -> tuple[Dim, Dim, Dim] | None:
    """The factor * (a % b) that would account for coefficient * cofactor * atom."""
    n, d = atom.args
    new = type(n)
    if d.is_const:
        # n // d is (n // (d / g)) // g
        modulus = gcd(coefficient, d.constant)
        inner = n // (d.constant // modulus)
        factor = new({cofactor: -coefficient // modulus})
        return (factor, inner, new.const(modulus)) if modulus > 1 else None
    lead = min(d.terms, key=monomial_key)
    rest = over(cofactor, lead)
    if rest is None or coefficient % d.terms[lead]:
        return None
    return new({rest: -coefficient // d.terms[lead]}), n, d


def print_size(dim: Dim, names: Mapping[str, str]) -> str:
    """A Python expression with the symbols as `names` says, or as themselves."""
    return _sum(dim, names)[0]


def _sum(dim: Dim, names: _Names) -> tuple[str, int]:
    mods, rest = remainders(dim)
    pieces: list[tuple[int, str, int]] = []
    for factor, a, b in mods:
        ((monomial, coefficient),) = factor.terms.items()
        factors = [*_factors(monomial, names), _quotient(a, "%", b, names)]
        pieces.append(_product(coefficient, factors))
    for monomial, coefficient in sorted(rest.terms.items(), key=lambda t: monomial_key(t[0])):
        pieces.append(_product(coefficient, _factors(monomial, names)))
    if not pieces:
        return "0", _PRIMARY
    if pieces[0][0] < 0:
        first = next((i for i, piece in enumerate(pieces) if piece[0] > 0), 0)
        pieces.insert(0, pieces.pop(first))
    sign, text, strength = pieces[0]
    if sign < 0:
        text, strength = f"-{_held(text, strength, _POWER)}", _SUM
    for sign, more, _ in pieces[1:]:
        text, strength = f"{text} {'+' if sign > 0 else '-'} {more}", _SUM
    return text, strength


def _product(coefficient: int, factors: list[tuple[str, int]]) -> tuple[int, str, int]:
    sign, size = (1 if coefficient > 0 else -1), abs(coefficient)
    if size != 1 or not factors:
        factors = [(str(size), _PRIMARY), *factors]
    if len(factors) == 1:
        return sign, *factors[0]
    return sign, " * ".join(_held(text, held, _POWER) for text, held in factors), _PRODUCT


def _factors(monomial: Monomial, names: _Names) -> list[tuple[str, int]]:
    return [_factor(atom, exponent, names) for atom, exponent in monomial]


def _factor(atom: Atom, exponent: int, names: _Names) -> tuple[str, int]:
    text, strength = _atom_text(atom, names)
    if exponent == 1:
        return text, strength
    return f"{_held(text, strength, _PRIMARY)} ** {exponent}", _POWER


def _atom_text(atom: Atom, names: _Names) -> tuple[str, int]:
    match atom.kind:
        case Kind.SYMBOL:
            return names.get(atom.name, atom.name), _PRIMARY
        case Kind.FLOOR:
            n, d = atom.args
            return _quotient(n, "//", d, names)
        case Kind.POWER:
            base, exponent = (_held(*_sum(arg, names), _PRIMARY) for arg in atom.args)
            return f"{base} ** {exponent}", _POWER
        case Kind.MAX | Kind.MIN:
            args = ", ".join(_sum(arg, names)[0] for arg in atom.args)
            return f"{'max' if atom.kind is Kind.MAX else 'min'}({args})", _PRIMARY


def _quotient(n: Dim, op: str, d: Dim, names: _Names) -> tuple[str, int]:
    left, right = _held(*_sum(n, names), _PRODUCT), _held(*_sum(d, names), _POWER)
    return f"{left} {op} {right}", _PRODUCT


def _held(text: str, strength: int, needed: int) -> str:
    return text if strength >= needed else f"({text})"


_BINARY: dict[type[ast.operator], Callable[[Dim, Dim], Dim]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
}


@dataclass(frozen=True, slots=True)
class _Reader:
    source: bytes
    new: type[Dim]
    functions: Mapping[str, Callable[..., Dim]]

    def read(self, node: ast.expr) -> Dim:
        match node:
            case ast.Constant(value=int(value)) if not isinstance(value, bool):
                return self.new.const(value)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self.new.symbol(self._text(node))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.read(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _BINARY[type(op)](self.read(left), self.read(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in self.functions:
                return self.functions[name](*map(self.read, args))
            case _:
                raise ValueError(f"`{self._text(node)}` is not a size")

    def _text(self, node: ast.expr) -> str:
        return self.source[node.col_offset : node.end_col_offset].decode()


def read_size(text: str, new: type[Dim], functions: Mapping[str, Callable[..., Dim]]) -> Dim:
    """The size that the text prints, its symbols being names, attributes and items.

    Errors: ValueError."""
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a size of more than {_MAX_TEXT} characters")
    source = " ".join(text.split())
    try:
        tree = ast.parse(source, mode="eval")
        if sum(1 for _ in ast.walk(tree)) > _MAX_NODES:
            raise ValueError(f"a size of more than {_MAX_NODES} parts")
        return _Reader(source.encode(), new, functions).read(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"`{text}` is not a size") from error
