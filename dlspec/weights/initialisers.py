"""Initialisers: a distribution's name and numbers give an array of float64.

A shape is read in torch's layout: [out, in, *kernel]. An initialiser that scales with the fan
takes `fan_in` and `fan_out` where the shape alone does not tell (a bias, a transposed kernel).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlspec.ir.inits import TRUNCATED, VARIANCE

Array: TypeAlias = NDArray[np.float64]
Args: TypeAlias = Mapping[str, float]
Initialiser: TypeAlias = Callable[[np.random.Generator, tuple[int, ...], Args], Array]


def fans(shape: Sequence[int], args: Args) -> tuple[float, float]:
    """(fan_in, fan_out) of a weight [out, in, *kernel]; a vector [n] has fan n both ways."""
    receptive = math.prod(shape[2:])
    rows = shape[0] if shape else 1
    columns = shape[1] if len(shape) > 1 else rows
    return args.get("fan_in", columns * receptive), args.get("fan_out", rows * receptive)


def draw(
    kind: str, rng: np.random.Generator, shape: tuple[int, ...], args: Args | None = None
) -> Array:
    """An array of `shape` from the initialiser `kind`; KeyError for an unknown kind. Its row
    `blank`, where there is one, is zero."""
    drawn = INITIALISERS[kind](rng, shape, args or {})
    if args and "blank" in args:
        drawn[int(args["blank"])] = 0.0
    return drawn


def _filled(value: float) -> Initialiser:
    return lambda rng, shape, args: np.full(shape, value)


def _constant(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    return np.full(shape, float(args.get("value", 0.0)))


def _normal(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    return args.get("mean", 0.0) + args.get("std", 1.0) * rng.standard_normal(shape)


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """Normal, redrawn beyond two deviations, not rescaled."""
    drawn = rng.standard_normal(shape)
    while (outside := abs(drawn) > 2).any():
        drawn = np.where(outside, rng.standard_normal(shape), drawn)
    return args.get("mean", 0.0) + args.get("std", 1.0) * drawn


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    low, high = args.get("low", 0.0), args.get("high", 1.0)
    return low + (high - low) * rng.random(shape)


def _symmetric(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Array:
    return bound * (2.0 * rng.random(shape) - 1.0)


def _glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """U(±gain sqrt(6 / (fan_in + fan_out))): Glorot & Bengio 2010, eq. 16."""
    bound = args.get("gain", 1.0) * math.sqrt(6.0 / max(1.0, sum(fans(shape, args))))
    return _symmetric(rng, shape, bound)


def _glorot_normal(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """N(0, gain² 2 / (fan_in + fan_out)): Glorot & Bengio 2010, eq. 12."""
    std = args.get("gain", 1.0) * math.sqrt(2.0 / max(1.0, sum(fans(shape, args))))
    return std * rng.standard_normal(shape)


def _scaled_normal(variance: float) -> Initialiser:
    """N(0, variance / fan_in)."""

    def initialise(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
        return math.sqrt(variance / max(1.0, fans(shape, args)[0])) * rng.standard_normal(shape)

    return initialise


def _scaled_uniform(variance: float) -> Initialiser:
    """U(±sqrt(3 variance / fan_in)): the uniform of that variance."""

    def initialise(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
        return _symmetric(rng, shape, math.sqrt(3.0 * variance / max(1.0, fans(shape, args)[0])))

    return initialise


def _truncated(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A normal cut at two deviations, of variance 1."""
    return _truncated_normal(rng, shape, {}) / TRUNCATED


def _variance_scaling(mode: str, distribution: str) -> Initialiser:
    """Variance gain² / n, n the fan that mode names."""

    def initialise(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
        fan_in, fan_out = fans(shape, args)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        std = args.get("gain", 1.0) / math.sqrt(max(1.0, n))
        match distribution:
            case "uniform":
                return _symmetric(rng, shape, math.sqrt(3.0) * std)
            case "normal":
                return std * rng.standard_normal(shape)
            case _:
                return std * _truncated(rng, shape)

    return initialise


def _kaiming_uniform(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """U(±sqrt(6 / ((1 + a²) fan_in))): He et al. 2015, eq. 15. a = sqrt(5), the default, gives
    torch's ±1 / sqrt(fan_in) of its linear and convolution layers."""
    a = args.get("a", math.sqrt(5.0))
    return _symmetric(rng, shape, math.sqrt(6.0 / ((1 + a * a) * max(1.0, fans(shape, args)[0]))))


def _fan_in_uniform(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """U(±1 / sqrt(fan_in)): torch's biases, fan_in that of the layer's weight."""
    return _symmetric(rng, shape, 1.0 / math.sqrt(max(1.0, fans(shape, args)[0])))


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """Rows (or columns, when there are more rows) orthonormal, times gain: Saxe et al. 2013."""
    rows, columns = shape[0], math.prod(shape[1:])
    wide = rows < columns
    q, r = np.linalg.qr(rng.standard_normal((columns, rows) if wide else (rows, columns)))
    q = q * np.sign(np.diag(r))  # the factorisation is unique only up to these signs
    return np.asarray(args.get("gain", 1.0) * (q.T if wide else q)).reshape(shape)


def _identity(rng: np.random.Generator, shape: tuple[int, ...], args: Args) -> Array:
    """The identity matrix, times gain; for a kernel, at its centre (Dirac)."""
    filled = np.zeros(shape)
    centre = tuple(k // 2 for k in shape[2:])
    for i in range(min(shape[:2])):
        filled[(i, i, *centre)] = args.get("gain", 1.0)
    return filled


INITIALISERS: dict[str, Initialiser] = {
    "zeros": _filled(0.0),
    "ones": _filled(1.0),
    "constant": _constant,
    "normal": _normal,
    "truncated_normal": _truncated_normal,
    "uniform": _uniform,
    "glorot_uniform": _glorot_uniform,
    "glorot_normal": _glorot_normal,
    "he_uniform": _scaled_uniform(2.0),
    "he_normal": _scaled_normal(2.0),
    "lecun_uniform": _scaled_uniform(1.0),
    "lecun_normal": _scaled_normal(1.0),
    "kaiming_uniform": _kaiming_uniform,
    "fan_in_uniform": _fan_in_uniform,
    **{kind: _variance_scaling(*words) for kind, words in VARIANCE.items()},
    "orthogonal": _orthogonal,
    "identity": _identity,
}
