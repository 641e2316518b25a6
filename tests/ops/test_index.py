"""What attention, positions, indexing and shapes refuse."""

from __future__ import annotations

import pytest

from dlspec.api import load

REFUSED = [
    ("unflatten(m, 1, [4, -1])", "E0306"),
    ("unflatten(m, 1, [4, 2])", "E0301"),
    ("unflatten(m, 1, [-1, -1])", "E0204"),
    ("unflatten(m, 3, [2, 3])", "E0204"),
    ("attention(q, k, m)", "E0302"),
    ("attention(q, k, k2)", "E0301"),
    ("attention(q, v5, v5)", "E0301"),
    ("attention(q, k3, k3)", "E0306"),
    ("attention(q, k, v, mask = on)", "E0301"),
    ("attention(q, k, v, mask = m)", "E0303"),
    ("attention(q, k, v, dropout = 2.0)", "E0204"),
    ("attention(q, k, v, axis = 1)", "E0204"),
    ("rotary(m)", "E0306"),
    ("rotary(q, base = 1)", "E0204"),
    ('rotary(q, convention = "other")', "E0204"),
    ("rotary(q, axis = -1)", "E0204"),
    ("sinusoidal_positions(4, 5)", "E0306"),
    ("tril(m[0])", "E0302"),
    ("topk(m, 6)", "E0204"),
    ("topk(m, 0)", "E0204"),
    ("argsort(on)", "E0303"),
    ("masked_fill(m, w, 0)", "E0303"),
    ("masked_fill(i, on, 0.5)", "E0303"),
    ("masked_fill(m[0], on, 0)", "E0302"),
    ("index_select(m, i)", "E0302"),
    ("gather(m, m)", "E0303"),
    ("scatter_add(m, i, w[:, :2])", "E0301"),
    ("roll(m, [1, 2])", "E0204"),
    ("tile(m, [0, 1])", "E0305"),
    ("chunk(m, 0)", "E0204"),
    ("diagonal(m[0])", "E0302"),
    ("bilinear(m, w[:2], 3)", "E0301"),
    ("embedding(i, 5, 2, padding_index = 5)", "E0204"),
    ("quantize(m, k)", "E0302"),
    ("eye(0)", "E0305"),
]


@pytest.mark.parametrize(("form", "code"), REFUSED, ids=[form for form, _ in REFUSED])
def test_refused(form: str, code: str) -> None:
    inputs = (
        "q: [2, 4, 5, 6], k: [2, 4, 3, 6], v: [2, 4, 3, 6], k2: [2, 2, 3, 6], k3: [2, 3, 3, 6], "
        "v5: [2, 4, 3, 5], m: [3, 5], w: [3, 5], i: i64[3, 5], on: bool[3, 5]"
    )
    found = load(f"model M({inputs}) = {form}\n")
    found.check()
    errors = [d.code.name for d in found.diagnostics.found if d.code.name.startswith("E")]
    assert errors == [code]
