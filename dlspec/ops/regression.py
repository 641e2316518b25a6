"""Losses of numbers and distributions, as formulas; penalties."""

from __future__ import annotations

from functools import partial
from math import log, pi
from typing import TYPE_CHECKING, Any

from dlspec.codes import BAD_ARGUMENT, RANK
from dlspec.ir.dims import Dim
from dlspec.ops import arguments as arg
from dlspec.ops.activations import Softplus
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.elementwise import Abs, Log, Maximum, StopGradient, Term
from dlspec.ops.loss import REDUCTION, check_pair, reduce_loss, reduction_of
from dlspec.ops.reduce import Sum
from dlspec.ops.rules import check_float, check_rank, require_positive, text
from dlspec.ops.shape import Slice
from dlspec.ops.weighted import factor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dlspec.ir.graph import Value
    from dlspec.ops.base import LayerBuilder

ONE = Dim.const(1)


def pair_loss(
    name: str,
    element: Callable[[LayerBuilder, Term, Term, Mapping[str, Any]], Term],
    doc: str,
    statics: tuple[StaticParam, ...] = (),
) -> Builtin:
    """A loss of each element of x and its target (or one target for all), reduced."""

    def apply(b: LayerBuilder, tensors: Mapping[str, Any], given: Mapping[str, Any]) -> Value:
        x, target = tensors["x"], tensors["target"]
        reduction = reduction_of(b, name, given)
        check_pair(b, name, x.type, target.type)
        return reduce_loss(b, element(b, Term(b, x), Term(b, target), given), reduction)

    params = (*statics, REDUCTION)
    return Builtin(name, ("x", "target"), apply, params, scalars=("target",), doc=doc)


def _smooth_l1(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    beta = arg.number(b, statics["beta"])
    if arg.bare(b, beta) <= 0:
        help = "mae is the loss without a smooth part"
        b.fail(
            BAD_ARGUMENT,
            f"smooth_l1: beta is {arg.bare(b, beta)}, but must be positive",
            help=help,
        )
    distance, bound = (x - t).apply(Abs()), x.static(beta)
    near = distance.square() * 0.5 / bound
    return (distance < bound).where(near, distance - bound * 0.5)


def _log_cosh(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    away = x - t
    return away + (away * -2.0).apply(Softplus()) - log(2.0)


def _poisson(b: LayerBuilder, x: Term, t: Term, statics: Mapping[str, Any]) -> Term:
    eps = arg.number(b, statics["eps"])
    if arg.flag(statics["log_input"]):
        loss = x.exp() - t * x
    else:
        loss = x - t * (x + x.static(eps)).apply(Log())
    if not arg.flag(statics["full"]):
        return loss
    large = t > 1.0
    safe = large.where(t, t.like(1.0))
    stirling = safe * safe.apply(Log()) - safe + (safe * (2.0 * pi)).apply(Log()) * 0.5
    return loss + large.where(stirling, t.like(0.0))


def _gaussian_nll(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, target, var = (tensors[key] for key in ("x", "target", "var"))
    reduction = reduction_of(b, "gaussian_nll", statics)
    check_pair(b, "gaussian_nll", x.type, target.type)
    eps = arg.number(b, statics["eps"])
    if arg.bare(b, eps) <= 0:
        b.fail(BAD_ARGUMENT, f"gaussian_nll: eps is {arg.bare(b, eps)}, but must be positive")
    variance = factor(b, "gaussian_nll", "var", x, var)
    # the bound is on the value alone: torch clamps it without a gradient
    least = variance.static(eps)
    shift = (variance.apply(Maximum(), least) - variance).apply(StopGradient())
    variance = variance + shift
    squared = (Term(b, x) - Term(b, target)).square()
    loss = (variance.apply(Log()) + squared / variance) * 0.5
    if arg.flag(statics["full"]):
        loss = loss + 0.5 * log(2.0 * pi)
    return reduce_loss(b, loss, reduction)


def _kl(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    x, target = tensors["x"], tensors["target"]
    words = ("batch_mean", "mean", "sum", "none")
    reduction = arg.word(b, "kl_divergence: reduction", statics["reduction"], words)
    check_pair(b, "kl_divergence", x.type, target.type)
    q, t = Term(b, x), Term(b, target)
    if arg.flag(statics["log_target"]):
        loss = t.exp() * (t - q)
    else:
        positive = t > 0.0
        safe = positive.where(t, t.like(1.0))
        loss = positive.where(t * safe.apply(Log()), t.like(0.0)) - t * q
    if reduction != "batch_mean":
        return reduce_loss(b, loss, reduction)
    check_rank(b, "kl_divergence", x.type, 1)
    return (Term(b, reduce_loss(b, loss, "sum")) / x.type.shape[0]).value


def _gaussian_kl(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    mu, logvar = tensors["mu"], tensors["logvar"]
    reduction = reduction_of(b, "gaussian_kl", statics)
    check_pair(b, "gaussian_kl", mu.type, logvar.type)
    check_rank(b, "gaussian_kl", mu.type, 2)
    m, v = Term(b, mu), Term(b, logvar)
    each = (m.square() + v.exp() - v - 1.0) * 0.5
    total = each.apply(Sum(tuple(range(1, mu.type.rank))))
    return reduce_loss(b, total, reduction)


def _moved(b: LayerBuilder, x: Value, axis: int) -> Term:
    """The difference of neighbours along an axis."""
    rank, extent = x.type.rank, x.type.shape[axis]
    require_positive(b, extent - 1, f"total_variation: axis {axis} of {text(x.type.shape)} is 1")
    zero, steps = Dim.const(0), (ONE,) * rank
    starts = [zero] * rank
    stops = list(x.type.shape)
    starts[axis] = ONE
    after = b.emit(Slice(tuple(starts), tuple(stops), steps), x)
    starts[axis], stops[axis] = zero, extent - 1
    return Term(b, after) - Term(b, b.emit(Slice(tuple(starts), tuple(stops), steps), x))


def _total_variation(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_float(b, "total_variation", x.type)
    reduction = reduction_of(b, "total_variation", statics)
    if x.type.rank < 3:
        b.fail(
            RANK,
            f"total_variation: the input {text(x.type.shape)} has no spatial axis",
            help="total_variation takes [N, C, *S]",
        )
    rest = tuple(range(1, x.type.rank))
    parts = [_moved(b, x, axis).apply(Abs()).apply(Sum(rest)) for axis in range(2, x.type.rank)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return reduce_loss(b, total, reduction)


def _penalty(
    name: str, b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x: Value = tensors["x"]
    check_float(b, name, x.type)
    each = Term(b, x).apply(Abs()) if name == "l1_penalty" else Term(b, x).square()
    every = tuple(range(x.type.rank))
    return each.apply(Sum(every)).value


BUILTINS = (
    pair_loss(
        "smooth_l1",
        _smooth_l1,
        "d² / (2 beta) where d = |x - target| < beta, else d - beta / 2.",
        (StaticParam("beta", 1.0, arg.NUMBER),),
    ),
    pair_loss("log_cosh", _log_cosh, "ln cosh(x - target)."),
    pair_loss(
        "poisson_nll",
        _poisson,
        "e^x - target x; log_input = false: x - target ln(x + eps).",
        (
            StaticParam("log_input", True, arg.FLAG),
            StaticParam("full", False, arg.FLAG),
            StaticParam("eps", 1e-8, arg.NUMBER),
        ),
    ),
    Builtin(
        "gaussian_nll",
        ("x", "target", "var"),
        _gaussian_nll,
        (
            StaticParam("full", False, arg.FLAG),
            StaticParam("eps", 1e-6, arg.NUMBER),
            REDUCTION,
        ),
        scalars=("target", "var"),
        doc="(ln var + (x - target)² / var) / 2, var not below eps.",
    ),
    Builtin(
        "kl_divergence",
        ("x", "target"),
        _kl,
        (
            StaticParam("log_target", False, arg.FLAG),
            StaticParam("reduction", "batch_mean", ("string",)),
        ),
        doc="Σ target (ln target - x) of log-probabilities x, divided by the batch.",
    ),
    Builtin(
        "gaussian_kl",
        ("mu", "logvar"),
        _gaussian_kl,
        (REDUCTION,),
        doc="KL of N(mu, e^logvar) from N(0, 1), summed over all axes but the first.",
    ),
    Builtin(
        "total_variation",
        ("x",),
        _total_variation,
        (REDUCTION,),
        doc="Σ |x[i + 1] - x[i]| along the spatial axes of [N, C, *S].",
    ),
    Builtin("l1_penalty", ("x",), partial(_penalty, "l1_penalty"), doc="Σ |x|."),
    Builtin("l2_penalty", ("x",), partial(_penalty, "l2_penalty"), doc="Σ x²."),
)
