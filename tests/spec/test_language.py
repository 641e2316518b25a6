"""Every example of docs/language.md is what the page says it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlspec.api import load

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
FENCE = re.compile(r"^```dls(?: error (E\d{4}))?\n(.*?)^```$", re.M | re.S)
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = [
    pytest.param(match[1], match[2], id=f"line{TEXT.count(chr(10), 0, match.start()) + 1}")
    for match in FENCE.finditer(TEXT)
]


@pytest.mark.parametrize(("code", "text"), EXAMPLES)
def test_example(code: str | None, text: str) -> None:
    spec = load(text)
    spec.check()
    if code is None:
        spec.test()
        assert [d.message for d in spec.diagnostics.found] == []
    else:
        assert [d.code.name for d in spec.diagnostics.errors] == [code]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 30
