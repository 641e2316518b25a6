"""All tables, and the built-ins that have their test elsewhere."""

from __future__ import annotations

from . import elementwise, images, losses, reductions, tensors

TABLES = (elementwise.TABLE, reductions.TABLE, losses.TABLE, tensors.TABLE, images.TABLE)
ELSEWHERE: dict[str, str] = {}
