"""Static values, origins and op attributes as JSON.

Strings, booleans, null and numbers stand for themselves; everything else is an object with one
telling key: dim, known, items, tuple, param, op, layer, dtype, float (inf and nan).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

from dlspec.ir.dims import Dim
from dlspec.ir.static import Apply, Known, LayerArgument, ParamRef, Sequence
from dlspec.ir.types import DType


def encode(value: Any, dim: Callable[[Dim], str]) -> Any:
    """dim: how a size is written here."""

    def inner(part: Any) -> Any:
        return encode(part, dim)

    def each(parts: Iterable[Any]) -> list[Any]:
        return [inner(part) for part in parts]

    match value:
        case None | bool() | int():
            return value
        case DType():
            return {"dtype": value.value}
        case str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": repr(value)}
        case Dim():
            return {"dim": dim(value)}
        case Known():
            return {"known": inner(value.value), "origin": inner(value.origin)}
        case Sequence():
            return {
                "items": each(value.items),
                "list": value.is_list,
                "origin": inner(value.origin),
            }
        case ParamRef():
            return {"param": value.name}
        case Apply():
            return {"op": value.op, "args": each(value.args)}
        case LayerArgument():
            return {"layer": value.text}
        case tuple() | list():
            return {"tuple": each(cast("tuple[Any, ...] | list[Any]", value))}
        case _:
            raise TypeError(f"{type(value).__name__} has no form in JSON")


def decode(value: Any, dim: Callable[[str], Dim]) -> Any:
    """Raises ValueError for a form that is none."""

    def inner(part: Any) -> Any:
        return decode(part, dim)

    def each(parts: Any) -> tuple[Any, ...]:
        return tuple(inner(part) for part in parts)

    if isinstance(value, list):
        raise ValueError("a list is no static value")
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, Any]", value)
    match found:
        case {"dim": str(text)}:
            return dim(text)
        case {"dtype": str(text)}:
            return DType(text)
        case {"float": str(text)}:
            return float(text)
        case {"known": known, "origin": origin}:
            return Known(inner(known), inner(origin))
        case {"items": [*_], "list": bool(is_list), "origin": origin}:
            return Sequence(each(found["items"]), inner(origin), is_list)
        case {"param": str(name)}:
            return ParamRef(name)
        case {"op": str(op), "args": [*_]}:
            return Apply(op, each(found["args"]))
        case {"layer": str(text)}:
            return LayerArgument(text, text)
        case {"tuple": [*_]}:
            return each(found["tuple"])
        case _:
            keys = ", ".join(sorted(found))
            raise ValueError(f"an object with the keys {keys} is no static value")
