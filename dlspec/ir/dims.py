"""Sizes of tensors as values that can be computed with, compared and printed."""

from dlspec.ir.atoms import DimLimit
from dlspec.ir.facts import Facts, Relation, Truth
from dlspec.ir.polynomial import Dim, dim_max, dim_min
from dlspec.ir.requirements import simplify_requirements

__all__ = [
    "Dim",
    "DimLimit",
    "Facts",
    "Relation",
    "Truth",
    "dim_max",
    "dim_min",
    "simplify_requirements",
]
