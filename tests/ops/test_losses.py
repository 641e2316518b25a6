"""What losses, activations and elementwise mathematics refuse."""

from __future__ import annotations

from typing import Any

import pytest

from dlspec import codes
from dlspec.ir.types import DType
from dlspec.ops.build import BuildError

from .layers import Layers, apply

BAD, RANK, SHAPE, ODD = codes.BAD_ARGUMENT, codes.RANK, codes.SHAPE, codes.NOT_DIVISIBLE
X, COLUMN, ROW = ("N", 4), ("N", 1), ("N",)

# name, input shapes, arguments, code, words of the message
ERRORS: list[tuple[str, list[tuple[Any, ...]], dict[str, Any], codes.Code, str]] = [
    *(
        (name, [ROW, COLUMN], {}, RANK, "[N] and [N, 1]")
        for name in (
            *("mse", "mae", "huber", "smooth_l1", "log_cosh", "bce", "bce_with_logits", "hinge"),
            *("squared_hinge", "hinge_embedding", "soft_margin", "contrastive", "poisson_nll"),
            *("kl_divergence", "dice", "jaccard", "tversky", "binary_focal"),
            *("multilabel_soft_margin",),
        )
    ),
    *(
        (name, [X, ("N", 5)], {}, SHAPE, "differ")
        for name in ("smooth_l1", "hinge", "kl_divergence", "dice", "gaussian_kl", "info_nce")
    ),
    *(
        (name, [X, X], {"reduction": "max"}, BAD, "max")
        for name in ("smooth_l1", "hinge", "kl_divergence", "dice", "gaussian_kl", "bce")
    ),
    ("margin_ranking", [ROW, COLUMN, ROW], {}, RANK, "[N] and [N, 1]"),
    ("margin_ranking", [ROW, ROW, COLUMN], {}, RANK, "[N] and [N, 1]"),
    ("gaussian_nll", [X, X, ("N", 3)], {}, SHAPE, "var"),
    ("gaussian_nll", [X, X, X], {"eps": 0.0}, BAD, "eps is 0.0"),
    ("triplet_margin", [X, X, ("N", 5)], {}, SHAPE, "[N, 4] and [N, 5]"),
    ("triplet_margin", [X, X, X], {"margin": -1.0}, BAD, "margin is -1.0"),
    ("cosine_embedding", [X, X, X], {}, RANK, "[N] and [N, 4]"),
    ("cross_entropy", [X, ROW], {}, RANK, "[N, 4] and [N]"),
    ("cross_entropy", [X, X], {"ignore": 1}, BAD, "no label to ignore"),
    ("cross_entropy", [X, X], {"smoothing": 1.5}, BAD, "smoothing is 1.5"),
    ("multilabel_margin", [X, X], {}, codes.DTYPE, "not bool"),
    ("nll", [X, ROW], {}, codes.DTYPE, "integers"),
    ("focal", [X, ROW], {}, codes.DTYPE, "integers"),
    ("multi_margin", [X, ROW], {}, codes.DTYPE, "integers"),
    ("smooth_l1", [X, X], {"beta": 0.0}, BAD, "beta is 0.0"),
    ("binary_focal", [X, X], {"alpha": 1.5}, BAD, "alpha is 1.5"),
    ("binary_focal", [X, X], {"gamma": -1.0}, BAD, "gamma is -1.0"),
    ("info_nce", [X, X], {"temperature": 0.0}, BAD, "temperature is 0.0"),
    ("info_nce", [("N", 2, 3), ("N", 2, 3)], {}, RANK, "rows of embeddings"),
    ("total_variation", [X], {}, RANK, "no spatial axis"),
    ("total_variation", [("N", 3, 1)], {}, codes.NEGATIVE_SIZE, "is 1"),
    ("gaussian_kl", [ROW, ROW], {}, RANK, "2 axes"),
    ("glu", [("N", 5)], {}, ODD, "2 parts"),
    ("swiglu", [X], {"axis": 3}, BAD, "no axis 3"),
    ("maxout", [X], {"pieces": 3}, ODD, "3 parts"),
    ("maxout", [X], {"pieces": 0}, BAD, "pieces is 0"),
    ("softplus", [X], {"beta": 0.0}, BAD, "beta is 0"),
    ("celu", [X], {"alpha": 0.0}, BAD, "alpha is 0"),
    ("hard_shrink", [X], {"bound": -1.0}, BAD, "bound is -1.0"),
    ("hard_tanh", [X], {"low": 2.0}, BAD, "above high"),
    ("logit", [X], {"eps": 0.7}, BAD, "eps is 0.7"),
    ("polygamma", [X], {"order": -1}, BAD, "order is -1"),
    ("quantile", [X], {"q": 1.5}, BAD, "q is 1.5"),
    ("median", [X], {"axis": 2}, BAD, "no axis 2"),
    ("cummax", [X], {"axis": 2}, BAD, "no axis 2"),
    ("searchsorted", [X, X], {}, RANK, "a vector"),
    ("cdist", [X, ("N", 3)], {}, SHAPE, "rows of"),
    ("cdist", [X, (4,)], {}, RANK, "2 axes"),
    ("softmin", [X], {"axis": 2}, BAD, "no axis 2"),
    ("hypot", [X, ("N", 3)], {}, SHAPE, "do not broadcast"),
    ("lerp", [X, X, ("N", 3)], {}, SHAPE, "do not broadcast"),
]


@pytest.mark.parametrize(("name", "shapes", "arguments", "code", "words"), ERRORS)
def test_refused(
    name: str, shapes: list[Any], arguments: dict[str, Any], code: codes.Code, words: str
) -> None:
    b = Layers()
    with pytest.raises(BuildError) as caught:
        apply(b, name, *(b.input(*shape) for shape in shapes), **arguments)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value


def test_integers_are_no_floats() -> None:
    b = Layers()
    x, i = b.input("N", 4), b.input("N", 4, dtype=DType.I64)
    for name in ("tan", "erfinv", "isnan", "celu", "glu", "sinc", "logit", "softmin", "maxout"):
        with pytest.raises(BuildError) as caught:
            apply(b, name, i)
        assert caught.value.code is codes.DTYPE
    for name in ("smooth_l1", "dice", "hinge", "atan2", "kl_divergence", "gaussian_kl"):
        with pytest.raises(BuildError) as caught:
            apply(b, name, x, i)
        assert caught.value.code is codes.DTYPE


def test_weights_do_not_widen_a_loss() -> None:
    b = Layers()
    x, t, wide = b.input("N", 4), b.input("N", 4), b.input(2, "N", 4)
    for key in ("weight", "pos_weight"):
        with pytest.raises(BuildError) as caught:
            apply(b, "bce_with_logits", x, t, **{key: wide})
        assert caught.value.code is BAD
    with pytest.raises(BuildError) as caught:
        apply(b, "cross_entropy", x, t, weight=b.input(3))
    assert caught.value.code is SHAPE
