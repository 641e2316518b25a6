"""The initialisers of the language: their names and arguments. Drawn by `dlspec.weights`."""

from __future__ import annotations

INIT_KINDS: dict[str, dict[str, float | str]] = {
    "zeros": {},
    "ones": {},
    "constant": {"value": 0.0},
    "normal": {"mean": 0.0, "std": 1.0},
    "truncated_normal": {"mean": 0.0, "std": 1.0},
    "uniform": {"low": 0.0, "high": 1.0},
    "glorot_uniform": {"gain": 1.0},
    "glorot_normal": {"gain": 1.0},
    "he_uniform": {},
    "he_normal": {},
    "lecun_uniform": {},
    "lecun_normal": {},
    "variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
    "orthogonal": {"gain": 1.0},
    "identity": {},
}
"""Arguments by name, with defaults, in order. A layer's own default may be of another kind."""

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")
VARIANCE: dict[str, tuple[str, str]] = {
    "variance_scaling": (MODES[0], DISTRIBUTIONS[0]),
    **{
        f"variance_scaling_{mode}_{distribution}": (mode, distribution)
        for mode in MODES
        for distribution in DISTRIBUTIONS
    },
}
"""The kinds that `variance_scaling` stands for: mode and distribution. `gain` is √scale."""

TRUNCATED = 0.8796256610342398
"""The standard deviation of a normal cut at two of its own."""

INIT_DOCS: dict[str, str] = {
    "zeros": "0.",
    "ones": "1.",
    "constant": "The value.",
    "normal": "N(mean, std²).",
    "truncated_normal": "N(mean, std²), drawn again beyond two standard deviations.",
    "uniform": "U(low, high).",
    "glorot_uniform": "U(±gain √(6 / (fan_in + fan_out))) (Glorot and Bengio 2010, equation 16).",
    "glorot_normal": "N(0, gain² 2 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 12).",
    "he_uniform": "U(±√(6 / fan_in)) (He et al. 2015).",
    "he_normal": "N(0, 2 / fan_in) (He et al. 2015, equation 10).",
    "lecun_uniform": "U(±√(3 / fan_in)) (LeCun et al. 1998).",
    "lecun_normal": "N(0, 1 / fan_in) (LeCun et al. 1998).",
    "variance_scaling": "Of mean 0 and variance scale / n. n is fan_in, fan_out or their mean, as "
    '`mode` is "fan_in", "fan_out" or "fan_avg"; `distribution` is "normal", "uniform" or '
    '"truncated_normal", drawn again beyond two standard deviations and widened by as much.',
    "orthogonal": "Orthonormal rows, or columns where there are more rows, times gain (Saxe et al. "
    "2013).",
    "identity": "The identity matrix; of a kernel, at its centre (Dirac).",
}
"""What each draws, for the reference."""
