"""`shape` in tests of a spec: what the layer at a path gives."""

from __future__ import annotations

import pytest

from dlspec.api import load

SPEC = """block Step(channels, stride = 1) = conv(channels, 3, stride = stride, padding = 1) -> relu
block Res(x: [N, C, H, W]) = x + (x -> Step(C))

model Net(image: [N, 3, H, W]) -> [N, 5] =
  image
    -> Step(8, stride = 2) as stem -> repeat(3, Res) -> max_pool(2)
    -> global_avg_pool -> dense(5) as head

model Two(x: [N, 4]) -> (a: [N, 3], b: [N, 2]) {
  return dense(x, 3), dense(x, 2)
}

model Words(x: i64[N, T]) = x -> embedding(9, 4) -> scan(Sum)

cell Sum(x: [N, D], state h: [N, D]) {
  h = h + dense(x, D)
  return h
}
"""


def asserted(condition: str) -> list[tuple[str, str, tuple[str, ...], str]]:
    spec = load(SPEC + f'\ntest "it" {{ assert {condition} }}\n')
    spec.test()
    return [(d.code.name, d.message, d.notes, d.help) for d in spec.diagnostics.found]


@pytest.mark.parametrize(
    "condition",
    [
        "shape(Net(), H = 8, W = 12) == [1, 5]",
        'shape(Net(), "stem", H = 8, W = 12) == [1, 8, 4, 6]',
        'shape(Net(), "stem", N = 7, H = 8, W = 12) == [7, 8, 4, 6]',
        'shape(Net(), "res.2", H = 8, W = 12) == [1, 8, 4, 6]',
        'shape(Net(), "res.1.step.conv", H = 8, W = 12) == [1, 8, 4, 6]',
        'shape(Net(), "max_pool", H = 8, W = 12)[2:] == [2, 3]',
        'shape(Net(), "head", H = 8, W = 12)[1] == 5',
        "shape(Two()) == [[1, 3], [1, 2]]",
        'shape(Words(), "embedding", T = 6) == [1, 6, 4]',
        'shape(Words(), "sum.dense", T = 6)[-1] == 4',
    ],
)
def test_the_shape_at_a_path(condition: str) -> None:
    assert asserted(condition) == []


def test_a_shape_that_differs() -> None:
    ((code, _, notes, _),) = asserted('shape(Net(), "stem", H = 8, W = 8) == [1, 8, 4, 5]')
    assert code == "E0405"
    assert notes == ("the left side is [1, 8, 4, 4], the right side is [1, 8, 4, 5]",)


@pytest.mark.parametrize(
    ("asked", "code", "message", "help"),
    [
        (
            'Net(), "stam", H = 8, W = 8',
            "E0204",
            "no layer of the model is at `stam`",
            "did you mean `stem`?",
        ),
        ('Net(), "stem", H = 8', "E0204", "shape needs the size of `W`: W = 8", ""),
        (
            "Net(), 3, H = 8, W = 8",
            "E0401",
            "the path of a layer is a string, as `summary` prints it",
            "",
        ),
        (
            'Net(), "stem", "head"',
            "E0204",
            'shape takes one model: shape(Model(), "path of a layer")',
            "",
        ),
        ("Net(), D = 8", "E0204", "Net has no open dim `D`", ""),
    ],
)
def test_what_cannot_be_measured(asked: str, code: str, message: str, help: str) -> None:
    assert asserted(f"shape({asked}) == [1]") == [(code, message, (), help)]
