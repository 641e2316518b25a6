"""Functions that NumPy does not have."""

import math

import numpy as np


def erfc(x):
    """1 - erf x, exact where erf is near 1."""
    return np.vectorize(math.erfc, otypes=[x.dtype])(x)


def erfinv(x):
    """y with erf y = x: Winitzki's approximation, then three steps of Halley's method."""
    rest = np.maximum(1 - np.abs(x.astype(np.float64)), 2.0**-54)
    log = np.log(rest * (2 - rest))
    half = 4.330746750799873 + log / 2
    y = np.sqrt(np.maximum(np.sqrt(half * half - log / 0.147) - half, 0))
    for _ in range(3):
        slope = -1.1283791670955126 * np.exp(-y * y)
        step = (np.vectorize(math.erfc, otypes=[float])(y) - rest) / slope
        y = y - step / (1 + y * step)
    y = np.where(np.abs(x) < 1, y, np.where(np.abs(x) == 1, np.inf, np.nan))
    return (np.sign(x) * y).astype(x.dtype)


def searchsorted(order, values, right):
    """For each value how many elements of an ascending vector are less, or not greater."""
    return np.asarray(np.searchsorted(order, values, side="right" if right else "left"))


BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def raised(x, least=16):
    """x + k, which is at least `least`, and x, x + 1, … x + k - 1; 1 where x is large already.
    In float64, because much cancels."""
    x = x.astype(np.float64)
    finite = np.where(np.isfinite(x), x, least)
    count = max(0, math.ceil(least - float(finite.min(initial=least))))
    small = x < least
    return np.where(small, x + count, x), [np.where(small, x + k, 1) for k in range(count)], small


def lgamma(x):
    """ln |Γ(x)|, by Stirling's series at x + k."""
    z, factors, _ = raised(x)
    total = (z - 0.5) * (np.log(z) - 1) + 0.5 * (math.log(2 * math.pi) - 1)
    for i, number in enumerate(BERNOULLI):
        k = 2 * (i + 1)
        total = total + number / (k * (k - 1)) * z ** (1 - k)
    with np.errstate(divide="ignore"):  # infinite where a factor is 0
        for factor in factors:
            total = total - np.log(np.abs(factor))
    return total.astype(x.dtype)


def digamma(x):
    """The derivative of ln Γ(x)."""
    z, factors, small = raised(x)
    total = np.log(z) - 0.5 / z
    for i, number in enumerate(BERNOULLI):
        k = 2 * (i + 1)
        total = total - number / k * z**-k
    for factor in factors:
        total = total - small / factor
    return total.astype(x.dtype)


def polygamma(order, x):
    """The derivative of order + 1 of ln Γ(x), order at least 1."""
    z, factors, small = raised(x, 16 + 2 * order)
    total = math.factorial(order - 1) * z**-order + 0.5 * math.factorial(order) * z ** (-order - 1)
    for i, number in enumerate(BERNOULLI):
        k = 2 * (i + 1)
        share = math.factorial(k + order - 1) / math.factorial(k)
        total = total + number * share * z ** (-k - order)
    for factor in factors:
        total = total + math.factorial(order) * small * factor ** (-order - 1)
    return ((-1) ** (order + 1) * total).astype(x.dtype)
