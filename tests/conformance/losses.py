"""Losses, activations and elementwise mathematics against torch's own functions, or the formula
where torch has none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .table import Input, Table, below, flags, hot, positive, rows, shares, signs, unit

K = 4


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
    own = torch.arange(len(x))
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

NOTE = "the mean of nothing that counts is 0: torch says NaN"
ALL = {"batches": (3,), "note": NOTE}
SOME = {"batches": (3, 1), "note": NOTE}
CLAMPED = {"smooth": False, "note": "the variance is clamped, and its gradient not"}
BATCH = {"batches": (3, 1)}
STOPPED = {"batches": (3, 1), "smooth": False}
SOME2 = {"batches": (3, 1), "note": "torch has no answer without a batch"}
# what the spec says, what torch says
ROWS = rows(
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
        x, y, v, eps=0.9), CLAMPED),
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
        x[chosen], soft[chosen]), ALL),
    ("cross_entropy(f, softmax(stop_gradient(f), axis = 1), axis = 1)",
        lambda f, **_: ce(f, f.softmax(1).detach()), {"smooth": False}),
    ("cross_entropy(x, p)", lambda x, p, **_: ce(x, p)),
    ("nll(x, label)", lambda x, label, **_: nll(x, label)),
    ("nll(x, label, weight = cw)", lambda x, label, cw, **_: nll(x, label, cw), SOME),
    ("nll(x, label, weight = cw, ignore = 1)", lambda x, label, cw, **_: nll(
        x, label, cw, ignore_index=1), ALL),
    ("nll(f, labels, axis = 1, ignore = 0)", lambda f, labels, **_: nll(
        f, labels, ignore_index=0), SOME),
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
    ("multi_margin(x, label)", lambda x, label, **_: F.multi_margin_loss(x, label), SOME2),
    ("multi_margin(x, label, p = 2, margin = 0.5, weight = cw)",
        lambda x, label, cw, **_: F.multi_margin_loss(x, label, 2, 0.5, cw), SOME2),
    ('multilabel_margin(x, on, reduction = "none")', lambda x, on, **_: multilabel_margin(x, on),
        SOME2),
    ("multilabel_soft_margin(x, hot, weight = cw)",
        lambda x, hot, cw, **_: F.multilabel_soft_margin_loss(x, hot, cw)),
    ("triplet_margin(x, y, z)", lambda x, y, z, **_: F.triplet_margin_loss(x, y, z)),
    ("triplet_margin(x, y, z, margin = 2, p = 1, swap = true)",
        lambda x, y, z, **_: F.triplet_margin_loss(x, y, z, 2, 1, swap=True)),
    ("triplet_margin(x, y, z, p = 3)", lambda x, y, z, **_: F.triplet_margin_loss(x, y, z, p=3)),
    ("cosine_embedding(x, y, sign, margin = 0.1)",
        lambda x, y, sign, **_: F.cosine_embedding_loss(x, y, sign, 0.1)),
    ("info_nce(x, y)", lambda x, y, **_: info_nce(x, y, 0.07), SOME2),
    ("info_nce(x, y, temperature = 0.5, symmetric = false)",
        lambda x, y, **_: info_nce(x, y, 0.5, False), SOME2),
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
    ("nan_to_num(x / (hot * 0 + 1))", lambda x, **_: x),
    ("lgamma(v)", lambda v, **_: v.lgamma(),
        BATCH),
    ("lgamma(20 * v)", lambda v, **_: (20 * v).lgamma(),
        BATCH),
    ("lgamma(stop_gradient(5 * x))", lambda x, **_: (5 * x).detach().lgamma() + 0 * x,
        STOPPED),
    ("digamma(v)", lambda v, **_: v.digamma(),
        BATCH),
    ("digamma(stop_gradient(4 * x))", lambda x, **_: (4 * x).detach().digamma() + 0 * x,
        STOPPED),
    ("polygamma(v, 2)", lambda v, **_: torch.polygamma(2, v),
        BATCH),
    ("polygamma(9 * v, 0)", lambda v, **_: torch.polygamma(0, 9 * v),
        BATCH),
    ("cummax(x)", lambda x, **_: x.cummax(-1).values,
        BATCH),
    ("cummin(f, axis = 1)", lambda f, **_: f.cummin(1).values,
        BATCH),
    ("cummax(hot + 0 * x, axis = 0)", lambda x, hot, **_: (hot + 0 * x).cummax(0).values,
        BATCH),
    ("median(x)", lambda x, **_: x.median(-1).values,
        BATCH),
    ("median(f, axis = 3, keepdims = true)", lambda f, **_: f.median(3, True).values,
        BATCH),
    ("quantile(x, 0.3)", lambda x, **_: x.quantile(0.3, -1),
        BATCH),
    ("quantile(f, 0.5, axis = 1)", lambda f, **_: f.quantile(0.5, 1),
        BATCH),
    ("quantile(x, 1, keepdims = true)", lambda x, **_: x.quantile(1.0, -1, True),
        BATCH),
    ('cast(searchsorted(sort(t[0]), v), "float") * x',
        lambda x, t, v, **_: torch.searchsorted(t[0].sort().values, v) * x,
        BATCH),
    ('cast(bucketize(hot, sort(hot[0]), right = true), "float") * x',
        lambda x, hot, **_: torch.bucketize(hot, hot[0].sort().values, right=True) * x,
        BATCH),
    ("cdist(x, y)", lambda x, y, **_: torch.cdist(x, y),
        BATCH),
    ("cdist(x, x)", lambda x, **_: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"),
        BATCH),
    ("cdist(f[:, 0], f[:1, 1], p = 1)", lambda f, **_: torch.cdist(f[:, 0], f[:1, 1], p=1),
        BATCH),
)  # fmt: skip

INPUTS = {
    "x": Input("[N, 4]"),
    "y": Input("[N, 4]"),
    "z": Input("[N, 4]"),
    "p": Input("[N, 4]", unit),
    "v": Input("[N, 4]", positive),
    "w": Input("[N, 6]"),
    "f": Input("[N, 4, 2, 3]"),
    "t": Input("[N, 4]", unit, learned=False),
    "soft": Input("[N, 4]", shares, learned=False),
    "signs": Input("[N, 4]", signs, learned=False),
    "sign": Input("[N]", signs, learned=False),
    "hot": Input("[N, 4]", hot, learned=False),
    "on": Input("bool[N, 4]", flags),
    "chosen": Input("bool[N]", flags),
    "label": Input("i64[N]", below(4)),
    "labels": Input("i64[N, 2, 3]", below(4)),
    "counts": Input("[N, 4]", lambda rng, shape: rng.integers(0, 5, shape).astype(float), False),
    "cw": Input("[4]", positive, learned=False),
    "nw": Input("[N, 1]", positive, learned=False),
}
TABLE = Table("losses", INPUTS, ROWS)
