"""Backward functions, for backends that have no differentiation of their own."""

from dlspec.passes.autodiff import differentiate
from dlspec.passes.expand import expand
from dlspec.passes.prepare import Method, Methods
from dlspec.passes.randomness import rewrite
from dlspec.passes.reading import gives_weight, passes_on
from dlspec.passes.variants import method_name

__all__ = [
    "Method",
    "Methods",
    "differentiate",
    "expand",
    "gives_weight",
    "method_name",
    "passes_on",
    "rewrite",
]
