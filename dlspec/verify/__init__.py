"""Proof on numbers that backends compute the same: outputs, gradients, weights after k steps."""

from __future__ import annotations

from dlspec.verify.compare import Pair
from dlspec.verify.run import Verification, verify

__all__ = ["Pair", "Verification", "verify"]
