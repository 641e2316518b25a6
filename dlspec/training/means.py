"""How the values of batches are one value of a whole source: a mean weighted by their sizes, for
some metrics a mean of what lies under them (decision 9)."""

from __future__ import annotations

import math
from collections.abc import Callable

Number = Callable[[float], float]


def _square(value: float) -> float:
    return value * value


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _same(value: float) -> float:
    return value


# a metric's name in the language: to what is averaged, and back
MEANS: dict[str, tuple[Number, Number]] = {
    "rmse": (_square, math.sqrt),
    "perplexity": (_log, _exp),
}


def below(metric: str, value: float) -> float:
    """What of a batch's value is averaged."""
    return MEANS.get(metric, (_same, _same))[0](value)


def above(metric: str, mean: float) -> float:
    """The metric from that average."""
    return MEANS.get(metric, (_same, _same))[1](mean)
