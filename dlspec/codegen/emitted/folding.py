"""The weights of a training with its batch norms folded into the layers beside them."""

import re

import numpy as np


def places(weights, norm, *within):
    """The beginnings of the paths of all batch norms of that name; within: of those places, in
    which `*` stands for a number."""
    found = (re.fullmatch(rf"((?:.*\.)?){re.escape(norm)}\.running_var", name) for name in weights)
    starts = [match[1] for match in found if match]
    if not within:
        return starts
    parts = (re.escape(place).replace(r"\*", r"\d+") + r"\." for place in within)
    allowed = re.compile("|".join(parts))
    return [start for start in starts if allowed.fullmatch(start)]


def scale_and_shift(weights, norm, eps, scale=True, shift=True):
    """Takes a batch norm's weights out: it is s x + t, s = γ / √(σ² + eps), t = β - μ s."""
    mean, var = weights.pop(f"{norm}.running_mean"), weights.pop(f"{norm}.running_var")
    s = 1 / np.sqrt(np.asarray(var, np.float64) + eps)
    s = s * weights.pop(f"{norm}.weight") if scale else s
    t = -np.asarray(mean, np.float64) * s
    return s, t + weights.pop(f"{norm}.bias") if shift else t


def fold_after(weights, layer, norm, **how):
    """A batch norm after a layer: s (W x + b) + t = (s W) x + (s b + t)."""
    s, t = scale_and_shift(weights, norm, **how)
    weight = weights[f"{layer}.weight"]
    weights[f"{layer}.weight"] = s.reshape(-1, *(1,) * (weight.ndim - 1)) * weight
    weights[f"{layer}.bias"] = s * weights.get(f"{layer}.bias", 0.0) + t


def fold_after_transposed(weights, layer, norm, **how):
    """The same after a transposed convolution, whose weight is [C, O / groups, *K]."""
    s, t = scale_and_shift(weights, norm, **how)
    weight = weights[f"{layer}.weight"]
    groups = s.size // weight.shape[1]
    apart = weight.reshape(groups, -1, *weight.shape[1:])  # [groups, C / groups, O / groups, *K]
    scaled = apart * s.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))
    weights[f"{layer}.weight"] = scaled.reshape(weight.shape)
    weights[f"{layer}.bias"] = s * weights.get(f"{layer}.bias", 0.0) + t


def fold_before(weights, layer, norm, **how):
    """A batch norm before a layer: W (s x + t) + b = (W s) x + (b + W t)."""
    s, t = scale_and_shift(weights, norm, **how)
    weight = weights[f"{layer}.weight"]
    groups = s.size // weight.shape[1]
    apart = weight.reshape(groups, -1, *weight.shape[1:])  # [groups, O / groups, C / groups, *K]
    wide = (groups, 1, -1, *(1,) * (weight.ndim - 2))
    moved = (apart * t.reshape(wide)).sum(axis=tuple(range(2, apart.ndim))).reshape(-1)
    weights[f"{layer}.weight"] = (apart * s.reshape(wide)).reshape(weight.shape)
    weights[f"{layer}.bias"] = weights.get(f"{layer}.bias", 0.0) + moved
