"""dlspec: neural networks as specs; checked, then written as readable code."""

from __future__ import annotations

__version__ = "0.1.0"
