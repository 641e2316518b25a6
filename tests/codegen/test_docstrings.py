"""The words of a spec are in what is made of it, whatever characters they have."""

from __future__ import annotations

import ast

import pytest

from dlspec.api import load

BACKENDS = ("numpy", "torch", "jax")
WORDS = {
    "gate": "A gate: x σ(W x).\n\nIts second paragraph:\n    x -> Gate",
    "cell": 'A cell, "quoted"',
    "net": "The \\N{network} of \\ and \\",
    "train": "How it is trained.",
}
SPEC = f'''
"""A file, "quoted" \\\\ \\N{{x}}"""

"""{WORDS["gate"]}"""
block Gate(x: [N, D]) -> [N, D] = x * sigmoid(x -> dense(D))

"""{WORDS["cell"]} """
cell Cell(x: [N, D], state h: [N, D]) {{
  h = tanh(x -> dense(D)) + h
  return h
}}

"""{WORDS["net"]} """
model Net(x: [N, T, 4]) -> [N, 4] = x -> scan(Cell) -> mean(axis = 1) -> Gate

"""{WORDS["train"]}"""
train fit {{
  data (x: [N, 4], _) from iris(batch = 4)
  y = Net(x[:, :] -> unsqueeze(1))
  minimize mse(y, x) using sgd(0.1)
  epochs 1
}}
'''


def docstrings(source: str) -> set[str]:
    tree = ast.walk(ast.parse(source))
    nodes = [node for node in tree if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return {(ast.get_docstring(node) or "").strip() for node in nodes}


@pytest.mark.parametrize("backend", BACKENDS)
def test_docstrings_are_carried_over(backend: str) -> None:
    source = load(SPEC).trainer().compile(backend).source
    assert set(WORDS.values()) <= docstrings(source)
    assert 'A file, "quoted" \\\\ \\N{x}' in (ast.get_docstring(ast.parse(source)) or "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_long_lines_are_wrapped(backend: str) -> None:
    words = " ".join(["word"] * 60)
    spec = f'"""{words}"""\nmodel M(x: [N, 4]) = x -> dense(2)\n'
    source = load(spec).model().compile(backend).source
    assert max(map(len, source.splitlines())) <= 100
    assert any(" ".join(text.split()) == words for text in docstrings(source))
