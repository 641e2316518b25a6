"""Initialisers: each gives a function of a generator and a shape [out, in, *kernel]."""

import math

import numpy as np


def fans(shape, fan_in=None, fan_out=None):
    """(fan_in, fan_out) of a weight [out, in, *kernel], unless the layer says otherwise."""
    receptive = math.prod(shape[2:])
    rows = shape[0] if shape else 1
    columns = shape[1] if len(shape) > 1 else rows
    return fan_in or max(1, columns * receptive), fan_out or max(1, rows * receptive)


def symmetric(rng, shape, bound):
    """Uniform on [-bound, bound)."""
    return bound * (2 * rng.random(shape) - 1)


def zeros():
    return lambda rng, shape: np.zeros(shape)


def ones():
    return lambda rng, shape: np.ones(shape)


def constant(value=0.0):
    return lambda rng, shape: np.full(shape, value)


def normal(mean=0.0, std=1.0):
    return lambda rng, shape: mean + std * rng.standard_normal(shape)


def truncated_normal(mean=0.0, std=1.0, low=-2.0, high=2.0):
    """Normal, redrawn outside [low, high] standard deviations."""

    def draw(rng, shape):
        drawn = rng.standard_normal(shape)
        outside = (drawn < low) | (drawn > high)
        while outside.any():
            drawn[outside] = rng.standard_normal(outside.sum())
            outside = (drawn < low) | (drawn > high)
        return mean + std * drawn

    return draw


def uniform(low=0.0, high=1.0):
    return lambda rng, shape: low + (high - low) * rng.random(shape)


def glorot_uniform(gain=1.0, fan_in=None, fan_out=None):
    """U(±gain √(6 / (fan_in + fan_out))) (Glorot and Bengio 2010)."""
    return lambda rng, shape: symmetric(
        rng, shape, gain * math.sqrt(6 / sum(fans(shape, fan_in, fan_out)))
    )


def glorot_normal(gain=1.0, fan_in=None, fan_out=None):
    """N(0, gain² 2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return lambda rng, shape: (
        gain * math.sqrt(2 / sum(fans(shape, fan_in, fan_out))) * rng.standard_normal(shape)
    )


def he_uniform(fan_in=None, fan_out=None):
    """U(±√(6 / fan_in)) (He et al. 2015)."""
    return lambda rng, shape: symmetric(rng, shape, math.sqrt(6 / fans(shape, fan_in)[0]))


def he_normal(fan_in=None, fan_out=None):
    """N(0, 2 / fan_in) (He et al. 2015)."""
    return lambda rng, shape: math.sqrt(2 / fans(shape, fan_in)[0]) * rng.standard_normal(shape)


def lecun_uniform(fan_in=None, fan_out=None):
    """U(±√(3 / fan_in))."""
    return lambda rng, shape: symmetric(rng, shape, math.sqrt(3 / fans(shape, fan_in)[0]))


def lecun_normal(fan_in=None, fan_out=None):
    """N(0, 1 / fan_in)."""
    return lambda rng, shape: math.sqrt(1 / fans(shape, fan_in)[0]) * rng.standard_normal(shape)


def variance_scaling(
    gain=1.0, mode="fan_in", distribution="truncated_normal", fan_in=None, fan_out=None
):
    """Variance gain² / n, n the fan that mode names; "fan_avg" is the mean of both."""

    def draw(rng, shape):
        into, out = fans(shape, fan_in, fan_out)
        std = gain / math.sqrt({"fan_in": into, "fan_out": out, "fan_avg": (into + out) / 2}[mode])
        if distribution == "uniform":
            return symmetric(rng, shape, math.sqrt(3) * std)
        if distribution == "normal":
            return std * rng.standard_normal(shape)
        return std / 0.8796256610342398 * truncated_normal()(rng, shape)

    return draw


def kaiming_uniform(a=5**0.5, fan_in=None, fan_out=None):
    """U(±√(6 / ((1 + a²) fan_in))); a = √5 gives ±1 / √fan_in, torch's for its layers."""
    return lambda rng, shape: symmetric(
        rng, shape, math.sqrt(6 / ((1 + a * a) * fans(shape, fan_in)[0]))
    )


def fan_in_uniform(fan_in=None, fan_out=None):
    """U(±1 / √fan_in): torch's biases, fan_in that of the layer's weight."""
    return lambda rng, shape: symmetric(rng, shape, 1 / math.sqrt(fans(shape, fan_in)[0]))


def orthogonal(gain=1.0):
    """Orthonormal rows, or columns when there are more rows (Saxe et al. 2013)."""

    def draw(rng, shape):
        rows, columns = shape[0], math.prod(shape[1:])
        wide = rows < columns
        q, r = np.linalg.qr(rng.standard_normal((columns, rows) if wide else (rows, columns)))
        q = q * np.sign(np.diag(r))
        return gain * (q.T if wide else q).reshape(shape)

    return draw


def identity(gain=1.0):
    """The identity matrix; for a kernel, at its centre."""

    def draw(rng, shape):
        filled = np.zeros(shape)
        for i in range(min(shape[:2])):
            filled[(i, i, *(k // 2 for k in shape[2:]))] = gain
        return filled

    return draw


def blank_row(initialiser, row):
    """An initialiser of which one row is zero."""

    def draw(rng, shape):
        drawn = initialiser(rng, shape)
        drawn[row] = 0
        return drawn

    return draw


def signs():
    """-1 or 1, as likely."""
    return lambda rng, shape: np.where(rng.random(shape) < 0.5, -1.0, 1.0)
