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
