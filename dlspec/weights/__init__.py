"""Weights: where they start, what they are called, how they are stored."""

from __future__ import annotations

from dlspec.ir.tree import Leaf, leaves
from dlspec.weights.files import read_weights, write_weights
from dlspec.weights.initial import initial_weights

__all__ = ["Leaf", "initial_weights", "leaves", "read_weights", "write_weights"]
