"""Patterns of axes: the examples of einops' documentation, against a loop over all elements."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlspec import codes
from dlspec.api import load
from tests.codegen.build import load as load_module

BACKENDS = ("torch", "jax", "numpy")
Array = NDArray[Any]
FOLDS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod}


def axes(side: str, rest: int) -> list[list[str]]:
    """The names in each axis of a side; each number is a name of its own, `2_7`."""
    side = re.sub(r"\b\d+\b", lambda m: f"{m[0]}_{m.start()}", side)
    side = side.replace("...", " ".join(f"rest{i}" for i in range(rest)))
    return [token.strip("()").split() for token in re.findall(r"\([^)]*\)|\w+", side)]


def looped(x: Array, pattern: str, fold: str = "sum", **sizes: int) -> Array:
    """Every element to its place, by the indices of the named axes."""
    written, right_written = pattern.split("->")
    plain = len(axes(written.replace("...", ""), 0))
    rest = x.ndim - plain
    left = axes(written, rest)
    right = axes(right_written, rest)
    numbers = [n for group in left + right for n in group if n[0].isdigit()]
    sizes = {**sizes, **{n: int(n.partition("_")[0]) for n in numbers}}
    for group, extent in zip(left, x.shape, strict=True):
        known = int(np.prod([sizes[n] for n in group if n in sizes]))
        sizes |= {n: extent // known for n in group if n not in sizes}
    names = [n for n in sizes if any(n in group for group in left + right)]
    shape = [int(np.prod([sizes[n] for n in group])) for group in right]
    found: dict[tuple[int, ...], list[float]] = {}
    for place in itertools.product(*(range(sizes[n]) for n in names)):
        at = dict(zip(names, place, strict=True))
        source, target = (tuple(flat(group, at, sizes) for group in s) for s in (left, right))
        found.setdefault(target, []).append(float(x[source]))
    out = np.empty(shape)
    for target, values in found.items():
        out[target] = FOLDS[fold](values)
    return out


def flat(group: list[str], at: dict[str, int], sizes: dict[str, int]) -> int:
    index = 0
    for name in group:
        index = index * sizes[name] + at[name]
    return index


SHAPES = {
    "x": ("[B, H, W, C]", (4, 6, 4, 3)),
    "h": ("[H, W, C]", (6, 4, 3)),
    "t": ("[N, T, D]", (2, 3, 12)),
    "i": ("[B, C, H, W]", (2, 8, 4, 6)),
    "v": ("[N]", (5,)),
    "u": ("[N, 1, D]", (2, 1, 3)),
}

REARRANGE: list[tuple[str, str, dict[str, int]]] = [
    ("h", "h w c -> w h c", {}),
    ("x", "b h w c -> (b h) w c", {}),
    ("x", "b h w c -> h (b w) c", {}),
    ("x", "b h w c -> (b h w c)", {}),
    ("x", "(b1 b2) h w c -> b1 b2 h w c", {"b1": 2}),
    ("x", "(b1 b2) h w c -> (b1 h) (b2 w) c", {"b1": 2}),
    ("x", "(b1 b2) h w c -> (b2 h) (b1 w) c", {"b1": 2}),
    ("x", "b h (w w2) c -> (h w2) (b w) c", {"w2": 2}),
    ("x", "b h w c -> h (w b) c", {}),
    ("x", "(b1 b2) h w c -> h (b1 b2 w) c", {"b1": 2}),
    ("x", "b (h1 h2) w c -> b h1 h2 w c", {"h1": 3, "h2": 2}),
    ("x", "n (h p) (w q) c -> n (h w) (p q c)", {"p": 3, "q": 2}),
    ("i", "b c (h h1) (w w1) -> b (c h1 w1) h w", {"h1": 2, "w1": 3}),
    ("i", "b (c h1 w1) h w -> b c (h h1) (w w1)", {"h1": 2, "w1": 2}),
    ("i", "b (g1 g2 c) h w -> b (g2 g1 c) h w", {"g1": 2, "g2": 2}),
    ("i", "b c h w -> b 1 c (h w)", {}),
    ("u", "n 1 d -> d n", {}),
    ("u", "n () d -> n d ()", {}),
    ("t", "b t (h d) -> b h t d", {"h": 3}),
    ("t", "b t (three h d) -> three b h t d", {"three": 3, "h": 2}),
    ("i", "b ... -> b (...)", {}),
    ("i", "... (w q) -> (...) q w", {"q": 3}),
    ("i", "b ... w -> w ... b", {}),
    ("v", "n -> n", {}),
    ("v", "n -> 1 n 1", {}),
]  # fmt: skip
REDUCE: list[tuple[str, str, str, dict[str, int]]] = [
    ("x", "b h w c -> h w c", "mean", {}),
    ("x", "b h w c -> h w", "min", {}),
    ("x", "b (h h2) (w w2) c -> h (b w) c", "max", {"h2": 2, "w2": 2}),
    ("x", "b (h h2) (w w2) c -> h (b w) c", "mean", {"h2": 2, "w2": 2}),
    ("x", "b (h 2) (w 2) c -> b h w c", "mean", {}),
    ("x", "b h w c -> b () () c", "max", {}),
    ("i", "b c h w -> c b", "sum", {}),
    ("i", "b c h w -> b c 1 1", "mean", {}),
    ("i", "b (g c) h w -> g", "prod", {"g": 4}),
    ("i", "b ... -> b", "sum", {}),
    ("i", "... c h w -> ... (w h)", "mean", {}),
    ("v", "n ->", "sum", {}),
    ("v", "n -> n", "sum", {}),
]
REPEAT: list[tuple[str, str, dict[str, int]]] = [
    ("h", "h w c -> h new_axis w c", {"new_axis": 5}),
    ("h", "h w c -> h 5 w c", {}),
    ("h", "h w c -> h (repeat w) c", {"repeat": 3}),
    ("h", "h w c -> h (w repeat) c", {"repeat": 3}),
    ("h", "h w c -> (2 h) (2 w) c", {}),
    ("h", "h w c -> (h h2) (w w2) c", {"h2": 2, "w2": 2}),
    ("h", "(h h2) w c -> b c (h2 h) w", {"h2": 2, "b": 2}),
    ("t", "n t d -> n k t d", {"k": 4}),
    ("t", "... -> ... k", {"k": 2}),
    ("u", "n 1 d -> n k d", {"k": 4}),
    ("v", "n -> n", {}),
]


def said(name: str, tensor: str, pattern: str, *more: str, **sizes: int) -> str:
    given = [f'"{pattern}"', *more, *(f"{k} = {n}" for k, n in sizes.items())]
    return f"{name}({tensor}, {', '.join(given)})"


FORMS = [
    *((said("rearrange", t, p, **s), t, p, "sum", s) for t, p, s in REARRANGE),
    *((said("reduce", t, p, f'"{f}"', **s), t, p, f, s) for t, p, f, s in REDUCE),
    *((said("repeat", t, p, **s), t, p, "sum", s) for t, p, s in REPEAT),
]


@pytest.mark.parametrize(
    ("form", "tensor", "pattern", "fold", "sizes"), FORMS, ids=[f[0] for f in FORMS]
)
def test_against_a_loop(
    form: str, tensor: str, pattern: str, fold: str, sizes: dict[str, int]
) -> None:
    annotation, shape = SHAPES[tensor]
    spec = f"model M({tensor}: {annotation}) = {form}"
    x = np.random.default_rng(0).standard_normal(shape)
    model = load(spec).model()
    wanted = looped(x, pattern, fold, **sizes)
    for backend in BACKENDS:
        program = load_module(model.compile(backend).source)
        found = np.asarray(program.predict(program.init(dtype="float64"), **{tensor: x}))
        assert found.shape == wanted.shape, (backend, form)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6, err_msg=backend)


def test_the_loop_itself() -> None:
    x = np.random.default_rng(0).standard_normal((2, 8, 4, 6))
    assert np.array_equal(looped(x, "b c h w -> b (c h w)"), x.reshape(2, -1))
    assert np.array_equal(looped(x, "b c h w -> w c b h"), x.transpose(3, 1, 0, 2))
    assert np.allclose(looped(x, "b c h w -> b c", "mean"), x.mean((2, 3)))
    assert np.array_equal(looped(x, "b c h w -> b c h (w k)", k=2), x.repeat(2, axis=3))
    assert np.array_equal(looped(x, "b c h w -> b c h (k w)", k=2), np.tile(x, 2))


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (
            'rearrange(x, "n c (h p) w -> n p (h w c)", p = 4)',
            "N, 4, C * W * (H // 4) | H % 4 == 0",
        ),
        ('x -> reduce("n c h w -> n c", "mean")', "N, C"),
        ('repeat(x, "n c h w -> n (k c) h w", k = C)', "N, C ** 2, H, W"),
        ('x -> repeat("n c h w -> (n t) c h w", t = 2) -> repeat(2, relu)', "2 * N, C, H, W"),
    ],
)
def test_symbolic_extents(body: str, shape: str) -> None:
    model = load(f"model M(x: [N, C, H, W]) = {body}").model()
    extents, _, required = shape.partition(" | ")
    assert ", ".join(map(str, model.function.outputs[0].type.shape)) == extents
    assert "; ".join(model.requirements) == required


def test_other_element_types() -> None:
    spec = """model M(x: bool[N, 4], i: i64[N, T]) {
      a = reduce(x, "n (a 2) -> n a", "any")
      b = reduce(i, "n t -> n", "max") -> repeat("n -> n a", a = 2)
      return cast(a, "float") + cast(b, "float")
    }"""
    x = np.array([[True, False, False, False]])
    i = np.array([[3, 7, 1]])
    model = load(spec).model()
    for backend in BACKENDS:
        program = load_module(model.compile(backend).source)
        found = np.asarray(program.predict(program.init(), x=x, i=i))
        assert found.tolist() == [[8.0, 7.0]], backend


BAD = codes.BAD_ARGUMENT
WRONG = [
    ('rearrange(x, "n c h w")', BAD, "one `->` between"),
    ('rearrange(x, "n c h -> h c n")', codes.RANK, "has 3 axes"),
    ('rearrange(x, "n c h w -> n c h")', BAD, "`w` stands on the left only"),
    ('rearrange(x, "n c h w -> n c h w k")', BAD, "`k` stands on the right only"),
    ('rearrange(x, "n c h w -> n c h w", k = 2)', BAD, "`k` is no axis"),
    ('rearrange(x, "n c (h p) w -> n c h p w", p = 4)', codes.NOT_DIVISIBLE, "divide by 4"),
    ('rearrange(x, "n c (h p) w -> n c h p w", h = 3, p = 4)', codes.SHAPE, "is 12, but"),
    ('rearrange(x, "n c (h p) w -> n c h p w")', BAD, "of h and p none is known"),
    ('rearrange(x, "n c (h p) w -> n c h p w", p = 0)', codes.NEGATIVE_SIZE, "must be 1 or more"),
    ('rearrange(x, "n c h w -> n c h w", w = 5)', codes.SHAPE, "`w` is 5, but the axis is 8"),
    ('rearrange(x, "n n h w -> n h w")', BAD, "stands twice"),
    ('rearrange(x, "n 1 h w -> n h w")', codes.SHAPE, "`1` is 1, but the axis is 3"),
    ('rearrange(x, "n c (h 2) w -> n c h 2 w")', BAD, "has no name"),
    ('rearrange(x, "n (c h w -> n c h w")', BAD, "not closed"),
    ('rearrange(x, "n c) h w -> n c h w")', BAD, "without `(`"),
    ('rearrange(x, "n ((c) h) w k -> n c h w k")', BAD, "inside brackets"),
    ('rearrange(x, "n c h w -> n c h; w")', BAD, "`;` is no part"),
    ('rearrange(x, "n c (h ...) w -> n c h w ...")', BAD, "in brackets on the left"),
    ('rearrange(x, "n c h w -> n c h w ...")', BAD, "on the right only"),
    ('rearrange(x, "n 0 h w -> n h w")', BAD, "extent 0"),
    ('rearrange(x, "n c h w -> n c h w", p = 1.5)', BAD, "`p` of rearrange needs"),
    ('reduce(x, "n c h w -> n c", "median")', BAD, "'median' is not known"),
    ('reduce(x, "n c h w -> n c")', codes.MISSING_ARGUMENT, "reduce needs `reduction`"),
    ('reduce(x, "n c h w -> n c k", "sum")', BAD, "`k` stands on the right only"),
    ('repeat(x, "n c h w -> n c h w k")', BAD, "how often `k`?"),
    ('repeat(x, "n c h w -> n c h k", k = 2)', BAD, "`w` stands on the left only"),
    ('repeat(x, "n c (h 2) w -> n c h w")', BAD, "has no name"),
    ("repeat(x, 3)", BAD, "repeat takes a count and a layer"),
    ("rearrange(x)", codes.MISSING_ARGUMENT, "rearrange needs `pattern`"),
    ("rearrange(x, 3)", BAD, "needs a string"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "message"), WRONG, ids=[w[0] for w in WRONG])
def test_a_wrong_pattern_is_told(body: str, code: codes.Code, message: str) -> None:
    spec = load(f"model M(x: [N, 3, 6, 8]) = {body}")
    spec.check()
    (found,) = spec.diagnostics.errors
    assert found.code is code and message in found.message


def test_an_error_tells_the_axes_so_far() -> None:
    spec = load(
        'model M(x: [N, 3, 6, 8]) = rearrange(x, "n c (h p) (w q) -> n c h w p q", p = 2, q = 3)'
    )
    spec.check()
    (found,) = spec.diagnostics.errors
    assert found.notes[1] == "so far p=2 q=3 n=N c=3 h=3"
