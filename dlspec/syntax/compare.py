"""Structural equality of syntax trees."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, cast

PLACES = ("span", "name_span", "path_span", "op_span", "source", "comments")


def same(a: object, b: object) -> bool:
    """Whether two trees (or parts) mean the same text: all but spans and comments is equal."""
    todo: list[tuple[Any, Any]] = [(a, b)]
    while todo:
        one, other = todo.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, tuple):
            items = cast("tuple[Any, ...]", one)
            others = cast("tuple[Any, ...]", other)
            if len(items) != len(others):
                return False
            todo.extend(zip(items, others, strict=True))
        elif is_dataclass(one):
            names = [field.name for field in fields(one) if field.name not in PLACES]
            todo.extend((getattr(one, name), getattr(other, name)) for name in names)
        elif one != other:
            return False
    return True
