"""Losses, activations and elementwise mathematics in the language: values and gradients on three
backends in float64 against torch's own functions, or the formula where torch has none."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dlspec import codes
from dlspec.api import load
from dlspec.ir.types import DType
from dlspec.ops.build import BuildError
from tests.codegen.build import load as load_module

from .layers import Layers, apply

BACKENDS = ("torch", "jax", "numpy")
N, K, D = 3, 4, 6


def tensors() -> tuple[dict[str, Any], dict[str, Any]]:
    """(what takes a gradient, what is given)"""
    rng = np.random.default_rng(0)
    learned = {
        "x": rng.standard_normal((N, K)),
        "y": rng.standard_normal((N, K)),
        "z": rng.standard_normal((N, K)),
        "p": rng.random((N, K)) * 0.8 + 0.1,
        "v": rng.random((N, K)) + 0.5,
        "w": rng.standard_normal((N, D)),
        "f": rng.standard_normal((N, K, 2, 3)),
        "s": rng.standard_normal(N),
        "r": rng.standard_normal(N),
    }
    given = {
        "t": rng.random((N, K)),
        "soft": rng.random((N, K)),
        "signs": np.sign(rng.standard_normal((N, K))),
        "sign": np.sign(rng.standard_normal(N)),
        "hot": (rng.random((N, K)) < 0.5).astype(float),
        "on": rng.random((N, K)) < 0.5,
        "chosen": np.array([True, False, True]),
        "label": rng.integers(0, K, N),
        "labels": rng.integers(0, K, (N, 2, 3)),
        "counts": rng.integers(0, 5, (N, K)).astype(float),
        "cw": rng.random(K) + 0.5,
        "nw": rng.random((N, 1)) + 0.5,
    }
    given["soft"] /= given["soft"].sum(-1, keepdims=True)
    given["label"][1] = 1
    return learned, given


def overlap(p: Tensor, t: Tensor, a: float, b: float, smooth: float = 1.0) -> Tensor:
    both, wrong, missed = (p * t).sum(1), (p * (1 - t)).sum(1), ((1 - p) * t).sum(1)
    return 1 - (both + smooth) / (both + a * wrong + b * missed + smooth)


def multilabel_margin(x: Tensor, on: Tensor) -> Tensor:
    rows = []
    for row, chosen in zip(x, on, strict=True):
        target = torch.full((K,), -1)
        target[: int(chosen.sum())] = chosen.nonzero().flatten()
        rows.append(F.multilabel_margin_loss(row[None], target[None], reduction="none"))
    return torch.cat(rows)


def info_nce(x: Tensor, y: Tensor, temperature: float, symmetric: bool = True) -> Tensor:
    logits = F.normalize(x) @ F.normalize(y).T / temperature
    own = torch.arange(N)
    one, other = F.cross_entropy(logits, own), F.cross_entropy(logits.T, own)
    return (one + other) / 2 if symmetric else one


def focal(x: Tensor, labels: Tensor, gamma: float) -> Tensor:
    loss = F.cross_entropy(x, labels, reduction="none")
    return loss * (1 - (-loss).exp()) ** gamma


def binary_focal(x: Tensor, t: Tensor, gamma: float, alpha: float | None) -> Tensor:
    """Lin et al. 2017, equation 5."""
    p = torch.sigmoid(x)
    yes, no = -((1 - p) ** gamma) * p.log(), -(p**gamma) * (1 - p).log()
    a, b = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return (a * t * yes + b * (1 - t) * no).mean()


bce, bcel = F.binary_cross_entropy, F.binary_cross_entropy_with_logits
ce, nll = F.cross_entropy, F.nll_loss

# what the spec says, what torch says
FORMS: list[tuple[str, Any]] = [
    # losses of numbers
    ("smooth_l1(x, y)", lambda x, y, **_: F.smooth_l1_loss(x, y)),
    ('smooth_l1(x, y, beta = 0.3, reduction = "sum")', lambda x, y, **_: F.smooth_l1_loss(
        x, y, reduction="sum", beta=0.3)),
    ("smooth_l1(x, 0.5)", lambda x, **_: F.smooth_l1_loss(x, torch.full_like(x, 0.5))),
    ("log_cosh(x, y)", lambda x, y, **_: (x - y).cosh().log().mean()),
    ("poisson_nll(x, counts)", lambda x, counts, **_: F.poisson_nll_loss(x, counts)),
    ("poisson_nll(v, counts, log_input = false, full = true)",
        lambda v, counts, **_: F.poisson_nll_loss(v, counts, log_input=False, full=True)),
    ("gaussian_nll(x, y, v)", lambda x, y, v, **_: F.gaussian_nll_loss(x, y, v)),
    ('gaussian_nll(x, y, v, full = true, reduction = "none")',
        lambda x, y, v, **_: F.gaussian_nll_loss(x, y, v, full=True, reduction="none")),
    ("gaussian_nll(x, y, nw)", lambda x, y, nw, **_: F.gaussian_nll_loss(x, y, nw)),
    ("gaussian_nll(x, y, v, eps = 0.9)", lambda x, y, v, **_: F.gaussian_nll_loss(
        x, y, v, eps=0.9)),
    ("kl_divergence(x, t)", lambda x, t, **_: F.kl_div(x, t, reduction="batchmean")),
    ('kl_divergence(x, hot, reduction = "mean")', lambda x, hot, **_: F.kl_div(
        x, hot, reduction="none").mean()),
    ('kl_divergence(x, y, log_target = true, reduction = "none")', lambda x, y, **_: F.kl_div(
        x, y, log_target=True, reduction="none")),
    ("gaussian_kl(x, y)", lambda x, y, **_: (
        -0.5 * (1 + y - x**2 - y.exp()).sum(1)).mean()),
    ("total_variation(f)", lambda f, **_: (f.diff(dim=2).abs().sum((1, 2, 3)) + f.diff(
        dim=3).abs().sum((1, 2, 3))).mean()),
    ("l1_penalty(x)", lambda x, **_: x.abs().sum()),
    ("l2_penalty(f)", lambda f, **_: (f**2).sum()),
    ("huber(x, y, delta = 0.4)", lambda x, y, **_: F.huber_loss(x, y, delta=0.4)),
    # binary cross-entropy
    ("bce(p, t, weight = nw)", lambda p, t, nw, **_: bce(p, t, nw)),
    ("bce_with_logits(x, t, weight = nw)", lambda x, t, nw, **_: bcel(x, t, nw)),
    ("bce_with_logits(x, t, pos_weight = cw)", lambda x, t, cw, **_: bcel(x, t, pos_weight=cw)),
    ('bce_with_logits(x, t, weight = cw, pos_weight = cw, reduction = "none")',
        lambda x, t, cw, **_: bcel(x, t, cw, pos_weight=cw, reduction="none")),
    # classes
    ("cross_entropy(x, soft)", lambda x, soft, **_: ce(x, soft)),
    ('cross_entropy(x, t, smoothing = 0.2, weight = cw, reduction = "sum")',
        lambda x, t, cw, **_: ce(x, t, cw, label_smoothing=0.2, reduction="sum")),
    ('cross_entropy(x, t, reduction = "none", weight = cw)', lambda x, t, cw, **_: ce(
        x, t, cw, reduction="none")),
    ("cross_entropy(x, soft, mask = chosen)", lambda x, soft, chosen, **_: ce(
        x[chosen], soft[chosen])),
    ("cross_entropy(f, softmax(stop_gradient(f), axis = 1), axis = 1)",
        lambda f, **_: ce(f, f.softmax(1).detach())),
    ("cross_entropy(x, p)", lambda x, p, **_: ce(x, p)),
    ("nll(x, label)", lambda x, label, **_: nll(x, label)),
    ("nll(x, label, weight = cw)", lambda x, label, cw, **_: nll(x, label, cw)),
    ("nll(x, label, weight = cw, ignore = 1)", lambda x, label, cw, **_: nll(
        x, label, cw, ignore_index=1)),
    ("nll(f, labels, axis = 1, ignore = 0)", lambda f, labels, **_: nll(
        f, labels, ignore_index=0)),
    ('nll(x, label, reduction = "none")', lambda x, label, **_: nll(x, label, reduction="none")),
    # margins
    ("hinge(x, signs)", lambda x, signs, **_: (1 - signs * x).relu().mean()),
    ("squared_hinge(x, signs)", lambda x, signs, **_: ((1 - signs * x).relu() ** 2).mean()),
    ("hinge_embedding(x, signs, margin = 0.5)", lambda x, signs, **_: F.hinge_embedding_loss(
        x, signs, 0.5)),
    ("soft_margin(x, signs)", lambda x, signs, **_: F.soft_margin_loss(x, signs)),
    ("contrastive(v, hot)", lambda v, hot, **_: (
        hot * v**2 + (1 - hot) * (1 - v).relu() ** 2).mean()),
    ("margin_ranking(x, y, signs, margin = 0.3)", lambda x, y, signs, **_: F.margin_ranking_loss(
        x, y, signs, 0.3)),
    ("multi_margin(x, label)", lambda x, label, **_: F.multi_margin_loss(x, label)),
    ("multi_margin(x, label, p = 2, margin = 0.5, weight = cw)",
        lambda x, label, cw, **_: F.multi_margin_loss(x, label, 2, 0.5, cw)),
    ('multilabel_margin(x, on, reduction = "none")', lambda x, on, **_: multilabel_margin(x, on)),
    ("multilabel_soft_margin(x, hot, weight = cw)",
        lambda x, hot, cw, **_: F.multilabel_soft_margin_loss(x, hot, cw)),
    ("triplet_margin(x, y, z)", lambda x, y, z, **_: F.triplet_margin_loss(x, y, z)),
    ("triplet_margin(x, y, z, margin = 2, p = 1, swap = true)",
        lambda x, y, z, **_: F.triplet_margin_loss(x, y, z, 2, 1, swap=True)),
    ("triplet_margin(x, y, z, p = 3)", lambda x, y, z, **_: F.triplet_margin_loss(x, y, z, p=3)),
    ("cosine_embedding(x, y, sign, margin = 0.1)",
        lambda x, y, sign, **_: F.cosine_embedding_loss(x, y, sign, 0.1)),
    ("info_nce(x, y)", lambda x, y, **_: info_nce(x, y, 0.07)),
    ("info_nce(x, y, temperature = 0.5, symmetric = false)",
        lambda x, y, **_: info_nce(x, y, 0.5, False)),
    # overlap and rare classes
    ("dice(p, hot)", lambda p, hot, **_: overlap(p, hot, 0.5, 0.5).mean()),
    ("jaccard(p, hot)", lambda p, hot, **_: overlap(p, hot, 1.0, 1.0).mean()),
    ('tversky(p, hot, alpha = 0.3, beta = 0.7, smooth = 0.1, reduction = "none")',
        lambda p, hot, **_: overlap(p, hot, 0.3, 0.7, 0.1)),
    ("focal(x, label)", lambda x, label, **_: focal(x, label, 2.0).mean()),
    ("focal(f, labels, axis = 1, gamma = 1.5)", lambda f, labels, **_: focal(
        f, labels, 1.5).mean()),
    ("binary_focal(x, hot)", lambda x, hot, **_: binary_focal(x, hot, 2.0, 0.25)),
    ("binary_focal(x, hot, gamma = 3, alpha = none)", lambda x, hot, **_: binary_focal(
        x, hot, 3.0, None)),
    # activations
    ("glu(w)", lambda w, **_: F.glu(w)),
    ("glu(f, axis = 1)", lambda f, **_: F.glu(f, 1)),
    ("reglu(w)", lambda w, **_: w[:, :3] * w[:, 3:].relu()),
    ("geglu(w)", lambda w, **_: w[:, :3] * F.gelu(w[:, 3:])),
    ("swiglu(w)", lambda w, **_: w[:, :3] * F.silu(w[:, 3:])),
    ("maxout(w, 3)", lambda w, **_: w.unflatten(1, (2, 3)).amax(2)),
    ("maxout(f, axis = 1)", lambda f, **_: f.unflatten(1, (2, 2)).amax(2)),
    ("softmin(x)", lambda x, **_: F.softmin(x, -1)),
    ("tanh_shrink(x)", lambda x, **_: F.tanhshrink(x)),
    ("quick_gelu(x)", lambda x, **_: x * torch.sigmoid(1.702 * x)),
    ("hard_tanh(x, low = -0.5, high = 0.7)", lambda x, **_: F.hardtanh(x, -0.5, 0.7)),
    ("softplus(x, beta = 2)", lambda x, **_: F.softplus(x, 2, 40)),
    ("softplus(x, beta = 2, threshold = 1)", lambda x, **_: F.softplus(x, 2, 1)),
    ("softplus(x, threshold = 0.5)", lambda x, **_: F.softplus(x, 1, 0.5)),
    ("celu(x, alpha = 0.5)", lambda x, **_: F.celu(x, 0.5)),
    ("hard_shrink(x)", lambda x, **_: F.hardshrink(x)),
    ("soft_shrink(x, bound = 0.2)", lambda x, **_: F.softshrink(x, 0.2)),
    ("threshold(x, 0.1, value = -1)", lambda x, **_: F.threshold(x, 0.1, -1.0)),
    # mathematics
    ("frac(x)", lambda x, **_: x.frac()),
    ("sinc(x)", lambda x, **_: x.sinc()),
    ("xlogy(hot, v)", lambda hot, v, **_: torch.xlogy(hot, v)),
    ("lerp(x, y, 0.3)", lambda x, y, **_: torch.lerp(x, y, 0.3)),
    ("lerp(x, y, v)", lambda x, y, v, **_: torch.lerp(x, y, v)),
    ("logit(p)", lambda p, **_: p.logit()),
    ("logit(p, eps = 0.3)", lambda p, **_: p.logit(0.3)),
    ("deg2rad(x)", lambda x, **_: x.deg2rad()),
    ("rad2deg(x)", lambda x, **_: x.rad2deg()),
    ("atan2(x, 2)", lambda x, **_: torch.atan2(x, torch.full_like(x, 2))),
    ("remainder(x, 0.7)", lambda x, **_: torch.remainder(x, 0.7)),
    ("logaddexp(x, y)", lambda x, y, **_: torch.logaddexp(x, y)),
    ("hypot(x, 3)", lambda x, **_: torch.hypot(x, torch.full_like(x, 3))),
    ("erfinv(x / 4)", lambda x, **_: torch.erfinv(x / 4)),
    ("lgamma(v)", lambda v, **_: v.lgamma()),
    ("lgamma(20 * v)", lambda v, **_: (20 * v).lgamma()),
    ("lgamma(stop_gradient(5 * x))", lambda x, **_: (5 * x).detach().lgamma() + 0 * x),
    ("digamma(v)", lambda v, **_: v.digamma()),
    ("digamma(stop_gradient(4 * x))", lambda x, **_: (4 * x).detach().digamma() + 0 * x),
    ("polygamma(v, 2)", lambda v, **_: torch.polygamma(2, v)),
    ("polygamma(9 * v, 0)", lambda v, **_: torch.polygamma(0, 9 * v)),
    ("cummax(x)", lambda x, **_: x.cummax(-1).values),
    ("cummin(f, axis = 1)", lambda f, **_: f.cummin(1).values),
    ("cummax(hot + 0 * x, axis = 0)", lambda x, hot, **_: (hot + 0 * x).cummax(0).values),
    ("median(x)", lambda x, **_: x.median(-1).values),
    ("median(f, axis = 3, keepdims = true)", lambda f, **_: f.median(3, True).values),
    ("quantile(x, 0.3)", lambda x, **_: x.quantile(0.3, -1)),
    ("quantile(f, 0.5, axis = 1)", lambda f, **_: f.quantile(0.5, 1)),
    ("quantile(x, 1, keepdims = true)", lambda x, **_: x.quantile(1.0, -1, True)),
    ('cast(searchsorted(sort(t[0]), v), "float") * x',
        lambda x, t, v, **_: torch.searchsorted(t[0].sort().values, v) * x),
    ('cast(bucketize(hot, sort(hot[0]), right = true), "float") * x',
        lambda x, hot, **_: torch.bucketize(hot, hot[0].sort().values, right=True) * x),
    ("cdist(x, y)", lambda x, y, **_: torch.cdist(x, y)),
    ("cdist(x, x)", lambda x, **_: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")),
    ("cdist(f[:, 0], f[:1, 1], p = 1)", lambda f, **_: torch.cdist(f[:, 0], f[:1, 1], p=1)),
    ("nan_to_num(x / (hot * 0 + 1))", lambda x, **_: x),
]  # fmt: skip

LEARNED, GIVEN = tensors()


def renamed(place: int, form: str) -> str:
    """The form with learned tensors of its own: x becomes x_03."""
    names = "|".join(LEARNED)
    return re.sub(rf"(?<![\w\"])({names})(?![\w\"])(?! =)", rf"\1_{place:02}", form)


def used(form: str) -> list[str]:
    return [n for n in LEARNED if re.search(rf"(?<![\w\"]){n}(?![\w\"])(?! =)", form)]


def written(value: Any) -> str:
    kind = {"b": "bool", "i": "i64"}.get(value.dtype.kind, "")
    return f"{kind}[{', '.join(map(str, value.shape))}]"


def source() -> str:
    heads = ", ".join(f"{n}: {written(v)}" for n, v in GIVEN.items())
    lines, names = list[str](), list[str]()
    for place, (form, _) in enumerate(FORMS):
        for name in used(form):
            shape = list(LEARNED[name].shape)
            lines.append(f"  {name}_{place:02} = param({shape}, init = normal())")
        lines.append(f"  l{place:02} = {renamed(place, form)}")
        names.append(f"l{place:02}")
    body, outputs = "\n".join(lines), ", ".join(names)
    fields = ", ".join(GIVEN)
    squares = " + ".join(f"sum(square(l{i:02}))" for i in range(len(FORMS)))
    return (
        f"model M({heads}) {{\n{body}\n  return {outputs}\n}}\n\n"
        f"train all {{\n"
        f'  data ({heads}) from npz("none.npz", fields = "{fields}", batch = {N})\n'
        f"  {outputs} = M({fields})\n"
        f"  minimize {squares} using sgd(0.1)\n"
        f"  epochs 1\n}}\n"
    )


@pytest.fixture(scope="module")
def spec() -> Any:
    """One network of all forms, so that each backend compiles once."""
    return load(source())


@pytest.fixture(scope="module", params=BACKENDS)
def found(request: pytest.FixtureRequest, spec: Any) -> Any:
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    module = load_module(spec.trainer("all").code(request.param))
    state = module.init(0, dtype="float64")
    values = {key: LEARNED[key.split(".")[-1][0]] for key in module.export_weights(state)}
    state = module.import_weights(state, values)
    outputs = module.predict(state, **GIVEN)
    _, gradients = module.gradients(state, GIVEN)
    outputs = [np.asarray(outputs[f"output{i}"]) for i in range(len(FORMS))]
    yield outputs, {k.split(".")[-1]: np.asarray(v) for k, v in gradients.items()}
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("place", range(len(FORMS)), ids=[form for form, _ in FORMS])
def test_as_torch(place: int, found: Any) -> None:
    outputs, gradients = found
    form, reference = FORMS[place]
    leaves = {n: torch.as_tensor(v).requires_grad_() for n, v in LEARNED.items()}
    wanted = reference(**leaves, **{n: torch.as_tensor(v) for n, v in GIVEN.items()})
    assert outputs[place].shape == tuple(wanted.shape)
    np.testing.assert_allclose(outputs[place], wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    names = used(form)
    asked = [leaves[n] for n in names]
    slopes = torch.autograd.grad((wanted**2).sum(), asked, materialize_grads=True)
    for name, slope in zip(names, slopes, strict=True):
        mine = gradients[f"{name}_{place:02}"]
        np.testing.assert_allclose(mine, slope.numpy(), rtol=1e-8, atol=1e-10)


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
