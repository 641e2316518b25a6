"""Which weights of a checkpoint a folded model puts together, by their paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlspec.ir.graph import ChildSlot, LayerSlot, all_slots
from dlspec.ir.static import plain
from dlspec.ir.tree import inside, joined, numbered

if TYPE_CHECKING:
    from dlspec.ir.graph import Function, Slot
    from dlspec.passes.fold import Fold, How

EVERYWHERE = ("",)


@dataclass(frozen=True)
class Rule:
    """A batch norm at `norm` is folded into the layer at `layer`: their paths inside an instance.

    places: the instances, by their paths with `*` for any number; EVERYWHERE for each that holds
    such a norm, "." for the whole model.
    """

    how: How
    layer: str
    norm: str
    eps: float
    scale: bool
    shift: bool
    places: tuple[str, ...] = EVERYWHERE


def rules(
    original: Function, merged: Function, folds: Mapping[Function, list[Fold]]
) -> tuple[Rule, ...]:
    """One for each way in which a norm is folded. original: what `merged` was made from, for a
    merged function alone does not tell where recursion ends."""
    found: dict[Rule, list[str]] = {}
    places: list[tuple[str, dict[str, LayerSlot], bool]] = []
    for path, old, new in _instances(original, merged, original.values(), ""):
        slots = {str(s.segment): s for s in all_slots(old) if isinstance(s, LayerSlot)}
        places.append((path, slots, new is not None))
        for fold in folds.get(new, []) if new is not None else []:
            norm = slots.get(str(fold.norm.segment))
            if norm is not None and str(fold.layer.segment) in slots:
                found.setdefault(_rule(fold, norm), []).append(path)
    made: list[Rule] = []
    for rule, chosen in found.items():
        others = [
            path
            for path, slots, used in places
            if rule.norm in slots and path not in chosen and (used or rule.layer not in slots)
        ]
        made.append(replace(rule, places=_patterns(chosen, others)))
    return tuple(made)


def _rule(fold: Fold, norm: LayerSlot) -> Rule:
    eps = plain(norm.attributes["eps"])
    assert isinstance(eps, int | float)
    scale, shift = "weight" in norm.weights, "bias" in norm.weights
    layer = str(fold.layer.segment)
    return Rule(fold.how, layer, str(norm.segment), float(eps), scale, shift)


def _patterns(chosen: list[str], others: list[str]) -> tuple[str, ...]:
    """The shortest patterns that name the chosen places and none of the others."""
    if not others:
        return EVERYWHERE
    found: dict[str, None] = {}
    for place in chosen:
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", place)
        wide = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
        found[place if any(map(wide.fullmatch, others)) else pattern] = None
    return tuple(place or "." for place in found)


def _instances(
    old: Function, new: Function | None, values: Mapping[str, int], path: str
) -> Iterator[tuple[str, Function, Function | None]]:
    """Every instance: its path, its function, and the merged one if that still makes it."""
    yield path, old, new
    twins = {} if new is None else {_key(s): s for s in all_slots(new)}
    for slot in all_slots(old):
        if isinstance(slot, ChildSlot):
            twin = twins.get(_key(slot))
            function = twin.function if isinstance(twin, ChildSlot) else None
            for segment in numbered(slot, values):
                where = joined(path, segment)
                yield from _instances(slot.function, function, inside(slot, values), where)


def _key(slot: Slot) -> tuple[str, int | None]:
    return slot.segment.name, slot.segment.index
