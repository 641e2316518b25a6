"""Proof on numbers that backends compute the same: outputs, gradients, weights after k steps."""

from __future__ import annotations

from dlspec.verification.compare import Pair
from dlspec.verification.run import Verification, verify

__all__ = ["Pair", "Verification", "verify"]
