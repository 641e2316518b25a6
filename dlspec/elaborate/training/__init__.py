"""Training sections: data, networks, what is minimised, what is reported."""

from dlspec.elaborate.training.build import VERBS, build_training, read_verb
from dlspec.elaborate.training.objectives import trainable

__all__ = ["VERBS", "build_training", "read_verb", "trainable"]
