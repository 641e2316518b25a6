"""Sizes of tensors as values that can be computed with, compared and printed."""

from dlspec.ir.facts import Facts, Relation, Truth
from dlspec.ir.polynomial import Dim, dim_max, dim_min
from dlspec.ir.requirements import simplify_requirements

__all__ = [
    "Dim",
    "Facts",
    "Relation",
    "Truth",
    "dim_max",
    "dim_min",
    "simplify_requirements",
]
