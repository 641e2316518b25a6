"""Training sections: data, networks, what is minimised, what is reported."""

from dlspec.elaborate.training.build import VERBS, read_verb
from dlspec.elaborate.training.objectives import trainable
from dlspec.elaborate.training.phases import build_phases

__all__ = ["VERBS", "build_phases", "read_verb", "trainable"]
