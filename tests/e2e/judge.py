"""A judge of made digits: a classifier of real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier

from dlspec.schemas import bind
from dlspec.training.module import load_module
from dlspec.training.run import Result
from dlspec.training.sources import load

SAMPLES = 2000


@dataclass(frozen=True)
class Judgement:
    """fewest: samples of the digit that is seen least; entropy: of the mean chances, in nats, at
    most log 10 = 2.30; sure: the share of samples with a chance above 0.9."""

    fewest: int
    entropy: float
    sure: float


def judge(result: Result) -> Judgement:
    """Of 2,000 samples of a run's generator."""
    images, labels = load("mnist5k", bind("mnist5k", (), {"split": "train"}), Path())
    classifier = MLPClassifier((128,), max_iter=30, random_state=0)
    classifier.fit(images.reshape(len(images), -1), labels)
    module = load_module(result.run_dir / "sample.py", "sampling")
    state = module.init(0)
    names = module.export_weights(state)
    state = module.import_weights(state, {name: result.weights[name] for name in names})
    samples = module.predict(state, real=np.zeros((SAMPLES, 1, 28, 28), np.float32))
    chances = classifier.predict_proba(samples.reshape(SAMPLES, -1))
    mean = chances.mean(0)
    return Judgement(
        fewest=int(np.bincount(chances.argmax(1), minlength=10).min()),
        entropy=float(-(mean * np.log(mean)).sum()),
        sure=float((chances.max(1) > 0.9).mean()),
    )
