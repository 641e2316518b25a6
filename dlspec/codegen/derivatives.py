"""Backward functions, for backends that have no differentiation of their own."""

from dlspec.passes.autodiff import differentiate

__all__ = ["differentiate"]
